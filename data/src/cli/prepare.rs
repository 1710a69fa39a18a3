use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use clap::Args;
use ddae_base::progress::{Progress, Unit};
use ddae_base::{Stop, json, plain, shell};
use ddae_data::datasets::{self, Stage};
use ddae_data::split::Split;
use serde_json::json;

use super::{Root, opened, root_option, sheet_of, tell_notes};

/// Checks an archive's md5, unpacks it beside itself and says what it found
///
/// Downloads nothing. A data set that needs no unpacking is opened and described. The archive is checked against the
/// published md5 and unpacked under a temporary name, so an interrupted run leaves nothing that looks complete and the
/// next one starts afresh.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-data prepare ~/Downloads/cifar-10-binary.tar.gz
  ddae-data prepare --root /data/sets tiny
  ddae-data prepare ~/Images/birds")]
pub struct Arguments {
    /// Name of a data set, path of its published archive, or anything else that the other commands take
    #[arg(value_name = "SOURCE|ARCHIVE")]
    target: String,

    #[command(flatten)]
    root: Root,

    /// Unpack an archive whose md5 is not the published one
    #[arg(long)]
    no_verify: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // What was written is taken back.
    let stop = Stop::on_signal(None);
    let mut current: Option<(Stage, Progress)> = None;
    let mut progress = |stage: Stage, done: u64, length: u64| {
        if !matches!(&current, Some((shown, _)) if *shown == stage) {
            let what = match stage {
                Stage::Checking => "checking md5",
                Stage::Unpacking => "unpacking",
            };
            current = None;
            current = Some((stage, Progress::task(what, Some(length), Unit::Bytes)));
        }
        if let Some((_, shown)) = &current {
            shown.set(done);
        }
        match stop.is_requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let root = arguments.root.root.as_deref();
    let prepared = datasets::prepare(&arguments.target, root, !arguments.no_verify, &mut progress);
    drop(current);
    let prepared = prepared?;
    let set = &prepared.data_set;
    tell_notes(set);
    ddae_base::detail(|| opened(set));
    if arguments.json {
        let splits: serde_json::Map<String, serde_json::Value> =
            set.splits().map(|(name, split)| (name.to_string(), split.len().into())).collect();
        let object = json!({
            "name": set.name,
            "action": prepared.action,
            "root": prepared.root,
            "train": set.train.len(),
            "test": set.test.len(),
            "splits": splits,
        });
        return Ok(json::print("ddae.prepare/1", &object)?);
    }
    let mut out = ddae_base::stdout();
    writeln!(out, "{}: {}", plain(&set.name), prepared.action)?;
    for (name, split) in set.splits() {
        writeln!(out, "  {:<6} {}", plain(name), describe(split))?;
    }
    if set.test.is_empty() {
        writeln!(out, "  test   none")?;
    }
    if !ddae_base::is_quiet() {
        let root = root_option(prepared.root.as_deref());
        writeln!(out, "\nnext: ddae-data preview {}{root} -o {}", shell::word(&set.name), sheet_of(set))?;
    }
    Ok(())
}

fn describe(split: &Split) -> String {
    if split.is_empty() {
        return "none".into();
    }
    let [channels, height, width] = split.shape();
    if !split.is_labelled() {
        return format!("{} images of {channels}x{height}x{width} without labels", split.len());
    }
    let counts = split.class_counts();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let each = match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{least} each"),
        (Some(least), Some(most)) => format!("{least} to {most} each"),
        _ => "none".into(),
    };
    format!("{} images of {channels}x{height}x{width} in {} classes, {each}", split.len(), counts.len())
}
