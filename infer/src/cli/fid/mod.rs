//! `ddae-infer fid`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::lock::{Lock, LockError};
use ddae_base::{json, shell};
use ddae_data::datasets::{Broken, note_of_broken};
use ddae_data::decode::ReadingOptions;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::fid::images::Inception;
use ddae_infer::fid::{Distance, ImageSource, Statistics, archive, frechet_distance};
use ddae_infer::model_file::ModelFile;
use ddae_infer::sample::balanced_batch;
use ddae_infer::workers::Workers;
use ddae_onnx::metadata::{GraphKind, Precision};
use serde_json::{Map, Value, json};

use super::broken::SkipBroken;
use super::progress::Progress;
use super::running::Running;
use super::sheets;
use super::stop_on_signal;
use super::summary::Summary;

const NOTES: &str = "\
REAL and FAKE are each
  a folder        the images in it, of the size that the graph was exported for, or brought to it
                  with --resize
  a data set      cifar10 for its training images, cifar10/test for those to test with; a folder
                  that is called like one is written ./cifar10
  other images    a folder of folders, a list of paths, .tar or .parquet files, as 'ddae-data --help'
                  lists them; FOLDER/SPLIT for one of its splits
  a .npz file     statistics: mu and sigma, of this program or of pytorch-fid --save-stats
  a .h5 file      features that `ddae-infer features` extracted with the graph of Inception

The distance is pytorch-fid's. It falls with the number of images, so only distances of as many
images can be compared: as published, 50,000 against those for training.

The graph is that of pytorch-fid's Inception, exported for the size of the images:
  ddae-export pt_inception-2015-12-05-6726825d.pth --graph features --image-size 32x32

Examples:
  ddae-infer fid cifar10 images --inception inception.onnx --save-real cifar10.npz
  ddae-infer fid cifar10.npz images --inception inception.onnx --json
  ddae-infer fid cifar10.npz images.npz";

/// Measure how far images are from real ones: Fréchet inception distance
///
/// Mean and covariance of Inception's features are collected in one pass over each set, in float64.
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
    let model = open_inception(arguments, &sides)?;
    let inception = model.as_ref().map(Inception::new).transpose()?;
    if let Some(inception) = &inception {
        let limit = arguments.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut notes = Vec::new();
        for side in &mut sides {
            let reading = arguments.reading.reading();
            let skip = arguments.skip;
            let root = arguments.data_root.as_deref();
            let images =
                side.source.images(root, inception.shape, limit, &reading, skip.skip_broken, &mut notes);
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
    // Statistics that are there already first: what is wrong with them is found before the work.
    let (mut read, mut notes) = (Vec::with_capacity(sides.len()), Vec::new());
    for side in &sides {
        read.push(side.source.statistics()?);
        notes.extend(side.source.note()?);
    }
    let mut workers = match &model {
        Some(model) => {
            let threads = running.threads(images.div_ceil(running.batch()));
            Some(Workers::open(&model.path, device, threads)?)
        }
        None => None,
    };
    let progress = Progress::new(images, 1, images == 0);
    let stop = stop_on_signal();
    let mut statistics = Vec::with_capacity(sides.len());
    for ((side, read), lock) in sides.iter().zip(read).zip(locks) {
        let of_side = match (read, &side.images, &inception, &mut workers) {
            (Some(read), ..) => read,
            (None, Some(images), Some(inception), Some(workers)) => {
                let batch = balanced_batch(images.len(), workers.sessions(), running.batch());
                let add = |images| progress.add(images);
                let of_side = inception.statistics(images, batch, workers, &stop, add);
                of_side.map_err(|error| arguments.skip.advise(interrupted(error)))?
            }
            // A side without images is read, and one with images has a graph.
            _ => anyhow::bail!("{}: there is nothing to compute from", side.text),
        };
        if let Some(lock) = &lock {
            archive::write_locked(lock, &of_side)?;
            arguments.skip.write(&side.broken, side.save.unwrap_or(Path::new(side.role)), true)?;
        }
        statistics.push(of_side);
    }
    let seconds = progress.finish();
    notes.extend(sides.iter().filter_map(|side| side.images.as_ref()?.resizing_note()));
    notes.extend(sides.iter().filter_map(|side| {
        let images = side.images.as_ref()?;
        note_of_broken(&side.broken, images.len() + side.broken.len())
    }));
    if let Some(workers) = &mut workers {
        running.tell_notes(workers);
    }
    let [real, fake] = statistics.as_slice() else { anyhow::bail!("there are two sets") };
    let distance = frechet_distance(real, fake)?;
    let summary = workers.map(|workers| Summary {
        runs: 1,
        images,
        seconds,
        provider: device.provider(),
        sessions: workers.sessions(),
    });
    let model = model.as_ref();
    let report = Report { arguments, sides: &sides, distance, real, fake, summary, model, notes: &notes };
    if running.json {
        json::print("ddae.fid/1", &report.json())?;
    } else {
        report.write(&mut out)?;
    }
    Ok(())
}

/// The graph, where there are images to be seen.
fn open_inception(arguments: &Arguments, sides: &[Side]) -> anyhow::Result<Option<ModelFile>> {
    let usage = |message: String| Err(InferError::Argument(message).into());
    let image = sides.iter().find(|side| side.source.needs_inception());
    match (&arguments.inception, image) {
        (Some(_), Some(_))
            if arguments.data_root.is_some()
                && !sides.iter().any(|side| {
                    matches!(side.source, ImageSource::DataSet { .. } | ImageSource::Images { .. })
                }) =>
        {
            usage("--data-root is for data sets, and there are none".to_string())
        }
        (Some(path), Some(_)) => Ok(Some(arguments.running.open(path, &[GraphKind::Features], "fid")?)),
        (None, Some(side)) => usage(format!(
            "{} are images: give the graph that sees them with --inception FILE (`ddae-infer fid --help` says how to \
             export it)",
            side.text
        )),
        (Some(_), None) => {
            usage("--inception: there are no images for it, only statistics and features".to_string())
        }
        (None, None) if arguments.limit.is_some() => {
            usage("--limit is for images, and there are only statistics and features".to_string())
        }
        (None, None) if arguments.data_root.is_some() => {
            usage("--data-root is for data sets, and there are only statistics and features".to_string())
        }
        (None, None) => Ok(None),
    }
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

/// What is said at the end.
struct Report<'a> {
    arguments: &'a Arguments,
    sides: &'a [Side<'a>; 2],
    distance: Distance,
    real: &'a Statistics,
    fake: &'a Statistics,
    summary: Option<Summary>,
    model: Option<&'a ModelFile>,
    /// What is to be said of the sources.
    notes: &'a [String],
}

impl Report<'_> {
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Distance { of_means, of_covariances } = self.distance;
        writeln!(out, "FID       {:.4}", self.distance.total())?;
        writeln!(out, "parts     {of_means:.4} of the means, {of_covariances:.4} of the covariances")?;
        for (side, statistics) in self.sides.iter().zip([self.real, self.fake]) {
            let count = match statistics.count {
                Some(count) => format!("{count} images"),
                None => "it does not say of how many images".to_string(),
            };
            writeln!(out, "{}      {} ({count})", side.role, side.text)?;
        }
        if let Some(summary) = &self.summary {
            writeln!(out, "computed  {}", summary.line())?;
        }
        for warning in self.warnings() {
            writeln!(out, "warning: {warning}")?;
        }
        if let (Some(path), Some(inception)) = (&self.arguments.save_real, &self.arguments.inception) {
            let (path, inception) = (shell::word(path), shell::word(inception));
            if !ddae_base::is_quiet() {
                writeln!(out, "next: ddae-infer fid {path} IMAGES --inception {inception}")?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Map<String, Value> {
        let mut object = self.summary.as_ref().map(Summary::json).unwrap_or_default();
        let side = |side: &Side, statistics: &Statistics| {
            json!({
                "source": side.text,
                "pictures": statistics.count,
                "network": statistics.network,
                "saved": side.save,
            })
        };
        let Distance { of_means, of_covariances } = self.distance;
        for (name, value) in [
            ("fid", json!(self.distance.total())),
            ("of_means", json!(of_means)),
            ("of_covariances", json!(of_covariances)),
            ("features", json!(self.real.dim())),
            ("real", side(&self.sides[0], self.real)),
            ("fake", side(&self.sides[1], self.fake)),
            ("precision", json!(self.model.map(|model| model.description.precision))),
            ("warnings", json!(self.warnings())),
        ] {
            object.insert(name.to_string(), value);
        }
        object
    }

    /// What the reader should know before trusting the number.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(precision) = self.model.map(|model| model.description.precision)
            && precision != Precision::F32
        {
            warnings.push(format!(
                "Inception was computed in {}: as published, it is in f32 (ddae-export without --dtype or --quantize)",
                precision.name()
            ));
        }
        warnings.extend_from_slice(self.notes);
        for (side, statistics) in self.sides.iter().zip([self.real, self.fake]) {
            let dim = statistics.dim();
            if let Some(count) = statistics.count.filter(|count| *count <= dim as u64) {
                warnings.push(format!(
                    "{} has {count} images, not more than the {dim} features: the distance is far too large, and only \
                     good to compare sets of the same size",
                    side.text
                ));
            }
        }
        warnings
    }
}
