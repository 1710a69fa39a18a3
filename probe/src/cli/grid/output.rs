//! What a grid writes and prints.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use ddae_base::lock::Lock;
use ddae_base::made_by::MadeBy;
use ddae_base::{files, json, plain, shell};
use ddae_infer::features::part_of;
use ddae_infer::model_file::ModelFile;
use ddae_probe::ProbeError;
use ddae_probe::grid::model::Model;
use ddae_probe::grid::result::{Found, counted};
use ddae_probe::grid::schedule::schedule;
use ddae_probe::grid::search::Search;
use ddae_report::page::heat;
use ddae_report::plot::Plot;
use ddae_report::result::{self as results, Measured};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Arguments, Job};

/// The schema of the result.
const SCHEMA: &str = "ddae.grid/1";

/// Widths of the heat map, in pixels: beside the cells, of a cell, and in all.
const BESIDE: u32 = 120;
const CELL: u32 = 90;
const WIDTHS: (u32, u32) = (320, 1200);

/// The folder of the graph and the features: `grid.json.work`.
pub fn work_folder(output: &Path) -> PathBuf {
    let mut path = output.as_os_str().to_os_string();
    path.push(".work");
    path.into()
}

/// The outputs of a command, found to be possible.
pub struct Output<'a> {
    arguments: &'a Arguments,
}

/// The object that `--json` prints and the file holds.
#[derive(Serialize)]
struct Object<'a> {
    model: Value,
    data: Value,
    head: &'static str,
    timesteps: &'a [i64],
    layers: Vec<&'a str>,
    #[serde(flatten)]
    found: &'a Found,
    next: Vec<String>,
    work: Option<PathBuf>,
}

/// The line in the file, as `--json` prints it.
#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    #[serde(flatten)]
    object: Object<'a>,
    made_by: MadeBy,
}

impl<'a> Output<'a> {
    /// Refuses what could not be written at the end.
    pub fn new(arguments: &'a Arguments) -> Result<Self> {
        let path = &arguments.output;
        if path.is_dir() {
            let reason = format!("-o {}: this is a folder; give the name of a file", path.display());
            return Err(ProbeError::Usage(reason).into());
        }
        files::target(path).context("--output")?;
        refuse_other(path)?;
        if let Some(image) = &arguments.image {
            let kind = image.extension().and_then(|extension| extension.to_str());
            if !matches!(kind, Some("svg" | "png")) {
                let reason = format!("--image {}: give a name that ends with .svg or .png", image.display());
                return Err(ProbeError::Usage(reason).into());
            }
            files::target(image).context("--image")?;
        }
        Ok(Output { arguments })
    }

    /// What would be done.
    pub fn describe(&self, job: &Job, model: &Model) -> std::io::Result<()> {
        let mut out = ddae_base::stdout();
        let plan = &job.plan;
        let (train, test) = (&job.images.train, &job.images.test);
        let timesteps: Vec<String> = plan.timesteps.iter().map(i64::to_string).collect();
        let layers: Vec<String> =
            plan.layers.iter().map(|(name, width)| format!("{name} [{width}]")).collect();
        let network = model.description().network.clone().unwrap_or_default();
        writeln!(out, "network    {}", plain(network))?;
        writeln!(out, "timesteps  {}", timesteps.join(", "))?;
        writeln!(out, "layers     {}", plain(layers.join(", ")))?;
        writeln!(
            out,
            "images     {} of {} to choose on, {} of {} to measure the choice",
            counted(train.len() as u64),
            plain(train.name()),
            counted(test.len() as u64),
            plain(test.name())
        )?;
        let pairs = plan.pairs().len();
        let calls = train.len() * job.views.count * plan.timesteps.len();
        match plan.search {
            Search::Full => {
                writeln!(out, "search     {pairs} pairs, {} network calls", counted(calls as u64))?;
            }
            Search::Halving => {
                let classes = train.class_counts().iter().filter(|count| **count > 0).count();
                let rounds = schedule(pairs, train.len(), classes);
                let listed: Vec<String> = rounds
                    .iter()
                    .map(|round| format!("{} pairs on {} images", round.pairs, counted(round.images as u64)))
                    .collect();
                let last = rounds.last().map_or(0, |round| round.images);
                let most = last * job.views.count * plan.timesteps.len();
                writeln!(
                    out,
                    "search     {}; at most {} of {} network calls",
                    listed.join(", then "),
                    counted(most as u64),
                    counted(calls as u64)
                )?;
            }
        }
        let width: usize = plan.layers.iter().map(|(_, width)| width).sum();
        let bytes = if self.arguments.dtype == ddae_store::FeatureType::F16 { 2 } else { 4 };
        let folder = work_folder(&self.arguments.output);
        if plan.search == Search::Full {
            writeln!(
                out,
                "disk       {:.2} GB of training features in {}",
                (calls * width * bytes) as f64 / 1e9,
                plain(folder.display())
            )?;
        }
        writeln!(out, "result     {}", plain(self.arguments.output.display()))
    }

    /// Writes the result and, where it was asked for, the heat map.
    pub fn write(&self, job: &Job, file: &ModelFile, found: &Found, lock: &Lock) -> Result<()> {
        let line = serde_json::to_string(&Written {
            schema: SCHEMA,
            object: self.object(job, file, found),
            made_by: MadeBy::this(),
        })?;
        files::write_locked(lock, |out| writeln!(out, "{line}")).map_err(ProbeError::from)?;
        let Some(image) = &self.arguments.image else { return Ok(()) };
        let read = results::read(&self.arguments.output)?;
        let map = read.iter().find_map(|result| match result {
            Measured::Probe(probe) => heat(probe),
            _ => None,
        });
        let map =
            map.context("the result has no heat map; this is a mistake in ddae-probe, please report it")?;
        let width = (BESIDE + CELL * map.columns.len() as u32).clamp(WIDTHS.0, WIDTHS.1);
        let drawing = Plot::Heat(map).draw(width)?;
        let title = format!("Accuracy by layer and timestep: {}", found.report.probe);
        let bytes = match image.extension().is_some_and(|extension| extension == "png") {
            true => drawing.png()?,
            false => drawing.svg(&title).into_bytes(),
        };
        files::write_whole(image, |out| out.write_all(&bytes)).map_err(ProbeError::from)?;
        Ok(())
    }

    /// Prints the result, and suggests how to use the choice.
    pub fn show(&self, job: &Job, file: &ModelFile, found: &Found) -> Result<()> {
        if self.arguments.running.json {
            return Ok(json::print(SCHEMA, &self.object(job, file, found))?);
        }
        let mut out = ddae_base::stdout();
        write!(out, "{}", found.text())?;
        writeln!(out, "\n  result: {}", plain(self.arguments.output.display()))?;
        if let Some(image) = &self.arguments.image {
            writeln!(out, "  heat map: {}", plain(image.display()))?;
        }
        if self.arguments.keep {
            writeln!(out, "  graph and features: {}", plain(work_folder(&self.arguments.output).display()))?;
        }
        out.flush()?;
        ddae_base::note(format_args!("\nnext: {}", self.next(job, found).join(" && ")));
        Ok(())
    }

    fn object<'o>(&self, job: &'o Job, file: &ModelFile, found: &'o Found) -> Object<'o> {
        let description = &file.description;
        let (train, test) = (&job.images.train, &job.images.test);
        let is_graph = file.path == self.arguments.model;
        Object {
            model: json!({
                "file": self.arguments.model,
                "type": if is_graph { "onnx" } else { "weights" },
                "network": description.network,
                "checkpoint": description.checkpoint,
                "digest": description.digest,
                "weights": description.weights,
                "epoch": description.epoch,
                "step": description.step,
                "graph_digest": file.graph_digest,
            }),
            data: json!({
                "train": train.name(),
                "train_images": train.len(),
                "test": test.name(),
                "test_images": test.len(),
                "views": job.views.count,
                "crop_padding": job.views.crop_padding,
                "flip": job.views.flip,
            }),
            head: found.report.probe,
            timesteps: &job.plan.timesteps,
            layers: job.plan.layers.iter().map(|(name, _)| name.as_str()).collect(),
            found,
            next: self.next(job, found),
            work: self.arguments.keep.then(|| work_folder(&self.arguments.output)),
        }
    }

    /// The commands that use the choice.
    fn next(&self, job: &Job, found: &Found) -> Vec<String> {
        let (arguments, choice) = (self.arguments, &found.choice);
        let model = shell::word(&arguments.model);
        let chosen = free_name();
        let (mut commands, mut features) = (Vec::new(), "ddae-infer features".to_string());
        let mut images = String::new();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                images.push_str(&format!(" {name} {}", shell::word(value)));
            }
        };
        option("--data", arguments.data.clone());
        option("--data-root", arguments.data_root.as_ref().map(|root| root.display().to_string()));
        option("--labels", arguments.labels.as_ref().map(|labels| labels.display().to_string()));
        option("--latents", arguments.latents.as_ref().map(|latents| latents.display().to_string()));
        option("--limit", arguments.limit.map(|limit| limit.to_string()));
        option("--seed", (arguments.seed != 0).then(|| arguments.seed.to_string()));
        option("--dtype", (arguments.dtype == ddae_store::FeatureType::F16).then(|| "f16".to_string()));
        images.push_str(&arguments.running.for_same_numbers());
        let reading = arguments.reading.reading().to_string();
        if !reading.is_empty() {
            images.push_str(&format!(" {reading}"));
        }
        let has_timestep = job.plan.timesteps != [0];
        if ddae_probe::grid::model::is_weights(&arguments.model) {
            let mut export =
                format!("ddae-export {model} --graph features --taps {}", shell::word(&choice.layer));
            if has_timestep {
                export.push_str(&format!(" --timestep {}", choice.timestep));
            }
            let options = [
                ("--config", arguments.config.as_ref().map(|config| config.display().to_string())),
                ("--weights", arguments.weights.as_ref().map(ToString::to_string)),
                (
                    "--process",
                    arguments.process.map(|process| {
                        process
                            .to_possible_value()
                            .map_or(String::new(), |value| value.get_name().to_string())
                    }),
                ),
            ];
            for (name, value) in options {
                if let Some(value) = value {
                    export.push_str(&format!(" {name} {}", shell::word(value)));
                }
            }
            commands.push(format!("{export} -o {chosen}.onnx"));
            features.push_str(&format!(" {chosen}.onnx"));
        } else {
            features.push_str(&format!(" {model}"));
            if has_timestep {
                features.push_str(&format!(" --timesteps {}", choice.timestep));
            }
        }
        let split = |split| shell::word(part_of(split));
        let mut augmented = String::new();
        if job.views.count > 1 {
            augmented.push_str(&format!(" --views {}", job.views.count));
        }
        for (name, is_set) in [(" --crop", job.views.crop_padding > 0), (" --flip", job.views.flip)] {
            augmented.push_str(if is_set { name } else { "" });
        }
        let (train, test) = (split(&job.images.train), split(&job.images.test));
        commands.push(format!("{features} --split {train}{images}{augmented} -o {chosen}_train"));
        commands.push(format!("{features} --split {test}{images} -o {chosen}_test"));
        let mut probe = format!(
            "ddae-probe {} --train {chosen}_train.h5 --test {chosen}_test.h5 --features {}",
            found.report.probe,
            shell::word(&choice.features)
        );
        if let Some(share) = arguments.held_out.filter(|_| found.report.probe == "logistic") {
            probe.push_str(&format!(" --held-out {share}"));
        }
        if arguments.seed != 0 {
            probe.push_str(&format!(" --seed {}", arguments.seed));
        }
        if let Some(seeds) = &found.report.seeds {
            probe.push_str(&format!(" --seeds {}", seeds.accuracies.len()));
        }
        commands.push(probe);
        commands
    }
}

/// What the files of the choice may be called, so that nothing that is there stands in the way: `chosen`, or `chosen_2`, …
fn free_name() -> String {
    let is_free = |name: &String| {
        [".onnx", "_train.h5", "_test.h5"].iter().all(|end| !Path::new(&format!("{name}{end}")).exists())
    };
    let mut names = std::iter::once("chosen".to_string()).chain((2..).map(|i| format!("chosen_{i}")));
    names.find(is_free).unwrap_or_else(|| "chosen".to_string())
}

/// Refuses to replace a file that is no result of a grid.
fn refuse_other(path: &Path) -> Result<()> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    let mut start = Vec::new();
    let _ = file.take(64).read_to_end(&mut start);
    let is_own = start.starts_with(format!("{{\"schema\":\"{SCHEMA}\"").as_bytes());
    if is_own || start.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "-o {}: a file is there that is no result of a grid, and it is not replaced; choose another name",
        path.display()
    );
    Err(ProbeError::Usage(reason).into())
}
