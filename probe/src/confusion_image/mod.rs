//! The confusion matrix as an image.
//!
//! True classes from top to bottom, predicted ones from left to right. What was found is blue, what was confused is
//! orange, each the darker the larger its share of the true class, with the counts written in the cells and every
//! class's accuracy at the end of its row. Of more than 40 classes only the colours are drawn, of more than
//! 250 the names are left out too.

mod canvas;

use std::io::{self, Cursor, Write};
use std::path::Path;

use ddae_base::files::write_whole;
use image::{ImageFormat, Rgb};

use crate::error::{ProbeError, Result};
use crate::report::Report;
use canvas::{Canvas, Font};

/// The largest number of classes whose counts are written in their cells.
pub(crate) const COUNTED: usize = 40;

/// The largest number of classes whose names are written.
pub(crate) const NAMED: usize = 250;

/// Characters of a class name.
const NAME_LENGTH: usize = 20;

const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([32, 32, 36]);
const FAINT: Rgb<u8> = Rgb([110, 110, 118]);
const EMPTY: Rgb<u8> = Rgb([244, 244, 246]);

/// Light and dark end of what was found.
const FOUND: [Rgb<u8>; 2] = [Rgb([214, 230, 244]), Rgb([8, 69, 148])];

/// Light and dark end of what was confused.
const CONFUSED: [Rgb<u8>; 2] = [Rgb([253, 233, 214]), Rgb([166, 54, 3])];

/// A confused share at which the colour is darkest: half of a class going to one other is as bad as it gets.
const WORST: f64 = 0.5;

/// Where things are, in pixels.
struct Placement {
    cell: usize,
    gap: usize,
    left: usize,
    top: usize,
    counted: bool,
    named: bool,
}

/// Draws the report's confusion matrix and writes it to `path` as a PNG.
///
/// # Errors
/// When the file cannot be written; nothing is left half-written.
pub fn write(report: &Report, path: &Path) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    let failed = |source| ProbeError::Write { path: path.to_path_buf(), source };
    let image = draw(report).into_image();
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| failed(io::Error::other(error)))?;
    write_whole(path, |out| out.write_all(bytes.get_ref())).map_err(|error| failed(error.source))
}

fn draw(report: &Report) -> Canvas {
    let names: Vec<String> =
        report.classes.iter().map(|class| class.name.chars().take(NAME_LENGTH).collect()).collect();
    let count = names.len();
    let plan = plan(report, &names);
    let side = count * plan.cell;
    let title = format!("{} on {}", report.probe, report.features);
    let result = format!("{:.2} % of {} found", 100.0 * report.accuracy, report.test.samples);
    let right = plan.left + side + if plan.named { Font::Small.width("100.0 %") + 24 } else { 16 };
    let width = right.max(16 + Font::Large.width(&title).max(Font::Small.width(&result)) + 16);
    let mut canvas = Canvas::new(width, plan.top + side + 36, WHITE);

    canvas.text(16, 12, &title, Font::Large, INK);
    canvas.text(16, 40, &result, Font::Small, FAINT);
    for row in 0..count {
        draw_row(&mut canvas, &plan, report, row);
    }
    if plan.named {
        for (i, name) in names.iter().enumerate() {
            let middle = i * plan.cell + plan.cell / 2;
            let (across, up) =
                (plan.left - 8 - Font::Small.width(name), plan.top + middle - Font::Small.height() / 2);
            canvas.text(across, up, name, Font::Small, INK);
            canvas.text_upwards(
                plan.left + middle - Font::Small.height() / 2,
                plan.top - 8,
                name,
                Font::Small,
                INK,
            );
        }
    }
    let axes = "rows: true class   columns: predicted class";
    canvas.text(16, plan.top + side + 10, axes, Font::Small, FAINT);
    canvas
}

fn plan(report: &Report, names: &[String]) -> Placement {
    let count = names.len();
    let (counted, named) = (count <= COUNTED, count <= NAMED);
    let largest = report.confusion.iter().flatten().max().copied().unwrap_or(0);
    let cell = match (counted, named) {
        (true, _) => (Font::Small.width(&largest.to_string()) + 14).max(34),
        (false, true) => Font::Small.height(),
        (false, false) => 4,
    };
    let longest = names.iter().map(|name| Font::Small.width(name)).max().unwrap_or(0);
    let margin = if named { longest + 24 } else { 16 };
    Placement { cell, gap: usize::from(named), left: margin, top: 64 + margin, counted, named }
}

fn draw_row(canvas: &mut Canvas, plan: &Placement, report: &Report, row: usize) {
    let samples = report.classes[row].samples;
    let y = plan.top + row * plan.cell;
    for (column, &count) in report.confusion[row].iter().enumerate() {
        let x = plan.left + column * plan.cell;
        let share = count as f64 / samples.max(1) as f64;
        let (colour, dark) = match (count, row == column) {
            (0, _) => (EMPTY, false),
            (_, true) => (between(FOUND, share), share > 0.5),
            (_, false) => (between(CONFUSED, (share / WORST).min(1.0)), share > 0.5 * WORST),
        };
        canvas.fill(x, y, plan.cell - plan.gap, plan.cell - plan.gap, colour);
        if plan.counted && count > 0 {
            let text = count.to_string();
            let (across, down) = (plan.cell - Font::Small.width(&text), plan.cell - Font::Small.height());
            canvas.text(x + across / 2, y + down / 2, &text, Font::Small, if dark { WHITE } else { INK });
        }
    }
    if let Some(accuracy) = report.classes[row].accuracy.filter(|_| plan.named) {
        let x = plan.left + report.classes.len() * plan.cell + 8;
        let text = format!("{:5.1} %", 100.0 * accuracy);
        canvas.text(x, y + (plan.cell - Font::Small.height()) / 2, &text, Font::Small, FAINT);
    }
}

/// A colour on the way from one to another; `share` from 0 to 1.
fn between([from, to]: [Rgb<u8>; 2], share: f64) -> Rgb<u8> {
    let mix =
        |i: usize| (f64::from(from.0[i]) + share * (f64::from(to.0[i]) - f64::from(from.0[i]))).round() as u8;
    Rgb([mix(0), mix(1), mix(2)])
}
