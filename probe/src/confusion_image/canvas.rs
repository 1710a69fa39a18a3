//! Rectangles and text on an image.
//!
//! Text comes from Noto Sans Mono, rasterised when the crate `noto-sans-mono-bitmap` was made, so no font is looked for
//! on the machine. It has the letters of European languages; others are drawn as question marks.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// A size and weight of text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Font {
    /// 16 pixels high.
    Small,
    /// 20 pixels high, bold.
    Large,
}

impl Font {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Small => (FontWeight::Regular, RasterHeight::Size16),
            Self::Large => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// Height of a line in pixels.
    pub fn height(self) -> usize {
        self.raster().1.val()
    }

    /// Width of `text` in pixels.
    pub fn width(self, text: &str) -> usize {
        let (weight, height) = self.raster();
        text.chars().count() * get_raster_width(weight, height)
    }
}

/// An image that is drawn on; what falls outside is cut off.
pub(crate) struct Canvas(RgbImage);

impl Canvas {
    /// An image of one colour.
    pub fn new(width: usize, height: usize, colour: Rgb<u8>) -> Self {
        Self(RgbImage::from_pixel(width as u32, height as u32, colour))
    }

    /// The image.
    pub(crate) fn into_image(self) -> RgbImage {
        self.0
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb<u8>) {
        for row in y..y + height {
            for column in x..x + width {
                self.blend(column, row, colour, u8::MAX);
            }
        }
    }

    /// Writes from left to right; (x, y) is the upper left corner.
    pub fn text(&mut self, x: usize, y: usize, text: &str, font: Font, colour: Rgb<u8>) {
        each_pixel(text, font, |across, down, ink| self.blend(x + across, y + down, colour, ink));
    }

    /// Writes upwards, the letters' tops to the left; (x, y) is the lower left corner.
    pub(crate) fn text_upwards(&mut self, x: usize, y: usize, text: &str, font: Font, colour: Rgb<u8>) {
        each_pixel(text, font, |across, down, ink| {
            if let Some(y) = y.checked_sub(across) {
                self.blend(x + down, y, colour, ink);
            }
        });
    }

    fn blend(&mut self, x: usize, y: usize, colour: Rgb<u8>, ink: u8) {
        let Some(pixel) = self.0.get_pixel_mut_checked(x as u32, y as u32) else { return };
        for (under, over) in pixel.0.iter_mut().zip(colour.0) {
            let (ink, under_value, over) = (u16::from(ink), u16::from(*under), u16::from(over));
            *under = ((under_value * (255 - ink) + over * ink + 127) / 255) as u8;
        }
    }
}

/// Calls `draw` with the position in the text and the ink of every pixel that has any.
fn each_pixel(text: &str, font: Font, mut draw: impl FnMut(usize, usize, u8)) {
    let (weight, height) = font.raster();
    let step = get_raster_width(weight, height);
    for (i, letter) in text.chars().enumerate() {
        let Some(raster) = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height))
        else {
            continue;
        };
        for (down, row) in raster.rows().enumerate() {
            for (across, &ink) in row.iter().enumerate().filter(|(_, ink)| **ink > 0) {
                draw(i * step + across, down, ink);
            }
        }
    }
}
