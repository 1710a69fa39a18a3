//! `ddae-infer fid`.

mod graph;
mod metrics;
mod report;
mod side;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::json;
use ddae_base::lock::{Lock, LockError};
use ddae_data::datasets::note_of_broken;
use ddae_data::decode::ReadingOptions;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::fid::encoder::Values;
use ddae_infer::fid::network::check_networks;
use ddae_infer::fid::source::Sizing;
use ddae_infer::fid::{Convention, ImageGraph, ImageSource, Seen, archive};
use ddae_infer::running::Running;
use ddae_infer::sample::balanced_batch;
use ddae_infer::workers::Workers;

use super::broken::SkipBroken;
use super::progress::Progress;
use super::stop_on_signal;
use super::summary::Summary;
use graph::Opened;
use metrics::{MetricOptions, check_views};
use report::Report;
use side::{Side, check_targets};

const NOTES: &str = "\
REAL and FAKE are each
  a folder        the images in it: of any size where the graph is for 299x299 or of another
                  program; else of the graph's, or brought to it with --resize
  a data set      cifar10 for its training images, cifar10/test for those to test with; a folder
                  that is called like one is written ./cifar10
  other images    a folder of folders, a list of paths, .tar or .parquet files, as
                  'ddae-data --help' lists them; FOLDER/SPLIT for one of its splits
  a .npz file     statistics: mu and sigma, of this program or of pytorch-fid --save-stats; for the
                  Fréchet distance alone
  a .h5 file      features that `ddae-infer features` extracted: with the graph of Inception, or
                  with any other and --layer

What is measured falls or rises with the number of images, so only numbers of as many can be
compared: as published, 50,000 against those for training.

The graph is that of Inception with pytorch-fid's weights. For 299x299 it takes images of any size,
and --like says how they are resized; for another size it takes images of that, and resizes them as
pytorch-fid does. With 299x299, --resize takes the place of a tool's way, and the result says so.
Inception scores take one more layer:
  ddae-export pt_inception-2015-12-05-6726825d.pth --graph features --image-size 299x299
  ddae-export pt_inception-2015-12-05-6726825d.pth --graph features --image-size 299x299 \\
    --taps pool,logits_unbiased -o inception.onnx

Features are called Inception's, and their distance FID, where a graph or a file says that they
are. Files of pytorch-fid do not say what they are of, which a warning then does.

Examples:
  ddae-infer fid cifar10 images --inception inception.onnx --save-real cifar10.npz
  ddae-infer fid cifar10.npz images --inception inception.onnx --json
  ddae-infer fid cifar10.npz images.npz
  ddae-infer fid cifar10 images --inception inception.onnx --metrics fid,kid,prc,is
  ddae-infer fid cifar10 images --inception inception.onnx --like clean-fid
  ddae-infer fid cifar10 images --encoder dinov2.onnx --encoder-size 224x224
  ddae-infer fid real.h5 fake.h5 --layer t11/out_6";

/// Measure how good images are: FID, KID, precision and recall, Inception score
///
/// All in one pass over each set: the features of Inception, or of another encoder, are collected, and their mean and
/// covariance in float64.
#[derive(Args, Debug)]
#[command(after_long_help = NOTES)]
pub struct Arguments {
    /// The real images, or what was made of them: folder, data set, .npz or .h5
    real: String,

    /// The images to be measured, likewise
    fake: String,

    /// The graph of Inception; not needed where both are statistics or features already
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,

    /// Another encoder in its place: that of `ddae-export --graph encoder`, or an ONNX file of another program, such as
    /// DINOv2, with one input of images [B, 3, H, W]
    #[arg(long, value_name = "FILE", conflicts_with = "inception")]
    encoder: Option<PathBuf>,

    /// Height and width of the images that an encoder of another program takes [default: as its file says]
    #[arg(long, value_name = "HxW", value_parser = graph::size, requires = "encoder")]
    encoder_size: Option<[usize; 2]>,

    /// Values of the images that an encoder of another program takes [default: imagenet]
    #[arg(long, value_name = "VALUES", requires = "encoder")]
    encoder_values: Option<Values>,

    /// Which features: a layer of .h5 files, as t11/out_6, or an output of the encoder, of which tokens the first counts
    /// [default: Inception's, t0/pool; the only output of an encoder]
    #[arg(long, value_name = "LAYER", conflicts_with = "inception")]
    layer: Option<String>,

    /// By the conventions of which tool images are resized and scaled [default: pytorch-fid; clean-fid for an encoder of
    /// another program]
    #[arg(long, value_name = "TOOL")]
    like: Option<Convention>,

    /// Folder of data sets, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,

    /// Only the first N images of each set of images
    #[arg(long, value_name = "N", value_parser = whole::<u64>(2..))]
    limit: Option<u64>,

    /// Keep the statistics of the real images, for the next time
    #[arg(long, value_name = "FILE.npz")]
    save_real: Option<PathBuf>,

    /// Keep the statistics of the others
    #[arg(long, value_name = "FILE.npz")]
    save_fake: Option<PathBuf>,

    #[command(flatten)]
    skip: SkipBroken,

    #[command(flatten)]
    running: Running,

    #[command(flatten)]
    measures: MetricOptions,

    #[command(flatten)]
    reading: ReadingOptions,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    let Arguments { running, measures, skip, .. } = arguments;
    let device = running.device()?;
    let mut sides = [
        Side::new("real", &arguments.real, arguments.save_real.as_deref())?,
        Side::new("fake", &arguments.fake, arguments.save_fake.as_deref())?,
    ];
    check_targets(&sides)?;
    measures.check()?;
    let opened = Opened::of(arguments, &sides)?;
    let layer = graph::layer(arguments, opened.as_ref())?;
    if let Some(Opened { graph, .. }) = &opened {
        open_images(arguments, graph, &mut sides)?;
    }
    let images: usize = sides.iter().map(|side| side.images.as_ref().map_or(0, Split::len)).sum();
    let like = opened.as_ref().and_then(|opened| opened.graph.network.convention()).unwrap_or_default();
    // What is wrong with these numbers is found before anything is read, where they are known by then.
    for (side, metrics) in sides.iter().zip([measures.of_real(), measures.of_fake()]) {
        check_views(side.text, side.source.images_and_views()?, metrics)?;
    }
    measures.check_counts(sides[0].count(None)?, sides[1].count(None)?, like)?;
    if !matches!(sides[1].source, ImageSource::Statistics(_)) {
        measures.check_name(sides[1].count(None)?)?;
    }
    if running.dry_run {
        for side in &sides {
            writeln!(out, "{}      {}", side.role, side.describe())?;
        }
        writeln!(out, "device    {device}")?;
        return Ok(());
    }
    for side in &sides {
        ddae_base::detail(|| format!("{}      {}", side.role, side.describe()));
    }
    let locks: Vec<Option<Lock>> = sides
        .iter()
        .map(|side| side.save.map(Lock::output).transpose())
        .collect::<Result<_, LockError>>()
        .map_err(InferError::from)?;
    // What is there already first: what is wrong with it is found before the work.
    let (mut read, mut notes) = (Vec::with_capacity(sides.len()), Vec::new());
    for (side, wanted) in sides.iter().zip(measures.wanted()) {
        read.push(side.source.known(&layer, wanted)?);
        notes.extend(side.source.note(&layer)?);
    }
    check_read(measures, &sides, &read, opened.as_ref())?;
    let mut workers = match &opened {
        Some(Opened { graph, .. }) => {
            let threads = running.threads(images.div_ceil(running.batch()));
            Some(Workers::open(&graph.path, device, threads)?)
        }
        None => None,
    };
    let progress = Progress::new(images, 1, images == 0);
    let stop = stop_on_signal();
    let mut seen = Vec::with_capacity(sides.len());
    for (((side, wanted), read), lock) in sides.iter().zip(measures.wanted()).zip(read).zip(locks) {
        let of_side = match (read, &side.images, &opened, &mut workers) {
            (Some(read), ..) => read,
            (None, Some(images), Some(Opened { graph, .. }), Some(workers)) => {
                let batch = balanced_batch(images.len(), workers.sessions(), running.batch());
                let add = |images| progress.add(images);
                let of_side = graph.see(images, wanted, batch, workers, &stop, add);
                of_side.map_err(|error| skip.advise(interrupted(error, of_images(graph))))?
            }
            // A side without images is read, and one with images has a graph.
            _ => anyhow::bail!("{}: there is nothing to compute from", side.text),
        };
        if let Some(lock) = &lock {
            archive::write_locked(lock, &of_side.statistics)?;
            skip.write(&side.broken, side.save.unwrap_or(Path::new(side.role)), true)?;
        }
        seen.push(of_side);
    }
    let seconds = progress.finish();
    if opened.as_ref().is_none_or(|opened| !opened.graph.resizes()) {
        notes.extend(sides.iter().filter_map(|side| side.images.as_ref()?.resizing_note()));
    }
    notes.extend(sides.iter().filter_map(|side| {
        let images = side.images.as_ref()?;
        note_of_broken(&side.broken, images.len() + side.broken.len())
    }));
    if let Some(workers) = &mut workers {
        running.tell_notes(workers);
    }
    let [real, fake] = seen.as_slice() else { anyhow::bail!("there are two sets") };
    let measured = measures.measure(real, fake, like, &stop);
    let measured = measured.map_err(|error| {
        interrupted(error, "interrupted; nothing is kept of kernel distances, precision and recall")
    })?;
    let summary = workers.map(|workers| Summary {
        runs: 1,
        images,
        seconds,
        provider: device.provider(),
        sessions: workers.sessions(),
        apart: None,
    });
    let (opened, notes) = (opened.as_ref(), &notes[..]);
    let report =
        Report { arguments, sides: &sides, measured, layer, seen: [real, fake], summary, opened, notes };
    if running.json {
        json::print("ddae.fid/1", &report.json())?;
    } else {
        report.write(&mut out)?;
    }
    Ok(())
}

/// Opens the images of both sides for a graph.
fn open_images(arguments: &Arguments, graph: &ImageGraph, sides: &mut [Side; 2]) -> anyhow::Result<()> {
    let sizing = match graph.resizes() {
        true => Sizing::Own { channels: graph.shape[0] },
        false if graph.wants_own_size() => Sizing::Exact(graph.shape),
        false => Sizing::Graph(graph.shape),
    };
    let limit = arguments.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut notes = Vec::new();
    for side in sides {
        let reading = arguments.reading.reading();
        let skip = arguments.skip;
        let root = arguments.data_root.as_deref();
        let images = side.source.images(root, sizing, limit, &reading, skip.skip_broken, &mut notes);
        let images = images.map_err(|error| skip.advise(error.into()))?;
        if let Some(images) = images {
            let (images, broken) = skip.of(images, ddae_base::is_quiet(), None)?;
            (side.images, side.broken) = (Some(images), broken);
        }
    }
    for note in notes.iter().filter(|_| !ddae_base::is_quiet()) {
        ddae_base::tell(format_args!("note: {note}"));
    }
    Ok(())
}

/// Refuses what was read where it does not fit the rest, before images are seen.
fn check_read(
    measures: &MetricOptions,
    sides: &[Side; 2],
    read: &[Option<Seen>],
    opened: Option<&Opened>,
) -> Result<(), InferError> {
    let [real, fake] = read else { return Ok(()) };
    let like = opened.and_then(|opened| opened.graph.network.convention()).unwrap_or_default();
    let count_of_fake = sides[1].count(fake.as_ref())?;
    measures.check_name(count_of_fake)?;
    measures.check_counts(sides[0].count(real.as_ref())?, count_of_fake, like)?;
    let of_graph = opened.map(|opened| opened.graph.network.to_string());
    let network = |read: &Option<Seen>| match read {
        Some(read) => read.statistics.network.clone(),
        None => of_graph.clone(),
    };
    check_networks(network(real).as_deref(), network(fake).as_deref())?;
    Ok(())
}

/// What is left of a set that was interrupted. `ddae-infer features` brings images to a graph's size in another way than one
/// that is for Inception's own has it here.
fn of_images(graph: &ImageGraph) -> &'static str {
    match graph.resizes() || graph.wants_own_size() {
        true => "interrupted; nothing is kept of a set that was not finished",
        false => {
            "interrupted; nothing is kept of a set that was not finished (`ddae-infer features` with the same graph can be \
             stopped and goes on, and fid takes its .h5)"
        }
    }
}

/// Says what an interruption leaves.
fn interrupted(error: InferError, left: &'static str) -> anyhow::Error {
    match error.is_interrupted() {
        true => ddae_base::ending::stopped(left),
        false => error.into(),
    }
}
