//! `ddae-probe compare`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ddae_base::json;
use ddae_probe::predictions::Predictions;
use ddae_probe::predictions::comparison::Comparison;

/// Whether one probe finds more than another on the same test samples: McNemar's exact test
///
/// Both files are predictions of the same test samples in the same order, as --predictions of the probes writes them. Only
/// samples count that one has right and the other has not; p is how probable a division at least as uneven is where
/// both are equally good.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe knn --train train.h5 --test test.h5 --features t11/out_6 --predictions a.csv
  ddae-probe knn --train train.h5 --test test.h5 --features t21/out_6 --predictions b.csv
  ddae-probe compare a.csv b.csv")]
pub struct Arguments {
    /// Predictions, .csv or .parquet: a table with the columns label and prediction
    #[arg(value_name = "FILE")]
    first: PathBuf,

    /// Those to compare them with
    #[arg(value_name = "OTHER")]
    second: PathBuf,

    /// Print the result as JSON in place of the table
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (first, second) = (Predictions::read(&arguments.first)?, Predictions::read(&arguments.second)?);
    let [one, other] = [&arguments.first, &arguments.second].map(|path| path.display().to_string());
    let comparison = Comparison::new((&one, &first), (&other, &second))?;
    let mut out = ddae_base::stdout();
    if arguments.json {
        json::print("ddae.compare_predictions/1", &comparison)?;
    } else {
        write!(out, "{comparison}")?;
        for warning in &comparison.warnings {
            writeln!(out, "\nwarning: {warning}")?;
        }
    }
    Ok(out.flush()?)
}
