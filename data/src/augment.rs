//! The augmentations of training images.
//!
//! | | |
//! | --- | --- |
//! | [`random_flip`], [`random_crop`] | of classifier and diffusion training: horizontal flip and padded crop |
//! | [`Augmentation`], [`Augmenter`] | what of it a run, or a view of a feature job, does |
//! | [`Canvas`], [`Operation`], [`RandAugment`], [`ResizedCrop`] | torchvision's, with the levels that PIL computes |
//! | [`Normaliser`] | levels to what encoders and classifiers see |
//! | [`SodaViews`] | SODA's source and target of an image |
//!
//! Flip and padded crop work on images of [C, H, W], of levels or of numbers, in place.

mod affine;
mod augmentation;
mod blend;
mod canvas;
mod levels;
mod normaliser;
mod rand_augment;
mod resized_crop;
mod soda;

pub use augmentation::{Augmentation, Augmenter};
pub use canvas::Canvas;
pub use normaliser::Normaliser;
pub use rand_augment::{Operation, RandAugment};
pub use resized_crop::{CROP_AREA, Rectangle, ResizedCrop};
pub use soda::SodaViews;

use ddae_base::random::{Purpose, Stream, stream};

/// What decides every draw for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, or view of a feature job.
    pub epoch: u64,
    /// Id of the image in its whole split ([`crate::Split::id`]).
    pub id: u64,
}

impl ImageKey {
    /// The draws for one purpose.
    pub(crate) fn stream(self, purpose: Purpose) -> Stream {
        stream(self.seed, purpose, self.id, self.epoch)
    }
}

/// Mirrors every row.
///
/// # Panics
/// When `image` does not have the length of `shape`.
pub fn flip<T>(image: &mut [T], shape: [usize; 3]) {
    check_len(image, shape);
    image.chunks_exact_mut(shape[2]).for_each(<[T]>::reverse);
}

/// Mirrors every row with probability 1/2 (torchvision's `RandomHorizontalFlip`).
///
/// # Panics
/// When `image` does not have the length of `shape`.
pub fn random_flip<T>(image: &mut [T], shape: [usize; 3], rng: &mut Stream) {
    if rng.chance(0.5) {
        flip(image, shape);
    }
}

/// Moves the image `down` rows and `right` columns; what comes in from outside is zero (black).
///
/// # Panics
/// When `image` does not have the length of `shape`.
pub fn shift<T: Copy + Default>(image: &mut [T], shape: [usize; 3], down: isize, right: isize) {
    check_len(image, shape);
    let [_, height, width] = shape;
    let original = image.to_vec();
    image.fill(T::default());
    let columns = overlap(width, right);
    for (plane, original) in image.chunks_exact_mut(height * width).zip(original.chunks_exact(height * width))
    {
        for (to, from) in overlap(height, down) {
            for (to_column, from_column) in columns.clone() {
                plane[to * width + to_column] = original[from * width + from_column];
            }
        }
    }
}

/// Positions (to, from) along an axis of `length` that is moved by `by`.
fn overlap(length: usize, by: isize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let (first_to, first_from) = (by.max(0) as usize, (-by).max(0) as usize);
    let count = length.saturating_sub(by.unsigned_abs());
    (0..count).map(move |i| (first_to + i, first_from + i))
}

/// Pads the image with `padding` zeros on every side and cuts an image of the old size out at a random place
/// (torchvision's `RandomCrop(size, padding)`).
///
/// # Panics
/// When `image` does not have the length of `shape`.
pub fn random_crop<T: Copy + Default>(image: &mut [T], shape: [usize; 3], padding: usize, rng: &mut Stream) {
    let places = 2 * padding as u64 + 1;
    let mut offset = || padding as isize - rng.below(places) as isize;
    let (down, right) = (offset(), offset());
    shift(image, shape, down, right);
}

fn check_len<T>(image: &[T], shape: [usize; 3]) {
    assert_eq!(image.len(), shape.iter().product::<usize>(), "the image does not fill its shape");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 2, 3];
    const IMAGE: [u8; 12] = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];

    #[test]
    fn flip_mirrors_rows_of_every_plane() {
        let mut image = IMAGE;
        flip(&mut image, SHAPE);
        assert_eq!(image, [3, 2, 1, 6, 5, 4, 13, 12, 11, 16, 15, 14]);
    }

    #[test]
    fn shift_brings_in_zeros() {
        let mut image = IMAGE;
        shift(&mut image, SHAPE, 1, -1);
        assert_eq!(image, [0, 0, 0, 2, 3, 0, 0, 0, 0, 12, 13, 0]);
        shift(&mut image, SHAPE, 5, 0);
        assert_eq!(image, [0; 12]);
    }

    #[test]
    fn a_random_crop_reaches_every_place_equally() {
        // A single bright pixel in the middle of 5x5 shows where the crop of padding 2 was taken.
        let mut counts = [0u32; 25];
        let mut rng = stream(1, Purpose::Augment, 0, 0);
        for _ in 0..25_000 {
            let mut image = [0f32; 25];
            image[12] = 1.0;
            random_crop(&mut image, [1, 5, 5], 2, &mut rng);
            let place = image.iter().position(|&v| v == 1.0);
            counts[place.expect("the pixel never leaves")] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
