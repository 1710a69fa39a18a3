//! `cargo xtask bench`: how fast this machine trains, samples and extracts, against its own matrix-product peak; how
//! fast SODA's encoder is and its training pairs are made; and whether the memory of a feature job grows with the data
//! set. `docs/performance.md` says how to read it.

mod encoder;
mod figures;
mod machine;
mod memory;
mod pairs;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{build, run};
use crate::native::Native;
use crate::repository;
use figures::Figure;
use machine::Machine;
use pairs::Pairs;

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
    /// Images per second of SODA's encoder
    Encoder,
    /// SODA's training pairs per second
    Augment,
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
    augment_speed: PathBuf,
}

/// Measures and prints.
///
/// # Errors
/// Fails when the build or one of the programs does.
pub fn bench(native: &Native, options: Options) -> Result<()> {
    let programs = Programs::build(native)?;
    println!("{}", Machine::read());
    let wanted = |part| options.part.is_none_or(|only| only == part);
    let rounds = if options.quick { 2 } else { 5 };
    if wanted(Part::Speed) {
        let figures = programs.speeds(rounds)?;
        println!("\n{}\n{}", table::speed(&figures), table::NOTES);
    }
    if wanted(Part::Encoder) {
        let [torch, onnx] = programs.encoder(rounds)?;
        println!("\n{}", encoder::table(&torch, &onnx));
    }
    if wanted(Part::Augment) {
        println!("\n{}", pairs::table(&programs.pairs(rounds)?));
    }
    if wanted(Part::Memory) {
        let sizes = if options.quick { [2_000, 8_000] } else { [2_000, 60_000] };
        println!("\n{}", table::memory(&memory::measure(&programs, sizes)?));
    }
    Ok(())
}

impl Programs {
    fn build(native: &Native) -> Result<Programs> {
        // The whole workspace, for the reason that `build_binaries` gives.
        let examples = ["step_speed", "onnx_speed", "augment_speed"].map(|name| ["--example", name]);
        let built =
            build(native, "programs", &[&["--workspace", "--bins"], examples.as_flattened()].concat())?;
        Ok(Programs {
            train: built.path("ddae-train")?,
            export: built.path("ddae-export")?,
            infer: built.path("ddae-infer")?,
            step_speed: built.path("step_speed")?,
            onnx_speed: built.path("onnx_speed")?,
            augment_speed: built.path("augment_speed")?,
        })
    }

    /// The figures of both measuring programs, which run one after the other.
    fn speeds(&self, rounds: usize) -> Result<Vec<Figure>> {
        let mut figures = figures_of(&self.step_speed, &[], "training and forward in libtorch", rounds)?;
        figures.extend(figures_of(&self.onnx_speed, &[], "exported graphs in ONNX Runtime", rounds)?);
        Ok(figures)
    }

    /// The figures of SODA's encoder, in libtorch and exported.
    fn encoder(&self, rounds: usize) -> Result<[Vec<Figure>; 2]> {
        let network = ["--network", "soda-encoder"];
        let forward = ["--work", "forward", "--layout", "contiguous,channels-last", "--batch", "128"];
        let torch = [&network[..], &forward].concat();
        Ok([
            figures_of(&self.step_speed, &torch, "SODA's encoder in libtorch", rounds)?,
            figures_of(&self.onnx_speed, &network, "SODA's exported encoder in ONNX Runtime", rounds)?,
        ])
    }

    fn pairs(&self, rounds: usize) -> Result<Vec<Pairs>> {
        let program = &self.augment_speed;
        let printed = printed_by(program, &[], "augmentation", rounds)?;
        pairs::parse(&printed).with_context(|| program.display().to_string())
    }
}

/// What a measuring program prints.
fn printed_by(program: &Path, options: &[&str], what: &str, rounds: usize) -> Result<String> {
    eprintln!("# Measuring {what}, {rounds} rounds");
    let mut command = Command::new(program);
    command.args(["--rounds", &rounds.to_string(), "--json"]).args(options).current_dir(repository());
    Ok(run(&mut command)?.stdout)
}

fn figures_of(program: &Path, options: &[&str], what: &str, rounds: usize) -> Result<Vec<Figure>> {
    let printed = printed_by(program, options, what, rounds)?;
    let figures = figures::parse(&printed).with_context(|| program.display().to_string())?;
    ensure!(!figures.is_empty(), "{} measured nothing", program.display());
    Ok(figures)
}
