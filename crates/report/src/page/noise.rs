//! Accuracy against noise: of noise-conditional heads on features, and of classifiers that see the images.

use super::blocks::{Block, Figure, Section, Table, with_error};
use crate::ReportError;
use crate::plot::Plot;
use crate::plot::curves::{Curves, Point, Series};
use crate::plot::paint::{Paint, SERIES};
use crate::result::{Measured, standard_error};
use crate::run::Run;

/// Steps of the grid on which an EDM's noise levels are told.
const GRID: i64 = 18;

/// A curve: what it is of, and timesteps, accuracies and of how many images.
struct Curve {
    name: String,
    points: Vec<(i64, f64, u64)>,
}

impl Curve {
    /// Whether its timesteps are those of an EDM's grid rather than a DDPM's.
    fn is_on_grid(&self) -> bool {
        self.points.iter().all(|(timestep, ..)| *timestep <= GRID)
    }
}

/// The heads' and the classifiers' accuracies side by side, those of DDPMs and of EDMs in plots of their own.
pub(super) fn section(results: &[Measured], runs: &[Run]) -> Result<Option<Section>, ReportError> {
    let of_heads = results.iter().filter_map(|result| match result {
        Measured::Noise(noise) => Some(Curve {
            name: format!("head on {} ({})", noise.tap, noise.file.display()),
            points: noise.timesteps.iter().map(|at| (at.timestep, at.accuracy, noise.test.samples)).collect(),
        }),
        Measured::Probe(_) | Measured::Contrast(_) => None,
    });
    let of_runs = runs.iter().filter_map(|run| {
        let line = run.by_timestep()?;
        let points = line.by_timestep.iter().map(|at| (at.timestep, at.accuracy, at.images as u64)).collect();
        Some(Curve { name: format!("{} after epoch {}", run.name, line.epoch), points })
    });
    let curves: Vec<Curve> = of_heads.chain(of_runs).filter(|curve| !curve.points.is_empty()).collect();
    let mut blocks = Vec::new();
    for (on_grid, id, title, x) in [
        (false, "accuracy-by-noise", "Accuracy against noise", "timestep"),
        (true, "accuracy-by-noise-grid", "Accuracy against noise (EDM)", "step of the grid of 18"),
    ] {
        let of_plot: Vec<&Curve> = curves.iter().filter(|curve| curve.is_on_grid() == on_grid).collect();
        if !of_plot.is_empty() {
            blocks.push(figure(&of_plot, id, title, x)?);
        }
    }
    let lead = "How much is told of noised images: by a noise-conditional head on features (noise-mlp), and by classifiers that \
                were trained on the images themselves.";
    Ok(Section::new("noise", "Noise", lead, blocks))
}

fn figure(curves: &[&Curve], id: &str, title: &str, x: &str) -> Result<Block, ReportError> {
    let mut table = Table { head: vec!["of".into(), x.into(), "accuracy".into()], ..Table::default() };
    let series = curves.iter().enumerate().map(|(number, curve)| {
        let points = curve.points.iter().map(|&(timestep, accuracy, images)| {
            let error = standard_error(accuracy, images);
            let said = with_error(accuracy, error);
            table.rows.push(vec![curve.name.clone(), timestep.to_string(), said.clone()]);
            let text = format!("{}\n{x} {timestep}\n{said}\nof {images} images", curve.name);
            Point { x: timestep as f64, y: accuracy, error: Some(error), text }
        });
        let paint = Paint::Series((number % SERIES.len()) as u8);
        Series { name: curve.name.clone(), paint, dots: true, points: points.collect() }
    });
    let series = series.collect();
    let plot = Curves { x: x.into(), y: "accuracy".into(), percent: true, series, ..Curves::default() };
    let caption = "Bars are one standard error.";
    Ok(Block::Figure(Box::new(Figure::new(id, title, caption, &Plot::Curves(plot), Some(table))?)))
}
