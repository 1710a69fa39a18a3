//! `cargo xtask demo`: the whole way, from images to a trained model to scores, with the workspace's own programs.

mod page;
mod scores;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cargo::{Programs, line_of, run};
use crate::native::Native;
use crate::repository;
use scores::{Score, Scores};

/// Configuration and run folder, of the short demo and of the longer run of the documentation.
const SHORT: (&str, &str) = ("configs/demo.yaml", "runs/demo");
const LONG: (&str, &str) = ("configs/demo_long.yaml", "runs/demo_long");

/// Layers and timesteps that are extracted.
const TAPS: &str = "out_1,out_2,out_3";
const TIMESTEPS: &str = "11,101";

/// What the probes choose from: single layers, and layers joined.
const FEATURES: &str = "t11/out_1,t11/out_2,t11/out_3,t101/out_1,t101/out_2,t101/out_3,\
                        t11/out_1+t11/out_2+t11/out_3,t11/out_1+t101/out_1,\
                        t11/out_1+t11/out_2+t101/out_1+t101/out_2";

/// Seeds of the images on the sheet.
const SEEDS: &str = "0-63";

/// One command of the demo, as it ran.
pub struct Step {
    /// What it was for.
    pub title: &'static str,
    /// The command line.
    pub command: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs commands, says so, and remembers them.
struct Runner {
    programs: Programs,
    /// The run's, where everything goes.
    folder: PathBuf,
    steps: Vec<Step>,
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
        self.steps.push(Step { title, command: line, elapsed: begun.elapsed() });
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

    /// Classifies by the features of both networks and by raw pixels.
    fn probe(&mut self) -> Result<Scores> {
        let mut scores = Scores::default();
        for method in ["logistic", "knn"] {
            for (name, title) in [
                ("trained", "Score the features of the trained network"),
                ("untrained", "Score the features of the same network untrained"),
            ] {
                let [train, test] = ["train", "test"].map(|split| self.at(&format!("{name}_{split}.h5")));
                let confusion = self.at(&format!("confusion_{method}.png"));
                let mut arguments =
                    vec![method, "--train", &train, "--test", &test, "--features", FEATURES, "--json"];
                if name == "trained" {
                    arguments.extend(["--confusion", &confusion]);
                }
                scores.add(method, name, Score::parse(&self.run(title, "ddae-probe", &arguments)?)?);
            }
            let arguments = [method, "--pixels", "fashion-sample", "--json"];
            let printed = self.run("Score the raw pixels", "ddae-probe", &arguments)?;
            scores.add(method, "pixels", Score::parse(&printed)?);
        }
        Ok(scores)
    }
}

/// Trains, exports, extracts, probes and samples into `folder`, or `runs/demo` or `runs/demo_long` if none is given,
/// and writes a page about it. What is finished when a program fails stays, and the next run goes on from there.
pub fn demo(native: &Native, long: bool, folder: Option<PathBuf>) -> Result<()> {
    let programs = Programs::build(native, &[])?;
    let begun = Instant::now();
    let (config, usual) = if long { LONG } else { SHORT };
    let folder = folder.unwrap_or_else(|| PathBuf::from(usual));
    let mut runner = Runner { programs, folder, steps: Vec::new() };

    runner.train(config)?;
    // A run folder stands for its newest checkpoint.
    let trained = runner.folder.display().to_string();
    let untrained = runner.at("checkpoints/epoch_0000.safetensors");
    runner.extract("trained", &trained)?;
    runner.extract("untrained", &untrained)?;
    runner.sample(&trained)?;
    let scores = runner.probe()?;

    let page = page::write(&repository().join(&runner.folder), &scores, &runner.steps)?;
    println!("\n{}", scores.table());
    println!("{:.1} minutes in all after the build", begun.elapsed().as_secs_f64() / 60.0);
    println!("open {}", page.display());
    Ok(())
}
