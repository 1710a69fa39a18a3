use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::{Loader, LoaderOptions, Prepare};
use crate::augment::{ImageKey, SodaViews};
use crate::datasets::DataError;
use crate::interleave::interleave;
use crate::split::Split;

/// Two views of each image of a batch ([`SodaViews`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// What the encoder sees, normalised and with noise, [B, C, H, W].
    pub sources: Vec<f32>,
    /// What is to be generated, levels in 0..=255, [B, H, W, C].
    pub targets: Vec<u8>,
}

impl Loader<Pairs> {
    /// Starts reading images for SODA's training, sources normalised by `statistics`.
    ///
    /// ```
    /// use ddae_data::datasets;
    /// use ddae_data::loader::{Loader, LoaderOptions};
    /// use ddae_model::config::{ChannelStatistics, SodaAugmentation};
    /// # fn main() -> Result<(), ddae_data::DataError> {
    /// let train = datasets::open("fashion-sample", None)?.train;
    /// let statistics = ChannelStatistics { mean: vec![0.286], std: vec![0.353] };
    /// let options = LoaderOptions { batch: 64, shuffle: true, drop_last: true, ..Default::default() };
    /// let mut loader = Loader::pairs(&train, &options, &statistics, SodaAugmentation::default())?;
    /// assert_eq!(loader.batches(), 93);
    /// let pairs = loader.next().expect("there are 93")?.images;
    /// assert_eq!(pairs.sources.len(), 64 * 28 * 28);
    /// assert_eq!(pairs.targets.len(), 64 * 28 * 28);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When an option makes no sense: an empty batch, a start beyond the last batch, a normalisation for other
    /// channels; or when the images are neither grey nor RGB.
    pub fn pairs(
        split: &Split,
        options: &LoaderOptions,
        statistics: &ChannelStatistics,
        augmentation: SodaAugmentation,
    ) -> Result<Loader<Pairs>, DataError> {
        let views = SodaViews::new(split.shape(), statistics, augmentation)?;
        let prepare = PreparePairs { channels: split.shape()[0], views, pairs: Pairs::default() };
        Loader::start(split, options, prepare)
    }
}

#[derive(Clone)]
struct PreparePairs {
    channels: usize,
    views: SodaViews,
    pairs: Pairs,
}

impl Prepare for PreparePairs {
    type Images = Pairs;

    fn add(&mut self, levels: &mut [u8], key: ImageKey) {
        self.views.source(levels, key, &mut self.pairs.sources);
        interleave(self.views.target(levels, key), self.channels, &mut self.pairs.targets);
    }

    fn finish(self) -> Pairs {
        self.pairs
    }
}
