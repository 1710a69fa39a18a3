//! Peak memory of a feature job over data sets of different size.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

use crate::cargo::{Programs, ending, line_of, run};
use crate::interrupt;
use crate::repository;

/// What one job took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Images in the data set.
    pub images: usize,
    /// Largest resident memory of the process, as the kernel counts it.
    pub bytes: u64,
    /// How long it ran.
    pub elapsed: Duration,
}

/// Width and height of an image.
const SIDE: u32 = 28;

/// The network comes from here, and is not trained.
const CONFIG: &str = "configs/demo.yaml";

/// Images that a checkpoint is made with: one step of training.
const FEW: usize = 64;

/// Runs a feature job over a data set of each size.
pub fn measure(programs: &Programs, sizes: [usize; 2]) -> Result<[Peak; 2]> {
    // So that the temporary folder goes away on Ctrl-C.
    interrupt::listen();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = folder.path();
    eprintln!("# Making a network and data sets in {}", folder.display());
    let model = untrained_model(programs, folder)?;
    let peak_of = |images: usize| -> Result<Peak> {
        let root = folder.join(format!("{images}"));
        write_data_set(&root, images)?;
        eprintln!("# Extracting features of {images} images");
        let mut command = Command::new(programs.path("ddae-infer")?);
        command.arg("features").arg(&model).arg("--data-root").arg(&root);
        command.arg("-o").arg(root.join("features"));
        let (bytes, elapsed) = peak_memory(&mut command)?;
        Ok(Peak { images, bytes, elapsed })
    };
    Ok([peak_of(sizes[0])?, peak_of(sizes[1])?])
}

/// A features graph of the demo's network as training begins with it.
fn untrained_model(programs: &Programs, folder: &Path) -> Result<PathBuf> {
    let (data, run_folder, model) = (folder.join("few"), folder.join("run"), folder.join("features.onnx"));
    write_data_set(&data, FEW)?;
    let mut train = Command::new(programs.path("ddae-train")?);
    train.current_dir(repository()).args(["diffusion", "--config", CONFIG, "--set", "dataset=mnist"]);
    train.args(["--set", "n_sample=1", "--sample-steps", "1", "--epochs", "1", "--device", "cpu", "-q"]);
    train.arg("--data-root").arg(&data).arg("--run").arg(&run_folder);
    run(&mut train)?;
    interrupt::check()?;
    let mut export = Command::new(programs.path("ddae-export")?);
    export.arg(run_folder.join("checkpoints/epoch_0000.safetensors"));
    export.args(["--graph", "features", "--taps", "out_2", "--timestep", "11", "-q", "-o"]).arg(&model);
    run(&mut export)?;
    interrupt::check()?;
    Ok(model)
}

/// Writes `train` and `t10k` files of the idx format into `root/mnist`: `images` of noise to train with, and a few
/// to test.
fn write_data_set(root: &Path, images: usize) -> Result<()> {
    let folder = root.join("mnist");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (split, count) in [("train", images), ("t10k", FEW)] {
        let path = folder.join(format!("{split}-images-idx3-ubyte"));
        write_idx(&path, &[count as u32, SIDE, SIDE], noise()).with_context(|| path.display().to_string())?;
        let path = folder.join(format!("{split}-labels-idx1-ubyte"));
        write_idx(&path, &[count as u32], (0..10).cycle()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Writes bytes of the shape `dimensions` as the idx format has it: two zeros, 8 for bytes, the number of dimensions,
/// the dimensions as big-endian 32-bit numbers, the bytes.
fn write_idx(path: &Path, dimensions: &[u32], bytes: impl Iterator<Item = u8>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&[0, 0, 8, dimensions.len() as u8])?;
    for dimension in dimensions {
        file.write_all(&dimension.to_be_bytes())?;
    }
    let count = dimensions.iter().map(|&n| n as usize).product();
    for byte in bytes.take(count) {
        file.write_all(&[byte])?;
    }
    file.into_inner()?.sync_all()
}

/// The same bytes each time (xorshift64, Marsaglia 2003).
fn noise() -> impl Iterator<Item = u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 32) as u8)
    })
}

/// Runs a program to its end: the largest memory that it held, in bytes, and how long it ran.
fn peak_memory(command: &mut Command) -> Result<(u64, Duration)> {
    let start = Instant::now();
    let line = line_of(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {line}"))?;
    let used = child.wait4().with_context(|| format!("cannot wait for {line}"))?;
    if !used.status.success() {
        bail!("{line}: {}", ending(used.status));
    }
    Ok((used.rusage.maxrss, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;

    #[test]
    fn a_data_set_has_the_published_layout() -> Result<()> {
        let folder = tempfile::tempdir()?;
        write_data_set(folder.path(), 3)?;
        let images = fs::read(folder.path().join("mnist/train-images-idx3-ubyte"))?;
        assert_eq!(images[..16], [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28]);
        assert_eq!(images.len(), 16 + 3 * 28 * 28);
        let labels = fs::read(folder.path().join("mnist/train-labels-idx1-ubyte"))?;
        assert_eq!(labels, [0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2]);
        assert_eq!(fs::read(folder.path().join("mnist/t10k-labels-idx1-ubyte"))?.len(), 8 + FEW);
        Ok(())
    }

    #[test]
    fn the_peak_of_a_program_is_its_own() -> Result<()> {
        // dd holds one block in memory.
        let peak = |block: &str| {
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "of=/dev/null", "count=1", "status=none", block]);
            peak_memory(&mut command)
        };
        let (small, large) = (peak("bs=1M")?.0, peak("bs=65M")?.0);
        assert!(large - small > 60 << 20 && large - small < 68 << 20, "{small} and {large} bytes");
        Ok(())
    }

    #[test]
    fn a_failing_program_is_named() {
        assert_eq!(
            message_of(peak_memory(Command::new("sh").args(["-c", "exit 3"]))),
            "sh -c 'exit 3': exit code 3"
        );
    }
}
