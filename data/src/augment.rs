//! The augmentations of training pictures.
//!
//! | | |
//! | --- | --- |
//! | [`random_flip`], [`random_crop`] | of classifier and diffusion training: horizontal flip and padded crop |
//! | [`Canvas`], [`Operation`], [`RandAugment`], [`ResizedCrop`] | torchvision's, with the levels that PIL computes |
//! | [`Normaliser`] | levels to what encoders and classifiers see |
//! | [`SodaViews`] | SODA's source and target of a picture |
//! | [`DownstreamCrop`] | training pictures of the probes of SODA's features |
//!
//! Flip and padded crop work on pictures of [C, H, W], of levels or of numbers, in place.

mod affine;
mod blend;
mod canvas;
mod downstream;
mod levels;
mod normaliser;
mod rand_augment;
mod resized_crop;
mod soda;

pub use canvas::Canvas;
pub use downstream::DownstreamCrop;
pub use normaliser::Normaliser;
pub use rand_augment::{Operation, RandAugment};
pub use resized_crop::{CROP_AREA, Rectangle, ResizedCrop};
pub use soda::{PictureKey, SodaViews};

use ddae_base::random::Stream;

/// Mirrors every row.
///
/// # Panics
/// When `picture` does not have the length of `shape`.
pub fn flip<T>(picture: &mut [T], shape: [usize; 3]) {
    check_len(picture, shape);
    picture.chunks_exact_mut(shape[2]).for_each(<[T]>::reverse);
}

/// Mirrors every row with probability 1/2 (torchvision's `RandomHorizontalFlip`).
///
/// # Panics
/// When `picture` does not have the length of `shape`.
pub fn random_flip<T>(picture: &mut [T], shape: [usize; 3], rng: &mut Stream) {
    if rng.chance(0.5) {
        flip(picture, shape);
    }
}

/// Moves the picture `down` rows and `right` columns; what comes in from outside is zero (black).
///
/// # Panics
/// When `picture` does not have the length of `shape`.
pub fn shift<T: Copy + Default>(picture: &mut [T], shape: [usize; 3], down: isize, right: isize) {
    check_len(picture, shape);
    let [_, height, width] = shape;
    let original = picture.to_vec();
    picture.fill(T::default());
    let columns = overlap(width, right);
    for (plane, original) in
        picture.chunks_exact_mut(height * width).zip(original.chunks_exact(height * width))
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

/// Pads the picture with `padding` zeros on every side and cuts a picture of the old size out at a random place
/// (torchvision's `RandomCrop(size, padding)`).
///
/// # Panics
/// When `picture` does not have the length of `shape`.
pub fn random_crop<T: Copy + Default>(
    picture: &mut [T],
    shape: [usize; 3],
    padding: usize,
    rng: &mut Stream,
) {
    let places = 2 * padding as u64 + 1;
    let mut offset = || padding as isize - rng.below(places) as isize;
    let (down, right) = (offset(), offset());
    shift(picture, shape, down, right);
}

fn check_len<T>(picture: &[T], shape: [usize; 3]) {
    assert_eq!(picture.len(), shape.iter().product::<usize>(), "the picture does not fill its shape");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddae_base::random::{Purpose, stream};

    const SHAPE: [usize; 3] = [2, 2, 3];
    const PICTURE: [u8; 12] = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];

    #[test]
    fn flip_mirrors_rows_of_every_plane() {
        let mut picture = PICTURE;
        flip(&mut picture, SHAPE);
        assert_eq!(picture, [3, 2, 1, 6, 5, 4, 13, 12, 11, 16, 15, 14]);
    }

    #[test]
    fn shift_brings_in_zeros() {
        let mut picture = PICTURE;
        shift(&mut picture, SHAPE, 1, -1);
        assert_eq!(picture, [0, 0, 0, 2, 3, 0, 0, 0, 0, 12, 13, 0]);
        shift(&mut picture, SHAPE, 5, 0);
        assert_eq!(picture, [0; 12]);
    }

    #[test]
    fn a_random_crop_reaches_every_place_equally() {
        // A single bright pixel in the middle of 5x5 shows where the crop of padding 2 was taken.
        let mut counts = [0u32; 25];
        let mut rng = stream(1, Purpose::Augment, 0, 0);
        for _ in 0..25_000 {
            let mut picture = [0f32; 25];
            picture[12] = 1.0;
            random_crop(&mut picture, [1, 5, 5], 2, &mut rng);
            let place = picture.iter().position(|&v| v == 1.0);
            counts[place.expect("the pixel never leaves")] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
