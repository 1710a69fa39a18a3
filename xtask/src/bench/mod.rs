//! `cargo xtask bench`: how fast this machine trains, samples and extracts, against its own matrix-product peak; and
//! whether the memory of a feature job grows with the data set. `docs/performance.md` says how to read it.

mod figures;
mod machine;
mod memory;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{build, run};
use crate::native::Native;
use crate::repository;
use figures::Figure;
use machine::Machine;

/// What the bench does.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Fewer rounds and smaller data sets.
    pub quick: bool,
    /// Only one of the parts.
    pub part: Option<Part>,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Images per second
    Speed,
    /// Peak memory of a feature job
    Memory,
}

/// The programs that are measured, or measure.
#[derive(Debug)]
struct Programs {
    train: PathBuf,
    export: PathBuf,
    infer: PathBuf,
    step_speed: PathBuf,
    onnx_speed: PathBuf,
}

/// Measures and prints.
///
/// # Errors
/// Fails when the build or one of the programs does.
pub fn bench(native: &Native, options: Options) -> Result<()> {
    let programs = Programs::build(native)?;
    println!("{}", Machine::read());
    if options.part != Some(Part::Memory) {
        let figures = programs.speeds(if options.quick { 2 } else { 5 })?;
        println!("\n{}\n{}", table::speed(&figures), table::NOTES);
    }
    if options.part != Some(Part::Speed) {
        let sizes = if options.quick { [2_000, 8_000] } else { [2_000, 60_000] };
        println!("\n{}", table::memory(&memory::measure(&programs, sizes)?));
    }
    Ok(())
}

impl Programs {
    fn build(native: &Native) -> Result<Programs> {
        // The whole workspace, for the reason that `build_binaries` gives.
        let examples = ["--example", "step_speed", "--example", "onnx_speed"];
        let built = build(native, "programs", &[&["--workspace", "--bins"], &examples[..]].concat())?;
        Ok(Programs {
            train: built.path("ddae-train")?,
            export: built.path("ddae-export")?,
            infer: built.path("ddae-infer")?,
            step_speed: built.path("step_speed")?,
            onnx_speed: built.path("onnx_speed")?,
        })
    }

    /// The figures of both measuring programs, which run one after the other.
    fn speeds(&self, rounds: usize) -> Result<Vec<Figure>> {
        let mut figures = figures_of(&self.step_speed, "training and forward in libtorch", rounds)?;
        figures.extend(figures_of(&self.onnx_speed, "exported graphs in ONNX Runtime", rounds)?);
        Ok(figures)
    }
}

fn figures_of(program: &Path, what: &str, rounds: usize) -> Result<Vec<Figure>> {
    eprintln!("# Measuring {what}, {rounds} rounds");
    let mut command = Command::new(program);
    command.args(["--rounds", &rounds.to_string(), "--json"]).current_dir(repository());
    let figures =
        figures::parse(&run(&mut command)?.stdout).with_context(|| program.display().to_string())?;
    ensure!(!figures.is_empty(), "{} measured nothing", program.display());
    Ok(figures)
}
