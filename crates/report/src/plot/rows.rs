//! One value for each of some names, one below the other, with error bars.

use plotters::chart::ChartBuilder;
use plotters::element::{Circle, ErrorBar};
use plotters::style::{Color, TRANSPARENT};

use super::axis::Ticked;
use super::canvas::{FINE, Form, Text};
use super::paint::Paint;
use super::{Drawing, LABEL, Mark, axis, canvas, failed, label, line, shortened};
use crate::ReportError;

/// Pixels of a row.
const ROW: u32 = 24;
/// Pixels of the axis below.
const AXIS: u32 = 44;

/// Values by name.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// What is along the horizontal axis.
    pub x: String,
    /// Whether values are shares, shown in percent.
    pub percent: bool,
    /// The rows from above.
    pub rows: Vec<Row>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its value; none where there is nothing to measure.
    pub value: Option<f64>,
    /// The standard error.
    pub error: Option<f64>,
    /// Its colour.
    pub paint: Paint,
    /// What the pointer shows.
    pub text: String,
}

impl Rows {
    pub(super) fn draw(&self, width: u32) -> Result<Drawing, ReportError> {
        let count = self.rows.len();
        let canvas = canvas(width, count as u32 * ROW + AXIS + 8)?;
        let size = LABEL as f32;
        let longest = self.rows.iter().map(|row| Text::width(&row.name, size)).fold(0.0, f32::max);
        let names = (longest + 14.0).min(width as f32 * 0.45).round();
        let ends = |row: &Row| {
            let (value, error) = (row.value?, row.error.unwrap_or(0.0));
            Some([value - error, value + error])
        };
        let range = axis::range(self.rows.iter().filter_map(ends).flatten()).unwrap_or((0.0, 1.0));
        let (left, right) = axis::widened(range, 0.08);
        let ticks = axis::linear(left, right, (width / 120).clamp(3, 7) as usize);
        let shown = |value: f64| match self.percent {
            true => format!("{} %", axis::shown((value * 1e4).round() / 100.0)),
            false => axis::shown(value),
        };
        let area = canvas.area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(4 * FINE)
            .margin_right(22 * FINE)
            .margin_left(names as i32 * FINE)
            .x_label_area_size(AXIS as i32 * FINE)
            .build_cartesian_2d(Ticked::new(left, right, ticks), Ticked::new(0.0, count as f64, Vec::new()))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(line(Paint::Grid, 10))
            .light_line_style(TRANSPARENT)
            .axis_style(line(Paint::Grid, 10))
            .label_style(label(Paint::Quiet))
            .axis_desc_style(label(Paint::Quiet))
            .x_label_formatter(&|x| shown(*x))
            .x_desc(self.x.as_str())
            .draw()
            .map_err(failed)?;
        let mut marks = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let place = count as f64 - i as f64 - 0.5;
            let (_, y) = chart.backend_coord(&(left, place));
            let y = y as f32 / FINE as f32;
            let text = shortened(&row.name, names - 8.0, size);
            let at = (names - 8.0, y);
            canvas.add(
                Paint::Ink,
                Form::Text(Text { text, at, size, across: 1.0, down: 0.5, turned: 0, bold: false }),
            );
            if let (Some(value), Some([low, high])) = (row.value, ends(row)) {
                if row.error.is_some() {
                    let bar = ErrorBar::new_horizontal(
                        place,
                        low,
                        value,
                        high,
                        line(row.paint, 16),
                        9 * FINE as u32,
                    );
                    chart.draw_series([bar]).map_err(failed)?;
                }
                let dot = Circle::new((value, place), 4 * FINE, row.paint.colour().filled());
                chart.draw_series([dot]).map_err(failed)?;
            }
            let (x, y) = (0.0, y - ROW as f32 / 2.0);
            let size = (width as f32, ROW as f32);
            marks.push(Mark { x, y, size, group: 0, text: row.text.clone(), image: None });
        }
        drop(chart);
        drop(area);
        Ok(Drawing { size: canvas.size, shapes: canvas.into_shapes(), marks })
    }
}
