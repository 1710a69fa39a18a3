//! `ddae-train list` and `ddae-train compare`.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::{json, plain, text::excerpt};
use ddae_train::TrainError;
use ddae_train::runs::overview::LossAt;
use ddae_train::runs::{self, Overview, Settings, differences, settings};
use serde_json::{Value, json};

use super::table;

/// The most characters of what differs in a line of a list.
const LONGEST_DIFFERENCE: usize = 72;

const LIST_EXAMPLES: &str = "\
Examples:
  ddae-train list
  ddae-train list runs --json
  ddae-train list ~/experiments --depth 4

A run is running while a process trains in its folder, finished after its last epoch, stopped
otherwise, and begun before its first step. Losses are the last line's of stats.jsonl; validation
losses are followed by the smallest one. The last column has the keys in which a run differs from
others of the same data set, process and network.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  ddae-train compare runs/demo runs/wide
  ddae-train compare runs/* --json

A key that a run does not have is shown as '-'. seed, amp and data_digest are those of its
checkpoints: another digest means that other images were trained on. So are ranks, accumulate,
step_batch (images of a step) and rate_factor, which lrate is multiplied by.";

/// List runs with their state, losses and scores
#[derive(Args, Debug)]
#[command(after_long_help = LIST_EXAMPLES)]
pub struct ListArguments {
    /// Run folders, or folders with runs in them
    #[arg(value_name = "FOLDER", default_value = ".")]
    folders: Vec<PathBuf>,
    /// How many folders deep runs are looked for
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<u8>(..))]
    depth: u8,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Compare runs: where their configurations differ, and what came of it
#[derive(Args, Debug)]
#[command(after_long_help = COMPARE_EXAMPLES)]
pub struct CompareArguments {
    /// Run folders, two or more
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

/// Lists runs.
pub fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for folder in &arguments.folders {
        let runs = runs::find(folder, usize::from(arguments.depth));
        found.extend(runs.map_err(|source| TrainError::Io { path: folder.clone(), source })?);
    }
    let mut seen = HashSet::new();
    found.retain(|folder| seen.insert(folder.clone()));
    let runs: Vec<Overview> = found.iter().map(|folder| Overview::read(folder)).collect();
    let mut out = ddae_base::stdout();
    if arguments.json {
        return Ok(json::print("ddae.list/1", &json!({ "runs": runs }))?);
    }
    if runs.is_empty() {
        let folders: Vec<String> =
            arguments.folders.iter().map(|folder| folder.display().to_string()).collect();
        let (folders, depth) = (plain(folders.join(", ")), arguments.depth);
        writeln!(out, "no runs in {folders}, looked {depth} folders deep (--depth)")?;
        return Ok(());
    }
    let heads = ["run", "state", "epoch", "step", "loss", "validation", "scores", "what", "differs in"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    let own = differences_among_likes(&runs);
    rows.extend(runs.iter().zip(own).map(|(run, differs)| {
        vec![
            run.run.display().to_string(),
            run.state.to_string(),
            epochs(run),
            run.step.to_string(),
            run.loss.map_or_else(unknown, |at| format!("{:.4}", at.loss)),
            validation(run),
            scores(run),
            [&run.dataset, &run.kind].map(|word| word.as_deref().unwrap_or("-")).join(" "),
            excerpt(differs, LONGEST_DIFFERENCE),
        ]
    }));
    table::write(&mut out, &rows)?;
    notes(&mut out, &runs)?;
    Ok(())
}

/// Compares runs.
pub fn compare(arguments: &CompareArguments) -> anyhow::Result<()> {
    if let [only] = arguments.runs.as_slice() {
        let only = only.display();
        return Err(TrainError::Argument(format!(
            "{only} is one run, and there is nothing to compare it with: give two or more"
        ))
        .into());
    }
    for folder in &arguments.runs {
        if !runs::find::is_run(folder) {
            let message = "holds no run: 'ddae-train list' shows where there are some".to_string();
            return Err(TrainError::Folder { path: folder.clone(), message }.into());
        }
    }
    let runs: Vec<Overview> = arguments.runs.iter().map(|folder| Overview::read(folder)).collect();
    let settings: Vec<Option<&Settings>> = runs.iter().map(|run| run.settings.as_ref()).collect();
    let differences = differences(&settings);
    let mut out = ddae_base::stdout();
    if arguments.json {
        let object = json!({ "runs": runs, "differences": differences });
        return Ok(json::print("ddae.compare/1", &object)?);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let row = |name: &str, of: &dyn Fn(&Overview) -> String| {
        [name.to_string()].into_iter().chain(runs.iter().map(of)).collect::<Vec<String>>()
    };
    let loss = |at: Option<LossAt>| at.map_or_else(unknown, |at| format!("{:.4}", at.loss));
    let mut rows = vec![
        row("", &|run| run.run.display().to_string()),
        row("state", &|run| run.state.to_string()),
        row("updated", &|run| run.updated.map_or_else(unknown, |then| ago(now.saturating_sub(then)))),
        row("epoch", &epochs),
        row("step", &|run| run.step.to_string()),
        row("loss", &|run| loss(run.loss)),
        row("validation loss", &|run| loss(run.validation)),
        row("smallest of them", &|run| {
            run.best_validation.map_or_else(unknown, |at| format!("{:.4} (epoch {})", at.loss, at.epoch))
        }),
    ];
    let names = runs.iter().filter_map(|run| run.scores.as_ref()).flat_map(|scores| scores.values.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    rows.extend(names.into_iter().map(|name| {
        row(name, &|run| {
            let value = run.scores.as_ref().and_then(|scores| scores.values.get(name));
            value.map_or_else(unknown, |value| format!("{value:.4}"))
        })
    }));
    if differences.is_empty() {
        table::write(&mut out, &rows)?;
        writeln!(out, "\nno key of their configurations differs")?;
    } else {
        rows.push(vec![String::new()]);
        rows.extend(differences.iter().map(|(key, values)| {
            let shown = |value: &Option<Value>| value.as_ref().map_or_else(unknown, settings::shown);
            [key.clone()].into_iter().chain(values.iter().map(shown)).collect()
        }));
        table::write(&mut out, &rows)?;
    }
    notes(&mut out, &runs)?;
    Ok(())
}

/// What stands for a value that a run does not have.
fn unknown() -> String {
    "-".to_string()
}

fn epochs(run: &Overview) -> String {
    let all = run.epochs.map_or_else(unknown, |epochs| epochs.to_string());
    format!("{}/{all}", run.epoch)
}

/// The last validation loss, and the smallest where that is another.
fn validation(run: &Overview) -> String {
    match (run.validation, run.best_validation) {
        (Some(last), Some(best)) if best.step != last.step => {
            format!("{:.4} ({:.4} at epoch {})", last.loss, best.loss, best.epoch)
        }
        (Some(last), _) => format!("{:.4}", last.loss),
        _ => unknown(),
    }
}

/// `knn 0.8123 linear 0.7910`
fn scores(run: &Overview) -> String {
    let shown = |(name, value): (&String, &f64)| format!("{} {value:.4}", name.trim_end_matches("_accuracy"));
    let scores = run.scores.iter().flat_map(|scores| scores.values.iter().map(shown));
    let scores: Vec<String> = scores.collect();
    if scores.is_empty() { unknown() } else { scores.join(" ") }
}

/// For each run the keys and values that are not the same in all runs of its data set and kind.
fn differences_among_likes(runs: &[Overview]) -> Vec<String> {
    let mut likes: BTreeMap<(&Option<String>, &Option<String>), Vec<usize>> = BTreeMap::new();
    for (number, run) in runs.iter().enumerate() {
        likes.entry((&run.dataset, &run.kind)).or_default().push(number);
    }
    let mut shown = vec![String::new(); runs.len()];
    for numbers in likes.values() {
        let settings: Vec<Option<&Settings>> = numbers.iter().map(|&n| runs[n].settings.as_ref()).collect();
        for (key, values) in differences(&settings) {
            for (&number, value) in numbers.iter().zip(values) {
                let value = value.as_ref().map_or_else(unknown, settings::shown);
                let separator = if shown[number].is_empty() { "" } else { " " };
                if runs[number].settings.is_some() {
                    shown[number].push_str(&format!("{separator}{key}={value}"));
                }
            }
        }
    }
    shown
}

/// What could not be read.
fn notes(out: &mut impl Write, runs: &[Overview]) -> io::Result<()> {
    for run in runs {
        for note in &run.notes {
            writeln!(out, "note: {}: {}", plain(run.run.display()), plain(note))?;
        }
    }
    Ok(())
}

/// `3 hours ago`
fn ago(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let found = units.iter().find(|(length, _)| seconds >= *length);
    match found.map(|(length, name)| (seconds / length, name)) {
        None => "just now".to_string(),
        Some((1, name)) => format!("1 {name} ago"),
        Some((count, name)) => format!("{count} {name}s ago"),
    }
}
