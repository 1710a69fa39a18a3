//! The commands of `ddae-data`.

mod info;
mod prepare;
mod preview;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use ddae_base::{plain, shell};
use ddae_data::DataSet;

const NAMES_HELP: &str = "\
Data sets:
  fashion-sample        6,000 + 1,000 images of Fashion-MNIST, built in
  fashion-mnist, mnist  idx files, gzip-compressed or not
  cifar10, cifar100     binary or python version, archive or unpacked
  tiny                  Tiny-ImageNet (tiny-imagenet-200.zip or unpacked)
  folder                train/CLASS/*.png (or .jpg, .jpeg), and test/ or val/ likewise";

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
    /// Name of the data set (`ddae-data --help` lists them)
    name: String,

    #[command(flatten)]
    root: Root,
}

#[derive(Args, Debug)]
struct Root {
    /// Folder of the data set, or the one above it; not needed for what is built in [default: $DDAE_DATA, or
    /// ./datasets]
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
    let (train, test) = (set.train.len(), set.test.len());
    format!("opened {}: {}, {train} training and {test} test images", set.name, plain(&set.origin))
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
