//! `xtask setup` as a program, on machines that lack something. Nothing here reaches the network or writes to the
//! checkout: every case ends before that.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

/// A folder that serves as the whole `PATH`, with programs that do nothing.
fn path_with(folder: &Path, programs: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for program in programs {
        std::os::unix::fs::symlink("/bin/sh", folder.join(program))?;
    }
    Ok(())
}

fn setup(path: &Path, cache: &Path) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    for key in ["LIBTORCH", "ORT_DYLIB_PATH", "CMAKE", "CC", "CXX", "CMAKE_GENERATOR", "DDAE_CACHE"] {
        command.env_remove(key);
    }
    Ok(command.args(["setup", "--cache"]).arg(cache).env("PATH", path).output()?)
}

/// Exit code 1, nothing on stdout, and this one line on stderr.
fn assert_refused(output: &Output, expected: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}: {stderr}", output.status);
    ensure!(output.stdout.is_empty());
    ensure!(stderr.starts_with(expected) && stderr.lines().count() == 1, "{stderr}");
    Ok(())
}

#[test]
fn without_python_one_line_says_what_to_install() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, cache) = (folder.path().join("bin"), folder.path().join("cache"));
    path_with(&path, &["cc", "c++", "make"])?;
    assert_refused(&setup(&path, &cache)?, "error: python3 is not on PATH")?;
    let left: Vec<_> = fs::read_dir(cache.join("native"))?.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".lock"], "nothing is left under a final name");
    Ok(())
}

#[test]
fn without_pip_one_line_says_what_to_install() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bin");
    path_with(&path, &["cc", "c++", "make"])?;
    std::os::unix::fs::symlink("/bin/false", path.join("python3"))?;
    assert_refused(&setup(&path, &folder.path().join("cache"))?, "error: python3 has no pip")
}

#[test]
fn without_a_compiler_one_line_says_what_to_install() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bin");
    path_with(&path, &["cc", "make"])?;
    assert_refused(
        &setup(&path, &folder.path().join("cache"))?,
        "error: no C++ compiler (c++ is not on PATH)",
    )
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bin");
    path_with(&path, &["cc", "c++", "make"])?;
    fs::write(folder.path().join("file"), "")?;
    assert_refused(&setup(&path, &folder.path().join("file/cache"))?, "error: cannot create ")
}

#[test]
fn an_unknown_command_is_a_usage_error() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("frobnicate").output()?;
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}
