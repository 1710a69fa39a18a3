//! `ddae-probe grid`.

mod checks;
mod output;
mod watched;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ddae_base::arguments::values::{List, between, real, whole};
use ddae_base::lock::{Lock, LockError};
use ddae_base::{Stop, ending, files, stop};
use ddae_checkpoint::WeightChoice;
use ddae_classify::knn::{Metric, Votes};
use ddae_classify::linear::Preset;
use ddae_classify::logistic::LogisticOptions;
use ddae_classify::scaling::Normalisation;
use ddae_data::decode::ReadingOptions;
use ddae_data::digest::DigestOf;
use ddae_export::source::{ProcessName, WeightOptions};
use ddae_infer::features::{CROP_PADDING, FeatureOptions, Latents, Recipe, Views, latent_shape};
use ddae_infer::model_file::ModelFile;
use ddae_infer::running::Running;
use ddae_onnx::metadata::GraphKind;
use ddae_probe::ProbeError;
use ddae_probe::experiment::{Progress, Selection};
use ddae_probe::grid::features::{Extractor, Setup, clear, keep, remove};
use ddae_probe::grid::images::{GridImages, ImageOptions};
use ddae_probe::grid::model::{Model, Offer, is_weights};
use ddae_probe::grid::result::Found;
use ddae_probe::grid::search::{GridPlan, Search, run as search};
use ddae_probe::knn::KnnProbe;
use ddae_probe::logistic::{LogisticProbe, Regularisation};
use ddae_probe::trained::{Layers, TrainedProbe};
use ddae_store::{Compression, FeatureType};

use super::progress::Shown;
use checks::is_hdf5;
use output::{Output, work_folder};
use watched::Watched;

/// Views of each training image that stand for the fresh noise, crops and flips of each epoch in the published protocol.
const PUBLISHED_VIEWS: u16 = 4;

/// Seeds of halving unless they are given: on few images, what heads and divisions draw is as large as what pairs differ in,
/// and heads cost little beside features.
const HALVING_SEEDS: u64 = 5;

/// Neighbours that vote.
const NEIGHBOURS: usize = 20;

/// The share of the smallest class that is held out unless it is given.
const HELD_OUT: f64 = 0.2;

/// Which layer, which timestep: from weights to the best pair
///
/// Of a checkpoint or run a graph with all layers is made, as ddae-export makes it; a features graph is taken with the
/// layers that it has. Its features of the training images are computed at every timestep, as ddae-infer features computes
/// them, and a head is trained on each pair of timestep and layer. The pair is chosen on a held-out part of the training
/// images, and the accuracy on the test images is that of the choice alone.
///
/// --search halving compares all pairs on few training images, the better half on twice as many, and so on up to a tenth of
/// them: at most a tenth of the network calls of a full search (docs/probes.md has what was measured).
///
/// Everything lies in OUTPUT.work meanwhile. When the job is interrupted, by whatever, the same command goes on; at its
/// end the files are removed, unless --keep asks for them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe grid runs/demo
  ddae-probe grid runs/demo --timesteps 1:301:20 --search halving --image grid.svg
  ddae-probe grid features.onnx --data cifar10 --head knn -o knn_grid.json
  ddae-probe grid runs/demo --protocol published --keep")]
pub struct Arguments {
    /// A run folder of ddae-train (its furthest checkpoint), a checkpoint or other weights, or a features graph
    #[arg(value_name = "CHECKPOINT|RUN|MODEL.onnx")]
    model: PathBuf,

    /// Configuration (YAML) of weights [default: that of the checkpoint or its run folder, or what the weights tell]
    #[arg(short, long, value_name = "FILE", help_heading = "Model")]
    config: Option<PathBuf>,

    /// Weights of a file that has several sets: ema, model, or what their names begin with [default: ema]
    #[arg(short, long, value_name = "NAME", help_heading = "Model")]
    weights: Option<WeightChoice>,

    /// Diffusion process, as published, of weights that do not tell it
    #[arg(long, value_enum, help_heading = "Model")]
    process: Option<ProcessName>,

    /// The graph that makes latents of images, for a network that takes latents: `ddae-export sd-vae --graph latent`
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    latents: Option<PathBuf>,

    /// Timesteps to compare, as in 1,11,21 or 1:301:20 [default: the published ones: DDPM 1,11,21, EDM 3,4,5]
    #[arg(long, value_name = "LIST", help_heading = "Choosing")]
    timesteps: Vec<List<i64>>,

    /// Layers to compare, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Choosing")]
    layers: Vec<String>,

    /// What is trained on each pair, with the defaults of its own command
    #[arg(long, value_enum, default_value_t = HeadArgument::Linear, help_heading = "Choosing")]
    head: HeadArgument,

    /// How pairs are searched
    #[arg(long, value_enum, default_value_t = SearchArgument::Full, help_heading = "Choosing")]
    search: SearchArgument,

    /// Where the choice is made
    #[arg(long, value_enum, default_value_t = ProtocolArgument::HeldOut, help_heading = "Choosing")]
    protocol: ProtocolArgument,

    /// Share of the smallest training class that a full search holds out for the choice, from every class the same number
    /// [default: 0.2]
    #[arg(long, value_name = "SHARE", value_parser = real(between(0.0, 1.0)), help_heading = "Choosing")]
    held_out: Option<f64>,

    /// Seed of what is drawn: noise and augmentation, the held-out part, and what heads draw
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..), help_heading = "Choosing")]
    seed: u64,

    /// Choose by the mean over so many seeds of heads and held-out parts, from --seed on; the noise is that of --seed [default:
    /// 1, with --search halving 5]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=1000), help_heading = "Choosing")]
    seeds: Option<u64>,

    /// Data set by name, or path of a folder, list, .tar or .parquet [default: that of the model's training]
    #[arg(long, value_name = "SOURCE", help_heading = "Images")]
    data: Option<String>,

    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR", visible_alias = "root", help_heading = "Images")]
    data_root: Option<PathBuf>,

    /// Table of paths or keys and labels (CSV), for images that have no labels
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    labels: Option<PathBuf>,

    /// The images to learn and choose from, by the name that the data set has for them [default: train]
    #[arg(long, value_name = "NAME", help_heading = "Images")]
    train_split: Option<String>,

    /// The images to measure the choice on [default: test, or the validation images]
    #[arg(long, value_name = "NAME", help_heading = "Images")]
    test_split: Option<String>,

    /// Only the first N images of each
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..), help_heading = "Images")]
    limit: Option<u64>,

    /// Views of each training image, with noise and augmentation of their own [default: 1; with --protocol published 4]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..), help_heading = "Images")]
    views: Option<u16>,

    /// Crop training images at random after padding with 4 zeros, as the published protocol does
    #[arg(long, help_heading = "Images")]
    crop: bool,

    /// Mirror training images at random, as the published protocol does
    #[arg(long, help_heading = "Images")]
    flip: bool,

    /// How features are stored meanwhile: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32", help_heading = "Output")]
    dtype: FeatureType,

    /// The result, which `ddae-probe report --probe` shows; one that is there is replaced
    #[arg(short, long, value_name = "FILE.json", default_value = "grid.json", help_heading = "Output")]
    output: PathBuf,

    /// Draw the heat map
    #[arg(long, value_name = "FILE.svg|.png", help_heading = "Output")]
    image: Option<PathBuf>,

    /// Keep the graph and the features in OUTPUT.work
    #[arg(long, help_heading = "Output")]
    keep: bool,

    /// Compute everything again, and replace what another job left in OUTPUT.work
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    #[command(flatten)]
    running: Running,

    #[command(flatten)]
    reading: ReadingOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HeadArgument {
    /// The published linear layer, trained for 15 epochs
    Linear,
    /// Logistic regression, its penalty chosen on held-out images
    Logistic,
    /// 20 nearest neighbours
    Knn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SearchArgument {
    /// All pairs on all training images
    Full,
    /// The better half of pairs on twice the images, round by round
    Halving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolArgument {
    /// On a held-out part of the training images
    HeldOut,
    /// On the test images, as published; the accuracy is then somewhat too good
    Published,
}

/// What was found to be searched.
struct Job {
    images: GridImages,
    plan: GridPlan,
    views: Views,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let running = &arguments.running;
    let device = running.device().map_err(ProbeError::from)?;
    arguments.check()?;
    let output = Output::new(arguments)?;
    let latents = match &arguments.latents {
        Some(path) => {
            if is_hdf5(path) {
                let reason = format!(
                    "--latents: {} is a file of latents, and a grid takes the graph that makes them; for stored latents use \
                     `ddae-infer features --latents` and `ddae-probe linear`",
                    path.display()
                );
                return Err(ProbeError::Usage(reason).into());
            }
            let graph =
                running.open(path, &[GraphKind::Latent], "grid --latents").map_err(ProbeError::from)?;
            Some(Latents::Graph(Box::new(graph)))
        }
        None => None,
    };
    let model = arguments.model()?;
    let offer = model.offer();
    let job = arguments.job(&offer, latents.as_ref())?;
    if let Model::File(file) = &model {
        let asked = if file.model.process.is_some() { &job.plan.timesteps[..] } else { &[] };
        Recipe::new(file, latents.as_ref(), asked).map_err(ProbeError::from)?;
    }
    if running.dry_run {
        return Ok(output.describe(&job, &model)?);
    }
    let lock = Lock::output(&arguments.output).map_err(LockError::into_file_error).context("--output")?;
    let folder = work_folder(&arguments.output);
    fs::create_dir_all(&folder).map_err(files::FileError::of("create", &folder)).map_err(ProbeError::from)?;
    if arguments.overwrite {
        clear(&folder)?;
    }
    let (file, graph) = arguments.graph(model, &folder, &lock)?;
    let stop = Stop::on_signal(Some("stopping (again to stop at once)"));
    let mut extractor = Extractor::new(Setup {
        model: &file,
        latents: latents.as_ref(),
        device,
        threads: running.threads(usize::MAX),
        options: FeatureOptions {
            views: job.views,
            noise: None,
            seed: arguments.seed,
            batch: running.batch(),
            dtype: arguments.dtype,
            compression: Compression::Off,
            images_by: DigestOf::Content,
        },
        folder: &folder,
        overwrite: arguments.overwrite,
        stop: &stop,
    });
    let mut progress = Watched {
        shown: Shown::default(),
        stop: stop.clone(),
        lock: lock.file_path().to_path_buf(),
        interrupted: arguments.interrupted(),
    };
    let found = arguments.search(&job, &mut extractor, &mut progress);
    drop(progress);
    for note in extractor.take_notes() {
        ddae_base::note(format_args!("note: {note}"));
    }
    let found = found.map_err(|error| match error.is_interrupted() {
        true => ending::stopped(arguments.interrupted()),
        false => error.into(),
    })?;
    output.write(&job, &file, &found, &lock)?;
    let files = [extractor.files(), &graph[..]].concat();
    match arguments.keep {
        true => keep(&files, &folder)?,
        false => remove(&files, &folder)?,
    }
    output.show(&job, &file, &found)
}

impl Arguments {
    /// The weights or the graph.
    fn model(&self) -> Result<Model> {
        let path = &self.model;
        if is_weights(path) {
            let options = WeightOptions {
                config: self.config.clone(),
                weights: self.weights.clone(),
                process: self.process,
                ..WeightOptions::default()
            };
            let model = Model::of_weights(path, &options, &self.layers)?;
            if let Model::Weights(weights) = &model {
                weights.notes.iter().for_each(|note| ddae_base::note(format_args!("note: {note}")));
            }
            ddae_base::detail(|| format!("opened {}", ddae_base::plain(path.display())));
            return Ok(model);
        }
        let file = self.running.open(path, &[GraphKind::Features], "grid").map_err(ProbeError::from)?;
        let of_weights = [
            ("--config", self.config.is_some()),
            ("--weights", self.weights.is_some()),
            ("--process", self.process.is_some()),
        ];
        if let Some((option, _)) = of_weights.iter().find(|(_, is_given)| *is_given) {
            let reason = format!("{option} is for weights, and {} is a graph already", path.display());
            return Err(ProbeError::Usage(reason).into());
        }
        ddae_base::note(format_args!(
            "note: {} is taken as it is, with its {} layers",
            ddae_base::plain(path.display()),
            file.description.taps.len()
        ));
        Ok(Model::File(Box::new(file)))
    }

    /// Images and pairs.
    fn job(&self, offer: &Offer, latents: Option<&Latents>) -> Result<Job> {
        let usage = |reason: String| Err(ProbeError::Usage(reason).into());
        let timesteps = offer.timesteps(&List::joined(&self.timesteps))?;
        let chosen = offer.chosen(&self.layers)?;
        let layers = offer.layers.iter().filter(|(name, _)| chosen.contains(name)).cloned().collect();
        let is_published = self.protocol == ProtocolArgument::Published;
        let plan = GridPlan {
            timesteps,
            layers,
            search: match self.search {
                SearchArgument::Full => Search::Full,
                SearchArgument::Halving => Search::Halving,
            },
            selection: if is_published { Selection::Published } else { Selection::HeldOut },
            held_out: self.held_out.unwrap_or(HELD_OUT),
            seed: self.seed,
            seeds: self.seeds.unwrap_or(if self.search == SearchArgument::Halving {
                HALVING_SEEDS
            } else {
                1
            }),
        };
        if let [only] = plan.pairs().as_slice() {
            return usage(format!(
                "there is nothing to choose: {only} is the only pair of timestep and layer; measure it with `ddae-infer \
                 features` and `ddae-probe linear`"
            ));
        }
        if self.timesteps.is_empty() && plan.timesteps != [0] {
            let listed: Vec<String> = plan.timesteps.iter().map(i64::to_string).collect();
            ddae_base::note(format_args!("note: timesteps {}, as published", listed.join(", ")));
        }
        // The graph's shape is that of latents where it takes those.
        latent_shape(offer.pixels, offer.shape, latents).map_err(ProbeError::from)?;
        let shape = match latents.and_then(Latents::graph) {
            Some(latents) => latents.model.architecture.image_shape(),
            None => offer.shape,
        };
        let Some(shape) = shape else {
            return usage("the network takes no images".to_string());
        };
        let options = ImageOptions {
            data: self.data.clone(),
            root: self.data_root.clone(),
            labels: self.labels.clone(),
            train: self.train_split.clone(),
            test: self.test_split.clone(),
            limit: self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            reading: self.reading.reading(),
        };
        // The penalty of a regression is chosen on a held-out part in any search.
        let holds_out = (plan.search == Search::Full && !is_published) || self.head == HeadArgument::Logistic;
        let images = options.open(shape, offer.data_set.as_deref(), holds_out.then_some(plan.held_out))?;
        images.notes.iter().for_each(|note| ddae_base::note(format_args!("note: {note}")));
        let usual = if is_published { PUBLISHED_VIEWS } else { 1 };
        let views = Views {
            count: usize::from(self.views.unwrap_or(usual)),
            crop_padding: if self.crop || is_published { CROP_PADDING } else { 0 },
            flip: self.flip || is_published,
            resized_crop: false,
        };
        let differ = offer.takes_noise() || latents.is_some() || views.crop_padding > 0 || views.flip;
        if views.count > 1 && !differ {
            return usage(format!(
                "--views {}: this network sees images without noise, and all views would be alike; add --crop or --flip",
                views.count
            ));
        }
        let fewest = plan.fewest(&images.labels())?;
        if self.head == HeadArgument::Knn && fewest < NEIGHBOURS {
            return usage(format!(
                "--head knn: {NEIGHBOURS} neighbours are asked, and there are {fewest} images to learn from where the choice is \
                 made; give more images, or another --head"
            ));
        }
        self.note_views(&views);
        Ok(Job { images, plan, views })
    }

    /// The graph's file, which is made of weights where it is not there yet, and the files that were made.
    fn graph(&self, model: Model, folder: &Path, lock: &Lock) -> Result<(ModelFile, Vec<PathBuf>)> {
        let weights = match model {
            Model::File(file) => return Ok((*file, Vec::new())),
            Model::Weights(weights) => weights,
        };
        let target = folder.join("features.onnx");
        // Much of an export is a single call of the runtime, which nothing interrupts: a signal removes what is half done
        // and ends the process.
        let leftovers: Arc<Mutex<Option<[PathBuf; 2]>>> = Arc::default();
        let (shared, lock) = (Arc::clone(&leftovers), lock.file_path().to_path_buf());
        let interrupted = self.interrupted();
        stop::at_signal(move |code| {
            if let Some([staging, staging_lock]) = &*shared.lock().unwrap_or_else(PoisonError::into_inner) {
                // What cannot be removed is removed by the next export to the same file.
                let _ = fs::remove_dir_all(staging);
                let _ = fs::remove_file(staging_lock);
            }
            let _ = fs::remove_file(&lock);
            ending::interrupted(interrupted, code);
        });
        let staged = |files| *leftovers.lock().unwrap_or_else(PoisonError::into_inner) = files;
        let is_shown = !ddae_base::is_quiet() && (ddae_base::is_verbose() || std::io::stderr().is_terminal());
        let progress = |what: &str| {
            if is_shown {
                ddae_base::tell(format_args!("{what} …"));
            }
        };
        weights.write(&target, self.overwrite, &staged, &progress)?;
        let file = self.running.open(&target, &[GraphKind::Features], "grid").map_err(ProbeError::from)?;
        let data = ddae_onnx::write::data_file(&target);
        Ok((file, vec![target, data]))
    }

    /// Runs the search with the head that was asked for.
    fn search(
        &self,
        job: &Job,
        extractor: &mut Extractor,
        progress: &mut dyn Progress,
    ) -> Result<Found, ProbeError> {
        let (plan, images) = (&job.plan, &job.images);
        match self.head {
            HeadArgument::Linear => {
                let preset = Preset::Ddae;
                let head = TrainedProbe { preset, options: preset.options(), layers: Layers::One };
                search(&head.with_seed(self.seed), plan, images, extractor, progress)
            }
            HeadArgument::Logistic => {
                let head = LogisticProbe {
                    normalisation: Normalisation::Standardise,
                    regularisation: Regularisation::HeldOut,
                    options: LogisticOptions { max_iterations: 1000, ..LogisticOptions::default() },
                };
                search(&head, plan, images, extractor, progress)
            }
            HeadArgument::Knn => {
                let (metric, votes) = (Metric::Euclidean, Votes::Uniform);
                let head = KnnProbe { normalisation: Normalisation::L2, metric, votes, ks: vec![NEIGHBOURS] };
                search(&head, plan, images, extractor, progress)
            }
        }
    }
}
