//! Plots: drawn by plotters on a canvas of our own, so that one drawing serves the page (with the theme's colours and
//! values under the pointer), SVG files and PNG files.
//!
//! | module | holds |
//! | --- | --- |
//! | [`curves`] | values over a number, with error bars |
//! | [`rows`] | one value for each of some names, with error bars |
//! | [`heat`] | a value for each pair of names |
//! | [`scatter`] | points of several classes |
//! | `axis` | round numbers for axes |
//! | [`mod@canvas`], [`paint`] | shapes and their colours |
//! | [`svg`], [`png`](mod@png) | what is made of them |

mod axis;
pub mod canvas;
pub mod curves;
pub mod heat;
pub mod paint;
pub mod png;
pub mod rows;
pub mod scatter;
pub mod svg;

use plotters::style::{Color, IntoFont, ShapeStyle, TextStyle};

use crate::ReportError;
use canvas::{Canvas, FINE, Form, Group, LEGEND, Shape, Text};
use curves::Curves;
use heat::Heat;
use paint::Paint;
use rows::Rows;
use scatter::Scatter;

/// Height of labels in pixels.
const LABEL: i32 = 12;

/// A plot of any kind.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Values over a number.
    Curves(Curves),
    /// A value for each name.
    Rows(Rows),
    /// A value for each pair of names.
    Heat(Heat),
    /// Points.
    Scatter(Scatter),
}

/// What the pointer finds in a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Left edge, or the point, in pixels.
    pub x: f32,
    /// Upper edge, or the point.
    pub y: f32,
    /// Width and height; 0 for a point.
    pub size: (f32, f32),
    /// The series that it belongs to.
    pub group: Group,
    /// What is shown.
    pub text: String,
    /// The image that is shown, by its number.
    pub image: Option<usize>,
}

/// A drawn plot.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Its shapes.
    pub shapes: Vec<Shape>,
    /// What the pointer finds.
    pub marks: Vec<Mark>,
}

impl Plot {
    /// Draws the plot `width` pixels wide; its height follows.
    ///
    /// # Errors
    /// When it cannot be drawn at that width.
    pub fn draw(&self, width: u32) -> Result<Drawing, ReportError> {
        let mut drawing = match self {
            Plot::Curves(curves) => curves.draw(width)?,
            Plot::Rows(rows) => rows.draw(width)?,
            Plot::Heat(heat) => heat.draw(width)?,
            Plot::Scatter(scatter) => scatter.draw(width)?,
        };
        drawing.add_legend(&self.series());
        Ok(drawing)
    }

    /// The series that a legend names, with group and colour; none where it is needless.
    pub fn series(&self) -> Vec<(Group, Paint, String)> {
        let names: Vec<(&str, Paint)> = match self {
            Plot::Curves(curves) => {
                curves.series.iter().map(|series| (series.name.as_str(), series.paint)).collect()
            }
            Plot::Scatter(scatter) => {
                let paint = |i: usize| Paint::Series((i % paint::SERIES.len()) as u8);
                scatter.classes.iter().enumerate().map(|(i, name)| (name.as_str(), paint(i))).collect()
            }
            Plot::Rows(_) | Plot::Heat(_) => Vec::new(),
        };
        if names.len() < 2 {
            return Vec::new();
        }
        names
            .iter()
            .enumerate()
            .map(|(i, (name, paint))| (i as Group + 1, *paint, (*name).to_string()))
            .collect()
    }
}

impl Drawing {
    /// Puts the legend below, for files that stand alone.
    fn add_legend(&mut self, series: &[(Group, Paint, String)]) {
        let (width, size) = (self.size.0 as f32, LABEL as f32);
        let (mut x, mut y) = (8.0, self.size.1 as f32 + 10.0);
        let mut add = |paint, form| self.shapes.push(Shape { group: LEGEND, paint, alpha: 1.0, form });
        for (_, paint, name) in series {
            let name = shortened(name, width - 40.0, size);
            let needed = Text::width(&name, size) + 34.0;
            if x > 8.0 && x + needed > width {
                (x, y) = (8.0, y + 18.0);
            }
            add(*paint, Form::Rectangle([x, y - 5.0, 10.0, 10.0], None));
            let text =
                Text { text: name, at: (x + 15.0, y), size, across: 0.0, down: 0.5, turned: 0, bold: false };
            add(Paint::Quiet, Form::Text(text));
            x += needed;
        }
    }

    /// Height with the legend.
    fn full_height(&self) -> u32 {
        let below = self.shapes.iter().filter(|shape| shape.group == LEGEND).map(|shape| match &shape.form {
            Form::Rectangle([_, y, _, height], _) => (y + height + 8.0) as u32,
            _ => 0,
        });
        below.max().unwrap_or(0).max(self.size.1)
    }

    /// For the page: themed, without legend.
    pub fn inline(&self, title: &str) -> String {
        svg::write(&self.shapes, self.size, title, true)
    }

    /// An SVG file.
    pub fn svg(&self, title: &str) -> String {
        svg::write(&self.shapes, (self.size.0, self.full_height()), title, false)
    }

    /// A PNG file.
    ///
    /// # Errors
    /// As [`png::encode`].
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        png::encode(&self.shapes, (self.size.0, self.full_height()))
    }
}

/// A line so many tenths of a pixel wide.
fn line(paint: Paint, tenths: u32) -> ShapeStyle {
    paint.colour().stroke_width(tenths)
}

/// The style of labels.
fn label(paint: Paint) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", LABEL * FINE).into_font());
    TextStyle { color: paint.colour().to_backend_color(), ..style }
}

/// A text that is no wider than so many pixels, with an ellipsis where it was cut.
fn shortened(text: &str, width: f32, size: f32) -> String {
    let text = ddae_base::plain(text);
    let most = ((width / Text::width("x", size)) as usize).max(2);
    match text.chars().count() {
        count if count <= most => text,
        _ => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

fn failed(error: impl std::fmt::Display) -> ReportError {
    ReportError::Plot(error.to_string())
}

/// A canvas of so many pixels.
fn canvas(width: u32, height: u32) -> Result<Canvas, ReportError> {
    if width < 100 || height < 20 {
        return Err(ReportError::Plot(format!("a plot of {width} x {height} pixels is too small")));
    }
    Ok(Canvas::new(width, height))
}
