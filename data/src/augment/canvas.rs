use crate::datasets::{DataError, Shape};

/// An image being augmented, and the room that operations need, so that none of them allocates.
///
/// One canvas serves any number of images of its shape, one after the other: write an image into
/// [`Canvas::levels_mut`], apply operations, read [`Canvas::levels`].
///
/// ```
/// use ddae_data::augment::{Canvas, Operation};
/// # fn main() -> Result<(), ddae_data::DataError> {
/// let mut canvas = Canvas::new([1, 2, 2])?;
/// canvas.levels_mut().copy_from_slice(&[0, 60, 120, 180]);
/// canvas.apply(Operation::Solarize, 100.0);
/// assert_eq!(canvas.levels(), [0, 60, 135, 75]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Canvas {
    shape: [usize; 3],
    pub(super) levels: Vec<u8>,
    /// What an operation writes while it still reads `levels`.
    pub(super) spare: Vec<u8>,
    /// For operations that look at all channels of a pixel, or move pixels: a number a pixel.
    pub(super) of_pixel: Vec<u32>,
}

impl Canvas {
    /// A black image of `shape` = [C, H, W].
    ///
    /// # Errors
    /// When there are neither 1 nor 3 channels (grey or RGB, in whose terms the operations are defined), or no pixels.
    pub fn new(shape: [usize; 3]) -> Result<Canvas, DataError> {
        let [channels, height, width] = shape;
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
            return Err(DataError::Argument(format!(
                "images of {} cannot be augmented this way: 1 or 3 channels and at least 1x1 pixels are needed",
                Shape(shape)
            )));
        }
        let pixels = height * width;
        let levels = vec![0; channels * pixels];
        Ok(Canvas { shape, spare: levels.clone(), levels, of_pixel: vec![0; pixels] })
    }

    /// [C, H, W].
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The image: C planes of H x W levels.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// The image, to be overwritten.
    pub fn levels_mut(&mut self) -> &mut [u8] {
        &mut self.levels
    }

    /// Pixels of a plane.
    pub(super) fn pixels(&self) -> usize {
        self.of_pixel.len()
    }

    /// Makes what an operation wrote to `spare` the image.
    pub(super) fn take_spare(&mut self) {
        std::mem::swap(&mut self.levels, &mut self.spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grey_and_rgb_images_have_a_canvas() {
        for shape in [[1, 1, 1], [3, 5, 7]] {
            let canvas = Canvas::new(shape).expect("allowed");
            assert_eq!((canvas.shape(), canvas.levels().len()), (shape, shape[0] * shape[1] * shape[2]));
        }
        let error = Canvas::new([2, 4, 4]).unwrap_err().to_string();
        assert!(error.starts_with("images of 2x4x4 cannot be augmented this way: 1 or 3"), "{error}");
        assert!(Canvas::new([3, 0, 4]).is_err());
    }
}
