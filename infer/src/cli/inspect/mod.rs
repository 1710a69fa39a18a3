//! `ddae-infer inspect`.

mod features;
mod graph;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_infer::InferError;

/// Say what a feature file or an ONNX file is, and how it was made
///
/// With --row or --path one row of a feature file: the key of its image, label, class, and its first features (with
/// --json all of them).
#[derive(Args, Debug)]
pub struct Arguments {
    /// A feature file (.h5), whole or a shard, or an ONNX file of ddae-export
    file: PathBuf,

    /// The row N, counted from the file's first
    #[arg(long, value_name = "N", conflicts_with = "path", value_parser = whole::<usize>(..))]
    row: Option<usize>,

    /// The row of the image with this path, as the file has it
    #[arg(long, value_name = "KEY")]
    path: Option<String>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut start = Vec::new();
    let opened = File::open(&arguments.file).and_then(|file| file.take(8).read_to_end(&mut start));
    opened.map_err(|source| ddae_base::files::FileError::of("read", &arguments.file)(source))?;
    if start == *b"\x89HDF\r\n\x1a\n" {
        return features::show(arguments);
    }
    if arguments.row.is_some() || arguments.path.is_some() {
        let message = format!(
            "--row and --path are for feature files; {} is none",
            ddae_base::plain(arguments.file.display())
        );
        return Err(InferError::Argument(message).into());
    }
    graph::show(arguments)
}
