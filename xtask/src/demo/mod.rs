//! `cargo xtask demo`: the whole way, from pictures to a trained model to scores, with the workspace's own programs.

mod page;
mod scores;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cargo::{Binaries, build_binaries, line_of, run};
use crate::native::Native;
use crate::repository;
use scores::{Score, Scores};

/// What the demo does.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longer run of the documentation instead of the short one.
    pub long: bool,
    /// Where everything goes; `runs/demo` or `runs/demo_long` if not given.
    pub folder: Option<PathBuf>,
}

/// Layers and timesteps among which the probes choose.
struct Plan {
    config: &'static str,
    folder: &'static str,
    taps: &'static str,
    timesteps: &'static str,
    views: &'static str,
    /// What the probes choose from: single layers, and layers joined.
    features: &'static str,
}

const SHORT: Plan = Plan {
    config: "configs/demo.yaml",
    folder: "runs/demo",
    taps: "out_1,out_2,out_3",
    timesteps: "11,101",
    views: "1",
    features: "t11/out_1,t11/out_2,t11/out_3,t101/out_1,t101/out_2,t101/out_3,\
               t11/out_1+t11/out_2+t11/out_3,t11/out_1+t101/out_1,\
               t11/out_1+t11/out_2+t101/out_1+t101/out_2",
};

const LONG: Plan = Plan {
    config: "configs/demo_long.yaml",
    folder: "runs/demo_long",
    taps: "out_1,out_2,out_3",
    timesteps: "11,101",
    views: "1",
    features: SHORT.features,
};

/// Seeds of the pictures on the sheet.
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
    root: PathBuf,
    steps: Vec<Step>,
}

impl Runner {
    /// Runs `program` with `arguments` in the root of the checkout; its standard output is given back.
    fn run<A: AsRef<OsStr>>(
        &mut self,
        title: &'static str,
        program: &Path,
        arguments: &[A],
    ) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        let line = self.shown(&command);
        eprintln!("\n# {title}\n$ {line}");
        let captured = run(&mut command)?;
        self.steps.push(Step { title, command: line, elapsed: captured.elapsed });
        Ok(captured.stdout)
    }

    /// The command line as one would type it in the root of the checkout.
    fn shown(&self, command: &Command) -> String {
        let root = format!("{}/", self.root.display());
        line_of(command).replace(&root, "")
    }
}

/// Trains, exports, extracts, probes and samples, and writes a page about it.
///
/// # Errors
/// Fails when a program does; what is finished by then stays, and the next run goes on from there.
pub fn demo(native: &Native, options: &Options) -> Result<()> {
    let binaries = build_binaries(native)?;
    let begun = Instant::now();
    let plan = if options.long { LONG } else { SHORT };
    let root = repository();
    let folder = options.folder.clone().unwrap_or_else(|| PathBuf::from(plan.folder));
    let mut runner = Runner { root: root.clone(), steps: Vec::new() };
    let at = |name: &str| folder.join(name).display().to_string();

    train(&mut runner, &binaries, &plan, &folder)?;
    // A run folder stands for its newest checkpoint.
    let trained = folder.display().to_string();
    let untrained = at("checkpoints/epoch_0000.safetensors");
    let features = Features { binaries: &binaries, plan: &plan, folder: &folder };
    features.extract(&mut runner, "trained", &trained)?;
    features.extract(&mut runner, "untrained", &untrained)?;

    let sampler = at("sampler.onnx");
    let arguments = ["--graph", "sampler", "-o", &sampler, "--force"];
    runner.run("Export the sampler", &binaries.export, &[&[trained.as_str()], &arguments[..]].concat())?;
    let (pictures, sheet) = (at("pictures"), at("pictures.png"));
    // After minutes of training the deterministic sampler leaves noise in the pictures; fresh noise on the way
    // washes it out.
    let arguments = ["sample", &sampler, "--seeds", SEEDS, "--eta", "1", "-o", &pictures, "--sheet", &sheet];
    let arguments = [&arguments[..], &["--overwrite"]].concat();
    print!("{}", runner.run("Draw pictures from noise", &binaries.infer, &arguments)?);

    let mut scores = Scores::default();
    for method in ["logistic", "knn"] {
        for (name, title) in [
            ("trained", "Score the features of the trained network"),
            ("untrained", "Score the features of the same network untrained"),
        ] {
            let (train, test) = (at(&format!("{name}_train.h5")), at(&format!("{name}_test.h5")));
            let confusion = at(&format!("confusion_{method}.png"));
            let mut arguments =
                vec![method, "--train", &train, "--test", &test, "--features", plan.features, "--json"];
            if name == "trained" {
                arguments.extend(["--confusion", &confusion]);
            }
            let printed = runner.run(title, &binaries.probe, &arguments)?;
            scores.add(method, name, Score::parse(&printed)?);
        }
        let arguments = [method, "--pixels", "fashion-sample", "--json"];
        let printed = runner.run("Score the raw pixels", &binaries.probe, &arguments)?;
        scores.add(method, "pixels", Score::parse(&printed)?);
    }

    let page = page::write(&root.join(&folder), &scores, &runner.steps)?;
    println!("\n{}", scores.table());
    println!("{:.1} minutes in all after the build", begun.elapsed().as_secs_f64() / 60.0);
    println!("open {}", page.display());
    Ok(())
}

/// Trains, or goes on with a run that was interrupted. A finished run is not trained again.
fn train(runner: &mut Runner, binaries: &Binaries, plan: &Plan, folder: &Path) -> Result<()> {
    let run_folder = folder.display().to_string();
    let begun = runner.root.join(folder).join("checkpoints").is_dir();
    let mut arguments = vec!["diffusion", "--config", plan.config, "--run", &run_folder, "--amp", "bf16"];
    if begun {
        arguments.push("--resume");
    }
    print!("{}", runner.run("Train a denoising diffusion autoencoder", &binaries.train, &arguments)?);
    Ok(())
}

/// Exports one checkpoint's layers and extracts them for both splits.
struct Features<'a> {
    binaries: &'a Binaries,
    plan: &'a Plan,
    folder: &'a Path,
}

impl Features<'_> {
    fn extract(&self, runner: &mut Runner, name: &str, checkpoint: &str) -> Result<()> {
        let at = |file: String| self.folder.join(file).display().to_string();
        let graph = at(format!("{name}.onnx"));
        let arguments =
            [checkpoint, "--graph", "features", "--taps", self.plan.taps, "-o", &graph, "--force"];
        runner.run("Export its layers", &self.binaries.export, &arguments)?;
        for split in ["train", "test"] {
            let output = at(format!("{name}_{split}"));
            let arguments = [
                "features",
                &graph,
                "--split",
                split,
                "--timesteps",
                self.plan.timesteps,
                "--views",
                self.plan.views,
                "-o",
                &output,
                "--overwrite",
            ];
            print!("{}", runner.run("Extract features", &self.binaries.infer, &arguments)?);
        }
        Ok(())
    }
}

/// Reads a file of the run for the page.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
