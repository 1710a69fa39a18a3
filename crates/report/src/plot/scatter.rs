//! Points of several classes.

use plotters::chart::ChartBuilder;
use plotters::element::Circle;
use plotters::style::Color;

use super::canvas::{FINE, Group};
use super::paint::{Paint, SERIES};
use super::{Drawing, Mark, axis, canvas, failed, line};
use crate::ReportError;

/// Points in the plane, coloured by class. The axes mean nothing by themselves and are not drawn.
#[derive(Clone, Debug, Default)]
pub struct Scatter {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where it is.
    pub at: (f64, f64),
    /// Its class.
    pub class: usize,
    /// Whether it is drawn as a ring: a mistake.
    pub ring: bool,
    /// What the pointer shows.
    pub text: String,
    /// The image that the pointer shows.
    pub image: Option<usize>,
}

impl Scatter {
    pub(super) fn draw(&self, width: u32) -> Result<Drawing, ReportError> {
        let canvas = canvas(width, (width * 3 / 4).clamp(280, 480))?;
        let range = |of: fn(&Point) -> f64| {
            axis::widened(axis::range(self.points.iter().map(of)).unwrap_or((0.0, 1.0)), 0.04)
        };
        let ((left, right), (low, high)) = (range(|point| point.at.0), range(|point| point.at.1));
        let area = canvas.area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6 * FINE)
            .build_cartesian_2d(left..right, low..high)
            .map_err(failed)?;
        let mut marks = Vec::new();
        for class in 0..self.classes.len() {
            let (group, paint) = (class as Group + 1, Paint::Series((class % SERIES.len()) as u8));
            canvas.group(group);
            let points = || self.points.iter().filter(move |point| point.class == class);
            let circles = points().map(|point| match point.ring {
                true => Circle::new(point.at, 4 * FINE, line(paint, 18)),
                false => Circle::new(point.at, 3 * FINE + 5, paint.colour().filled()),
            });
            chart.draw_series(circles).map_err(failed)?;
            marks.extend(points().map(|point| {
                let (x, y) = chart.backend_coord(&point.at);
                let (x, y) = (x as f32 / FINE as f32, y as f32 / FINE as f32);
                Mark { x, y, size: (0.0, 0.0), group, text: point.text.clone(), image: point.image }
            }));
        }
        drop(chart);
        drop(area);
        Ok(Drawing { size: canvas.size, shapes: canvas.into_shapes(), marks })
    }
}
