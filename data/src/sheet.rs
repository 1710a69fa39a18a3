//! Grids of images as PNG files.
//!
//! ```
//! use ddae_data::sheet::Sheet;
//! let folder = tempfile::tempdir()?;
//! let mut sheet = Sheet::new(2, [1, 28, 28])?.gap(2).scale(3).captions(["t = 0", "t = 500"]);
//! for level in [0.0, 0.25, 0.5, 0.75] {
//!     sheet.push_f32(&[level; 28 * 28])?;
//! }
//! sheet.write_png(folder.path().join("levels.png"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ddae_base::files::{FileError, write_locked, write_whole};
use ddae_base::lock::Lock;
use font8x8::UnicodeFonts;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::interleave::interleave;

/// The longest side of a sheet in pixels; viewers give up not far beyond.
const LONGEST_SIDE: usize = 65_535;
/// The level of gaps, captions' ground and cells without an image.
const BACKGROUND: u8 = 255;
/// The level of captions.
const INK: u8 = 0;
/// Side of a character in the font.
const CHARACTER: usize = 8;

/// What can go wrong when a sheet is filled or written.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// Images of this shape cannot be shown.
    #[error(
        "images of shape {0:?} cannot be shown: a sheet needs [1 or 3 channels, height, width], none of them 0"
    )]
    Shape([usize; 3]),
    /// No columns, or a scale of 0.
    #[error("a sheet needs at least one column and a scale of at least 1")]
    Zero,
    /// An image of another size.
    #[error("an image of {found} values does not fit a sheet of {shape:?}, which has {expected}")]
    Length {
        /// Values of the image.
        found: usize,
        /// Values of an image of the sheet's shape.
        expected: usize,
        /// The sheet's shape.
        shape: [usize; 3],
    },
    /// Nothing to write.
    #[error("{0}: the sheet has no images")]
    Empty(PathBuf),
    /// Captions and rows differ in number.
    #[error("a sheet of {rows} rows was given {captions} captions")]
    Captions {
        /// Rows of images.
        rows: usize,
        /// Captions given.
        captions: usize,
    },
    /// The sheet would be larger than viewers can show.
    #[error(
        "a sheet of {0} x {1} pixels is too large (longest side: {LONGEST_SIDE}): show fewer images, or smaller"
    )]
    TooLarge(usize, usize),
    /// The file could not be written.
    #[error("{path}: cannot write the image: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SheetError {
    fn write(error: FileError) -> SheetError {
        SheetError::Write { path: error.path, source: error.source }
    }
}

/// A grid of equally large images, filled row by row.
#[derive(Clone, Debug)]
pub struct Sheet {
    columns: usize,
    shape: [usize; 3],
    gap: usize,
    scale: usize,
    captions: Vec<String>,
    /// The images, [H, W, C] each.
    images: Vec<Vec<u8>>,
}

impl Sheet {
    /// An empty sheet for images of shape [C, H, W], C = 1 (grey) or 3 (RGB), `columns` of them in a row.
    pub fn new(columns: usize, shape: [usize; 3]) -> Result<Self, SheetError> {
        if !matches!(shape[0], 1 | 3) || shape.contains(&0) {
            return Err(SheetError::Shape(shape));
        }
        if columns == 0 {
            return Err(SheetError::Zero);
        }
        Ok(Self { columns, shape, gap: 0, scale: 1, captions: Vec::new(), images: Vec::new() })
    }

    /// White pixels between and around the images; 0 if not said.
    pub fn gap(mut self, pixels: usize) -> Self {
        self.gap = pixels;
        self
    }

    /// Every pixel becomes a square of `scale` x `scale` pixels; 1 if not said.
    pub fn scale(mut self, scale: usize) -> Self {
        self.scale = scale;
        self
    }

    /// One line of text to the left of each row, as many as there will be rows. Characters outside ASCII become `?`.
    pub fn captions<S: Into<String>>(mut self, captions: impl IntoIterator<Item = S>) -> Self {
        self.captions = captions.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an image, [C, H, W] in [0, 1]. Values outside are clamped; what is not a number becomes black.
    pub fn push_f32(&mut self, image: &[f32]) -> Result<(), SheetError> {
        // The cast saturates and takes NaN to 0.
        let level = |value: &f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        self.push_u8(&image.iter().map(level).collect::<Vec<_>>())
    }

    /// Adds an image, [C, H, W] in 0..=255.
    pub fn push_u8(&mut self, image: &[u8]) -> Result<(), SheetError> {
        self.check_len(image)?;
        let mut pixels = Vec::with_capacity(image.len());
        interleave(image, self.shape[0], &mut pixels);
        self.images.push(pixels);
        Ok(())
    }

    /// Adds an image of pixels, [H, W, C] in 0..=255.
    pub fn push_pixels(&mut self, image: &[u8]) -> Result<(), SheetError> {
        self.check_len(image)?;
        self.images.push(image.to_vec());
        Ok(())
    }

    fn check_len(&self, image: &[u8]) -> Result<(), SheetError> {
        let (found, expected) = (image.len(), self.shape.iter().product());
        match found == expected {
            true => Ok(()),
            false => Err(SheetError::Length { found, expected, shape: self.shape }),
        }
    }

    /// Images so far.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image yet.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Writes the sheet to `path`, whole or not at all. A sheet of one row is as wide as its images; cells without an
    /// image are white.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), SheetError> {
        let path = path.as_ref();
        let canvas = self.canvas(path)?;
        write_whole(path, |out| encode(out, &canvas)).map_err(SheetError::write)
    }

    /// The same for a file that the caller has locked.
    pub fn write_png_locked(&self, lock: &Lock) -> Result<(), SheetError> {
        let canvas = self.canvas(lock.path())?;
        write_locked(lock, |out| encode(out, &canvas)).map_err(SheetError::write)
    }

    fn canvas(&self, path: &Path) -> Result<Canvas, SheetError> {
        match self.is_empty() {
            true => Err(SheetError::Empty(path.to_path_buf())),
            false => self.draw(),
        }
    }

    fn draw(&self) -> Result<Canvas, SheetError> {
        let [channels, height, width] = self.shape;
        let (columns, rows) = (self.columns.min(self.len()), self.len().div_ceil(self.columns));
        if self.scale == 0 {
            return Err(SheetError::Zero);
        }
        if !self.captions.is_empty() && self.captions.len() != rows {
            return Err(SheetError::Captions { rows, captions: self.captions.len() });
        }
        let (cell_height, cell_width) = (height.saturating_mul(self.scale), width.saturating_mul(self.scale));
        // Letters of about a quarter of the image's height, at least 8 pixels.
        let letter = (cell_height / (4 * CHARACTER)).max(1);
        let longest = self.captions.iter().map(|caption| caption.chars().count()).max().unwrap_or(0);
        let margin = longest.saturating_add(usize::from(longest > 0)).saturating_mul(CHARACTER * letter);
        let side = |cells: usize, size: usize| {
            size.saturating_add(self.gap).saturating_mul(cells).saturating_add(self.gap)
        };
        let (full_width, full_height) =
            (side(columns, cell_width).saturating_add(margin), side(rows, cell_height));
        if full_width.max(full_height) > LONGEST_SIDE {
            return Err(SheetError::TooLarge(full_width, full_height));
        }
        let mut canvas = Canvas::new(full_width, full_height, channels);
        for (i, image) in self.images.iter().enumerate() {
            let left = margin + self.gap + i % columns * (cell_width + self.gap);
            let top = self.gap + i / columns * (cell_height + self.gap);
            for (pixel, levels) in image.chunks_exact(channels).enumerate() {
                let (x, y) = (left + pixel % width * self.scale, top + pixel / width * self.scale);
                canvas.square(x, y, self.scale, levels);
            }
        }
        for (row, caption) in self.captions.iter().enumerate() {
            let middle = self.gap + row * (cell_height + self.gap) + cell_height / 2;
            let top = middle.saturating_sub(CHARACTER * letter / 2);
            canvas.text(CHARACTER * letter / 2, top, letter, caption);
        }
        Ok(canvas)
    }
}

/// Writes one image, [C, H, W] in [0, 1] (values outside are clamped), as a PNG file of its own.
pub fn write_png_image(path: impl AsRef<Path>, image: &[f32], shape: [usize; 3]) -> Result<(), SheetError> {
    let mut sheet = Sheet::new(1, shape)?;
    sheet.push_f32(image)?;
    sheet.write_png(path)
}

/// The pixels of a sheet, [height, width, channels].
struct Canvas {
    width: usize,
    height: usize,
    channels: usize,
    levels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize, channels: usize) -> Self {
        Self { width, height, channels, levels: vec![BACKGROUND; width * height * channels] }
    }

    /// Fills a square, as much of it as lies on the canvas, with one pixel's `levels`.
    fn square(&mut self, left: usize, top: usize, side: usize, levels: &[u8]) {
        for y in top..(top + side).min(self.height) {
            for x in left..(left + side).min(self.width) {
                let pixel = (y * self.width + x) * self.channels;
                self.levels[pixel..][..self.channels].copy_from_slice(levels);
            }
        }
    }

    fn text(&mut self, left: usize, top: usize, letter: usize, text: &str) {
        let ink = vec![INK; self.channels];
        for (i, character) in text.chars().enumerate() {
            let fonts = font8x8::BASIC_FONTS;
            let Some(rows) = fonts.get(character).or_else(|| fonts.get('?')) else { continue };
            for (y, row) in rows.into_iter().enumerate() {
                for x in (0..CHARACTER).filter(|x| row >> x & 1 == 1) {
                    self.square(left + (i * CHARACTER + x) * letter, top + y * letter, letter, &ink);
                }
            }
        }
    }
}

fn encode(out: &mut impl Write, canvas: &Canvas) -> io::Result<()> {
    let colour = if canvas.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    PngEncoder::new(out)
        .write_image(&canvas.levels, canvas.width as u32, canvas.height as u32, colour)
        .map_err(|error| match error {
            ImageError::IoError(error) => error,
            other => io::Error::other(other),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(path: &Path) -> image::DynamicImage {
        image::open(path).expect("an image")
    }

    #[test]
    fn rgb_images_are_read_back_where_they_belong() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sheet.png");
        let mut sheet = Sheet::new(2, [3, 1, 2]).expect("a sheet").gap(1).scale(2);
        // Planes: red 0 and 255, green 51 and 102, blue 0 and 255.
        sheet.push_u8(&[0, 255, 51, 102, 0, 255]).expect("image");
        sheet.push_f32(&[-1.0, 2.0, 0.2, 0.4, f32::NAN, f32::INFINITY]).expect("image");
        sheet.push_u8(&[7; 6]).expect("image");
        sheet.write_png(&path).expect("written");
        let found = read(&path).into_rgb8();
        // Two columns of 4 pixels and two rows of 2, with gaps of 1.
        assert_eq!(found.dimensions(), (11, 7));
        let white = image::Rgb([255; 3]);
        for (x, y, expected) in [
            (0, 0, white),
            (1, 1, image::Rgb([0, 51, 0])),
            (2, 2, image::Rgb([0, 51, 0])),
            (3, 1, image::Rgb([255, 102, 255])),
            (5, 1, white),
            (6, 2, image::Rgb([0, 51, 0])),
            (8, 1, image::Rgb([255, 102, 255])),
            (1, 4, image::Rgb([7; 3])),
            (6, 4, white),
            (10, 6, white),
        ] {
            assert_eq!(*found.get_pixel(x, y), expected, "({x}, {y})");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_single_grey_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("one.png");
        write_png_image(&path, &[0.0, 0.5, 1.0, 0.25, 0.1, 0.9], [1, 2, 3]).expect("written");
        let found = read(&path);
        assert_eq!(found.color(), image::ColorType::L8);
        assert_eq!(found.into_luma8().into_raw(), [0, 128, 255, 64, 26, 230]);
    }

    #[test]
    fn captions_stand_left_of_their_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sheet.png");
        let mut sheet = Sheet::new(1, [1, 16, 16]).expect("a sheet").captions(["-", "é"]);
        sheet.push_u8(&[128; 256]).expect("image");
        sheet.push_u8(&[128; 256]).expect("image");
        sheet.write_png(&path).expect("written");
        let found = read(&path).into_luma8();
        assert_eq!(found.dimensions(), (32, 32));
        let dark = |rows: std::ops::Range<u32>| {
            rows.flat_map(|y| (0..16).map(move |x| (x, y)))
                .filter(|&(x, y)| found.get_pixel(x, y).0[0] == 0)
                .count()
        };
        // A hyphen is one bar of 6 pixels in the middle; what the font lacks becomes a question mark.
        assert_eq!(dark(0..16), 6);
        assert!(dark(16..32) > 10, "{}", dark(16..32));
        assert_eq!(found.get_pixel(16, 0).0[0], 128);
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = |result: Result<(), SheetError>| result.expect_err("an error").to_string();
        let new = |columns, shape| Sheet::new(columns, shape).map(drop);
        assert!(message(new(3, [2, 4, 4])).contains("[2, 4, 4]"));
        assert!(message(new(0, [1, 4, 4])).contains("at least one column"));
        let mut sheet = Sheet::new(3, [1, 2, 2]).expect("a sheet").captions(["a", "b"]);
        assert!(message(sheet.write_png(folder.path().join("a.png"))).contains("no images"));
        assert!(message(sheet.push_u8(&[0; 5])).contains("5 values"));
        sheet.push_u8(&[0; 4]).expect("image");
        assert!(message(sheet.write_png("a.png")).contains("1 rows was given 2 captions"));
        let sheet = sheet.captions([""; 1]).scale(40_000);
        assert!(message(sheet.write_png("a.png")).contains("too large"));
        let sheet = sheet.scale(0);
        assert!(message(sheet.write_png("a.png")).contains("scale of at least 1"));
        let sheet = sheet.scale(1);
        let nowhere = folder.path().join("missing").join("a.png");
        assert!(
            message(sheet.write_png(&nowhere))
                .contains("missing/a.png: cannot write the image: No such file")
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sheet.png");
        fs::create_dir(&path).expect("a folder in the way");
        assert!(write_png_image(&path, &[0.0], [1, 1, 1]).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}
