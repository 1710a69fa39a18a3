//! `ddae-infer features`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ddae_data::datasets;
use ddae_data::features::{Compression, FeatureType, Layout, remove_shards};
use ddae_data::split::Split;
use ddae_infer::features::{Extraction, FeatureJob, Outcome, Views};
use ddae_infer::model_file::ModelFile;
use ddae_model::diffusion::feature_timesteps;
use ddae_model::onnx_metadata::GraphKind;
use serde_json::{Map, Value, json};

use super::progress::Progress;
use super::{Running, Usage, stop_flag};

/// Extracts features of a data set into an HDF5 file.
///
/// Every picture is noised at every timestep and run through the graph; the pooled layers are written as
/// features/tTIMESTEP/LAYER of shape [views, N, D]. Work is done in shards that are kept when the job is interrupted:
/// the same command goes on. Noise and augmentation are functions of the seed, the picture, the view and the timestep.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The graph: `ddae-export CHECKPOINT --graph features`
    model: PathBuf,

    /// Data set (`ddae-data --help` lists them) [default: the one the model was trained on]
    #[arg(long, value_name = "NAME")]
    data: Option<String>,

    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Which pictures
    #[arg(long, value_enum, default_value = "train")]
    split: Which,

    /// Output: PREFIX.h5, and PREFIX.0000-of-0004.h5 while the job runs
    #[arg(short, long, value_name = "PREFIX")]
    output: PathBuf,

    /// Timesteps (DDPM 1 to n_T, EDM 1 to 18) [default: the one in the configuration's `linear`, or in the graph]
    #[arg(long, value_delimiter = ',', value_name = "T,..")]
    timesteps: Vec<i64>,

    /// Views of each picture, with noise and augmentation of their own
    #[arg(long, default_value_t = 1, value_name = "N")]
    views: usize,

    /// Crop at random after padding with 4 zeros (training views)
    #[arg(long)]
    crop: bool,

    /// Mirror at random (training views)
    #[arg(long)]
    flip: bool,

    /// Seed of noise and augmentation
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Only the first N pictures
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// How features are stored: f32 or f16
    #[arg(long, default_value = "f32")]
    dtype: FeatureType,

    /// How they are compressed: off, lzf or zlib
    #[arg(long, default_value = "off")]
    compression: Compression,

    /// Number of shards [default: one for every 5000 pictures]
    #[arg(long, value_name = "K")]
    shards: Option<usize>,

    /// Compute only shard I of N, counted from 0; the run that finds all of them joins them
    #[arg(long, value_name = "I/N", conflicts_with = "shards")]
    shard: Option<String>,

    /// Compute everything again, and replace files of other jobs
    #[arg(long)]
    overwrite: bool,

    /// Say what would be done, and stop
    #[arg(long)]
    dry_run: bool,

    /// The summary as JSON on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Train,
    Test,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Which::Train => "train",
            Which::Test => "test",
        }
    }
}

impl Arguments {
    /// `PREFIX`, also when `PREFIX.h5` was typed.
    fn prefix(&self) -> PathBuf {
        match self.output.extension() {
            Some(extension) if extension == "h5" => self.output.with_extension(""),
            _ => self.output.clone(),
        }
    }

    /// Number of shards, and the only one to compute.
    fn sharding(&self, rows: usize) -> Result<(usize, Option<usize>)> {
        let Some(text) = &self.shard else {
            let shards = self.shards.unwrap_or_else(|| rows.div_ceil(5000));
            if shards == 0 || shards > rows {
                bail!(Usage(format!("--shards {shards}: {rows} pictures are split into 1 to {rows} shards")));
            }
            return Ok((shards, None));
        };
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((shard, of)) if shard < of && of <= rows => Ok((of, Some(shard))),
            _ => bail!(Usage(format!(
                "--shard {text}: wanted is I/N with I from 0 to N-1 and N at most {rows}"
            ))),
        }
    }

    fn timesteps(&self, model: &ModelFile) -> Result<Vec<i64>> {
        if let Some(fixed) = model.description.timestep {
            return match self.timesteps.as_slice() {
                [] => Ok(vec![fixed]),
                [asked] if *asked == fixed => Ok(vec![fixed]),
                _ => bail!(Usage(format!(
                    "this graph has timestep {fixed} built in; export one without --timestep for others"
                ))),
            };
        }
        let asked = if self.timesteps.is_empty() {
            model.config.linear.iter().map(|linear| linear.timestep).collect()
        } else {
            self.timesteps.clone()
        };
        let range = feature_timesteps(&model.config.process);
        if asked.is_empty() {
            bail!(Usage(
                "--timesteps is needed: the configuration has no 'linear' section to take it from"
                    .to_string()
            ));
        }
        if let Some(t) = asked.iter().find(|t| !range.contains(t)) {
            bail!(Usage(format!(
                "timestep {t} is outside {}..={} of this model",
                range.start(),
                range.end()
            )));
        }
        let mut sorted = asked.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!(Usage(format!("timestep {} is asked for twice", pair[0])));
        }
        Ok(asked)
    }

    fn split(&self, model: &ModelFile) -> Result<Split> {
        let name = self.data.as_deref().unwrap_or(&model.config.dataset);
        let set = datasets::open(name, self.data_root.as_deref())?;
        let split = match self.split {
            Which::Train => set.train,
            Which::Test => set.test,
        };
        let split = split.fit(model.config.network.image_shape)?;
        match self.limit {
            Some(0) => bail!(Usage("--limit must be at least 1".to_string())),
            Some(limit) if limit < split.len() => Ok(split.subset(&(0..limit).collect::<Vec<_>>())?),
            _ => Ok(split),
        }
    }

    /// Everything that the numbers depend on.
    fn attributes(&self, model: &ModelFile, extraction: &Extraction) -> Map<String, Value> {
        let description = &model.description;
        let split = &extraction.split;
        let attributes = json!({
            "tool": concat!("ddae-infer ", env!("CARGO_PKG_VERSION")),
            "model": description.digest,
            "weights": description.weights,
            "epoch": description.epoch,
            "config": description.config_yaml,
            "provider": model.provider,
            "data_set": split.name(),
            "split": self.split.name(),
            "classes": split.classes(),
            "seed": self.seed,
            "timesteps": extraction.timesteps,
            "taps": extraction.taps.iter().map(|(tap, _)| tap).collect::<Vec<_>>(),
            "views": extraction.views.count,
            "crop_padding": extraction.views.crop_padding,
            "flip": extraction.views.flip,
            "pooling": "mean over the picture",
        });
        attributes.as_object().cloned().unwrap_or_default()
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let running = &arguments.running;
    if arguments.views == 0 {
        bail!(Usage("--views must be at least 1".to_string()));
    }
    let mut model = ModelFile::open(
        &arguments.model,
        GraphKind::Features,
        "features",
        running.device,
        running.threads(),
    )?;
    let split = arguments.split(&model)?;
    let timesteps = arguments.timesteps(&model)?;
    let prefix = arguments.prefix();
    let extraction = Extraction {
        timesteps,
        fixed: model.description.timestep.is_some(),
        bytes: model.description.input_u8,
        taps: model.description.taps.iter().map(|tap| (tap.name.clone(), tap.width())).collect(),
        views: Views {
            count: arguments.views,
            crop_padding: if arguments.crop { 4 } else { 0 },
            flip: arguments.flip,
        },
        seed: arguments.seed,
        batch: running.batch().min(split.len()),
        split,
    };
    let rows = extraction.split.len();
    let layout = Layout {
        keys: extraction.keys(),
        views: arguments.views,
        total: rows,
        dtype: arguments.dtype,
        compression: arguments.compression,
        attributes: arguments.attributes(&model, &extraction),
    };
    let (shards, only) = arguments.sharding(rows)?;
    let job = FeatureJob {
        extraction: &extraction,
        layout: &layout,
        prefix: &prefix,
        shards,
        only,
        overwrite: arguments.overwrite,
    };
    let remaining = job.remaining()?;
    if arguments.dry_run {
        let keys: Vec<String> = layout.keys.iter().map(|(key, width)| format!("{key} [{width}]")).collect();
        println!(
            "{rows} pictures of {}, {} views, {} on {} ({} sessions): {} of {shards} shards to compute, into {}.h5",
            extraction.split.name(),
            arguments.views,
            keys.join(", "),
            model.provider,
            model.workers.len(),
            remaining.len(),
            prefix.display()
        );
        return Ok(());
    }
    let stop = stop_flag()?;
    if let Some(folder) = prefix.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if arguments.overwrite && only.is_none() {
        remove_shards(&prefix, shards)?;
    }
    let to_do: usize =
        remaining.iter().map(|s| ddae_data::features::shard_rows(rows, *s, shards).len()).sum();
    let mut progress = Progress::new(to_do);
    let outcome = job.run(&mut model.workers, stop, |rows| progress.add(rows));
    progress.finish();
    report(arguments, &model, &prefix, &outcome?, &progress)
}

fn report(
    arguments: &Arguments,
    model: &ModelFile,
    prefix: &Path,
    outcome: &Outcome,
    progress: &Progress,
) -> Result<()> {
    let (Outcome::Complete { rows, .. } | Outcome::Waiting { rows, .. }) = outcome;
    if arguments.json {
        let (file, missing) = match outcome {
            Outcome::Complete { path, .. } => (Some(path), vec![]),
            Outcome::Waiting { missing, .. } => (None, missing.clone()),
        };
        let summary = json!({
            "file": file, "missing_shards": missing, "pictures": rows, "seconds": progress.seconds(),
            "pictures_per_second": progress.rate(), "provider": model.provider,
        });
        println!("{summary}");
        return Ok(());
    }
    let (seconds, rate) = (progress.seconds(), progress.rate());
    match outcome {
        Outcome::Complete { path, rows: 0 } => println!("{} is complete already", path.display()),
        Outcome::Complete { path, .. } => {
            println!(
                "{rows} pictures in {seconds:.1} s ({rate:.1}/s, {}): {}",
                model.provider,
                path.display()
            );
        }
        Outcome::Waiting { missing, .. } => {
            let missing: Vec<String> = missing.iter().map(usize::to_string).collect();
            println!(
                "{rows} pictures in {seconds:.1} s ({rate:.1}/s, {}); shards still to come: {}",
                model.provider,
                missing.join(", ")
            );
            return Ok(());
        }
    }
    let (train, test) = match arguments.split {
        Which::Train => (format!("{}.h5", prefix.display()), "TEST.h5".to_string()),
        Which::Test => ("TRAIN.h5".to_string(), format!("{}.h5", prefix.display())),
    };
    println!("next: ddae-probe logistic --train {train} --test {test}");
    Ok(())
}
