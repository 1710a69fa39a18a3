//! `ddae-infer convert`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ddae_base::json;
use ddae_infer::features::formats::{self, Format};
use ddae_store::FeatureFile;
use serde_json::json;

use super::stop_on_signal;

/// Write a feature file in another format
///
/// npy makes a folder with an array for each dataset, parquet a table with a row for each image and view, safetensors one
/// file of tensors. docs/feature-files.md says what they hold. The feature file stays.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The feature file (.h5)
    file: PathBuf,

    /// npy, parquet or safetensors
    #[arg(long, value_name = "FORMAT")]
    format: Format,

    /// Output [default: beside the file, with the format's ending; of npy the folder of its name]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace what is there
    #[arg(long)]
    overwrite: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    let file = FeatureFile::open(&arguments.file)?;
    let path = arguments.output.clone().unwrap_or_else(|| arguments.format.path(&arguments.file));
    let is_new = formats::convert(&file, arguments.format, &path, arguments.overwrite, &stop_on_signal())?;
    let rows = file.len();
    if arguments.json {
        let object =
            json!({ "file": path, "format": arguments.format.name(), "images": rows, "written": is_new });
        return Ok(json::print("ddae.convert/1", &object)?);
    }
    let path = ddae_base::plain(path.display());
    match is_new {
        true => writeln!(out, "{path}: {rows} images")?,
        false => writeln!(out, "{path} is complete already, {rows} images")?,
    }
    Ok(())
}
