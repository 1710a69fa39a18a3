//! `ddae-probe contrastive`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::{json, shell};
use ddae_probe::ProbeError;
use ddae_probe::contrastive::BATCH;
use ddae_probe::contrastive::noisings::Noisings;
use ddae_probe::contrastive::report::ContrastReport;
use ddae_probe::source::Input;
use ddae_probe::source::feature_set::FeatureSet;

use super::progress::Shown;

/// Alignment and uniformity of features at two noisings, without labels
///
/// Rows are divided by their length. Alignment is the mean squared distance of an image's two noisings, uniformity the
/// logarithm of the mean of exp(-2 d²) over the pairs of images in a batch; lower is better for both. Batches are taken
/// in the order of the file and averaged by their number of images. As published, the features are those of the training images without
/// augmentation: ddae-infer features --split train --views 2.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe contrastive train.h5
  ddae-probe contrastive train.h5 --features t11/out_5,t11/out_6 --json
  ddae-probe contrastive seed_0.h5 seed_1.h5
  ddae-probe contrastive noise_0.npy noise_1.npy")]
pub struct Arguments {
    /// Feature file with at least two views, of which the first two are compared; or, with OTHER, any file with features
    ///
    /// Beside those of ddae-infer: HDF5, .npy, .npz, safetensors, parquet and CSV, with the name of an array behind a colon
    /// where it has no usual one (FILE.npz:NAME).
    #[arg(value_name = "FILE")]
    first: PathBuf,

    /// File with the features of the same images at other noise; the first views of both files are compared
    #[arg(value_name = "OTHER")]
    second: Option<PathBuf>,

    /// Read arrays of more than two axes as one row for each index of the first
    #[arg(long)]
    flatten: bool,

    /// Features to measure, such as t11/out_6 [default: all, one by one]
    ///
    /// Several are separated by commas; taps that are joined into one row by a plus.
    #[arg(long, value_name = "KEYS")]
    features: Option<String>,

    /// Images in a batch, 2 to 4096; uniformity depends on it a little
    #[arg(long, value_name = "N", default_value_t = BATCH as u64,
          value_parser = whole::<u64>(2..=4096))]
    batch: u64,

    /// Print the result as JSON in place of the table
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let features = arguments.features.as_deref().map(FeatureSet::parse_list).transpose()?;
    let input = |path| Input { flatten: arguments.flatten, ..Input::new(path) };
    let second = arguments.second.as_deref().map(input);
    let noisings = Noisings::open(&input(&arguments.first), second.as_ref())?;
    if features.is_some() && noisings.is_foreign() {
        let advice = "--features names features of files that ddae-infer wrote; name those of others with their file, as in FILE:NAME";
        return Err(ProbeError::Usage(advice.to_string()).into());
    }
    ddae_base::detail(|| {
        let second =
            arguments.second.as_ref().map(|path| format!(" and {}", ddae_base::plain(path.display())));
        let (first, second) = (ddae_base::plain(arguments.first.display()), second.unwrap_or_default());
        format!("opened {first}{second}; batches of {}", arguments.batch)
    });
    let mut progress = Shown::default();
    let features = features.unwrap_or_default();
    let report = ContrastReport::measure(&noisings, &features, arguments.batch as usize, &mut progress)?;
    drop(progress);
    let mut out = ddae_base::stdout();
    if arguments.json {
        json::print("ddae.contrastive/1", &report)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    let train = shell::word(&arguments.first);
    ddae_base::note(format_args!("\nnext: ddae-probe linear --train {train} --test TEST.h5"));
    Ok(())
}
