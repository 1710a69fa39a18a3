use std::io::Write;

use anyhow::Result;
use clap::Args;
use ddae_base::progress::{Progress, Unit};
use ddae_base::{json, plain};
use ddae_data::DataSet;
use ddae_data::datasets;
use ddae_data::split::Split;
use ddae_data::statistics::channel_statistics;
use ddae_model::config::ChannelStatistics;
use serde_json::{Value, json};

use super::{Source, opened, root_option};

/// With more classes than this, equal counts are printed as one line.
const MOST_LISTED_CLASSES: usize = 20;

/// Prints counts, shapes, classes, and the mean and deviation of every channel
///
/// Every training image is read, so this also finds files that cannot be decoded. Means and deviations are those of
/// all training pixels, with levels in 0..1; where the publications normalise by other numbers, those are shown too.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-data info fashion-sample
  ddae-data info --root ~/Images/birds folder --json")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let root = arguments.source.root.root.as_deref();
    let set = datasets::open(&arguments.source.name, root)?;
    ddae_base::detail(|| opened(&set));
    let reading = format!("reading {}", set.train.name());
    let progress = Progress::task(&reading, Some(set.train.len() as u64), Unit::Images);
    let statistics = channel_statistics(&set.train, |count| progress.advance(count as u64));
    drop(progress);
    let statistics = statistics?;
    if arguments.json {
        return Ok(json::print("ddae.info/1", &as_json(&set, &statistics))?);
    }
    let mut out = ddae_base::stdout();
    print(&mut out, &set, &statistics)?;
    if !ddae_base::is_quiet() {
        writeln!(out, "\nnext: ddae-data preview {}{} -o {}.png", set.name, root_option(root), set.name)?;
    }
    Ok(())
}

fn as_json(set: &DataSet, statistics: &ChannelStatistics) -> Value {
    let split = |split: &Split| {
        let classes: serde_json::Map<String, Value> =
            split.classes().iter().cloned().zip(split.class_counts().into_iter().map(Value::from)).collect();
        json!({ "pictures": split.len(), "shape": split.shape(), "classes": classes })
    };
    json!({
        "name": set.name,
        "origin": set.origin,
        "train": split(&set.train),
        "test": split(&set.test),
        "mean": statistics.mean,
        "std": statistics.std,
        "published_normalisation": set.normalisation(),
    })
}

fn print(out: &mut impl Write, set: &DataSet, statistics: &ChannelStatistics) -> Result<()> {
    let [channels, height, width] = set.train.shape();
    let (train, test) = (set.train.class_counts(), set.test.class_counts());
    let numbers =
        |values: &[f64]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(" ");
    writeln!(out, "{}: {}", set.name, plain(&set.origin))?;
    writeln!(out, "  shape    {channels}x{height}x{width}")?;
    writeln!(out, "  train    {} images in {} classes", set.train.len(), train.len())?;
    writeln!(out, "  test     {} images", set.test.len())?;
    writeln!(out, "  mean     {}", numbers(&statistics.mean))?;
    writeln!(out, "  std      {}", numbers(&statistics.std))?;
    if let Some(published) = set.normalisation() {
        writeln!(
            out,
            "  publications normalise by mean {}, std {}",
            numbers(&published.mean),
            numbers(&published.std)
        )?;
    }
    writeln!(out)?;
    let equal = |counts: &[usize]| counts.windows(2).all(|pair| pair[0] == pair[1]);
    if train.len() > MOST_LISTED_CLASSES && equal(&train) && equal(&test) {
        writeln!(
            out,
            "every class has {} training and {} test images (--json lists them)",
            train[0], test[0]
        )?;
        return Ok(());
    }
    let classes: Vec<String> = set.train.classes().iter().map(plain).collect();
    let longest = classes.iter().map(|class| class.chars().count()).max();
    let width = longest.unwrap_or(0).max("class".len());
    writeln!(out, "{:width$}  {:>7}  {:>7}", "class", "train", "test")?;
    for (class, (train, test)) in classes.iter().zip(train.iter().zip(&test)) {
        writeln!(out, "{class:width$}  {train:>7}  {test:>7}")?;
    }
    Ok(())
}
