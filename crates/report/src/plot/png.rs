//! Shapes as PNG, without a font of the machine: letters are those of the crate `noto-sans-mono-bitmap`.

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use tiny_skia::{Color, FillRule, Paint as Ink, PathBuilder, Pixmap, Rect, Stroke, Transform};

use super::canvas::{Form, Shape, Text};
use super::paint::Paint;
use crate::ReportError;

/// Pixels of the image for one of the plot.
const SCALE: f32 = 2.0;

/// An image on white, twice as large as the plot.
///
/// # Errors
/// When it is too large for the memory, or cannot be encoded.
pub fn encode(shapes: &[Shape], (width, height): (u32, u32)) -> Result<Vec<u8>, ReportError> {
    let (width, height) = (width * SCALE as u32, height * SCALE as u32);
    let too_large = || ReportError::Plot(format!("no image of {width} x {height} pixels can be made"));
    let mut map = Pixmap::new(width, height).ok_or_else(too_large)?;
    map.fill(Color::WHITE);
    shapes.iter().for_each(|shape| one(&mut map, shape));
    // What covers white wholly is opaque, so that alpha says nothing.
    let levels: Vec<u8> =
        map.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    let mut out = Vec::new();
    let encoded = PngEncoder::new(&mut out).write_image(&levels, width, height, ExtendedColorType::Rgb8);
    encoded.map_err(|error| ReportError::Plot(error.to_string()))?;
    Ok(out)
}

fn one(map: &mut Pixmap, shape: &Shape) {
    let [r, g, b] = shape.paint.light();
    let mut ink = Ink::default();
    ink.set_color_rgba8(r, g, b, (shape.alpha * 255.0).round() as u8);
    let scale = Transform::from_scale(SCALE, SCALE);
    let mut draw = |path: Option<tiny_skia::Path>, line: Option<f32>| match (path, line) {
        (Some(path), Some(width)) => {
            let stroke = Stroke { width, line_join: tiny_skia::LineJoin::Round, ..Stroke::default() };
            map.stroke_path(&path, &ink, &stroke, scale, None);
        }
        (Some(path), None) => map.fill_path(&path, &ink, FillRule::Winding, scale, None),
        // A form without extent.
        (None, _) => {}
    };
    match &shape.form {
        Form::Line(points, width) => draw(polygon(points, false), Some(*width)),
        Form::Area(points) => draw(polygon(points, true), None),
        Form::Rectangle([x, y, width, height], line) => {
            draw(Rect::from_xywh(*x, *y, *width, *height).map(PathBuilder::from_rect), *line);
        }
        Form::Circle((x, y), radius, line) => draw(PathBuilder::from_circle(*x, *y, *radius), *line),
        Form::Text(text) => write(map, text, shape.paint),
    }
}

fn polygon(points: &[(f32, f32)], closed: bool) -> Option<tiny_skia::Path> {
    let mut builder = PathBuilder::new();
    for (i, (x, y)) in points.iter().enumerate() {
        match i {
            0 => builder.move_to(*x, *y),
            _ => builder.line_to(*x, *y),
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

/// Writes a text letter by letter.
fn write(map: &mut Pixmap, text: &Text, paint: Paint) {
    let weight = if text.bold { FontWeight::Bold } else { FontWeight::Regular };
    let height = if text.size * SCALE > 27.0 { RasterHeight::Size32 } else { RasterHeight::Size24 };
    let step = get_raster_width(weight, height);
    let letters = text.text.chars().count() * step;
    // Where the text begins, along it and across it.
    let (along, down) = (-text.across * letters as f32, -text.down * height.val() as f32);
    let (x, y) = (text.at.0 * SCALE, text.at.1 * SCALE);
    for (i, letter) in text.text.chars().enumerate() {
        let raster = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height));
        let Some(raster) = raster else { continue };
        for (row, inks) in raster.rows().enumerate() {
            for (column, &ink) in inks.iter().enumerate().filter(|(_, ink)| **ink > 0) {
                let (a, d) = (along + (i * step + column) as f32, down + row as f32);
                let (x, y) = match text.turned {
                    0 => (x + a, y + d),
                    1 => (x - d, y + a),
                    _ => (x + d, y - a),
                };
                blend(map, x.round(), y.round(), paint.light(), ink);
            }
        }
    }
}

fn blend(map: &mut Pixmap, x: f32, y: f32, colour: [u8; 3], ink: u8) {
    let (width, height) = (map.width() as f32, map.height() as f32);
    if !(x >= 0.0 && y >= 0.0 && x < width && y < height) {
        return;
    }
    let at = 4 * (y as usize * map.width() as usize + x as usize);
    for (under, over) in map.data_mut()[at..at + 3].iter_mut().zip(colour) {
        let (ink, below, over) = (u32::from(ink), u32::from(*under), u32::from(over));
        *under = ((below * (255 - ink) + over * ink + 127) / 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cover_their_pixels() {
        let shape = |paint, form| Shape { group: 0, paint, alpha: 1.0, form };
        let text = Text {
            text: "I".to_string(),
            at: (10.0, 10.0),
            size: 12.0,
            across: 0.5,
            down: 0.5,
            turned: 0,
            bold: true,
        };
        let shapes = [
            shape(Paint::Fixed(10, 20, 30), Form::Rectangle([0.0, 0.0, 5.0, 5.0], None)),
            shape(Paint::Fixed(0, 0, 0), Form::Text(text)),
        ];
        let png = encode(&shapes, (20, 20)).expect("a PNG");
        let image = image::load_from_memory(&png).expect("read again").into_rgb8();
        assert_eq!((image.width(), image.height()), (40, 40));
        assert_eq!(image.get_pixel(3, 3).0, [10, 20, 30]);
        assert_eq!(image.get_pixel(39, 39).0, [255, 255, 255]);
        assert!(image.get_pixel(20, 20).0[0] < 80, "the stem of the letter: {:?}", image.get_pixel(20, 20));
    }
}
