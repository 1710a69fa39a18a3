//! A decoded image, and its conversions to grey and RGB as PIL makes them.

use crate::interleave;

/// An image as its file holds it, less what no network sees: alpha is dropped, palettes are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Pixels,
}

/// Levels row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pixels {
    Grey(Vec<u8>),
    /// Grey of 16 bits, PIL's mode `I;16`.
    Grey16(Vec<u16>),
    /// Three bytes a pixel.
    Rgb(Vec<u8>),
}

impl Picture {
    /// The planes of one or three channels. Grey of 16 bits is cut off at 255, as PIL's `convert` does; colour becomes
    /// grey by the weights of ITU-R 601-2.
    pub fn planes(self, channels: usize) -> Vec<u8> {
        let grey = match self.pixels {
            Pixels::Rgb(pixels) if channels == 3 => return interleave::planes(&pixels, 3),
            Pixels::Rgb(pixels) => pixels.as_chunks().0.iter().map(grey).collect(),
            Pixels::Grey16(levels) => levels.into_iter().map(|level| level.min(255) as u8).collect(),
            Pixels::Grey(levels) => levels,
        };
        if channels == 1 { grey } else { grey.repeat(channels) }
    }
}

/// PIL's `L` of a pixel: 0.299 R + 0.587 G + 0.114 B, rounded.
fn grey(&[r, g, b]: &[u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// PIL's conversion of a pixel of four inks.
pub(super) fn cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let paper = 255 - i32::from(k);
    [c, m, y].map(|ink| {
        let product = i32::from(ink) * paper + 128;
        (paper - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

/// Brings planes of [C, H, W] = `shape` into the upright position by an Exif orientation, 1 to 8, and says their new height
/// and width.
pub(super) fn upright(levels: &[u8], shape: [usize; 3], orientation: u8) -> (Vec<u8>, [usize; 2]) {
    let [_, height, width] = shape;
    let swapped = orientation >= 5;
    let [new_height, new_width] = if swapped { [width, height] } else { [height, width] };
    let mut out = Vec::with_capacity(levels.len());
    for plane in levels.chunks_exact(height * width) {
        for row in 0..new_height {
            out.extend((0..new_width).map(|column| {
                let (y, x) = match orientation {
                    2 => (row, width - 1 - column),
                    3 => (height - 1 - row, width - 1 - column),
                    4 => (height - 1 - row, column),
                    5 => (column, row),
                    6 => (height - 1 - column, row),
                    7 => (height - 1 - column, width - 1 - row),
                    8 => (column, width - 1 - row),
                    _ => (row, column),
                };
                plane[y * width + x]
            }));
        }
    }
    (out, [new_height, new_width])
}
