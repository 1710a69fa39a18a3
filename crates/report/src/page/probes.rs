//! Results of probes.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::blocks::{Block, Figure, Section, Table, percent, plain, with_error};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::plot::heat::{Cell, Heat, Scale};
use crate::plot::paint::{Paint, SERIES};
use crate::plot::rows::{Row, Rows};
use crate::result::{Contrast, Measured, Probe, Split, standard_error};

/// The most classes of a confusion matrix that is drawn.
const CLASSES: usize = 40;

pub(super) fn probes(results: &[Measured]) -> impl Iterator<Item = &Probe> {
    results.iter().filter_map(|result| match result {
        Measured::Probe(probe) => Some(&**probe),
        _ => None,
    })
}

fn contrasts(results: &[Measured]) -> impl Iterator<Item = &Contrast> {
    results.iter().filter_map(|result| match result {
        Measured::Contrast(contrast) => Some(&**contrast),
        _ => None,
    })
}

pub(super) fn paint(number: usize) -> Paint {
    Paint::Series((number % SERIES.len()) as u8)
}

pub(super) fn figure(
    id: &str,
    title: &str,
    caption: &str,
    plot: Plot,
    table: Option<Table>,
) -> Result<Block, ReportError> {
    Ok(Block::Figure(Box::new(Figure::new(id, title, caption, &plot, table)?)))
}

/// All accuracies with their errors and what they depend on.
pub(super) fn overview(results: &[Measured]) -> Result<Option<Section>, ReportError> {
    let all: Vec<&Probe> = probes(results).collect();
    // What was learned from few labels has a plot of its own.
    let whole: Vec<&Probe> = all.iter().copied().filter(|probe| probe.shots().is_none()).collect();
    let mut blocks = Vec::new();
    let said = |probe: &Probe| match &probe.seeds {
        Some(seeds) => format!(
            "{} (mean of {} seeds {} ± {} %)",
            with_error(probe.accuracy, probe.error()),
            seeds.accuracies.len(),
            percent(seeds.mean).trim_end_matches(" %"),
            percent(seeds.deviation).trim_end_matches(" %")
        ),
        None => with_error(probe.accuracy, probe.error()),
    };
    if !all.is_empty() {
        let shown = if whole.is_empty() { &all } else { &whole };
        let rows = shown.iter().map(|probe| Row {
            name: probe.name.clone(),
            value: Some(probe.accuracy),
            error: Some(probe.error()),
            paint: paint(0),
            text: format!(
                "{}\n{}\n{} of {} test samples",
                probe.name,
                said(probe),
                probe.correct,
                probe.test.samples
            ),
        });
        let plot = Rows { x: "accuracy on the test set".into(), percent: true, rows: rows.collect() };
        let head = ["", "accuracy", "found", "features", "chosen", "seed"];
        let rows = all.iter().map(|probe| {
            vec![
                probe.name.clone(),
                said(probe),
                format!("{} of {}", probe.correct, probe.test.samples),
                format!("{} ({})", probe.features, probe.dim),
                probe.selection.features.clone(),
                probe.seed().map_or_else(|| "–".to_string(), |seed| seed.to_string()),
            ]
        });
        let table = Table { head: head.map(str::to_string).to_vec(), rows: rows.collect(), numbers: false };
        let caption = "Bars are one standard error, √(p (1 − p) / n) of n test samples. What other seeds would change comes on top.";
        blocks.push(figure("accuracy", "Accuracy", caption, Plot::Rows(plot), Some(table))?);
        blocks.extend(by_epoch(&whole)?);
        blocks.extend(super::noise::by_shots(results)?);
    }
    blocks.extend(results.iter().map(details));
    let lead = "What simple classifiers make of the features, each number with all that it depends on.";
    Ok(Section::new("results", "Results", lead, blocks))
}

/// Accuracies of the same probe at several checkpoints.
fn by_epoch(all: &[&Probe]) -> Result<Option<Block>, ReportError> {
    let names: BTreeSet<&str> = all.iter().map(|probe| probe.probe.as_str()).collect();
    let mut series = Vec::new();
    for name in names {
        let same = all.iter().filter(|probe| probe.probe == name);
        let mut points: Vec<Point> = same
            .filter_map(|probe| {
                let (epoch, error) = (probe.epoch()?, probe.error());
                let accuracy = with_error(probe.accuracy, error);
                let text = format!("{name} after epoch {epoch}\n{accuracy}\n{}", probe.features);
                Some(Point { x: epoch as f64, y: probe.accuracy, error: Some(error), text })
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let epochs: BTreeSet<u64> = points.iter().map(|point| point.x as u64).collect();
        if epochs.len() > 1 {
            series.push(Series { name: name.to_string(), paint: paint(series.len()), dots: true, points });
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let plot =
        Curves { x: "epochs".into(), y: "accuracy".into(), percent: true, series, ..Curves::default() };
    let caption = "Each with the features of its checkpoint; bars are one standard error.";
    figure("accuracy-by-epoch", "Accuracy by checkpoint", caption, Plot::Curves(plot), None).map(Some)
}

/// A result with everything that it depends on.
fn details(result: &Measured) -> Block {
    let mut facts: Vec<[String; 2]> = Vec::new();
    let mut add = |name: &str, value: &str| facts.push([name.to_string(), value.to_string()]);
    let all = |facts: &mut Vec<[String; 2]>, prefix: &str, values: &Map<String, Value>| {
        facts.extend(
            values.iter().map(|(key, value)| [format!("{prefix}{}", key.replace('_', " ")), plain(value)]),
        );
    };
    let splits = |facts: &mut Vec<[String; 2]>, splits: [&Split; 2]| {
        for (name, split) in ["train", "test"].into_iter().zip(splits) {
            facts.push([name.to_string(), format!("{} ({} samples)", split.origin, split.samples)]);
        }
        for (name, split) in ["train: ", "test: "].into_iter().zip(splits) {
            all(facts, name, &split.attributes);
        }
    };
    let unsaid = "the file does not say";
    let (made_by, warnings, command, title) = match result {
        Measured::Probe(probe) => {
            add("read from", &probe.file.display().to_string());
            (&probe.made_by, &probe.warnings, Some(probe.command()), probe.name.clone())
        }
        Measured::Contrast(contrast) => {
            add("read from", &contrast.file.display().to_string());
            let command = contrast.made_by.as_ref().map(|made_by| made_by.command.clone());
            (
                &contrast.made_by,
                &contrast.warnings,
                command,
                format!("contrastive ({})", contrast.file.display()),
            )
        }
        Measured::Noise(noise) => {
            add("read from", &noise.file.display().to_string());
            let command = noise.made_by.as_ref().map(|made_by| made_by.command.clone());
            (&noise.made_by, &noise.warnings, command, noise.name.clone())
        }
    };
    add("version", made_by.as_ref().map_or(unsaid, |made_by| &made_by.tool));
    add("machine", made_by.as_ref().map_or(unsaid, |made_by| &made_by.machine));
    match result {
        Measured::Probe(probe) => {
            add("chosen", &probe.selection.features);
            add("held out", &format!("{} training samples", probe.selection.held_out_samples));
            all(&mut facts, "", &probe.protocol);
            splits(&mut facts, [&probe.train, &probe.test]);
        }
        Measured::Noise(noise) => {
            add("features", &format!("{} ({})", noise.tap, noise.dim));
            all(&mut facts, "", &noise.protocol);
            splits(&mut facts, [&noise.train, &noise.test]);
        }
        Measured::Contrast(contrast) => {
            add("noisings", &contrast.noisings);
            add("images", &contrast.pictures.to_string());
            add("batch", &contrast.batch.to_string());
            all(&mut facts, "", &contrast.attributes);
        }
    }
    let commands = command.map(|command| ["find it again".to_string(), command]);
    let title = format!("{title}: protocol and command");
    Block::Details { title, facts, warnings: warnings.clone(), commands: commands.into_iter().collect() }
}

/// Which classes are found, and what they are taken for.
pub(super) fn classes(results: &[Measured]) -> Result<Option<Section>, ReportError> {
    let mut blocks = Vec::new();
    for probe in probes(results).filter(|probe| probe.shots().is_none()) {
        blocks.push(per_class(probe)?);
        if probe.classes.len() <= CLASSES {
            blocks.push(confusion(probe)?);
        }
    }
    let lead = "Which classes are found, and what the others are taken for.";
    Ok(Section::new("classes", "Classes", lead, blocks))
}

fn per_class(probe: &Probe) -> Result<Block, ReportError> {
    let rows = probe.classes.iter().map(|class| {
        let value = (class.samples > 0).then(|| class.correct as f64 / class.samples as f64);
        let error = value.map(|value| standard_error(value, class.samples));
        let said = value
            .zip(error)
            .map_or_else(|| "no test samples".to_string(), |(value, error)| with_error(value, error));
        Row {
            name: class.name.clone(),
            value,
            error,
            paint: paint(0),
            text: format!("{}\n{said}\n{} of {}", class.name, class.correct, class.samples),
        }
    });
    let rows: Vec<Row> = rows.collect();
    let table = rows.iter().zip(&probe.classes).map(|(row, class)| {
        let accuracy = row.value.map_or_else(|| "–".to_string(), percent);
        vec![class.name.clone(), accuracy, format!("{} of {}", class.correct, class.samples)]
    });
    let head = ["class", "accuracy", "found"].map(str::to_string).to_vec();
    let table = Table { head, rows: table.collect(), numbers: true };
    let plot = Rows { x: "accuracy".into(), percent: true, rows };
    let title = format!("Accuracy by class: {}", probe.name);
    figure(
        &format!("classes {}", probe.name),
        &title,
        "Bars are one standard error.",
        Plot::Rows(plot),
        Some(table),
    )
}

fn confusion(probe: &Probe) -> Result<Block, ReportError> {
    let names: Vec<String> = probe.classes.iter().map(|class| class.name.clone()).collect();
    let cells = probe.confusion.iter().zip(&probe.classes).map(|(row, class)| {
        let cell = |(&count, name): (&u64, &String)| {
            let share = count as f64 / class.samples.max(1) as f64;
            let text =
                format!("{} taken for {name}\n{count} of {}\n{}", class.name, class.samples, percent(share));
            Some(Cell {
                value: share,
                shown: if count == 0 { String::new() } else { count.to_string() },
                text,
            })
        };
        row.iter().zip(&names).map(cell).collect()
    });
    let plot = Heat {
        row_title: "true class".into(),
        column_title: "predicted class".into(),
        cells: cells.collect(),
        rows: names.clone(),
        columns: names.clone(),
        scale: Scale::Share,
        chosen: None,
    };
    let head = [String::new()].into_iter().chain(names.iter().cloned()).collect();
    let rows = probe
        .confusion
        .iter()
        .zip(&names)
        .map(|(row, name)| [name.clone()].into_iter().chain(row.iter().map(u64::to_string)).collect());
    let table = Table { head, rows: rows.collect(), numbers: true };
    let title = format!("Confusion: {}", probe.name);
    let caption = "Numbers of test samples; the darker, the larger the share of the true class.";
    figure(&format!("confusion {}", probe.name), &title, caption, Plot::Heat(plot), Some(table))
}

/// Alignment and uniformity.
pub(super) fn contrast(results: &[Measured]) -> Result<Option<Section>, ReportError> {
    let all: Vec<&Contrast> = contrasts(results).collect();
    let epochs: BTreeSet<u64> = all.iter().filter_map(|contrast| contrast.epoch()).collect();
    let mut blocks = Vec::new();
    for (name, caption, of) in [
        ("Alignment", "Mean squared distance of an image's two noisings; lower is better.", 0),
        ("Uniformity", "Logarithm of the mean of exp(−2 d²) over pairs of images; lower is better.", 1),
    ] {
        let value = |features: &crate::result::FeatureContrast| [features.alignment, features.uniformity][of];
        if all.is_empty() {
            break;
        }
        let several = all.len() > 1;
        let rows = all.iter().flat_map(|contrast| {
            contrast.features.iter().map(move |features| {
                let file = format!(" ({})", contrast.file.display());
                let label = format!("{}{}", features.features, if several { &file } else { "" });
                (label, value(features))
            })
        });
        let rows: Vec<Row> = rows
            .map(|(label, value)| Row {
                text: format!("{label}\n{} {value:.4}", name.to_lowercase()),
                name: label,
                value: Some(value),
                error: None,
                paint: paint(0),
            })
            .collect();
        let table = Table {
            head: vec!["features".into(), name.to_lowercase()],
            rows: rows
                .iter()
                .map(|row| vec![row.name.clone(), row.value.map_or_else(String::new, |v| format!("{v:.6}"))])
                .collect(),
            numbers: true,
        };
        if epochs.len() > 1 {
            blocks.push(contrast_by_epoch(name, caption, &all, value, table)?);
        } else {
            let plot = Rows { x: name.to_lowercase(), percent: false, rows };
            blocks.push(figure(name, name, caption, Plot::Rows(plot), Some(table))?);
        }
    }
    let lead = "How features lie without labels, under noise.";
    Ok(Section::new("contrast", "Alignment and uniformity", lead, blocks))
}

fn contrast_by_epoch(
    name: &str,
    caption: &str,
    all: &[&Contrast],
    value: impl Fn(&crate::result::FeatureContrast) -> f64,
    table: Table,
) -> Result<Block, ReportError> {
    let features: BTreeSet<&str> = all
        .iter()
        .flat_map(|contrast| contrast.features.iter().map(|features| features.features.as_str()))
        .collect();
    let series = features.into_iter().enumerate().map(|(i, wanted)| {
        let points = all.iter().filter_map(|contrast| {
            let value = value(contrast.features.iter().find(|features| features.features == wanted)?);
            let epoch = contrast.epoch()?;
            let text = format!("{wanted} after epoch {epoch}\n{} {value:.4}", name.to_lowercase());
            Some(Point { x: epoch as f64, y: value, error: None, text })
        });
        let mut points: Vec<Point> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { name: wanted.to_string(), paint: paint(i), dots: true, points }
    });
    let series = series.collect();
    let plot = Curves { x: "epochs".into(), y: name.to_lowercase(), series, ..Curves::default() };
    figure(name, &format!("{name} by checkpoint"), caption, Plot::Curves(plot), Some(table))
}
