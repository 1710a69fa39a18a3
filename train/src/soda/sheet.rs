//! Sheets of sources, targets and reconstructions.

use std::path::Path;

use ddae_data::augment::{PictureKey, SodaViews};
use ddae_data::sheet::Sheet;
use ddae_data::split::Split;
use ddae_model::config::ChannelStatistics;
use ddae_model::tensor::Tensor as Array;

use super::encoder::Encoder;
use crate::TrainError;
use crate::diffusion::sheet::scale;
use crate::sampler::Sampler;
use crate::torch::Parameters;

/// How far guided sampling goes beyond the conditional prediction, as published.
const GUIDANCE: f32 = 0.3;
/// Pictures side by side, as published.
const COLUMNS: usize = 10;

/// What makes the pictures of a sheet.
pub struct Reconstruction<'a> {
    pub encoder: &'a Encoder,
    pub sampler: &'a Sampler,
    /// Of both networks.
    pub weights: &'a Parameters,
    pub normalisation: &'a ChannelStatistics,
    pub augment_target: bool,
    pub seed: u64,
}

impl Reconstruction<'_> {
    /// Writes a PNG sheet of the first `count` pictures of `split`, three rows for every ten of them: what the encoder
    /// sees of them, the view that training would have made of it, and the one that the decoder makes. `false` if an
    /// [interrupt](crate::run::interrupt) came, and there is no sheet.
    ///
    /// # Errors
    /// When a picture cannot be read, libtorch's, or the system's.
    pub fn write(&self, split: &Split, count: usize, path: &Path) -> Result<bool, TrainError> {
        let (shape, size) = (split.shape(), split.picture_len());
        let count = count.min(split.len());
        let columns = count.clamp(1, COLUMNS);
        let blocks = count.div_ceil(columns);
        let captions = ["source", "target", "made"].into_iter().cycle().take(3 * blocks);
        let mut sheet = Sheet::new(columns, shape)?.gap(2).scale(scale(shape)).captions(captions);
        for first in (0..count).step_by(columns) {
            let numbers = first..(first + columns).min(count);
            let (sources, targets) = self.views(split, numbers.clone())?;
            let z = self.encoder.pictures(self.weights, &sources)?;
            let guides = [("z", z), ("guidance", Array::f32(&[1], vec![GUIDANCE]))];
            let range = numbers.start as u64..numbers.end as u64;
            let Some(made) = self.sampler.sample(self.weights, range, self.seed, &guides)? else {
                return Ok(false);
            };
            for row in [self.shown(&sources, shape), targets, made] {
                for picture in row.chunks_exact(size) {
                    sheet.push_f32(picture)?;
                }
                for _ in numbers.len()..columns {
                    sheet.push_f32(&vec![1.0; size])?;
                }
            }
        }
        sheet.write_png(path)?;
        Ok(true)
    }

    /// Sources, normalised, and targets of pictures. They are the same in every sheet of a run.
    fn views(
        &self,
        split: &Split,
        numbers: std::ops::Range<usize>,
    ) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let views = SodaViews::new(split.shape(), self.normalisation, self.augment_target)?;
        let (mut sources, mut targets) = (Vec::new(), Vec::new());
        let (mut canvas, mut levels) = (views.canvas(), vec![0; split.picture_len()]);
        for number in numbers {
            split.read(number, &mut levels)?;
            let key = PictureKey { seed: self.seed, epoch: 0, id: split.id(number) };
            views.source(&levels, key, &mut canvas, &mut sources);
            views.target(&levels, key, &mut canvas, &mut targets);
        }
        Ok((sources, targets))
    }

    /// Normalised pictures as they were before.
    fn shown(&self, normalised: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
        let planes = normalised.chunks_exact(height * width).enumerate();
        let shown = planes.flat_map(|(number, plane)| {
            let channel = number % channels;
            let (mean, std) = (self.normalisation.mean[channel], self.normalisation.std[channel]);
            plane.iter().map(move |&value| value * std as f32 + mean as f32)
        });
        shown.collect()
    }
}
