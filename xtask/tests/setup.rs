//! `xtask setup` as a program, on machines that lack something. Nothing here reaches the network or writes to the
//! checkout: every case ends before that.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Result, ensure};

#[test]
fn what_a_machine_lacks_is_named_in_one_line_and_nothing_is_left_under_a_final_name() -> Result<()> {
    // The programs on PATH, the cache, and the beginning of the line.
    for (programs, cache, expected) in [
        ("cc c++ make", "cache", "error: python3 is not on PATH"),
        ("cc c++ make python3", "cache", "error: python3 has no pip"),
        ("cc make", "cache", "error: no C++ compiler (c++ is not on PATH): install one"),
        ("cc c++", "cache", "error: no make program (make is not on PATH): install one"),
        ("cc c++ make", "bin/cc/cache", "error: cannot create "),
    ] {
        let folder = tempfile::tempdir()?;
        let (path, cache) = (folder.path().join("bin"), folder.path().join(cache));
        fs::create_dir(&path)?;
        for program in programs.split(' ') {
            symlink("/bin/false", path.join(program))?;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        for key in ["LIBTORCH", "ORT_DYLIB_PATH", "CMAKE", "CC", "CXX", "CMAKE_GENERATOR", "DDAE_CACHE"] {
            command.env_remove(key);
        }
        let output = command.args(["setup", "--cache"]).arg(&cache).env("PATH", &path).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{expected}: {output:?}");
        ensure!(stderr.starts_with(expected) && stderr.lines().count() == 1, "{expected}: {stderr}");
        let mut left = fs::read_dir(cache.join("native")).into_iter().flatten().flatten();
        ensure!(left.all(|entry| entry.file_name() == ".lock"), "{expected}");
    }
    Ok(())
}

#[test]
fn an_unknown_command_is_a_usage_error() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("frobnicate").output()?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
