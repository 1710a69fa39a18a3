//! How features were chosen: accuracy by layer and timestep.

use std::collections::BTreeSet;

use super::blocks::{Block, Section, Table, percent, with_error};
use super::probes::{figure, paint, probes};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::plot::heat::{Cell, Heat, Scale};
use crate::result::{Measured, Probe, Trial, place, standard_error};

/// Where the choice among layers and timesteps was made, and its accuracies.
fn measured(trial: &Trial) -> Option<(f64, &'static str)> {
    let held_out = trial.held_out_accuracy.map(|accuracy| (accuracy, "held-out training samples"));
    trial.test_accuracy.map(|accuracy| (accuracy, "test samples")).or(held_out)
}

/// Layer and timestep against accuracy.
pub(super) fn choices(results: &[Measured]) -> Result<Option<Section>, ReportError> {
    let mut blocks = Vec::new();
    for probe in probes(results) {
        blocks.extend(heat_map(probe)?);
        blocks.extend(by_timestep(probe)?);
    }
    let lead = "How much each layer tells at each timestep, where the features were chosen. The frame is the choice.";
    Ok(Section::new("choices", "Layers and timesteps", lead, blocks))
}

struct Grid<'a> {
    timesteps: Vec<i64>,
    layers: Vec<&'a str>,
    /// Accuracy and number of samples by layer and timestep.
    accuracies: Vec<Vec<Option<(f64, u64)>>>,
    of: &'static str,
    others: Vec<(&'a str, f64)>,
}

fn grid(probe: &Probe) -> Option<Grid<'_>> {
    let trials = &probe.selection.trials;
    let of = trials.iter().find_map(measured)?.1;
    let of_all = if of.starts_with("test") { probe.test.samples } else { probe.selection.held_out_samples };
    let places: Vec<(i64, &str, (f64, u64))> = trials
        .iter()
        .filter_map(|trial| {
            let (timestep, layer) = place(&trial.features)?;
            Some((timestep, layer, (measured(trial)?.0, trial.samples.unwrap_or(of_all))))
        })
        .collect();
    let timesteps: BTreeSet<i64> = places.iter().map(|(timestep, ..)| *timestep).collect();
    let timesteps: Vec<i64> = timesteps.into_iter().collect();
    // In the order of the network, which files have.
    let mut layers: Vec<&str> = Vec::new();
    places.iter().for_each(|(_, layer, _)| {
        if !layers.contains(layer) {
            layers.push(layer);
        }
    });
    if places.len() < 2 {
        return None;
    }
    let mut accuracies = vec![vec![None; timesteps.len()]; layers.len()];
    for (timestep, layer, accuracy) in places {
        let row = layers.iter().position(|known| *known == layer)?;
        let column = timesteps.iter().position(|known| *known == timestep)?;
        accuracies[row][column] = Some(accuracy);
    }
    let others = trials.iter().filter(|trial| place(&trial.features).is_none());
    let others = others.filter_map(|trial| Some((trial.features.as_str(), measured(trial)?.0))).collect();
    Some(Grid { timesteps, layers, accuracies, of, others })
}

/// The heat map of a result that chose among several layers or timesteps; none for others.
pub fn heat(probe: &Probe) -> Option<Heat> {
    Some(heat_of(&grid(probe)?, probe))
}

fn heat_of(grid: &Grid, probe: &Probe) -> Heat {
    let cell = |layer: &str, timestep: i64, (accuracy, samples): (f64, u64)| {
        let accuracy_said = with_error(accuracy, standard_error(accuracy, samples));
        Cell {
            value: accuracy,
            shown: format!("{:.1}", 100.0 * accuracy),
            text: format!("{layer} at timestep {timestep}\n{accuracy_said}\nof {samples} {}", grid.of),
        }
    };
    let cells = grid.accuracies.iter().zip(&grid.layers).map(|(row, layer)| {
        let cells = row.iter().zip(&grid.timesteps);
        cells.map(|(accuracy, timestep)| accuracy.map(|accuracy| cell(layer, *timestep, accuracy))).collect()
    });
    let chosen = place(&probe.features).and_then(|(timestep, layer)| {
        let row = grid.layers.iter().position(|known| *known == layer)?;
        Some((row, grid.timesteps.iter().position(|known| *known == timestep)?))
    });
    Heat {
        row_title: "layer".into(),
        column_title: "timestep".into(),
        rows: grid.layers.iter().map(|layer| (*layer).to_string()).collect(),
        columns: grid.timesteps.iter().map(i64::to_string).collect(),
        cells: cells.collect(),
        scale: Scale::Spread,
        chosen,
    }
}

impl Grid<'_> {
    /// What accuracies are of: `80 held-out training samples`.
    fn measured_on(&self) -> String {
        let counts = || self.accuracies.iter().flatten().flatten().map(|(_, samples)| *samples);
        let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        match fewest == most {
            true => format!("{most} {}", self.of),
            false => format!("{fewest} to {most} {}: the sooner a pair was given up, the fewer", self.of),
        }
    }
}

fn heat_map(probe: &Probe) -> Result<Option<Block>, ReportError> {
    let Some(grid) = grid(probe) else { return Ok(None) };
    let plot = heat_of(&grid, probe);
    let head = [String::new()].into_iter().chain(grid.timesteps.iter().map(|t| format!("t{t}"))).collect();
    let rows = grid.accuracies.iter().zip(&grid.layers).map(|(row, layer)| {
        let shown = row
            .iter()
            .map(|accuracy| accuracy.map_or_else(|| "–".to_string(), |(accuracy, _)| percent(accuracy)));
        [(*layer).to_string()].into_iter().chain(shown).collect()
    });
    let mut table = Table { head, rows: rows.collect(), numbers: true };
    table.rows.extend(
        grid.others.iter().map(|(features, accuracy)| vec![(*features).to_string(), percent(*accuracy)]),
    );
    let mut caption = format!("Accuracy in percent on {}.", grid.measured_on());
    if !grid.others.is_empty() {
        caption.push_str(&format!(
            " {} joined features were tried besides; they are in the table.",
            grid.others.len()
        ));
    }
    let title = format!("Accuracy by layer and timestep: {}", probe.name);
    figure(&format!("heat {}", probe.name), &title, &caption, Plot::Heat(plot), Some(table)).map(Some)
}

/// Accuracy against noise, a curve for each layer.
fn by_timestep(probe: &Probe) -> Result<Option<Block>, ReportError> {
    let Some(grid) = grid(probe).filter(|grid| grid.timesteps.len() > 2) else { return Ok(None) };
    let series = grid.layers.iter().zip(&grid.accuracies).enumerate().map(|(i, (layer, row))| {
        let points = row.iter().zip(&grid.timesteps).filter_map(|(accuracy, timestep)| {
            let (accuracy, samples) = (*accuracy)?;
            let error = standard_error(accuracy, samples);
            let text = format!("{layer} at timestep {timestep}\n{}", with_error(accuracy, error));
            Some(Point { x: *timestep as f64, y: accuracy, error: Some(error), text })
        });
        Series { name: (*layer).to_string(), paint: paint(i), dots: true, points: points.collect() }
    });
    let series = series.collect();
    let plot =
        Curves { x: "timestep".into(), y: "accuracy".into(), percent: true, series, ..Curves::default() };
    let title = format!("Accuracy against noise: {}", probe.name);
    let caption =
        format!("The same numbers as curves; bars are one standard error of {}.", grid.measured_on());
    figure(&format!("noise {}", probe.name), &title, &caption, Plot::Curves(plot), None).map(Some)
}
