//! Small images in one picture, of which a page shows parts.

use image::{ExtendedColorType, ImageEncoder, RgbImage, codecs::png::PngEncoder, imageops};

use crate::ReportError;

/// The most pixels of a side of a small image.
pub const SIDE: u32 = 64;
/// Images in a row.
pub const COLUMNS: u32 = 24;

/// Images of one size, row by row in one picture.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    images: Vec<RgbImage>,
}

impl Atlas {
    /// Adds an image given as `[C, H, W]` planes of levels, C 1 or 3 (of others the first is shown in grey); its number.
    ///
    /// # Errors
    /// When shape and levels disagree, or the size is not that of the others.
    pub fn add(
        &mut self,
        levels: &[u8],
        [channels, height, width]: [usize; 3],
    ) -> Result<usize, ReportError> {
        let plane = height * width;
        if plane == 0 || levels.len() != channels * plane {
            let (count, shape) = (levels.len(), [channels, height, width]);
            return Err(ReportError::Plot(format!("an image of {count} levels is not of shape {shape:?}")));
        }
        let level = |channel: usize, at: usize| {
            let channel = if channels >= 3 { channel } else { 0 };
            levels[channel * plane + at]
        };
        let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|channel| level(channel, at)))
        });
        let (width, height) = (image.width(), image.height());
        let longest = width.max(height);
        let image = match longest > SIDE {
            true => {
                let [width, height] = [width, height].map(|side| (side * SIDE / longest).max(1));
                imageops::resize(&image, width, height, imageops::FilterType::Triangle)
            }
            false => image,
        };
        if self.images.first().is_some_and(|first| first.dimensions() != image.dimensions()) {
            return Err(ReportError::Plot("images of a report are of one size".to_string()));
        }
        self.images.push(image);
        Ok(self.images.len() - 1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Width and height of an image, and columns and rows of the picture.
    pub fn layout(&self) -> [u32; 4] {
        let (width, height) = self.images.first().map_or((1, 1), RgbImage::dimensions);
        let count = self.images.len() as u32;
        [width, height, COLUMNS.min(count.max(1)), count.div_ceil(COLUMNS).max(1)]
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        let [width, height, columns, rows] = self.layout();
        let mut sheet = RgbImage::new(width * columns, height * rows);
        for (i, image) in self.images.iter().enumerate() {
            let (column, row) = (i as u32 % columns, i as u32 / columns);
            imageops::replace(&mut sheet, image, i64::from(column * width), i64::from(row * height));
        }
        encoded(&sheet)
    }
}

/// Images as a sheet of so many columns, with a gap, as sheets of samples have.
///
/// # Errors
/// When it cannot be encoded.
pub fn sheet(atlas: &Atlas, columns: u32) -> Result<Vec<u8>, ReportError> {
    const GAP: u32 = 2;
    let [width, height, ..] = atlas.layout();
    let count = atlas.images.len() as u32;
    let rows = count.div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(
        columns * (width + GAP) + GAP,
        rows * (height + GAP) + GAP,
        image::Rgb([255; 3]),
    );
    for (i, image) in atlas.images.iter().enumerate() {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        let (x, y) = (GAP + column * (width + GAP), GAP + row * (height + GAP));
        imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
    }
    encoded(&sheet)
}

fn encoded(image: &RgbImage) -> Result<Vec<u8>, ReportError> {
    let mut out = Vec::new();
    let (width, height) = image.dimensions();
    let written =
        PngEncoder::new(&mut out).write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8);
    written.map_err(|error| ReportError::Plot(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_where_the_layout_says() {
        let mut atlas = Atlas::default();
        assert!(atlas.is_empty());
        for i in 0..30u8 {
            let levels = if i == 25 { vec![200; 4] } else { vec![i; 4] };
            assert_eq!(atlas.add(&levels, [1, 2, 2]).expect("added"), usize::from(i));
        }
        assert_eq!(atlas.layout(), [2, 2, 24, 2]);
        let picture = image::load_from_memory(&atlas.png().expect("a PNG")).expect("read").into_rgb8();
        assert_eq!(picture.get_pixel(3, 3).0, [200; 3], "the second of the second row");
        assert!(atlas.add(&[0; 5], [1, 2, 2]).is_err());
        assert!(atlas.add(&[0; 3], [3, 1, 1]).expect_err("refused").to_string().contains("of one size"));
        let mut large = Atlas::default();
        large.add(&vec![7; 3 * 128 * 64], [3, 128, 64]).expect("added");
        assert_eq!(large.layout(), [32, 64, 1, 1]);
    }
}
