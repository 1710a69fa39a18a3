use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ddae_base::arguments::values::{real, whole};
use ddae_base::random::{Purpose, stream};
use ddae_base::{json, shell};
use ddae_data::augment::Augmentation;
use ddae_data::loader::{Images, Loader, LoaderOptions};
use ddae_data::sheet::Sheet;
use ddae_data::{DataError, DataSet, Split};
use serde_json::json;

use super::{Source, opened};

/// Small images are enlarged to about that many pixels.
const EASILY_SEEN: usize = 96;

/// Writes a sheet of images as PNG, augmented as training would see them if asked
///
/// The images are drawn at random from the split, which ones depending on the seed alone, so the same seed shows the
/// same images with and without augmentation.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-data preview fashion-sample -o sheet.png --by-class
  ddae-data preview cifar10 -o augmented.png --flip --crop-padding 4")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,

    /// PNG file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Which images to draw from, by the name that the data set has for them [default: train, or the only split]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Rows of images [default: 8, or 10 with --by-class]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=256))]
    rows: Option<u16>,

    /// Images in a row
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole::<u16>(1..=256))]
    columns: u16,

    /// Seed of the choice and of the augmentation
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(..))]
    seed: u64,

    /// A row for each class, with its name
    #[arg(long)]
    by_class: bool,

    /// Mirror each image with probability 1/2
    #[arg(long)]
    flip: bool,

    /// Pad with N zeros on every side and crop at random
    #[arg(long, value_name = "N", value_parser = whole::<usize>(..))]
    crop_padding: Option<usize>,

    /// EDM's augmentation, each transformation with probability P (published: 0.12)
    #[arg(long, value_name = "P", value_parser = real(..))]
    edm_augment: Option<f64>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let set = arguments.source.open()?;
    ddae_base::detail(|| opened(&set));
    let chosen = set.split(arguments.split.as_deref(), "train")?;
    if let Some(note) = &chosen.note {
        ddae_base::tell(format_args!("note: {note}"));
    }
    let split = &chosen.split;
    if split.is_empty() {
        return Err(DataError::Argument(format!("{} has no images to show", split.name())).into());
    }
    let columns = usize::from(arguments.columns);
    let rows = arguments.rows.map_or(if arguments.by_class { 10 } else { 8 }, usize::from);
    let (positions, captions) = match arguments.by_class {
        true => of_classes(split, rows, columns, arguments.seed),
        false => (at_random(split, rows * columns, arguments.seed), Vec::new()),
    };
    if positions.is_empty() {
        let message = format!("no class of {} has {columns} images: give fewer --columns", split.name());
        return Err(DataError::Argument(message).into());
    }
    let scale = (EASILY_SEEN / split.shape()[1]).clamp(1, 4);
    let mut sheet = Sheet::new(columns, split.shape())?.gap(1).scale(scale).captions(captions);
    let options =
        LoaderOptions { batch: columns, seed: arguments.seed, workers: 0, ..LoaderOptions::default() };
    let augmentation = Augmentation::Crop { padding: arguments.crop_padding, flip: arguments.flip };
    let (shown, size) = (split.subset(&positions)?, split.image_len());
    for batch in Loader::images(&shown, &options, augmentation, arguments.edm_augment)? {
        match batch?.images {
            Images::Bytes(images) => images.chunks_exact(size).try_for_each(|image| sheet.push_pixels(image)),
            Images::Edm { images, .. } => {
                images.chunks_exact(size).try_for_each(|image| sheet.push_f32(image))
            }
        }?;
    }
    sheet.write_png(&arguments.output)?;
    if arguments.json {
        let object = json!({
            "sheet": arguments.output,
            "pictures": positions.len(),
            "columns": columns,
            "data": set.name,
            "split": split.name(),
            "indices": positions,
            "seed": arguments.seed,
        });
        return Ok(json::print("ddae.preview/1", &object)?);
    }
    let mut out = ddae_base::stdout();
    writeln!(
        out,
        "{}: {} of {} images of {}",
        ddae_base::plain(arguments.output.display()),
        positions.len(),
        split.len(),
        split.name()
    )?;
    if let Some(note) = shown.resizing_note() {
        writeln!(out, "\nnote: {note}")?;
    }
    if !ddae_base::is_quiet() {
        writeln!(out, "\nnext: {}", training(&set, &arguments.source))?;
    }
    Ok(())
}

/// The command that trains on the data set: with the demo's configuration where that takes the images as they are, or
/// else with a published one.
fn training(set: &DataSet, source: &Source) -> String {
    let (config, its_own) = match set.train.shape() {
        [1, 28, 28] => ("configs/demo.yaml", "fashion-sample"),
        _ => ("configs/DDPM_ddpm.yaml", "cifar10"),
    };
    let mut command = format!("ddae-train diffusion --config {config}");
    if set.name != its_own {
        command.push_str(&format!(" --data {}", shell::word(&set.name)));
    }
    if let Some(root) = &source.root.root {
        command.push_str(&format!(" --data-root {}", shell::word(root)));
    }
    if let Some(labels) = &source.labels {
        command.push_str(&format!(" --labels {}", shell::word(labels)));
    }
    command.push_str(&source.reading_typed());
    command
}

/// Positions of `count` different images (or all there are).
fn at_random(split: &Split, count: usize, seed: u64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..split.len()).collect();
    stream(seed, Purpose::Preview, 0, 0).shuffle(&mut positions);
    positions.truncate(count);
    positions
}

/// Positions of `columns` images of each of the first `rows` classes that have as many, and those classes' names.
fn of_classes(split: &Split, rows: usize, columns: usize, seed: u64) -> (Vec<usize>, Vec<String>) {
    let mut of_class = vec![Vec::new(); split.classes().len()];
    for position in at_random(split, split.len(), seed) {
        let row: &mut Vec<usize> = &mut of_class[split.label(position)];
        if row.len() < columns {
            row.push(position);
        }
    }
    let full = of_class.into_iter().zip(split.classes()).filter(|(row, _)| row.len() == columns);
    let (positions, captions): (Vec<_>, Vec<_>) =
        full.map(|(row, class)| (row, class.clone())).take(rows).unzip();
    (positions.concat(), captions)
}
