use std::io::Write;
use std::ops::ControlFlow;

use anyhow::Result;
use clap::Args;
use ddae_base::progress::{Progress, Unit};
use ddae_base::{Stop, json};
use ddae_data::datasets::{self, Stage};
use ddae_data::split::Split;
use serde_json::json;

use super::{Root, opened, root_option};

/// Checks an archive's md5, unpacks it beside itself and says what it found
///
/// Downloads nothing. A data set that needs no unpacking is opened and described. The archive is checked against the
/// published md5 and unpacked under a temporary name, so an interrupted run leaves nothing that looks complete and the
/// next one starts afresh.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-data prepare ~/Downloads/cifar-10-binary.tar.gz
  ddae-data prepare --root /data/sets tiny")]
pub struct Arguments {
    /// Name of a data set, or path of its published archive
    #[arg(value_name = "NAME|ARCHIVE")]
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
    ddae_base::detail(|| opened(set));
    if arguments.json {
        let object = json!({
            "name": set.name,
            "action": prepared.action,
            "root": prepared.root,
            "train": set.train.len(),
            "test": set.test.len(),
        });
        return Ok(json::print("ddae.prepare/1", &object)?);
    }
    let mut out = ddae_base::stdout();
    writeln!(out, "{}: {}", set.name, prepared.action)?;
    writeln!(out, "  train  {}", describe(&set.train))?;
    writeln!(out, "  test   {}", describe(&set.test))?;
    if !ddae_base::is_quiet() {
        let root = root_option(prepared.root.as_deref());
        writeln!(out, "\nnext: ddae-data preview {}{root} -o {}.png", set.name, set.name)?;
    }
    Ok(())
}

fn describe(split: &Split) -> String {
    if split.is_empty() {
        return "none".into();
    }
    let [channels, height, width] = split.shape();
    let counts = split.class_counts();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let each = match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{least} each"),
        (Some(least), Some(most)) => format!("{least} to {most} each"),
        _ => "none".into(),
    };
    format!("{} images of {channels}x{height}x{width} in {} classes, {each}", split.len(), counts.len())
}
