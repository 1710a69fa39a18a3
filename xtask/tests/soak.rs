//! `xtask soak` as a program: a short campaign over the real programs, and one over a program that writes badly.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use ddae_tests::programs::Program;

fn soak(programs: &Path, options: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("soak").arg("--programs").arg(programs).args(options.split_whitespace());
    command.output().context("cannot start xtask")
}

/// A campaign over the real programs that finds nothing; it makes so many kills.
fn finds_nothing(kills: u64, options: &str) -> Result<()> {
    let path = Program::Train.path();
    let folder = path.parent().context("a folder of programs")?;
    let output = soak(folder, options)?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{stdout}{stderr}");
    let sum = stdout.lines().find(|line| line.starts_with("all ")).context("a sum")?;
    let cells: Vec<&str> = sum.split_whitespace().collect();
    ensure!(cells[1] == kills.to_string() && cells[3] == "0", "{stdout}");
    Ok(())
}

#[test]
fn twenty_kills_change_nothing() -> Result<()> {
    let jobs = "diffusion,replace,features,merge,sample,export,export-data";
    finds_nothing(20, &format!("--kills 20 --seed 9 --job {jobs}"))
}

/// Of both ways to start ranks.
#[test]
fn ranks_that_are_killed_end_the_others_and_go_on() -> Result<()> {
    finds_nothing(8, "--kills 8 --seed 5 --job ranks,ranks-apart")
}

/// A program that writes its file under the final name, bit by bit.
#[test]
fn half_a_file_is_found_and_can_be_found_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["ddae-data", "ddae-train", "ddae-export", "ddae-infer", "ddae-probe"] {
        let script = match name {
            "ddae-train" => "#!/bin/sh\nmkdir ddpm\n",
            "ddae-export" => "#!/bin/sh\nprintf one > sampler.onnx; printf two >> sampler.onnx\n",
            _ => "#!/bin/sh\n",
        };
        let path = folder.path().join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    let output = soak(folder.path(), "--kills 8 --job export")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{output:?}");
    let fault = "sampler.onnx is not what the undisturbed job makes at once";
    ensure!(
        stderr.contains(fault) && stderr.contains(" failures with seed 0; one of them again: "),
        "{stderr}"
    );
    let (_, again) = stderr.rsplit_once("cargo xtask soak ").context("the command")?;
    let output = soak(folder.path(), again.trim())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && stderr.contains(fault), "{stderr}");
    let (_, left) = stderr.split_once("the folder stays: ").context("the folder")?;
    ensure!(Path::new(left.trim()).join("work/sampler.onnx").is_file(), "{stderr}");
    fs::remove_dir_all(left.trim())?;

    // Before the first call there is nothing, and then all of it.
    let output = soak(folder.path(), "--job export --at 1,99")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let told = "export: the result is right; reached 1 of 2 moments (an undisturbed run makes 4 calls)\n";
    ensure!(output.status.success() && stdout == told, "{output:?}");
    Ok(())
}

#[test]
fn a_moment_is_of_one_job() -> Result<()> {
    for (options, message) in [
        ("--at 3", "--job"),
        ("--at 3 --job export,merge", "--at is for one job: give its name with --job"),
        (
            "--at 0 --job export",
            "wanted is the number of a call (17), one with a plus (17+), a time (350ms), ",
        ),
        ("--job walk", "--job 'walk': diffusion, "),
        ("--kill 3", "there is no option '--kill'; did you mean '--kills'?; try 'cargo xtask soak --help'"),
    ] {
        let output = soak(Path::new("nowhere"), options)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && stderr.contains(message), "{options}: {stderr}");
        ensure!(stderr.lines().count() == 1 && stderr.starts_with("error: "), "{options}: {stderr}");
    }
    Ok(())
}
