//! `ddae-infer fid`.

mod graph;
mod metrics;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::json;
use ddae_base::lock::{Lock, LockError};
use ddae_data::datasets::{Broken, note_of_broken};
use ddae_data::decode::ReadingOptions;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::fid::encoder::Values;
use ddae_infer::fid::source::Sizing;
use ddae_infer::fid::{Convention, ImageSource, Seen, archive};
use ddae_infer::sample::balanced_batch;
use ddae_infer::workers::Workers;

use super::broken::SkipBroken;
use super::progress::Progress;
use super::running::Running;
use super::sheets;
use super::stop_on_signal;
use super::summary::Summary;
use graph::Opened;
use metrics::MetricOptions;
use report::Report;

const NOTES: &str = "\
REAL and FAKE are each
  a folder        the images in it, of the size that the graph was exported for, or brought to it
                  with --resize
  a data set      cifar10 for its training images, cifar10/test for those to test with; a folder
                  that is called like one is written ./cifar10
  other images    a folder of folders, a list of paths, .tar or .parquet files, as 'ddae-data --help'
                  lists them; FOLDER/SPLIT for one of its splits
  a .npz file     statistics: mu and sigma, of this program or of pytorch-fid --save-stats; for the
                  Fréchet distance alone
  a .h5 file      features that `ddae-infer features` extracted: with the graph of Inception, or
                  with any other and --layer

The distance is pytorch-fid's. It falls with the number of images, so only distances of as many
images can be compared: as published, 50,000 against those for training.

The graph is that of pytorch-fid's Inception. For 299x299 it takes images of any size, and --like
says how they are resized; for another size it takes images of that, and resizes them as
pytorch-fid does. Inception scores take one more layer:
  ddae-export pt_inception-2015-12-05-6726825d.pth --graph features --image-size 299x299
  ddae-export pt_inception-2015-12-05-6726825d.pth --graph features --image-size 299x299 \\
    --taps pool,logits_unbiased -o inception.onnx

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
/// All in one pass over each set: Inception's features are collected, their mean and covariance in float64.
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

/// One of the two sets.
struct Side<'a> {
    role: &'static str,
    text: &'a str,
    source: ImageSource,
    images: Option<Split>,
    /// Images that cannot be read and are left out.
    broken: Vec<Broken>,
    save: Option<&'a Path>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    let running = &arguments.running;
    let device = running.device()?;
    let mut sides = [
        Side::new("real", &arguments.real, arguments.save_real.as_deref())?,
        Side::new("fake", &arguments.fake, arguments.save_fake.as_deref())?,
    ];
    check_targets(&sides)?;
    arguments.measures.check()?;
    let opened = Opened::of(arguments, &sides)?;
    let (layer, convention) =
        (graph::layer(arguments, opened.as_ref())?, opened.as_ref().map(|opened| opened.like));
    if let Some(Opened { graph, .. }) = &opened {
        let sizing = match graph.resizes() {
            true => Sizing::Own { channels: graph.shape[0] },
            false => Sizing::Graph(graph.shape),
        };
        let limit = arguments.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut notes = Vec::new();
        for side in &mut sides {
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
    }
    let of_side = |side: &Side| side.images.as_ref().map_or(0, Split::len);
    let images: usize = sides.iter().map(of_side).sum();
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
    for (side, wanted) in sides.iter().zip(arguments.measures.wanted()) {
        read.push(side.source.known(&layer, wanted)?);
        notes.extend(side.source.note(&layer)?);
    }
    let counts: Vec<Option<u64>> =
        sides.iter().zip(&read).map(|(side, read)| side.count(read.as_ref())).collect();
    let like = convention.flatten().unwrap_or_default();
    if let [real, fake] = counts[..] {
        arguments.measures.check_counts(real, fake, like)?;
    }
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
    let each = sides.iter().zip(arguments.measures.wanted()).zip(read).zip(locks);
    for (((side, wanted), read), lock) in each {
        let of_side = match (read, &side.images, &opened, &mut workers) {
            (Some(read), ..) => read,
            (None, Some(images), Some(Opened { graph, .. }), Some(workers)) => {
                let batch = balanced_batch(images.len(), workers.sessions(), running.batch());
                let add = |images| progress.add(images);
                let of_side = graph.see(images, wanted, batch, workers, &stop, add);
                of_side.map_err(|error| arguments.skip.advise(interrupted(error)))?
            }
            // A side without images is read, and one with images has a graph.
            _ => anyhow::bail!("{}: there is nothing to compute from", side.text),
        };
        if let Some(lock) = &lock {
            archive::write_locked(lock, &of_side.statistics)?;
            arguments.skip.write(&side.broken, side.save.unwrap_or(Path::new(side.role)), true)?;
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
    let measured = arguments.measures.measure(real, fake, like)?;
    let summary = workers.map(|workers| Summary {
        runs: 1,
        images,
        seconds,
        provider: device.provider(),
        sessions: workers.sessions(),
    });
    let (real, fake, opened, notes) = (&real.statistics, &fake.statistics, opened.as_ref(), &notes[..]);
    let report = Report { arguments, sides: &sides, measured, layer, real, fake, summary, opened, notes };
    if running.json {
        json::print("ddae.fid/1", &report.json())?;
    } else {
        report.write(&mut out)?;
    }
    Ok(())
}

fn interrupted(error: InferError) -> anyhow::Error {
    match error {
        InferError::Interrupted => ddae_base::ending::stopped(
            "interrupted; nothing is kept of a set that was not finished (`ddae-infer features` with the same graph can be \
             stopped and goes on, and fid takes its .h5)",
        ),
        other => other.into(),
    }
}

impl<'a> Side<'a> {
    fn new(role: &'static str, text: &'a str, save: Option<&'a Path>) -> Result<Side<'a>, InferError> {
        if let Some(path) = save {
            check_target(path)?;
        }
        Ok(Side { role, text, source: ImageSource::parse(text)?, images: None, broken: Vec::new(), save })
    }

    /// How many images there are, where it is known: of what was `read`, or still to be seen.
    fn count(&self, read: Option<&Seen>) -> Option<u64> {
        match (read, &self.images) {
            (Some(read), _) => read.statistics.count,
            (None, images) => images.as_ref().map(|images| images.len() as u64),
        }
    }

    fn describe(&self) -> String {
        match (&self.images, &self.source) {
            (Some(images), _) => format!("{} images of {}", images.len(), self.text),
            (None, ImageSource::Features(_)) => format!("features in {}", self.text),
            (None, _) => format!("statistics in {}", self.text),
        }
    }
}

/// Refuses statistics that would replace those of the other set.
fn check_targets([real, fake]: &[Side; 2]) -> Result<(), InferError> {
    // The same file by two names is one; a file that is not there yet has the name it was given.
    let place = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let (of_real, of_fake) = (real.save.map(place), fake.save.map(place));
    if of_real.is_some() && of_real == of_fake {
        return Err(InferError::Argument(
            "--save-real and --save-fake name the same file; give each its own".to_string(),
        ));
    }
    for (option, target, other) in [("--save-real", of_real, fake), ("--save-fake", of_fake, real)] {
        if let (Some(target), ImageSource::Statistics(path) | ImageSource::Features(path)) =
            (target, &other.source)
            && target == place(path)
        {
            let message = format!("{option} would replace {}, which is the other set", path.display());
            return Err(InferError::Argument(message));
        }
    }
    Ok(())
}

/// Refuses a file that cannot be written at the end, a folder of that name or no folder for it, or that could not be given
/// again.
fn check_target(path: &Path) -> Result<(), InferError> {
    sheets::check_target(path)?;
    if path.extension().is_none_or(|ending| ending != "npz") {
        let message = format!("{}: statistics are kept in files that end in .npz", path.display());
        return Err(InferError::Argument(message));
    }
    Ok(())
}
