//! Accuracy against noise and against the number of labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::blocks::{Block, Section, Table, with_error};
use super::probes::{figure, paint, probes};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::result::{Measured, NoiseProbe, Probe};

/// What heads that know the timestep find at each.
pub(super) fn section(results: &[Measured]) -> Result<Option<Section>, ReportError> {
    let all: Vec<&NoiseProbe> = results
        .iter()
        .filter_map(|result| match result {
            Measured::Noise(noise) => Some(&**noise),
            _ => None,
        })
        .collect();
    let mut blocks = Vec::new();
    if !all.is_empty() {
        blocks.push(curves(&all)?);
    }
    let lead = "One head for all timesteps, which is told how much noise there is.";
    Ok(Section::new("noise", "Noise", lead, blocks))
}

fn curves(all: &[&NoiseProbe]) -> Result<Block, ReportError> {
    let series = all.iter().enumerate().map(|(number, noise)| {
        let points = noise.timesteps.iter().map(|at| {
            let said = with_error(at.accuracy, at.standard_error);
            let text = format!("{}\nat timestep {}\n{said}", noise.name, at.timestep);
            Point { x: at.timestep as f64, y: at.accuracy, error: Some(at.standard_error), text }
        });
        Series { name: noise.name.clone(), paint: paint(number), dots: true, points: points.collect() }
    });
    let plot = Curves {
        x: "timestep".into(),
        y: "accuracy".into(),
        percent: true,
        series: series.collect(),
        ..Curves::default()
    };
    let timesteps: BTreeSet<i64> =
        all.iter().flat_map(|noise| noise.timesteps.iter().map(|at| at.timestep)).collect();
    let head =
        ["timestep".to_string()].into_iter().chain(all.iter().map(|noise| noise.name.clone())).collect();
    let rows = timesteps.into_iter().map(|timestep| {
        let at = |noise: &&NoiseProbe| {
            let found = noise.timesteps.iter().find(|at| at.timestep == timestep);
            found.map_or_else(|| "–".to_string(), |at| with_error(at.accuracy, at.standard_error))
        };
        [timestep.to_string()].into_iter().chain(all.iter().map(at)).collect()
    });
    let table = Table { head, rows: rows.collect(), numbers: true };
    let caption = "Accuracy on noised test images; bars are one standard error.";
    figure("noise-heads", "Accuracy of noise-conditional heads", caption, Plot::Curves(plot), Some(table))
}

/// Accuracy against labels of each class that were learned from, where results tell it of several numbers.
pub(super) fn by_shots(results: &[Measured]) -> Result<Option<Block>, ReportError> {
    let mut of: BTreeMap<String, Vec<(u64, &Probe)>> = BTreeMap::new();
    for probe in probes(results) {
        if let Some(shots) = probe.shots() {
            let file = Path::new(&probe.train.origin).file_stem().unwrap_or_default().to_string_lossy();
            let features = if probe.features == "pixels" { "pixels".into() } else { file };
            of.entry(format!("{} {features}", probe.probe)).or_default().push((shots, probe));
        }
    }
    of.values_mut().for_each(|points| points.sort_by_key(|(shots, _)| *shots));
    of.retain(|_, points| points.first().map(|(shots, _)| *shots) != points.last().map(|(shots, _)| *shots));
    if of.is_empty() {
        return Ok(None);
    }
    let value = |probe: &Probe| match &probe.seeds {
        Some(seeds) => (seeds.mean, seeds.deviation),
        None => (probe.accuracy, probe.error()),
    };
    let mut rows = Vec::new();
    let series = of.iter().enumerate().map(|(number, (name, points))| {
        let points = points.iter().map(|(shots, probe)| {
            let (accuracy, error) = value(probe);
            let said = with_error(accuracy, error);
            rows.push(vec![name.clone(), shots.to_string(), said.clone()]);
            let text = format!("{name}\n{shots} labels of each class\n{said}");
            Point { x: (*shots as f64).log10(), y: accuracy, error: Some(error), text }
        });
        Series { name: name.clone(), paint: paint(number), dots: true, points: points.collect() }
    });
    let series = series.collect();
    let plot = Curves {
        x: "labels of each class, powers of ten".into(),
        y: "accuracy".into(),
        percent: true,
        series,
        ..Curves::default()
    };
    let table = Table {
        head: ["", "labels of each class", "accuracy"].map(str::to_string).to_vec(),
        rows,
        numbers: true,
    };
    let caption = "Mean over the seeds that draw the labels; bars are one standard deviation over them, or, of one seed, \
                   one standard error.";
    figure("shots", "Accuracy with few labels", caption, Plot::Curves(plot), Some(table)).map(Some)
}
