//! `xtask setup` as a program, on machines that lack something. Nothing here reaches the network or writes to the
//! checkout: every case ends before that.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Result, ensure};

#[test]
fn what_a_machine_lacks_is_named_in_one_line_and_nothing_is_left_under_a_final_name() -> Result<()> {
    const TOOLS: [(&str, &str); 3] = [("cc", "/bin/sh"), ("c++", "/bin/sh"), ("make", "/bin/sh")];
    // What is on PATH, and the beginning of the line.
    let cases: [(&[(&str, &str)], &str, &str); 6] = [
        (&TOOLS, "cache", "error: python3 is not on PATH"),
        (&[TOOLS[0], TOOLS[1], TOOLS[2], ("python3", "/bin/false")], "cache", "error: python3 has no pip"),
        (
            &[TOOLS[0], TOOLS[1], TOOLS[2], ("python3", "old")],
            "cache",
            "error: python3 has pip 20.2, which is too old",
        ),
        (&[TOOLS[0], TOOLS[2]], "cache", "error: no C++ compiler (c++ is not on PATH): install one"),
        (&[TOOLS[0], TOOLS[1]], "cache", "error: no make program (make is not on PATH): install one"),
        (&TOOLS, "old/cache", "error: cannot create "),
    ];
    for (number, (programs, cache, expected)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bin");
        fs::create_dir(&path)?;
        let old = folder.path().join("old");
        Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\necho pip 20.2 from x\\n' > \"$0\" && chmod 755 \"$0\""])
            .arg(&old)
            .status()?;
        for (name, target) in programs {
            symlink(folder.path().join(target), path.join(name))?;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        for key in ["LIBTORCH", "ORT_DYLIB_PATH", "CMAKE", "CC", "CXX", "CMAKE_GENERATOR", "DDAE_CACHE"] {
            command.env_remove(key);
        }
        let cache = folder.path().join(cache);
        let output = command.args(["setup", "--cache"]).arg(&cache).env("PATH", &path).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "case {number}: {output:?}");
        ensure!(stderr.starts_with(expected) && stderr.lines().count() == 1, "case {number}: {stderr}");
        let left = fs::read_dir(cache.join("native")).into_iter().flatten().flatten();
        ensure!(left.into_iter().all(|entry| entry.file_name() == ".lock"), "case {number}");
    }
    Ok(())
}

#[test]
fn an_unknown_command_is_a_usage_error() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("frobnicate").output()?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
