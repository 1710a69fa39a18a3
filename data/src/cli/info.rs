use std::io::Write;

use anyhow::Result;
use clap::Args;
use ddae_base::progress::{Progress, Unit};
use ddae_base::{json, plain};
use ddae_data::DataSet;
use ddae_data::datasets::Broken;
use ddae_data::split::Split;
use ddae_data::statistics::channel_statistics;
use ddae_model::config::ChannelStatistics;
use serde_json::{Map, Value, json};

use super::{Source, opened, sheet_of};

/// With more classes than this, equal counts are printed as one line.
const MOST_LISTED_CLASSES: usize = 20;
/// Images whose headers are read to see whether all are of one size.
const SAMPLED: usize = 64;

/// Prints counts, shapes, classes, and the mean and deviation of every channel
///
/// Every training image is read, so this also finds files that cannot be decoded. Means and deviations are those of
/// all training pixels, with levels in 0..1; where the publications normalise by other numbers, those are shown too.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-data info fashion-sample
  ddae-data info ~/Images/birds
  ddae-data info photos --labels photos.csv
  ddae-data info --root ~/Images/birds folder --json")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Go on where an image cannot be read, and list those
    #[arg(long)]
    skip_broken: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut set = arguments.source.open()?;
    ddae_base::detail(|| opened(&set));
    let mut broken = Vec::new();
    if arguments.skip_broken {
        set = set.map(|split| {
            let found = look_through(split)?;
            let whole = split.without(&found)?;
            broken.extend(found);
            anyhow::Ok(whole)
        })?;
    }
    let first = measured(&set);
    let reading = format!("reading {}", first.name());
    let progress = Progress::task(&reading, Some(first.len() as u64), Unit::Images);
    let statistics = channel_statistics(first, |count| progress.advance(count as u64));
    drop(progress);
    let statistics = statistics?;
    if arguments.json {
        return Ok(json::print("ddae.info/1", &as_json(&set, &statistics, &broken))?);
    }
    let mut out = ddae_base::stdout();
    print(&mut out, &set, &statistics)?;
    for image in &broken {
        writeln!(out, "broken: {}: {}", plain(&image.key), plain(&image.reason))?;
    }
    if let Some(note) = first.resizing_note() {
        writeln!(out, "\nnote: {note}")?;
    }
    if !ddae_base::is_quiet() {
        writeln!(out, "\nnext: ddae-data preview {} -o {}", arguments.source.typed(&set), sheet_of(&set))?;
    }
    Ok(())
}

/// The images that mean and deviation are of: those to train on, or else those of the first split.
fn measured(set: &DataSet) -> &Split {
    let first = set.splits().next().map_or(&set.train, |(_, split)| split);
    if set.train.is_empty() { first } else { &set.train }
}

/// The images of a split that cannot be read.
fn look_through(split: &Split) -> Result<Vec<Broken>> {
    let what = format!("looking through {}", split.name());
    let progress = Progress::task(&what, Some(split.len() as u64), Unit::Images);
    Ok(split.broken(|images| {
        progress.advance(images);
        true
    })?)
}

fn as_json(set: &DataSet, statistics: &ChannelStatistics, broken: &[Broken]) -> Value {
    let broken: Vec<Value> =
        broken.iter().map(|image| json!({ "key": image.key, "reason": image.reason })).collect();
    let split = |split: &Split| {
        let classes: Map<String, Value> =
            split.classes().iter().cloned().zip(split.class_counts().into_iter().map(Value::from)).collect();
        json!({
            "pictures": split.len(),
            "shape": split.shape(),
            "labelled": split.is_labelled(),
            "classes": classes,
        })
    };
    let splits: Map<String, Value> =
        set.splits().map(|(name, part)| (name.to_string(), split(part))).collect();
    json!({
        "name": set.name,
        "origin": set.origin,
        "train": split(&set.train),
        "test": split(&set.test),
        "splits": splits,
        "notes": set.notes,
        "mean": statistics.mean,
        "std": statistics.std,
        "published_normalisation": set.normalisation(),
        "reading": measured(set).reading(),
        "resized": measured(set).resizing_note(),
        "broken": broken,
    })
}

fn print(out: &mut impl Write, set: &DataSet, statistics: &ChannelStatistics) -> Result<()> {
    let measured = measured(set);
    let [channels, height, width] = measured.shape();
    let numbers =
        |values: &[f64]| values.iter().map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(" ");
    writeln!(out, "{}: {}", plain(&set.name), plain(&set.origin))?;
    writeln!(out, "  shape    {channels}x{height}x{width}")?;
    let sizes = measured.sizes(SAMPLED);
    if sizes.len() > 1 {
        let sampled: usize = sizes.values().sum();
        let count = sizes.len();
        writeln!(
            out,
            "  sizes    {count} among {sampled} images that were asked (height x width); the shape is that of the first image"
        )?;
    }
    for (number, (name, split)) in set.splits().enumerate() {
        let classes = match (split.is_labelled(), number) {
            (false, _) => " without labels".to_string(),
            (true, 0) => format!(" in {} classes", split.classes().len()),
            (true, _) => String::new(),
        };
        writeln!(out, "  {:<8} {} images{classes}", plain(name), split.len())?;
    }
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
    print_classes(out, set)
}

/// How many images of each class every split has.
fn print_classes(out: &mut impl Write, set: &DataSet) -> Result<()> {
    let labelled: Vec<(&str, &Split)> = set.splits().filter(|(_, split)| split.is_labelled()).collect();
    let Some((_, first)) = labelled.first() else { return Ok(()) };
    let counts: Vec<Vec<usize>> = labelled.iter().map(|(_, split)| split.class_counts()).collect();
    writeln!(out)?;
    let equal = |counts: &Vec<usize>| counts.windows(2).all(|pair| pair[0] == pair[1]);
    if first.classes().len() > MOST_LISTED_CLASSES && counts.iter().all(equal) {
        let each: Vec<String> = labelled
            .iter()
            .zip(&counts)
            .map(|((name, _), counts)| format!("{} {} images", counts[0], training_or(name)))
            .collect();
        writeln!(out, "every class has {} (--json lists them)", each.join(" and "))?;
        return Ok(());
    }
    let classes: Vec<String> = first.classes().iter().map(plain).collect();
    let longest = classes.iter().map(|class| class.chars().count()).max();
    let width = longest.unwrap_or(0).max("class".len());
    write!(out, "{:width$}", "class")?;
    for (name, _) in &labelled {
        write!(out, "  {:>7}", plain(name))?;
    }
    writeln!(out)?;
    for (label, class) in classes.iter().enumerate() {
        write!(out, "{class:width$}")?;
        for counts in &counts {
            write!(out, "  {:>7}", counts[label])?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn training_or(name: &str) -> String {
    if name == "train" { "training".to_string() } else { plain(name) }
}
