//! `cargo xtask demo`: the whole way, from images to a trained model to scores, with the workspace's own programs.

mod scores;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use serde_json::Value;

use crate::cargo::{Programs, line_of, run};
use crate::native::Native;
use crate::repository;
use scores::{Score, Scores};

/// Configuration and run folder, of the short demo and of the longer run of the documentation.
const SHORT: (&str, &str) = ("configs/demo.yaml", "runs/demo");
const LONG: (&str, &str) = ("configs/demo_long.yaml", "runs/demo_long");

/// Layers and timesteps that are extracted, and chosen from.
const TAPS: &str = "out_1,out_2,out_3,out_4";
const TIMESTEPS: &str = "11,101,301";

/// What the probes choose from: each layer at each timestep, and all layers of a timestep joined.
fn candidates() -> String {
    let of_timestep = |timestep: &str| -> Vec<String> {
        let single: Vec<String> = TAPS.split(',').map(|tap| format!("t{timestep}/{tap}")).collect();
        let joined = single.join("+");
        single.into_iter().chain([joined]).collect()
    };
    TIMESTEPS.split(',').flat_map(of_timestep).collect::<Vec<_>>().join(",")
}

/// Labels of each class that the probes with few labels learn from, and how often these are drawn.
const SHOTS: [&str; 2] = ["10", "100"];
const DRAWS: &str = "5";

/// What is compared, in the order of the tables: short names that files have, and what they are.
const SUBJECTS: [(&str, &str); 3] =
    [("trained", "DDAE features"), ("untrained", "the same network, untrained"), ("pixels", "raw pixels")];

/// Seeds of the images on the sheet.
const SEEDS: &str = "0-63";

/// Runs commands, says so, and remembers them.
struct Runner {
    programs: Programs,
    /// The run's, where everything goes.
    folder: PathBuf,
    /// What was run, as a script.
    commands: String,
    /// Files of results, for the report.
    results: Vec<String>,
}

impl Runner {
    /// Runs a program in the root of the checkout; its standard output is given back.
    fn run(&mut self, title: &'static str, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.programs.path(program)?);
        command.args(arguments).current_dir(repository());
        // As one would type it in the root of the checkout.
        let line = line_of(&command).replace(&format!("{}/", repository().display()), "");
        eprintln!("\n# {title}\n$ {line}");
        let begun = Instant::now();
        let printed = run(&mut command)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.commands.push_str(&format!("\n# {title} ({seconds:.0} s)\n{line}\n"));
        Ok(printed)
    }

    /// A file of the run.
    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Trains, or goes on with a run that was interrupted. A finished run is not trained again.
    fn train(&mut self, config: &str) -> Result<()> {
        let folder = self.folder.display().to_string();
        let mut arguments = vec!["diffusion", "--config", config, "--run", &folder, "--amp", "bf16"];
        if repository().join(&folder).join("checkpoints").is_dir() {
            arguments.push("--resume");
        }
        print!("{}", self.run("Train a denoising diffusion autoencoder", "ddae-train", &arguments)?);
        Ok(())
    }

    /// Exports one checkpoint's layers and extracts them for both splits.
    fn extract(&mut self, name: &str, checkpoint: &str) -> Result<()> {
        let graph = self.at(&format!("{name}.onnx"));
        let arguments = [checkpoint, "--graph", "features", "--taps", TAPS, "-o", &graph, "--force"];
        self.run("Export its layers", "ddae-export", &arguments)?;
        for split in ["train", "test"] {
            let output = self.at(&format!("{name}_{split}"));
            let job = ["features", &graph, "--split", split, "--timesteps", TIMESTEPS];
            let arguments = [&job[..], &["--views", "1", "-o", &output, "--overwrite"]].concat();
            print!("{}", self.run("Extract features", "ddae-infer", &arguments)?);
        }
        Ok(())
    }

    /// Draws images from noise.
    fn sample(&mut self, checkpoint: &str) -> Result<()> {
        let [sampler, images, sheet] = ["sampler.onnx", "images", "images.png"].map(|name| self.at(name));
        let arguments = [checkpoint, "--graph", "sampler", "-o", &sampler, "--force"];
        self.run("Export the sampler", "ddae-export", &arguments)?;
        // After minutes of training the deterministic sampler leaves noise in the images; fresh noise on the way
        // washes it out.
        let job = ["sample", &sampler, "--seeds", SEEDS, "--eta", "1"];
        let arguments = [&job[..], &["-o", &images, "--sheet", &sheet, "--overwrite"]].concat();
        print!("{}", self.run("Draw images from noise", "ddae-infer", &arguments)?);
        Ok(())
    }

    /// Runs a probe on one of [`SUBJECTS`]; what it prints is kept in a file for the report.
    fn probe(&mut self, title: &'static str, name: &str, subject: &str, arguments: &[&str]) -> Result<Value> {
        let files = ["train", "test"].map(|split| self.at(&format!("{subject}_{split}.h5")));
        let source = match subject {
            "pixels" => vec!["--pixels", "fashion-sample"],
            _ => vec!["--train", &files[0], "--test", &files[1]],
        };
        let all = [arguments, &source, &["--json"]].concat();
        let printed = self.run(title, "ddae-probe", &all)?;
        let path = self.at(&format!("{name}_{subject}.json"));
        fs::write(repository().join(&path), &printed).with_context(|| format!("cannot write {path}"))?;
        self.results.push(path);
        serde_json::from_str(&printed).context("ddae-probe printed no JSON")
    }

    /// Classifies by the features of both networks and by raw pixels: with all labels, and with few.
    fn probes(&mut self) -> Result<Scores> {
        let mut scores = Scores::default();
        let candidates = candidates();
        for (method, title) in
            [("logistic", "Score them by logistic regression"), ("knn", "Score them by their neighbours")]
        {
            for (subject, _) in SUBJECTS {
                let predictions = self.at(&format!("{method}_{subject}.parquet"));
                let mut arguments = vec![method, "--predictions", &predictions];
                if subject != "pixels" {
                    arguments.extend(["--features", &candidates]);
                }
                let result = self.probe(title, method, subject, &arguments)?;
                scores.add(method, subject, Score::of(&result)?);
                if subject != "pixels" {
                    continue;
                }
                let trained = self.at(&format!("{method}_trained.parquet"));
                let title = "Compare the trained network with raw pixels";
                let printed =
                    self.run(title, "ddae-probe", &["compare", &trained, &predictions, "--json"])?;
                scores.compare(method, &printed)?;
            }
        }
        for shots in SHOTS {
            for (subject, _) in SUBJECTS {
                // What few labels would choose is chance: the features that all labels chose.
                let chosen =
                    scores.get("logistic", subject).map(|score| score.features.clone()).unwrap_or_default();
                let mut arguments = vec!["logistic", "--shots", shots, "--seeds", DRAWS];
                if subject != "pixels" {
                    arguments.extend(["--features", &chosen]);
                }
                let name = format!("shots_{shots}");
                let result = self.probe("Score them with few labels", &name, subject, &arguments)?;
                scores.add(&name, subject, Score::of(&result)?);
            }
        }
        Ok(scores)
    }

    /// One page about all of it.
    fn report(&mut self) -> Result<PathBuf> {
        let folder = self.folder.display().to_string();
        let [train, test, page] =
            ["trained_train.h5", "trained_test.h5", "index.html"].map(|name| self.at(name));
        let probes: Vec<String> =
            self.results.iter().flat_map(|path| ["--probe".to_string(), path.clone()]).collect();
        let mut arguments =
            vec!["report", &folder, "--train", &train, "--test", &test, "--data", "fashion-sample"];
        arguments.extend(probes.iter().map(String::as_str));
        arguments.extend(["--title", "A denoising diffusion autoencoder on Fashion-MNIST", "-o", &page]);
        print!("{}", self.run("Report on all of it", "ddae-probe", &arguments)?);
        Ok(repository().join(page))
    }
}

/// Trains, exports, extracts, probes and samples into `folder`, or `runs/demo` or `runs/demo_long` if none is given, and
/// reports on it. What is finished when a program fails stays, and the next run goes on from there.
pub fn demo(native: &Native, long: bool, folder: Option<PathBuf>) -> Result<()> {
    let programs = Programs::build(native, &[])?;
    let begun = Instant::now();
    let (config, usual) = if long { LONG } else { SHORT };
    let folder = folder.unwrap_or_else(|| PathBuf::from(usual));
    let commands = "#!/bin/sh\n# What the demo ran, from the root of the checkout.\nset -e\n".to_string();
    let mut runner = Runner { programs, folder, commands, results: Vec::new() };

    runner.train(config)?;
    // A run folder stands for its newest checkpoint.
    let trained = runner.folder.display().to_string();
    let untrained = runner.at("checkpoints/epoch_0000.safetensors");
    runner.extract("trained", &trained)?;
    runner.extract("untrained", &untrained)?;
    runner.sample(&trained)?;
    let scores = runner.probes()?;
    let page = runner.report()?;
    let commands = repository().join(runner.at("commands.sh"));
    fs::write(&commands, &runner.commands).with_context(|| format!("cannot write {}", commands.display()))?;

    println!("\n{}", scores.table());
    println!(
        "{:.1} minutes in all after the build; every command is in {}",
        begun.elapsed().as_secs_f64() / 60.0,
        commands.display()
    );
    println!("open {}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_choose_from_layers_and_from_all_of_a_timestep() {
        let candidates = candidates();
        let names: Vec<&str> = candidates.split(',').collect();
        assert_eq!(names.len(), 15);
        assert_eq!(names[..2], ["t11/out_1", "t11/out_2"]);
        assert_eq!(names[9], "t101/out_1+t101/out_2+t101/out_3+t101/out_4");
    }
}
