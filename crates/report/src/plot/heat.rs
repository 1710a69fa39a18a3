//! A value for each pair of names: layer and timestep, true and predicted class.

use plotters::prelude::{ColorMap, ViridisRGB};

use super::canvas::{Canvas, Form, Shape, Text};
use super::paint::Paint;
use super::{Drawing, LABEL, Mark, axis, canvas, shortened};
use crate::ReportError;

/// A table of coloured cells.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    /// What rows are.
    pub row_title: String,
    /// What columns are.
    pub column_title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// By row and column; none where there is nothing.
    pub cells: Vec<Vec<Option<Cell>>>,
    /// How values become colours.
    pub scale: Scale,
    /// The cell with a frame.
    pub chosen: Option<(usize, usize)>,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What decides its colour.
    pub value: f64,
    /// What stands in it where there is room.
    pub shown: String,
    /// What the pointer shows.
    pub text: String,
}

/// How values become colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// From the smallest to the largest value that there is, along viridis.
    #[default]
    Spread,
    /// From 0 to 1, the more the darker.
    Share,
}

impl Heat {
    pub(super) fn draw(&self, width: u32) -> Result<Drawing, ReportError> {
        let (rows, columns) = (self.rows.len().max(1), self.columns.len().max(1));
        let size = LABEL as f32;
        let longest = |names: &[String]| names.iter().map(|name| Text::width(name, size)).fold(0.0, f32::max);
        let left = (longest(&self.rows) + 34.0).min(width as f32 * 0.36).max(46.0);
        let side = ((width as f32 - left - 12.0) / columns as f32).min(90.0);
        // Names of columns stand upright where they do not fit across.
        let upright = longest(&self.columns) + 4.0 > side;
        let below = if upright { (longest(&self.columns) + 12.0).min(110.0) } else { 20.0 } + 22.0;
        let down = side.clamp(16.0, 40.0);
        let legend = if self.scale == Scale::Spread { 34.0 } else { 0.0 };
        let (top, height) = (6.0, down * rows as f32);
        let canvas = canvas(width, (top + height + below + legend) as u32 + 4)?;
        let values = || self.cells.iter().flatten().flatten().map(|cell| cell.value);
        let range = axis::range(values()).unwrap_or((0.0, 1.0));
        let mut marks = Vec::new();
        let mut shapes = Vec::new();
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let (x, y) = (left + column as f32 * side, top + row as f32 * down);
                let place = [x + 0.5, y + 0.5, side - 1.0, down - 1.0];
                let Some(cell) = cell else {
                    shapes.push(shape(Paint::Grid, 1.0, Form::Rectangle(place, Some(1.0))));
                    continue;
                };
                let (paint, alpha, ink) = self.paints(cell.value, range);
                shapes.push(shape(paint, alpha, Form::Rectangle(place, None)));
                if Text::width(&cell.shown, size) + 2.0 < side && down >= size + 2.0 {
                    let at = (x + side / 2.0, y + down / 2.0);
                    shapes.push(shape(ink, 1.0, Form::Text(text(&cell.shown, at, 0.5, 0.5))));
                }
                let size = (side, down);
                marks.push(Mark { x, y, size, group: 0, text: cell.text.clone(), image: None });
            }
        }
        if let Some((row, column)) = self.chosen {
            let place =
                [left + column as f32 * side + 1.0, top + row as f32 * down + 1.0, side - 2.0, down - 2.0];
            shapes.push(shape(Paint::Ink, 1.0, Form::Rectangle(place, Some(2.5))));
        }
        for (row, name) in self.rows.iter().enumerate() {
            let at = (left - 6.0, top + (row as f32 + 0.5) * down);
            let name = shortened(name, left - 26.0, size);
            canvas.add(Paint::Ink, Form::Text(text(&name, at, 1.0, 0.5)));
        }
        for (column, name) in self.columns.iter().enumerate() {
            let (x, y) = (left + (column as f32 + 0.5) * side, top + height + 6.0);
            let name = shortened(name, if upright { 102.0 } else { side }, size);
            let written = match upright {
                true => Text { turned: -1, ..text(&name, (x, y), 1.0, 0.5) },
                false => text(&name, (x, y), 0.5, 0.0),
            };
            canvas.add(Paint::Ink, Form::Text(written));
        }
        let title = Text { turned: -1, ..text(&self.row_title, (2.0, top + height / 2.0), 0.5, 0.0) };
        canvas.add(Paint::Quiet, Form::Text(title));
        let at = (left + side * columns as f32 / 2.0, top + height + below - 18.0);
        canvas.add(Paint::Quiet, Form::Text(text(&self.column_title, at, 0.5, 0.0)));
        if legend > 0.0 && self.cells.iter().flatten().flatten().next().is_some() {
            self.legend(&canvas, range, left, top + height + below + 8.0, (side * columns as f32).min(220.0));
        }
        let size = canvas.size;
        shapes.extend(canvas.into_shapes());
        Ok(Drawing { size, shapes, marks })
    }

    /// Colour, cover and the colour of what is written on it.
    fn paints(&self, value: f64, (low, high): (f64, f64)) -> (Paint, f32, Paint) {
        match self.scale {
            Scale::Spread => {
                let paint = spread(value, low, high);
                let [r, g, b] = paint.light().map(f64::from);
                let is_light = 0.299 * r + 0.587 * g + 0.114 * b > 140.0;
                (paint, 1.0, if is_light { Paint::Fixed(0, 0, 0) } else { Paint::Fixed(255, 255, 255) })
            }
            // The root, so that few mistakes are seen beside many hits.
            Scale::Share => {
                let alpha = value.clamp(0.0, 1.0).sqrt() as f32;
                (
                    Paint::Series(0),
                    (alpha * 0.92).max(0.03),
                    if alpha > 0.6 { Paint::Paper } else { Paint::Ink },
                )
            }
        }
    }

    fn legend(&self, canvas: &Canvas, (low, high): (f64, f64), x: f32, y: f32, width: f32) {
        const STEPS: usize = 40;
        let step = width / STEPS as f32;
        for i in 0..STEPS {
            let value = low + (high - low) * (i as f64 + 0.5) / STEPS as f64;
            let place = [x + i as f32 * step, y, step + 0.3, 8.0];
            canvas.add(spread(value, low, high), Form::Rectangle(place, None));
        }
        // As cells show theirs.
        let shown = |value: f64| {
            let cells = self.cells.iter().flatten().flatten();
            cells.filter(|cell| cell.value == value).map(|cell| cell.shown.clone()).next().unwrap_or_default()
        };
        canvas.add(Paint::Quiet, Form::Text(text(&shown(low), (x, y + 10.0), 0.0, 0.0)));
        canvas.add(Paint::Quiet, Form::Text(text(&shown(high), (x + width, y + 10.0), 1.0, 0.0)));
    }
}

fn spread(value: f64, low: f64, high: f64) -> Paint {
    let share = if high > low { (value - low) / (high - low) } else { 1.0 };
    let colour = ViridisRGB.get_color_normalized(share, 0.0, 1.0);
    Paint::Fixed(colour.0, colour.1, colour.2)
}

fn shape(paint: Paint, alpha: f32, form: Form) -> Shape {
    Shape { group: 0, paint, alpha, form }
}

fn text(text: &str, at: (f32, f32), across: f32, down: f32) -> Text {
    Text { text: text.to_string(), at, size: LABEL as f32, across, down, turned: 0, bold: false }
}
