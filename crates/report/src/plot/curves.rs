//! Values over a number: losses over steps, accuracies over epochs or timesteps.

use plotters::chart::ChartBuilder;
use plotters::element::{Circle, ErrorBar};
use plotters::series::LineSeries;
use plotters::style::{Color, TRANSPARENT};

use super::axis::Ticked;
use super::canvas::{FINE, Group};
use super::paint::Paint;
use super::{Drawing, Mark, axis, canvas, failed, label, line};
use crate::ReportError;

/// Curves in one plot.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// What is along the horizontal axis.
    pub x: String,
    /// What is along the vertical axis.
    pub y: String,
    /// Whether values are shares, shown in percent.
    pub percent: bool,
    /// Whether the vertical axis is logarithmic; values that are not positive are then left out.
    pub logarithmic: bool,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub paint: Paint,
    /// Whether its points are drawn, too.
    pub dots: bool,
    /// Its points in order.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where it is across.
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// Standard error of the value.
    pub error: Option<f64>,
    /// What the pointer shows.
    pub text: String,
}

impl Curves {
    fn value(&self, y: f64) -> Option<f64> {
        match self.logarithmic {
            true => (y > 0.0).then(|| y.log10()),
            false => Some(y),
        }
    }

    fn ends(point: &Point) -> (f64, f64) {
        let error = point.error.unwrap_or(0.0);
        (point.y - error, point.y + error)
    }

    pub(super) fn draw(&self, width: u32) -> Result<Drawing, ReportError> {
        let height = (width * 55 / 100).clamp(240, 360);
        let canvas = canvas(width, height)?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = axis::range(points().map(|point| point.x)).unwrap_or((0.0, 1.0));
        let values =
            points().map(Self::ends).flat_map(|(low, high)| [low, high]).filter_map(|y| self.value(y));
        let (low, high) = axis::widened(axis::range(values).unwrap_or((0.0, 1.0)), 0.06);
        let (left, right) = axis::widened(across, 0.02);
        let count = (width / 90).clamp(3, 8) as usize;
        let x_ticks: Vec<f64> = axis::linear(across.0, across.1, count)
            .into_iter()
            .filter(|x| (left..=right).contains(x))
            .collect();
        let y_ticks = match self.logarithmic {
            true => axis::logarithmic(low, high, 6),
            false => axis::linear(low, high, 6),
        };
        let shown = |value: f64| match (self.logarithmic, self.percent) {
            (true, _) => axis::shown(10f64.powf(value)),
            (_, true) => format!("{} %", axis::shown((value * 1e4).round() / 100.0)),
            _ => axis::shown(value),
        };
        let area = canvas.area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(8 * FINE)
            .margin_right(10 * FINE)
            .x_label_area_size(40 * FINE)
            .y_label_area_size(62 * FINE)
            .build_cartesian_2d(Ticked::new(left, right, x_ticks), Ticked::new(low, high, y_ticks))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(line(Paint::Grid, 10))
            .light_line_style(TRANSPARENT)
            .axis_style(line(Paint::Quiet, 10))
            .label_style(label(Paint::Quiet))
            .axis_desc_style(label(Paint::Quiet))
            .x_label_formatter(&|x| axis::shown(*x))
            .y_label_formatter(&|y| shown(*y))
            .set_all_tick_mark_size(4 * FINE)
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .draw()
            .map_err(failed)?;
        let mut marks = Vec::new();
        for (number, series) in self.series.iter().enumerate() {
            let group = number as Group + 1;
            canvas.group(group);
            let at = |point: &Point| self.value(point.y).map(|y| (point.x, y));
            let places: Vec<(f64, f64)> = series.points.iter().filter_map(at).collect();
            if places.len() > 1 {
                let style = line(series.paint, 18);
                chart.draw_series(LineSeries::new(places.iter().copied(), style)).map_err(failed)?;
            }
            let bars = series.points.iter().filter_map(|point| {
                let (low, high) = point.error.map(|_| Self::ends(point))?;
                let ends = [low.max(f64::MIN_POSITIVE), point.y, high].map(|y| self.value(y));
                let [Some(low), Some(middle), Some(high)] = ends else { return None };
                Some(ErrorBar::new_vertical(
                    point.x,
                    low,
                    middle,
                    high,
                    line(series.paint, 14),
                    7 * FINE as u32,
                ))
            });
            chart.draw_series(bars).map_err(failed)?;
            if series.dots || places.len() == 1 {
                let dots =
                    places.iter().map(|place| Circle::new(*place, 3 * FINE, series.paint.colour().filled()));
                chart.draw_series(dots).map_err(failed)?;
            }
            marks.extend(series.points.iter().filter_map(|point| {
                let (x, y) = chart.backend_coord(&at(point)?);
                let (x, y) = (x as f32 / FINE as f32, y as f32 / FINE as f32);
                Some(Mark { x, y, size: (0.0, 0.0), group, text: point.text.clone(), image: None })
            }));
        }
        drop(chart);
        drop(area);
        Ok(Drawing { size: canvas.size, shapes: canvas.into_shapes(), marks })
    }
}
