//! The round on a GPU: `xtask/gpu/round.sh` with the programs of this checkout.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::Programs;
use crate::native::Native;
use crate::repository;

/// What the round runs beside the programs that users run.
const EXAMPLES: [&str; 4] = ["cuda_norm", "cuda_ops", "cuda_speed", "rule_checkpoint"];

/// Its parts, checks first.
const PARTS: [&str; 8] =
    ["kernels", "operators", "train", "train-more", "resume", "peers-train", "infer", "peers-forward"];

/// Builds the programs and runs all parts; logs lie in the folder for what is built.
///
/// # Errors
/// When something does not build, or a check fails.
pub fn bench(native: &Native) -> Result<()> {
    if !native.libtorch.path.join("cuda").is_dir() {
        bail!("libtorch has no CUDA half: run `cargo xtask setup --cuda` on a machine with an NVIDIA GPU");
    }
    let programs = Programs::build(native, &EXAMPLES)?;
    let built = programs.path("ddae-train")?.parent().context("a program lies in a folder")?;
    let work = built.join("gpu-round");
    let folder = work.join("programs");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for name in Programs::USERS.iter().chain(&EXAMPLES) {
        fs::copy(programs.path(name)?, folder.join(name)).with_context(|| name.to_string())?;
    }
    let runtime = native.onnxruntime.path.parent().unwrap_or(Path::new("."));
    let script = repository().join("xtask/gpu/round.sh");
    let status = Command::new("bash")
        .arg(&script)
        .args([folder.as_path(), runtime, work.as_path()])
        .args(PARTS)
        .status()
        .with_context(|| format!("cannot start bash {}", script.display()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("a check of the round failed; logs: {}", work.join("logs").display()),
    }
}
