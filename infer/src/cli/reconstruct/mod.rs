//! `ddae-infer reconstruct`.

mod outputs;
mod request;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ddae_base::arguments::values::{List, real, whole};
use ddae_base::json;
use ddae_data::decode::ReadingOptions;
use ddae_infer::InferError;
use ddae_infer::reconstruct::{Encoding, Way};
use ddae_infer::running::Running;
use ddae_infer::sample::{Guide, ImageFolder, Sampling, balanced_batch, to_levels};
use ddae_infer::workers::Workers;
use ddae_onnx::metadata::GraphKind;
use serde_json::json;

use super::broken::SkipBroken;
use super::calls_note;
use super::progress::Progress;
use super::stop_on_signal;
use super::summary::Summary;
use outputs::Outputs;
use request::ReconstructRequest;

const USAGE: &str = "\
ddae-infer reconstruct [OPTIONS] --encoder FILE --sampler FILE -o FILE.png IMAGE...
       ddae-infer reconstruct [OPTIONS] --encoder FILE --sampler FILE -o FILE.png --data SOURCE";

const NOTES: &str = "\
Each row of the sheet is a source as the encoder sees it (scaled to cover the network's size and
cropped to the centre), then its variations: one latent, other noise. Column by column the noise
is the same in every row.

With --interpolate N, each row is the first image, N images drawn from latents on the way to
the second, the two images' own at the ends, and the second image; rows differ in their noise.

An image depends on the graphs, the sampler's settings, its latent and its seed: not on batches,
threads, the other images or interruptions. On the CPU that holds bit for bit, for processors
of one kind. With --pictures DIR they are kept as PNG files there, numbered row by row, and an
interrupted run goes on with the same command; run.json says what made them.";

/// Draw images from the latents of others
///
/// A SODA's encoder makes a latent of each image, and its decoder draws new ones that the latent leads to.
#[derive(Args, Debug)]
#[command(after_long_help = NOTES, override_usage = USAGE)]
pub struct Arguments {
    /// Images to reconstruct, in place of --data
    #[arg(value_name = "IMAGE", required_unless_present = "data", conflicts_with = "data")]
    images: Vec<PathBuf>,

    /// The graph that makes latents: `ddae-export CHECKPOINT --graph encoder`
    #[arg(long, value_name = "FILE")]
    encoder: PathBuf,

    /// The graph that draws: `ddae-export CHECKPOINT --graph sampler`
    #[arg(long, value_name = "FILE")]
    sampler: PathBuf,

    /// Sheet of the sources and what is drawn
    #[arg(short, long, value_name = "FILE.png")]
    output: PathBuf,

    /// Folder for each image drawn, as a PNG file
    #[arg(long = "pictures", value_name = "DIR")]
    kept: Option<PathBuf>,

    /// Draw images again that are in that folder, and remove those of other settings
    #[arg(long, requires = "kept")]
    overwrite: bool,

    /// Data set to take images from, by name or path (`ddae-data --help` lists them)
    #[arg(long, alias = "dataset", value_name = "SOURCE")]
    data: Option<String>,

    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Which part of the data set, by the name it has there [default: test, or the only one]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Which images of it: 0-7, or 3,7,10-12 [default: 0-7]
    #[arg(long, value_name = "LIST")]
    indices: Option<List<usize>>,

    /// Images drawn from each latent [default: 4; with --interpolate 1]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    variations: Option<u16>,

    /// Draw N latents on the way between two images, their own at the ends
    #[arg(long, value_name = "N", value_parser = whole::<u16>(2..))]
    interpolate: Option<u16>,

    /// The way between latents [default: linear]
    #[arg(long, value_enum, requires = "interpolate")]
    way: Option<Way>,

    /// How much further than by itself a latent leads; 0 for no guidance
    #[arg(long, value_name = "W", default_value_t = 0.3, value_parser = real(..))]
    guidance: f64,

    /// Steps of DDIM
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<usize>(..))]
    steps: usize,

    /// Noise added on the way, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = real(..))]
    eta: f64,

    /// Seed of the first variation; each further one has the next
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..))]
    seed: u64,

    #[command(flatten)]
    skip: SkipBroken,

    #[command(flatten)]
    running: Running,

    #[command(flatten)]
    reading: ReadingOptions,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    let (running, device) = (&arguments.running, arguments.running.device()?);
    let encoder = running.open(&arguments.encoder, &[GraphKind::Encoder], "reconstruct --encoder")?;
    let sampler = running.open(&arguments.sampler, &[GraphKind::Sampler], "reconstruct --sampler")?;
    let request = ReconstructRequest::new(arguments, &encoder, &sampler, device)
        .map_err(|error| arguments.skip.advise(error.into()))?;
    let ReconstructRequest { plan, split, rows, settings, .. } = &request;
    if let Some(note) = split.resizing_note() {
        ddae_base::note(note);
    }
    if let Some(warning) = request::mismatch(&encoder, &sampler) {
        ddae_base::note(format!("warning: {warning}"));
    }
    let numbers: Vec<u64> = (0..rows.drawn() as u64).collect();
    let missing = match &arguments.kept {
        Some(folder) => ImageFolder::missing(folder, settings, &numbers, arguments.overwrite)?,
        None => numbers,
    };
    let largest = running.batch();
    let threads = running.threads(missing.len());
    if running.dry_run {
        let ([c, h, w], count) = (split.shape(), split.len());
        writeln!(out, "sources   {count} of {c}x{h}x{w} from {}", split.name())?;
        writeln!(out, "images    {}, {} of them still to draw", rows.drawn(), missing.len())?;
        let (steps, eta, guidance) = (settings.steps, settings.eta, settings.guidance);
        writeln!(out, "sampler   ddim, {steps} steps, eta {eta}, guidance {guidance}")?;
        writeln!(out, "device    {device}, batches of {largest} at most")?;
        return Ok(());
    }
    arguments.skip.write(&request.broken, &arguments.output, arguments.overwrite)?;
    if let Some(note) = calls_note("ddim", settings.steps, plan.steps.len()) {
        ddae_base::note(note);
    }
    ddae_base::detail(|| {
        let (sources, drawn, calls) = (split.len(), missing.len(), plan.steps.len());
        format!("drawing {drawn} images from {sources} sources with ddim, {calls} network calls for each")
    });
    let stop = stop_on_signal();
    let latents = {
        let batch = balanced_batch(split.len(), threads, largest);
        let mut workers = Workers::open(&encoder.path, device, threads.min(split.len()))?;
        let encoding = Encoding { split, bytes: request.bytes, width: request.width, batch };
        encoding.run(&mut workers, &stop).map_err(|error| interrupted(error, arguments))?
    };
    let jobs: Vec<usize> = missing.iter().map(|&number| number as usize).collect();
    let (latents, seeds) = rows.jobs(&jobs, &latents, request.width, arguments.seed);

    let mut workers = Workers::open(&sampler.path, device, threads)?;
    let mut outputs = Outputs::open(arguments, &request)?;
    let batch = balanced_batch(jobs.len(), workers.sessions(), largest);
    let guide = Guide { latents: &latents, width: request.width, guidance: arguments.guidance as f32 };
    let sampling = Sampling { plan, shape: split.shape(), batch, guide: Some(guide), classes: None };
    let progress = Progress::new(jobs.len(), plan.steps.len(), false);
    let drawn = sampling.run(
        &mut workers,
        &seeds,
        &stop,
        |images| progress.add(images),
        |at, image| outputs.put(missing[at], to_levels(image)),
    );
    let seconds = progress.finish();
    running.tell_notes(&mut workers);
    drawn.map_err(|error| interrupted(error, arguments))?;
    outputs.finish(&request)?;
    let (provider, sessions) = (device.provider(), workers.sessions());
    let runs = plan.steps.len();
    let summary = Summary { images: jobs.len(), runs, seconds, provider, sessions, apart: None };
    report(&mut out, arguments, &request, &summary)?;
    Ok(())
}

/// Says what an interrupted run leaves.
fn interrupted(error: InferError, arguments: &Arguments) -> anyhow::Error {
    match (error, &arguments.kept) {
        (InferError::Interrupted, None) => ddae_base::ending::stopped(
            "interrupted; nothing is left, since no --pictures DIR keeps what was drawn",
        ),
        (InferError::Interrupted, Some(_)) if arguments.overwrite => ddae_base::ending::stopped(
            "interrupted; the images drawn so far stay, and the same command without --overwrite goes on",
        ),
        (InferError::Interrupted, Some(_)) => ddae_base::ending::stopped(
            "interrupted; the images drawn so far stay, and the same command goes on",
        ),
        (other, _) => other.into(),
    }
}

fn report(
    out: &mut impl Write,
    arguments: &Arguments,
    request: &ReconstructRequest,
    summary: &Summary,
) -> std::io::Result<()> {
    if arguments.running.json {
        let mut object = summary.json();
        object.insert("sources".to_string(), json!(request.split.len()));
        object.insert("pictures".to_string(), json!(request.rows.drawn()));
        object.insert("drawn".to_string(), json!(summary.images));
        object.insert("sheet".to_string(), json!(arguments.output));
        object.insert("folder".to_string(), json!(arguments.kept));
        object.insert("settings".to_string(), json!(request.settings));
        return json::print("ddae.reconstruct/1", &object);
    }
    let (steps, guidance) = (request.settings.steps, request.settings.guidance);
    writeln!(out, "{}, {steps} steps of ddim, guidance {guidance}", summary.line())?;
    if let Some(folder) = &arguments.kept {
        writeln!(out, "folder  {}", ddae_base::plain(folder.display()))?;
    }
    writeln!(out, "sheet   {}", ddae_base::plain(arguments.output.display()))
}
