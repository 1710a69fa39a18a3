//! Accuracy against noise, of noise-conditional heads on features and of classifiers that see the images, and against labels.

use std::collections::BTreeMap;
use std::path::Path;

use super::blocks::{Block, Section, Table, with_error};
use super::probes::{figure, paint, probes};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::result::{Measured, Probe, standard_error};
use crate::run::Run;

/// A curve: what it is of, whether its timesteps are steps of an EDM's grid, and timesteps, accuracies and of how many images.
struct Curve {
    name: String,
    is_on_grid: bool,
    points: Vec<(i64, f64, u64)>,
}

/// The heads' and the classifiers' accuracies side by side, those of EDMs in a plot of their own.
pub(super) fn section(results: &[Measured], runs: &[Run]) -> Result<Option<Section>, ReportError> {
    let of_heads = results.iter().filter_map(|result| match result {
        Measured::Noise(noise) => Some(Curve {
            name: noise.name.clone(),
            is_on_grid: noise.is_of_edm(),
            points: noise.timesteps.iter().map(|at| (at.timestep, at.accuracy, noise.test.samples)).collect(),
        }),
        _ => None,
    });
    let of_runs = runs.iter().filter_map(|run| {
        let line = run.by_timestep()?;
        let points =
            line.by_timestep.iter().map(|at| (at.timestep, at.accuracy, at.count.images as u64)).collect();
        let name = format!("{} after epoch {}", run.name, line.epoch);
        Some(Curve { name, is_on_grid: run.is_of_edm(), points })
    });
    let curves: Vec<Curve> = of_heads.chain(of_runs).filter(|curve| !curve.points.is_empty()).collect();
    let mut blocks = Vec::new();
    for (on_grid, id, title, x) in [
        (false, "accuracy-by-noise", "Accuracy against noise", "timestep"),
        (true, "accuracy-by-noise-grid", "Accuracy against noise (EDM)", "step of the grid of 18"),
    ] {
        let of_plot: Vec<&Curve> = curves.iter().filter(|curve| curve.is_on_grid == on_grid).collect();
        if !of_plot.is_empty() {
            blocks.push(by_noise(&of_plot, id, title, x)?);
        }
    }
    let lead = "How much is told of noised images: by a noise-conditional head on features (noise-mlp), and by classifiers that \
                were trained on the images themselves.";
    Ok(Section::new("noise", "Noise", lead, blocks))
}

fn by_noise(curves: &[&Curve], id: &str, title: &str, x: &str) -> Result<Block, ReportError> {
    let mut table = Table { head: vec!["of".into(), x.into(), "accuracy".into()], ..Table::default() };
    let series = curves.iter().enumerate().map(|(number, curve)| {
        let points = curve.points.iter().map(|&(timestep, accuracy, images)| {
            let error = standard_error(accuracy, images);
            let said = with_error(accuracy, error);
            table.rows.push(vec![curve.name.clone(), timestep.to_string(), said.clone()]);
            let text = format!("{}\n{x} {timestep}\n{said}\nof {images} images", curve.name);
            Point { x: timestep as f64, y: accuracy, error: Some(error), text }
        });
        Series { name: curve.name.clone(), paint: paint(number), dots: true, points: points.collect() }
    });
    let series = series.collect();
    let plot = Curves { x: x.into(), y: "accuracy".into(), percent: true, series, ..Curves::default() };
    let caption = "Bars are one standard error.";
    figure(id, title, caption, Plot::Curves(plot), Some(table))
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
