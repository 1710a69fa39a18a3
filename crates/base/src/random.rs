//! Random streams keyed by what they are for.
//!
//! A stream is a ChaCha8 generator whose 32-byte key is (seed, purpose, index, variant). Draws for image 17 of epoch
//! 3 are therefore the same numbers whichever batch, thread, shard or machine asks for them, and nothing has to be
//! carried along or replayed when a run resumes in the middle.
//!
//! The numbers a key gives are part of the project's promise (a published seed keeps its images), so the
//! conversions below are written out instead of taken from a library that may change them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_core::{SeedableRng, TryRng};
use sha2::{Digest, Sha256};

pub use rand_core::Rng;

/// What the draws for an image of a feature job are a function of, in the words of feature files: to be changed with any of
/// them ([`ImageKey`], `docs/noise.md`).
pub const IMAGE_STREAM: &str = "chacha8 of seed, split, image, its levels, view and timestep";

/// What a stream is for. The numbers are part of the key: never change or reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// The order of a training epoch; index: 0, variant: epoch.
    Shuffle = 1,
    /// Flip and crop of one image; index: image, or all of [`ImageKey`]; variant: epoch or view.
    Augment = 2,
    /// Noise added to one image ([`ImageKey`]); variant: view and timestep.
    Noise = 3,
    /// The starting noise and the steps of one generated image; index: its number among those of the seed, 0 where
    /// every image has a seed of its own; variant: the draw.
    Sample = 4,
    /// Timesteps, noise and dropout of a training step; index: step, variant: rank.
    Training = 5,
    /// Which images are held out for selection; index: class.
    HoldOut = 6,
    /// EDM's augmentation of one image; index: image, variant: epoch.
    EdmAugment = 7,
    /// Which images a preview shows.
    Preview = 8,
    /// Initial weights of a network or probe; index: parameter.
    Initialise = 10,
    /// Which images an exported file is calibrated and compared on.
    Calibrate = 11,
    /// SODA's source view of one image; index: image, variant: epoch.
    SodaSource = 12,
    /// SODA's target view of one image; index: image, variant: epoch.
    SodaTarget = 13,
    /// The class of one generated image that has a seed of its own.
    Class = 14,
    /// What a validation loss is of, under the seed 0 whatever the run's; variant 0: noise of the image `index`, 1: what is
    /// hidden of its latent; with index 0, 2: which images, 3: the order of their noise levels.
    Validation = 15,
}

/// The stream for (seed, purpose, index, variant), from its beginning.
///
/// ```
/// use ddae_base::random::{Purpose, stream};
/// let mut eps = [0.0f32; 4];
/// stream(7, Purpose::Noise, 1234, 11).fill_normal(&mut eps);
/// let mut again = [0.0f32; 2];
/// stream(7, Purpose::Noise, 1234, 11).fill_normal(&mut again);
/// assert_eq!(eps[..2], again);
/// ```
pub fn stream(seed: u64, purpose: Purpose, index: u64, variant: u64) -> Stream {
    stream_of(stream_key(seed, purpose, index, variant))
}

/// The key of [`stream`].
pub fn stream_key(seed: u64, purpose: Purpose, index: u64, variant: u64) -> [u8; 32] {
    let mut key = [0u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, index, variant]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    key
}

/// The stream of a key, from its beginning.
pub fn stream_of(key: [u8; 32]) -> Stream {
    Stream(ChaCha8Rng::from_seed(key))
}

/// The stream of a name under a seed, for values that depend on nothing else: the initial values of a parameter. Its key
/// is the SHA-256 of both.
pub fn named_stream(seed: u64, name: &str) -> Stream {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
}

/// The stream of a number alone, for inputs of checks that are the same everywhere.
pub fn numbered_stream(number: u64) -> Stream {
    Stream(ChaCha8Rng::seed_from_u64(number))
}

/// What tells an image from all others, for draws that are made for it alone: the split it is of, its number there, and
/// its levels. Two splits share no draws, whatever their names and numbers, unless the image itself is the same.
///
/// ```
/// use ddae_base::random::{ImageKey, Purpose};
/// let [train, test] = ["mnist/train", "mnist/test"].map(|split| ImageKey::new(split, 0, &[0; 784]));
/// let draw = |key: &ImageKey| key.stream(7, Purpose::Noise, 11).normal();
/// assert_eq!(draw(&train), draw(&train));
/// assert_ne!(draw(&train), draw(&test));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey([u8; 32]);

impl ImageKey {
    /// The key of image `index` of the split named `split`, with these levels, unaugmented.
    pub fn new(split: &str, index: u64, levels: &[u8]) -> ImageKey {
        let mut hash = Sha256::new();
        // Lengths first, so that no two keys are hashed from the same bytes.
        hash.update((split.len() as u64).to_le_bytes());
        hash.update(split.as_bytes());
        hash.update(index.to_le_bytes());
        hash.update(levels);
        ImageKey(hash.finalize().into())
    }

    /// The stream for this image under a seed, from its beginning.
    pub fn stream(&self, seed: u64, purpose: Purpose, variant: u64) -> Stream {
        stream_of(self.stream_key(seed, purpose, variant))
    }

    /// The key of [`ImageKey::stream`].
    pub fn stream_key(&self, seed: u64, purpose: Purpose, variant: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for word in [seed, purpose as u64, variant] {
            hash.update(word.to_le_bytes());
        }
        hash.finalize().into()
    }
}

/// 64 hexadecimal digits, as files keep it.
impl fmt::Display for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ImageKey {
    type Err = String;

    fn from_str(text: &str) -> Result<ImageKey, String> {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
        let key = bytes.filter(|_| rest.is_empty()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.map(ImageKey).ok_or_else(|| "wanted are 64 hexadecimal digits".to_string())
    }
}

/// A random stream; also a [`Rng`], so it can be handed to anything that takes one.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// A number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * 2f64.powi(-53)
    }

    /// A whole number in 0..n, each equally likely (Lemire's method, arXiv 1805.10941).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0): there is no number below 0");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Two independent draws of N(0, 1) (Box and Muller).
    fn normal_pair(&mut self) -> (f64, f64) {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        (radius * cos, radius * sin)
    }

    /// One draw of N(0, 1). Two calls do not continue [`Stream::fill_normal`]'s sequence: each consumes a pair.
    pub fn normal(&mut self) -> f64 {
        self.normal_pair().0
    }

    /// Fills `values` with independent draws of N(0, 1). A longer slice begins with the values of a shorter one.
    pub fn fill_normal(&mut self, values: &mut [f32]) {
        for pair in values.chunks_mut(2) {
            let (first, second) = self.normal_pair();
            pair[0] = first as f32;
            if let Some(value) = pair.get_mut(1) {
                *value = second as f32;
            }
        }
    }

    /// Puts `values` into a random order (Fisher and Yates), every order equally likely.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_images_are_read_as_they_are_written() {
        let key = ImageKey::new("mnist/train", 7, &[1, 2, 3]);
        let text = key.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(key)));
        for wrong in [&text[1..], &format!("{text}0"), &text.replace(&text[..2], "g0"), "é"] {
            assert!(wrong.parse::<ImageKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_differ_in_one_word_give_unrelated_streams() {
        let first = |a, p, b, c| stream(a, p, b, c).next_u64();
        let all = [
            first(0, Purpose::Noise, 0, 0),
            first(1, Purpose::Noise, 0, 0),
            first(0, Purpose::Augment, 0, 0),
            first(0, Purpose::Noise, 1, 0),
            first(0, Purpose::Noise, 0, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn images_that_differ_in_anything_have_unrelated_streams() {
        let mut firsts = Vec::new();
        for split in ["cifar10/train", "cifar10/test"] {
            for index in 0..4 {
                for levels in [[0, 0, 0], [0, 0, 1]] {
                    let key = ImageKey::new(split, index, &levels);
                    for (seed, variant) in [(0, 0), (0, 1), (1, 0), (0, 1 << 32)] {
                        for purpose in [Purpose::Noise, Purpose::Augment] {
                            firsts.push(key.stream(seed, purpose, variant).next_u64());
                        }
                    }
                }
            }
        }
        let count = firsts.len();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!((firsts.len(), count), (128, 128));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut values = vec![0f32; 200_001];
        stream(3, Purpose::Noise, 0, 0).fill_normal(&mut values);
        let moment = |k: i32| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.03, "skew {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "kurtosis {}", moment(4));
    }

    #[test]
    fn below_reaches_every_number_equally() {
        let mut counts = [0u32; 7];
        let mut rng = stream(0, Purpose::Shuffle, 0, 0);
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
    }
}
