//! `cargo xtask bench`: how fast this machine trains, samples and extracts, against its own matrix-product peak; how
//! fast SODA's encoder is and its training pairs are made; how a busy machine slows training; what ranks and checkpoints cost;
//! and whether the memory of a feature job grows with the data set. `docs/performance.md` says how to read it.

mod busy;
mod encoder;
mod figures;
pub mod gpu;
mod machine;
mod memory;
mod pairs;
mod peers;
mod probes;
mod ranks;
mod table;

use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::cargo::{Programs, run};
use crate::native::Native;
use crate::repository;
use figures::Figure;
use machine::Machine;

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
    /// A training step beside another process
    Busy,
    /// k-NN, logistic regression and Fréchet distance beside faiss, scikit-learn and scipy, and many linear heads beside one;
    /// only when asked for, since it installs these and takes 11 GB on the disk
    Probes,
    /// Steps of two ranks with gradients summed during the backward pass, after it and not at all, and how long training waits
    /// for a checkpoint; only when asked for, since it takes 3 GB on the disk
    Ranks,
}

/// Measures and prints; with `quick` in fewer rounds and over smaller data sets.
pub fn bench(native: &Native, quick: bool, part: Option<Part>) -> Result<()> {
    let programs = Programs::build(
        native,
        &["step_speed", "onnx_speed", "augment_speed", "heads_speed", "ranks_speed"],
    )?;
    println!("{}", Machine::read());
    let wanted = |wanted| part.is_none_or(|only| only == wanted);
    let measure = Measure { programs: &programs, rounds: if quick { 2 } else { 5 } };
    if wanted(Part::Speed) {
        let mut figures = measure.figures("step_speed", &[], "training and forward in libtorch")?;
        figures.extend(measure.figures("onnx_speed", &[], "exported graphs in ONNX Runtime")?);
        println!("\n{}\n{}", table::speed(&figures), table::NOTES);
    }
    if wanted(Part::Encoder) {
        let network = ["--network", "soda-encoder"];
        let forward = ["--work", "forward", "--layout", "contiguous,channels-last", "--batch", "128"];
        let forward = [&network[..], &forward].concat();
        let torch = measure.figures("step_speed", &forward, "SODA's encoder in libtorch")?;
        let onnx = measure.figures("onnx_speed", &network, "SODA's exported encoder in ONNX Runtime")?;
        println!("\n{}", encoder::table(&torch, &onnx));
    }
    if wanted(Part::Augment) {
        println!(
            "\n{}",
            pairs::table(&measure.with("augment_speed", &[], "augmentation", pairs::Pairs::speed)?)
        );
    }
    if wanted(Part::Busy) {
        println!("\n{}", busy::table(&busy::measure(&measure)?));
    }
    if wanted(Part::Memory) {
        let sizes = if quick { [2_000, 8_000] } else { [2_000, 60_000] };
        println!("\n{}", table::memory(&memory::measure(&programs, sizes)?));
    }
    if part == Some(Part::Ranks) {
        println!("\n{}", ranks::table(&ranks::measure(&measure)?));
    }
    if part == Some(Part::Probes) {
        println!("\n{}", probes::table(&probes::measure(&measure)?));
        println!("\n{}", probes::heads_table(&probes::measure_heads(&measure)?));
    }
    Ok(())
}

/// Runs measuring programs.
struct Measure<'a> {
    programs: &'a Programs,
    rounds: usize,
}

impl Measure<'_> {
    fn figures(&self, program: &str, options: &[&str], what: &str) -> Result<Vec<Figure>> {
        self.with(program, options, what, |figure: &Figure| figure.gflops_per_second)
    }

    /// What a program measured, each with a `speed`.
    fn with<T: DeserializeOwned>(
        &self,
        program: &str,
        options: &[&str],
        what: &str,
        speed: fn(&T) -> f64,
    ) -> Result<Vec<T>> {
        eprintln!("# Measuring {what}, {} rounds", self.rounds);
        let program = self.programs.path(program)?;
        let mut command = Command::new(program);
        command.args(["--rounds", &self.rounds.to_string(), "--json"]).args(options);
        let printed = run(command.current_dir(repository()))?;
        figures::parse(&printed, speed).with_context(|| program.display().to_string())
    }
}
