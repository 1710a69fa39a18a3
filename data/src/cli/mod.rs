//! The commands of `ddae-data`.

mod info;
mod prepare;
mod preview;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use ddae_base::{plain, shell};
use ddae_data::DataSet;
use ddae_data::datasets::{self, OpenOptions};
use ddae_data::decode::ReadingOptions;

const NAMES_HELP: &str = "\
Data sets by name:
  fashion-sample        6,000 + 10,000 images of Fashion-MNIST, built in
  fashion-mnist, mnist  idx files, gzip-compressed or not
  cifar10, cifar100     binary or python version, archive or unpacked
  tiny                  Tiny-ImageNet (tiny-imagenet-200.zip or unpacked)
  folder                train/CLASS/*.png (or .jpg, .webp, .bmp, .gif, .tif, .ppm …), and test/ or
                        val/ likewise

By path:
  a folder              of a folder for each class, with train/, val/, test/ above them or without; of
                        images alone; with metadata.csv or .jsonl; of .tar or .parquet files
  a file                an image; a list of paths (.txt, .csv, .jsonl), with labels or without; .tar
                        shards of webdataset, also as 'shards/train-{000..009}.tar' in quotes; .parquet
                        as on Hugging Face's hub

Rules of --resize, for images of another size than the one wanted:
  cover, cover-bicubic  shorter side to the size, centre cut out (torchvision's Resize, CenterCrop)
  imagenet, imagenet-bicubic
                        shorter side to 256/224 of the size, centre cut out
  adm                   ADM's and DiT's center_crop_arr: halved by boxes, then bicubic, centre cut out
  edm                   EDM's center-crop: the largest square of the centre, then Lanczos
  stretch, stretch-bicubic
                        both sides to the size
  clean-fid             stretch-bicubic without rounding in between
  none                  images of another size are refused";

/// Prepares, describes and shows data sets.
#[derive(Debug, Parser)]
#[command(name = "ddae-data", version, max_term_width = 100, after_help = NAMES_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prepare(prepare::Arguments),
    Info(info::Arguments),
    Preview(preview::Arguments),
}

/// Which data set, and where it is.
#[derive(Args, Debug)]
struct Source {
    /// Name of the data set, or path of a folder, image, list, .tar or .parquet (`ddae-data --help` lists them)
    #[arg(value_name = "SOURCE")]
    name: String,

    #[command(flatten)]
    root: Root,

    /// Table of paths or keys and labels (CSV), for images that have no labels
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    #[command(flatten)]
    reading: ReadingOptions,
}

impl Source {
    /// Opens it, and says what there is to say.
    fn open(&self) -> Result<DataSet> {
        let options = OpenOptions { labels: self.labels.clone(), reading: self.reading.reading() };
        let set = datasets::open_with(&self.name, self.root.root.as_deref(), &options)?;
        tell_notes(&set);
        Ok(set)
    }

    /// It as it is typed into a shell, with its options.
    fn typed(&self, set: &DataSet) -> String {
        let labels =
            self.labels.as_ref().map_or_else(String::new, |path| format!(" --labels {}", shell::word(path)));
        let root = root_option(self.root.root.as_deref());
        format!("{}{root}{labels}{}", shell::word(&set.name), self.reading_typed())
    }

    /// How images are read, as it is typed, after a blank; empty where nothing was chosen.
    fn reading_typed(&self) -> String {
        let reading = self.reading.reading().to_string();
        if reading.is_empty() { reading } else { format!(" {reading}") }
    }
}

/// Says what the user should know of a data set.
fn tell_notes(set: &DataSet) {
    set.notes.iter().for_each(|note| ddae_base::tell(format_args!("note: {note}")));
}

/// A file for an image of a data set: called like it, where it has a name.
fn sheet_of(set: &DataSet) -> String {
    let is_named = datasets::NAMES.contains(&set.name.as_str());
    if is_named { format!("{}.png", set.name) } else { "preview.png".to_string() }
}

#[derive(Args, Debug)]
struct Root {
    /// Folder of the data set, or the one above it; not needed for what is built in or given by its path [default:
    /// $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR", visible_alias = "data-root")]
    root: Option<PathBuf>,
}

/// Runs a command.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Prepare(arguments) => prepare::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Preview(arguments) => preview::run(&arguments),
    }
}

/// What `-v` says of a data set that was opened.
fn opened(set: &DataSet) -> String {
    let splits: Vec<String> =
        set.splits().map(|(name, split)| format!("{} {}", split.len(), plain(name))).collect();
    format!("opened {}: {}, images: {}", plain(&set.name), plain(&set.origin), splits.join(", "))
}

/// ` --root DIR` as it is typed into a shell, for the commands that are suggested; empty where none is needed.
fn root_option(root: Option<&Path>) -> String {
    root.map_or_else(String::new, |root| format!(" --root {}", shell::word(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_says_what_it_wants() {
        assert_eq!(ddae_base::arguments::audit::<Arguments>(), Vec::<String>::new());
    }

    #[test]
    fn suggested_commands_can_be_pasted() {
        assert_eq!(root_option(None), "");
        assert_eq!(root_option(Some(Path::new("/data/sets"))), " --root /data/sets");
    }
}
