//! `ddae-infer sample`.

mod outputs;
mod parts;
mod request;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use ddae_base::arguments::values::{List, real, whole};
use ddae_base::json;
use ddae_infer::InferError;
use ddae_infer::running::Running;
use ddae_infer::sample::{ImageFolder, SampleSettings};
use ddae_infer::workers::Workers;
use ddae_model::diffusion::sampler::{SAMPLERS, Sampler};
use ddae_onnx::metadata::GraphKind;
use serde_json::json;

use super::calls_note;
use super::progress::Progress;
use super::several::{Role, Several};
use super::shard::Shard;
use super::stop_on_signal;
use super::summary::Summary;
use outputs::Outputs;
use request::SampleRequest;

const NOTES: &str = "\
An image depends on the graph, the sampler's settings and its seed: not on batches, threads, the
other images or interruptions. On the CPU that holds bit for bit, for processors of one kind.

With --nproc N, or --device cuda:all, N processes of this machine draw into the folder, each on its
own GPU or its part of the cores; arrays and sheets are made of it at the end.

The folder keeps what made its images in run.json. Images that are there already are not
drawn again, so an interrupted run goes on with the same command, and more seeds can be added. A
folder with images of other settings is refused; --overwrite removes them.";

/// Draw images from noise
///
/// Each image is a function of its seed.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = NOTES)]
pub struct Arguments {
    /// The graph: `ddae-export CHECKPOINT --graph sampler`
    model: PathBuf,

    /// Seeds of the images: 0-4999, or 3,7,10-12, or 0:99:3 for every third
    #[arg(long, value_name = "LIST", default_value = "0-63")]
    seeds: List<u64>,

    /// Folder for PNG files named by their seeds, as 000042.png
    #[arg(short, long, value_name = "DIR", required_unless_present = "no_png")]
    output: Option<PathBuf>,

    /// Write no PNG files, only --npy or --sheet; an interrupted run begins anew then
    #[arg(long, conflicts_with = "output")]
    no_png: bool,

    /// A sheet of all images
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,

    /// Columns of the sheet
    #[arg(long, value_name = "N", requires = "sheet", default_value_t = 8,
          value_parser = whole::<u16>(1..))]
    columns: u16,

    /// All images as one array, uint8 [N, H, W, C], in the order of the seeds
    #[arg(long, value_name = "FILE.npy")]
    npy: Option<PathBuf>,

    /// The sampler [default: ddim for a DDPM, edm for an EDM]
    #[arg(long, value_name = "SAMPLER", value_parser = samplers())]
    sampler: Option<String>,

    /// Steps [default: ddim 100, edm 18, dpm-solver 20; ddpm always takes all timesteps]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(..))]
    steps: Option<usize>,

    /// Noise added on the way, 0 to 1: DDIM's eta, or the amount of EDM's churn
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = real(..))]
    eta: f64,

    /// Class of all images, of a network that is told of classes; as many as there are classes for none [default: one
    /// drawn from each seed]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(..))]
    class: Option<u32>,

    /// Draw only part I of N of the images, counted from 0, into a folder that N processes share [default: as an array of
    /// Slurm or Kubernetes or a launcher numbers this process, or else all]
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    /// The number of parts, where the array does not say it
    #[arg(long, value_name = "N", conflicts_with = "shard", value_parser = whole::<u64>(1..))]
    shards: Option<u64>,

    #[command(flatten)]
    several: Several,

    /// Draw images again that are there, and remove those of other settings
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    running: Running,
}

impl Arguments {
    fn sampler(&self) -> Option<&'static Sampler> {
        self.sampler.as_deref().and_then(Sampler::named)
    }
}

/// The names of all samplers.
fn samplers() -> PossibleValuesParser {
    SAMPLERS
        .iter()
        .map(|sampler| PossibleValue::new(sampler.name).help(sampler.about))
        .collect::<Vec<_>>()
        .into()
}

pub fn run(given: &Arguments) -> anyhow::Result<()> {
    let role = given.several.role(&given.running, given.shard)?;
    let arguments = &Arguments { running: role.running(&given.running), ..given.clone() };
    if let Role::Worker(_) = role {
        return parts::work(arguments);
    }
    let mut out = ddae_base::stdout();
    let (running, device) = (&arguments.running, arguments.running.device()?);
    let model = running.open(&arguments.model, &[GraphKind::Sampler], "sample")?;
    let request = SampleRequest::new(arguments, &model, device)?;
    let shape = request.shape;
    given.several.note_idle(role, &given.running, request.shard);
    if let (Role::Launcher(count), None) = (role, &arguments.output) {
        let message = format!(
            "{count} processes draw into one folder, and --no-png keeps none: give --output, with --npy or --sheet if they \
             are wanted"
        );
        return Err(InferError::Argument(message).into());
    }
    let all = &arguments.seeds.0;
    let seeds = &all[request.shard.map_or(0..all.len(), |shard| shard.part(all.len()))];
    Outputs::check(arguments, request.shard, shape)?;
    let missing = still_missing(arguments, &request, seeds)?;
    let largest = running.batch();
    if running.dry_run {
        let (all, left, calls) = (seeds.len(), missing.len(), request.plan.steps.len());
        let [c, h, w] = shape;
        writeln!(out, "images    {all} of {c}x{h}x{w}, {left} of them still to draw")?;
        let settings = &request.settings;
        let (sampler, steps, eta) = (&settings.sampler, settings.steps, settings.eta);
        writeln!(out, "sampler   {sampler}, {steps} steps, eta {eta}: {calls} network calls for each")?;
        if request.told > 0 {
            writeln!(out, "class     {}", request.class_line())?;
        }
        writeln!(out, "device    {device}, batches of {largest} at most")?;
        if let Role::Launcher(count) = role {
            writeln!(out, "processes {} at a time", count.min(missing.len()))?;
        }
        return Ok(());
    }
    if let Some(note) =
        calls_note(&request.settings.sampler, request.settings.steps, request.plan.steps.len())
    {
        ddae_base::note(note);
    }
    ddae_base::detail(|| {
        let (settings, calls) = (&request.settings, request.plan.steps.len());
        let SampleSettings { sampler, steps, eta, .. } = settings;
        let left = missing.len();
        format!(
            "drawing {left} images with {sampler}, {steps} steps, eta {eta}: {calls} network calls for each"
        )
    });
    let runs = request.plan.steps.len();
    let progress = |images| Progress::new(images, runs, false);
    let failed = |error| interrupted(error, arguments);
    let (images, seconds, sessions, apart) = match role {
        Role::Launcher(count) => {
            let (count, left) = (count.min(missing.len()), (seeds, &*missing));
            let (outputs, worked) = parts::share_out(arguments, &request, left, count, progress)?;
            // The signals were for the processes.
            outputs.finish(seeds, &[], &stop_on_signal()).map_err(failed)?;
            (worked.images, worked.seconds, worked.sessions, Some(worked.apart))
        }
        _ => {
            let stop = stop_on_signal();
            let mut workers = Workers::open(&model.path, device, running.threads(missing.len()))?;
            let mut outputs = Outputs::open(arguments, &request, shape)?;
            let progress = progress(missing.len());
            let passed = |images| progress.add(images);
            let put = |seed, levels: &[u8]| outputs.put(seed, levels);
            let drawn = request.draw(&mut workers, &missing, largest, &stop, passed, put);
            let seconds = progress.finish();
            running.tell_notes(&mut workers);
            drawn.map_err(failed)?;
            outputs.finish(seeds, &missing, &stop).map_err(failed)?;
            let images = missing.len();
            (images, seconds, workers.sessions(), given.several.of_one(&given.running, images))
        }
    };
    let provider = device.provider();
    let summary = Summary { images, runs, seconds, provider, sessions, apart };
    let left = match (&arguments.output, request.shard) {
        (Some(folder), Some(_)) => ImageFolder::missing(folder, &request.settings, all, false)?.len(),
        _ => 0,
    };
    report(&mut out, arguments, &request, &summary, left)?;
    Ok(())
}

/// The seeds among `seeds` whose images are to be drawn.
///
/// # Errors
/// As [`ImageFolder::missing`].
fn still_missing(
    arguments: &Arguments,
    request: &SampleRequest,
    seeds: &[u64],
) -> Result<Vec<u64>, InferError> {
    match &arguments.output {
        Some(folder) => ImageFolder::missing(folder, &request.settings, seeds, arguments.overwrite),
        None => Ok(seeds.to_vec()),
    }
}

/// Says what an interrupted run leaves.
fn interrupted(error: InferError, arguments: &Arguments) -> anyhow::Error {
    match error {
        InferError::Interrupted if arguments.no_png => ddae_base::ending::stopped(
            "interrupted; nothing is left, since --no-png keeps no images on the way",
        ),
        InferError::Interrupted if arguments.overwrite => ddae_base::ending::stopped(
            "interrupted; the images drawn so far stay, and the same command without --overwrite goes on",
        ),
        InferError::Interrupted => ddae_base::ending::stopped(
            "interrupted; the images drawn so far stay, and the same command goes on",
        ),
        other => other.into(),
    }
}

fn report(
    out: &mut impl Write,
    arguments: &Arguments,
    request: &SampleRequest,
    summary: &Summary,
    left: usize,
) -> std::io::Result<()> {
    let files = [("folder", &arguments.output), ("sheet", &arguments.sheet), ("npy", &arguments.npy)];
    let files = files.iter().filter_map(|(name, path)| Some((*name, path.as_ref()?)));
    if arguments.running.json {
        let mut object = summary.json();
        object.insert("pictures".to_string(), json!(arguments.seeds.0.len()));
        object.insert("drawn".to_string(), json!(summary.images));
        object.insert("shard".to_string(), json!(request.shard.map(|shard| shard.to_string())));
        object.insert("left".to_string(), json!(left));
        object.extend(files.map(|(name, path)| (name.to_string(), json!(path))));
        object.insert("settings".to_string(), json!(request.settings));
        return json::print("ddae.sample/1", &object);
    }
    let (sampler, steps) = (&request.settings.sampler, request.settings.steps);
    let calls = match calls_note(sampler, steps, request.plan.steps.len()) {
        Some(_) => format!(" ({} network calls)", request.plan.steps.len()),
        None => String::new(),
    };
    writeln!(out, "{}, {steps} steps of {sampler}{calls}", summary.line())?;
    for (name, path) in files {
        writeln!(out, "{name:7} {}", ddae_base::plain(path.display()))?;
    }
    if let Some(shard) = request.shard {
        let what = match left {
            0 => "all are here; with --shard 0/1 the same command makes a sheet or an array of them"
                .to_string(),
            left => format!("{left} of {} are still to come from others", arguments.seeds.0.len()),
        };
        writeln!(out, "part    {shard}: {what}")?;
    }
    Ok(())
}
