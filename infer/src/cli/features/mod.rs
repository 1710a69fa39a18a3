//! `ddae-infer features`.

mod latents;
mod parts;
mod request;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ddae_base::arguments::values::{List, whole};
use ddae_base::{json, shell};
use ddae_data::decode::ReadingOptions;
use ddae_data::digest::DigestOf;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::features::formats::{self, Format};
use ddae_infer::features::{Finished, Latents, NoiseSource, Noising};
use ddae_infer::running::Running;
use ddae_infer::workers::Workers;
use ddae_onnx::metadata::GraphKind;
use ddae_store::{Compression, FeatureFile, FeatureType, Layout, merged_path};
use serde_json::json;

use super::broken::{SkipBroken, list_path};
use super::progress::Progress;
use super::several::{Role, Several};
use super::shard::Shard;
use super::stop_on_signal;
use super::summary::Summary;
use request::{FeatureRequest, Sharing};

const NOTES: &str = "\
The file holds features/tTIMESTEP/LAYER [views, N, D], paths, labels, indices, classes, and what
made them as attributes; `ddae-infer inspect` shows it, docs/feature-files.md says how to read it
elsewhere. With --format another file is made of it at the end, and it stays. Rows are computed
in shards, PREFIX.0000-of-0004.h5, which are joined and removed at the end. When the job is
interrupted, by whatever, finished shards stay and the same command goes on.

With --shard I/N each of N machines computes a part of the rows, into one folder; the last
joins them. Shards that were copied together are joined by `ddae-infer merge PREFIX`. Started by
an array of Slurm (SLURM_ARRAY_TASK_ID), an indexed job of Kubernetes (JOB_COMPLETION_INDEX, with
--shards N) or a launcher such as torchrun (RANK and WORLD_SIZE), a process takes the shard of its
number and says so; --shard 0/1 has it compute all.

With --nproc N, or --device cuda:all, N processes of this machine compute, each on its own GPU or
its part of the cores, and this one joins what they computed. A shard I/N of a machine is then
divided again, on all machines into as many. docs/multi-gpu.md says more.

What is computed depends on the seed, the image, the view and the timestep: not on batches,
threads, shards or interruptions. On the CPU that holds bit for bit, for processors of one kind.";

/// The graphs that it runs.
const GRAPHS: [GraphKind; 3] = [GraphKind::Features, GraphKind::Encoder, GraphKind::Latent];

/// Extract features of a data set into an HDF5 file
///
/// Every image is noised at every timestep and run through the graph, once for each view. A graph of kind latent gives
/// latents, which --latents takes in later jobs.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = NOTES)]
pub struct Arguments {
    /// The graph: `ddae-export CHECKPOINT --graph features`, or encoder, or latent
    model: PathBuf,

    /// Where a graph of latents has them from: the graph that makes them of images (`ddae-export sd-vae --graph latent`), or
    /// the file of them that this command made with it
    ///
    /// Of such a file, each copy of an image is a view, with noise of its own. With the same seed the features are those of
    /// the graph by the way, bit for bit on a CPU.
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,

    /// Output: PREFIX.h5, and shards beside it while the job runs
    #[arg(short, long, value_name = "PREFIX")]
    output: PathBuf,

    /// Data set by name, or path of a folder, image, list, .tar or .parquet (`ddae-data --help` lists them) [default: the
    /// data set that the model was trained on]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,

    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Table of paths or keys and labels (CSV), for images that have no labels
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Which images, by the name that the data set has for them [default: train, or the only split]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Only the first N images
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..))]
    limit: Option<u64>,

    /// Timesteps: DDPM 1 to n_T, EDM 1 to 18, as in 11,21 or 1-18 or 11:101:10, which is 11, 21 and so on to 101
    /// [default: the graph's own, or that of the linear probe]
    #[arg(long, value_name = "LIST")]
    timesteps: Vec<List<i64>>,

    /// Views of each image, with noise and augmentation of their own [default: 1; of a file of latents, its copies]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    views: Option<u16>,

    /// Crop at random after padding with 4 zeros, for training views
    #[arg(long)]
    crop: bool,

    /// Mirror at random, for training views
    #[arg(long)]
    flip: bool,

    /// Crop, scale and mirror at random, for training views of SODA's encoder
    ///
    /// What the published probes of SODA's features train on: with probability 0.65 torchvision's RandomResizedCrop (8 to
    /// 100 % of the area, 3:4 to 4:3, antialiased bilinear), then mirrored with probability 1/2; else the image as it
    /// is.
    #[arg(long, conflicts_with_all = ["crop", "flip"])]
    resized_crop: bool,

    /// Crop and mirror images at their own size, before --resize, as the published probe of DiT does
    #[arg(long)]
    before_resize: bool,

    /// How images are told from those of other jobs, so that shards of two jobs are not joined: by their content, for
    /// which all are read once before the job begins, or by the names and sizes of their files (files) [default: content]
    #[arg(long, value_name = "WHAT")]
    images_by: Option<DigestOf>,

    /// Noise: keyed (drawn for each image, view and timestep), fixed (one draw for each timestep, the same for all images
    /// and views) or none (zeros) [default: keyed]
    #[arg(long, value_name = "KIND")]
    noise: Option<NoiseSource>,

    /// Seed of noise and augmentation
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..))]
    seed: u64,

    /// Write PREFIX.h5 alone (h5), or another file of it too: npy (a folder PREFIX of arrays), parquet or safetensors
    #[arg(long, value_name = "FORMAT", default_value = "h5")]
    format: Format,

    /// How features are stored: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: FeatureType,

    /// How they are compressed: off, lzf or zlib
    #[arg(long, value_name = "KIND", default_value = "off")]
    compression: Compression,

    /// Number of shards, the steps in which an interrupted job goes on [default: one for every 5000 images, or one for each
    /// process of an array or launcher; of --nproc, a multiple of it]
    #[arg(long, value_name = "N", conflicts_with = "shard", value_parser = whole::<u64>(1..))]
    shards: Option<u64>,

    /// Compute only shard I of N, counted from 0; the run that finds all of them joins them [default: as an array of Slurm
    /// or Kubernetes or a launcher numbers this process, or else all shards]
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    #[command(flatten)]
    several: Several,

    /// Compute everything again, and replace files of other jobs
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    skip: SkipBroken,

    #[command(flatten)]
    running: Running,

    #[command(flatten)]
    reading: ReadingOptions,
}

pub fn run(given: &Arguments) -> anyhow::Result<()> {
    let role = given.several.role(&given.running, given.shard)?;
    let arguments = &Arguments { running: role.running(&given.running), ..given.clone() };
    if let Role::Worker(_) = role {
        return parts::work(arguments);
    }
    let mut out = ddae_base::stdout();
    let (running, device) = (&arguments.running, arguments.running.device()?);
    let model = running.open(&arguments.model, &GRAPHS, "features")?;
    let latents = arguments.latents.as_deref().map(|path| latents::open(path, arguments)).transpose()?;
    // Images are looked through before the job; without that, a signal ends the program until the job begins.
    let stop = arguments.skip.skip_broken.then(stop_on_signal);
    let request =
        FeatureRequest::new(arguments, &model, latents.as_ref(), device, Sharing::By(role), stop.as_ref())
            .map_err(|error| arguments.skip.advise(interrupted(error, arguments.overwrite)))?;
    let FeatureRequest { extraction, layout, shards, broken, .. } = &request;
    given.several.note_idle(role, &given.running, request.shard);
    let job = request.job(arguments);
    let other = (arguments.format != Format::H5).then(|| arguments.format.path(&arguments.output));
    if let Some(other) = &other {
        formats::check(arguments.format, other, arguments.overwrite, layout)?;
    }
    let remaining = job.remaining()?;
    let rows = request.rows(&remaining);
    if running.dry_run {
        writeln!(out, "{}", request.describe(device))?;
        if let Role::Launcher(count) = role {
            writeln!(out, "processes {} at a time", count.min(remaining.len()))?;
        }
        let (count, path) = (remaining.len(), merged_path(&arguments.output));
        writeln!(
            out,
            "{count} of {shards} shards to compute ({rows} images) for {}",
            ddae_base::plain(path.display())
        )?;
        if let Some(other) = &other {
            writeln!(out, "then {} of it", ddae_base::plain(other.display()))?;
        }
        return Ok(());
    }
    arguments.skip.write(broken, &arguments.output, arguments.overwrite)?;
    ddae_base::detail(|| {
        format!("{}\nshards    {} of {shards} to compute", request.describe(device), remaining.len())
    });
    let runs = extraction.runs_per_row();
    let progress = |rows| Progress::new(rows, runs, ddae_base::is_quiet());
    let failed = |error| arguments.skip.advise(interrupted(error, arguments.overwrite));
    let (finished, stop, seconds, sessions, apart) = match role {
        Role::Launcher(count) => {
            let count = count.min(remaining.len());
            let (begun, worked) = parts::share_out(&job, &request, arguments, count, progress)?;
            // The signals were for the processes.
            let stop = stop_on_signal();
            let finished = job.finish(begun, worked.images, &stop).map_err(failed)?;
            (finished, stop, worked.seconds, worked.sessions, Some(worked.apart))
        }
        _ => {
            let stop = stop.unwrap_or_else(stop_on_signal);
            let threads = running.threads(extraction.passes(rows));
            let before = latents.as_ref().and_then(Latents::graph_path);
            let mut workers = Workers::open_after(&model.path, before, device, threads)?;
            let progress = progress(rows);
            let finished = job.run(&mut workers, &stop, |images| progress.add(images));
            let seconds = progress.finish();
            running.tell_notes(&mut workers);
            let finished = finished.map_err(failed)?;
            let apart = given.several.of_one(&given.running, finished.images);
            (finished, stop, seconds, workers.sessions(), apart)
        }
    };
    if let Some(note) = extraction.source.images().and_then(Split::resizing_note) {
        ddae_base::note(format!("note: {note}"));
    }
    // Of shards alone nothing else is made.
    let other = other.filter(|_| finished.file.is_some());
    if let (Some(file), Some(other)) = (&finished.file, &other) {
        let file = FeatureFile::open(file)?;
        let made = formats::convert(&file, arguments.format, other, arguments.overwrite, &stop);
        made.map_err(|error| interrupted(error, arguments.overwrite))?;
    }
    let provider = device.provider();
    let summary = Summary { images: finished.images, runs, seconds, provider, sessions, apart };
    report(&mut out, arguments, &request, &summary, &finished, other.as_deref())?;
    match finished.file {
        Some(file) if !ddae_base::is_quiet() => note_unsaid(&file, layout),
        _ => Ok(()),
    }
}

/// Points out what is not known of shards that another version computed.
fn note_unsaid(file: &Path, layout: &Layout) -> anyhow::Result<()> {
    let opened = FeatureFile::open(file)?;
    if !opened.has_paths() {
        let file = ddae_base::plain(file.display());
        ddae_base::tell(format!(
            "note: {file} was written by an earlier version and does not say which image a row is of; --overwrite computes \
             it anew"
        ));
    }
    let unsaid = opened.provenance().unsaid(&layout.provenance).join(", ");
    if !unsaid.is_empty() {
        let file = ddae_base::plain(file.display());
        ddae_base::tell(format!(
            "note: {file} was computed by another version, at least in part, and does not say its {unsaid}: not compared \
             with this job's"
        ));
    }
    Ok(())
}

/// Says what an interrupted job leaves.
fn interrupted(error: InferError, overwrite: bool) -> anyhow::Error {
    match error {
        InferError::Interrupted if overwrite => ddae_base::ending::stopped(
            "interrupted; finished shards stay, and the same command without --overwrite goes on",
        ),
        InferError::Interrupted => {
            ddae_base::ending::stopped("interrupted; finished shards stay, and the same command goes on")
        }
        other => other.into(),
    }
}

fn report(
    out: &mut impl Write,
    arguments: &Arguments,
    request: &FeatureRequest,
    summary: &Summary,
    finished: &Finished,
    other: Option<&Path>,
) -> std::io::Result<()> {
    let split = request.layout.provenance.split.as_deref().unwrap_or_default();
    let broken = request.broken.len();
    if arguments.running.json {
        let mut object = summary.json();
        object.insert("file".to_string(), json!(finished.file));
        object.insert("shard".to_string(), json!(request.shard.map(|shard| shard.to_string())));
        object.insert("missing_shards".to_string(), json!(finished.missing));
        object.insert("broken_images".to_string(), json!(broken));
        if let Some(other) = other {
            object.insert(arguments.format.name().to_string(), json!(other));
        }
        return json::print("ddae.features/1", &object);
    }
    let Some(file) = &finished.file else {
        writeln!(out, "{}", summary.line())?;
        if finished.missing.is_empty() {
            return writeln!(out, "all shards are here, and another ddae-infer is joining them");
        }
        let missing: Vec<String> = finished.missing.iter().map(usize::to_string).collect();
        let missing = missing.join(", ");
        return writeln!(out, "shards still to come: {missing}");
    };
    if broken > 0 {
        let list = list_path(&arguments.output);
        writeln!(
            out,
            "{broken} images cannot be read and are left out: {}",
            ddae_base::plain(list.display())
        )?;
    }
    if summary.images == 0 {
        writeln!(out, "{} is complete already", ddae_base::plain(file.display()))?;
    } else {
        writeln!(out, "{}: {}", summary.line(), ddae_base::plain(file.display()))?;
    }
    if let Some(other) = other {
        writeln!(out, "the same in {}", ddae_base::plain(other.display()))?;
    }
    let (file, name) = (shell::word(file), |name: &str| name.to_string());
    if request.extraction.noising == Noising::Posterior {
        return match ddae_base::is_quiet() {
            true => Ok(()),
            false => writeln!(out, "next: ddae-infer features MODEL.onnx --latents {file} -o features"),
        };
    }
    let (train, test) = match split.starts_with("train") {
        true => (file, name("TEST.h5")),
        false => (name("TRAIN.h5"), file),
    };
    match ddae_base::is_quiet() {
        true => Ok(()),
        false => writeln!(out, "next: ddae-probe logistic --train {train} --test {test}"),
    }
}
