//! Runs: state, settings, curves, scores, sheets.

use std::collections::BTreeSet;

use ddae_runs::{Settings, differences, settings};

use super::blocks::{Block, Figure, Section, Shown, Table, percent, plain, with_error};
use super::{Picture, data_uri};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::plot::paint::Paint;
use crate::run::{Run, SHEETS};

/// The most points of a curve; of more lines, each point is the mean of several.
const POINTS: usize = 400;

/// The runs side by side, with their curves.
pub(super) fn section(runs: &[Run]) -> Result<Option<Section>, ReportError> {
    let mut blocks = Vec::new();
    if !runs.is_empty() {
        blocks.push(Block::Table(overview(runs)));
    }
    blocks.extend(losses(runs)?);
    blocks.extend(scores(runs)?);
    blocks.extend(runs.iter().map(details));
    Ok(Section::new("training", "Training", "What the run folders tell.", blocks))
}

fn overview(runs: &[Run]) -> Table {
    let unknown = || "–".to_string();
    let row = |name: &str, of: &dyn Fn(&Run) -> String| {
        [name.to_string()].into_iter().chain(runs.iter().map(of)).collect::<Vec<String>>()
    };
    let mut rows = vec![
        row("state", &|run| run.overview.state.to_string()),
        row("data set", &|run| run.overview.dataset.clone().unwrap_or_else(unknown)),
        row("trained", &|run| run.overview.kind.clone().unwrap_or_else(unknown)),
        row("epochs", &|run| match run.overview.epochs {
            Some(all) => format!("{} of {all}", run.overview.epoch),
            None => run.overview.epoch.to_string(),
        }),
        row("steps", &|run| run.overview.step.to_string()),
        row("last loss", &|run| run.overview.loss.map_or_else(unknown, |at| format!("{:.4}", at.loss))),
        row("last validation loss", &|run| {
            run.overview.validation.map_or_else(unknown, |at| format!("{:.4}", at.loss))
        }),
        row("smallest of them", &|run| {
            run.overview
                .best_validation
                .map_or_else(unknown, |at| format!("{:.4} (epoch {})", at.loss, at.epoch))
        }),
    ];
    let all =
        runs.iter().filter_map(|run| run.overview.scores.as_ref()).flat_map(|scores| scores.values.keys());
    for name in all.collect::<BTreeSet<&String>>() {
        rows.push(row(&name.replace('_', " "), &|run| {
            let scores = run.overview.scores.as_ref().and_then(|scores| scores.values.get(name));
            scores.map_or_else(unknown, |score| percent(*score))
        }));
    }
    rows.push(row("seed", &|run| run.seed().map_or_else(unknown, |seed| seed.to_string())));
    rows.push(row("machine", &|run| run.device.clone().unwrap_or_else(unknown)));
    if runs.len() > 1 {
        let all: Vec<Option<&Settings>> = runs.iter().map(|run| run.overview.settings.as_ref()).collect();
        for (key, values) in differences(&all) {
            let shown = values.iter().map(|value| value.as_ref().map_or_else(unknown, settings::shown));
            rows.push([key].into_iter().chain(shown).collect());
        }
    }
    let head = [String::new()].into_iter().chain(runs.iter().map(|run| run.name.clone())).collect();
    Table { head, rows, numbers: true }
}

/// Training and validation losses of all runs in one plot.
fn losses(runs: &[Run]) -> Result<Option<Block>, ReportError> {
    let mut series = Vec::new();
    let mut most = 0;
    for (i, run) in runs.iter().enumerate() {
        let name =
            |what: &str| if runs.len() > 1 { format!("{}: {what}", run.name) } else { what.to_string() };
        let lines: Vec<(f64, f64, f64)> = run
            .losses
            .iter()
            .map(|line| (line.step as f64, line.loss, line.steps.unwrap_or(1) as f64))
            .collect();
        most = most.max(lines.len());
        let points = thinned(&lines).into_iter().map(|(step, loss)| Point {
            x: step,
            y: loss,
            error: None,
            text: format!("{}\nstep {step:.0}\nloss {loss:.5}", name("training")),
        });
        series.push(Series {
            name: name("training"),
            paint: colour(2 * i),
            dots: false,
            points: points.collect(),
        });
        let points = run.validations.iter().filter_map(|line| {
            let loss = line.validation_loss?;
            let (step, epoch) = (line.step, line.epoch);
            let what = name("validation");
            let text = format!(
                "{what}\nstep {step}, epoch {epoch}\nloss {loss:.5}\n{} images of {}",
                line.images, line.split
            );
            Some(Point { x: step as f64, y: loss, error: None, text })
        });
        series.push(Series {
            name: name("validation"),
            paint: colour(2 * i + 1),
            dots: true,
            points: points.collect(),
        });
    }
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return Ok(None);
    }
    let mut caption = "Training: means over the steps of a line of stats.jsonl. Validation: of the average of the weights. \
                       The axis is logarithmic."
        .to_string();
    if most > POINTS {
        caption.push_str(&format!(
            " Each point of a long curve is the mean of several lines ({POINTS} points at most)."
        ));
    }
    let plot = Curves { x: "steps".into(), y: "loss".into(), logarithmic: true, series, ..Curves::default() };
    let figure = Figure::new("loss", "Loss", &caption, &Plot::Curves(plot), None)?;
    Ok(Some(Block::Figure(Box::new(figure))))
}

/// At most [`POINTS`] of (step, loss, steps it is the mean of): means of equal numbers of lines.
fn thinned(lines: &[(f64, f64, f64)]) -> Vec<(f64, f64)> {
    let size = lines.len().div_ceil(POINTS).max(1);
    let mean = |lines: &[(f64, f64, f64)]| {
        let weight: f64 = lines.iter().map(|(_, _, steps)| steps).sum();
        let loss: f64 = lines.iter().map(|(_, loss, steps)| loss * steps).sum();
        (lines[lines.len() - 1].0, loss / weight)
    };
    lines.chunks(size).map(mean).filter(|(_, loss)| loss.is_finite()).collect()
}

/// A score, with its standard error where it is known.
fn said(score: f64, error: Option<f64>) -> String {
    error.map_or_else(|| percent(score), |error| with_error(score, error))
}

/// Scores of evaluations during training.
fn scores(runs: &[Run]) -> Result<Option<Block>, ReportError> {
    let mut series = Vec::new();
    let mut table = Table {
        head: vec!["run".into(), "epoch".into(), "score".into(), "value".into()],
        ..Table::default()
    };
    for run in runs {
        let names: BTreeSet<&String> = run.scores.iter().flat_map(|line| line.scores.keys()).collect();
        for name in names {
            let shown = name.trim_end_matches("_accuracy").replace('_', " ");
            let title = if runs.len() > 1 { format!("{}: {shown}", run.name) } else { shown };
            let points = run.scores.iter().filter_map(|line| {
                let score = *line.scores.get(name)?;
                let count = line.count.filter(|_| name == "accuracy");
                let error = count.map(|count| count.standard_error);
                let of = count.map_or(String::new(), |count| format!("\nof {} images", count.images));
                let (epoch, said) = (line.epoch, said(score, error));
                let text = format!("{title}\nepoch {epoch}, step {}\n{said}{of}", line.step);
                Some(Point { x: epoch as f64, y: score, error, text })
            });
            let points: Vec<Point> = points.collect();
            table.rows.extend(points.iter().map(|point| {
                vec![run.name.clone(), format!("{:.0}", point.x), name.clone(), said(point.y, point.error)]
            }));
            series.push(Series { name: title, paint: colour(series.len()), dots: true, points });
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let plot =
        Curves { x: "epochs".into(), y: "accuracy".into(), percent: true, series, ..Curves::default() };
    let caption = "Measured while the run trained, by the protocol in the run's details. Bars are one standard error; where there \
                   are none, the lines do not say of how many images a score is.";
    let figure = Figure::new("scores", "Scores by epoch", caption, &Plot::Curves(plot), Some(table))?;
    Ok(Some(Block::Figure(Box::new(figure))))
}

fn colour(number: usize) -> Paint {
    Paint::Series((number % crate::plot::paint::SERIES.len()) as u8)
}

fn details(run: &Run) -> Block {
    let mut facts = vec![["folder".to_string(), run.folder.display().to_string()]];
    let mut add = |name: &str, value: String| facts.push([name.to_string(), value]);
    add("machine", run.device.clone().unwrap_or_else(|| "its log does not say".to_string()));
    add("version", "run folders do not record it".to_string());
    if let Some(line) = run.scores.last().filter(|line| !line.protocol.is_null()) {
        add("protocol of scores", line.protocol.to_string());
    }
    let settings = run.overview.settings.iter().flatten();
    facts.extend(settings.map(|(key, value)| [key.clone(), plain(value)]));
    let commands = run.command().map(|command| ["train such a run anew".to_string(), command]);
    let title = format!("{}: configuration and how to train it again", run.name);
    Block::Details { title, facts, warnings: run.notes.clone(), commands: commands.into_iter().collect() }
}

/// Sheets of samples beside real images.
pub(super) fn sheets(runs: &[Run], real: Option<&Picture>, noised: &[Picture]) -> Option<Section> {
    let shown = |picture: &Picture| Shown { caption: picture.caption.clone(), uri: data_uri(&picture.png) };
    let mut blocks: Vec<Block> = runs
        .iter()
        .filter(|run| !run.sheets.is_empty())
        .map(|run| {
            let picture = |sheet: &crate::run::Sheet| Shown {
                caption: format!("after epoch {}", sheet.epoch),
                uri: data_uri(&sheet.png),
            };
            let title = match run.sheets_found > SHEETS {
                true => format!("{}: {} of {} sheets", run.name, run.sheets.len(), run.sheets_found),
                false => format!("{}: samples", run.name),
            };
            Block::Pictures { title, pictures: run.sheets.iter().map(picture).collect() }
        })
        .collect();
    if let Some(real) = real {
        blocks.push(Block::Pictures { title: "Real images".to_string(), pictures: vec![shown(real)] });
    }
    blocks.extend(noised.iter().map(|picture| Block::Pictures {
        title: "What the network sees".to_string(),
        pictures: vec![shown(picture)],
    }));
    let lead = "What the runs drew after each of some epochs, and images of the data set.";
    Section::new("samples", "Images", lead, blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_means_of_their_lines() {
        let lines: Vec<(f64, f64, f64)> = (1..=1000).map(|i| (f64::from(i), 1.0, 1.0)).collect();
        let thin = thinned(&lines);
        assert_eq!((thin.len(), thin[0], thin[333]), (334, (3.0, 1.0), (1000.0, 1.0)));
        assert_eq!(thinned(&[(1.0, 2.0, 3.0), (2.0, f64::NAN, 1.0)]), [(1.0, 2.0)]);
        let two: Vec<(f64, f64, f64)> =
            (0..800).map(|i| (f64::from(i), f64::from(i % 2), f64::from(1 + 2 * (i % 2)))).collect();
        assert_eq!(thinned(&two)[0], (1.0, 0.75), "weighted by steps");
    }
}
