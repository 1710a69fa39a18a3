//! Sheets of sources, targets and reconstructions.

use std::ops::Range;
use std::path::Path;

use ddae_data::augment::{ImageKey, SodaViews};
use ddae_data::sheet::Sheet;
use ddae_data::split::Split;
use ddae_model::config::{ChannelStatistics, SodaAugmentation};
use ddae_model::tensor::Tensor as Array;

use super::encoder::Encoder;
use crate::TrainError;
use crate::diffusion::sheet::scale;
use crate::ranks::Division;
use crate::sampler::Sampler;
use crate::torch::Parameters;

/// How far guided sampling goes beyond the conditional prediction, as published.
const GUIDANCE: f32 = 0.3;
/// Images side by side, as published.
const COLUMNS: usize = 10;

/// What makes the images of a sheet.
pub struct Reconstruction<'a> {
    pub encoder: &'a Encoder,
    pub sampler: &'a Sampler,
    /// Of both networks.
    pub weights: &'a Parameters,
    pub normalisation: &'a ChannelStatistics,
    pub augmentation: SodaAugmentation,
    pub seed: u64,
}

impl Reconstruction<'_> {
    /// Writes a PNG sheet of the first `count` images of `split`, three rows for every ten of them: what the encoder
    /// sees of them, the view that training would have made of it, and the one that the decoder makes. Every rank makes a part of
    /// these, `batch` at a time, and rank 0 writes. `false` if the sampler was to stop, and there is no sheet.
    ///
    /// # Errors
    /// When an image cannot be read, libtorch's, the system's, or when another rank does not answer.
    pub fn write(
        &self,
        split: &Split,
        count: usize,
        batch: usize,
        among: Division,
        path: &Path,
    ) -> Result<bool, TrainError> {
        let (shape, size) = (split.shape(), split.image_len());
        let columns = count.clamp(1, COLUMNS);
        let made = among.gathered([count, size], batch, |part| self.made(split, part, batch))?;
        let Some(made) = made else { return Ok(false) };
        if !among.leads() {
            return Ok(true);
        }
        let blocks = count.div_ceil(columns);
        let captions = ["source", "target", "made"].into_iter().cycle().take(3 * blocks);
        let mut sheet = Sheet::new(columns, shape)?.gap(2).scale(scale(shape)).captions(captions);
        for first in (0..count).step_by(columns) {
            let numbers = first..(first + columns).min(count);
            let (sources, targets) = self.views(split, numbers.clone())?;
            let sources = self.shown(&sources, shape);
            for row in [&sources[..], &targets[..], &made[size * numbers.start..size * numbers.end]] {
                for image in row.chunks_exact(size) {
                    sheet.push_f32(image)?;
                }
                for _ in numbers.len()..columns {
                    sheet.push_f32(&vec![1.0; size])?;
                }
            }
        }
        sheet.write_png(path)?;
        Ok(true)
    }

    /// What the latents of the images' sources at these positions lead to, in batches: `[C, H, W]` in [0, 1] each, as far as they
    /// keep to it. `None` if the sampler was to stop.
    fn made(
        &self,
        split: &Split,
        numbers: Range<usize>,
        batch: usize,
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let mut all = Vec::new();
        for first in numbers.clone().step_by(batch) {
            let numbers = first..(first + batch).min(numbers.end);
            let (sources, _) = self.views(split, numbers.clone())?;
            let z = self.encoder.images(self.weights, &sources)?;
            let guides = [("z", z), ("guidance", Array::f32(&[1], vec![GUIDANCE]))];
            let numbers = numbers.start as u64..numbers.end as u64;
            let Some(made) = self.sampler.sample(self.weights, numbers, self.seed, &guides)? else {
                return Ok(None);
            };
            all.extend(made);
        }
        Ok(Some(all))
    }

    /// Sources, normalised, and targets of images. They are the same in every sheet of a run.
    fn views(&self, split: &Split, numbers: Range<usize>) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let mut views = SodaViews::new(split.shape(), self.normalisation, self.augmentation)?;
        let (mut sources, mut targets, mut levels) = (vec![], vec![], vec![0; split.image_len()]);
        for number in numbers {
            split.read(number, &mut levels)?;
            let key = ImageKey { seed: self.seed, epoch: 0, id: split.id(number) };
            views.source(&levels, key, &mut sources);
            targets.extend(views.target(&levels, key).iter().map(|&level| f32::from(level) / 255.0));
        }
        Ok((sources, targets))
    }

    /// Normalised images as they were before.
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

#[cfg(test)]
mod tests {
    use ddae_model::config::SodaRun;
    use ddae_model::diffusion::model_sampler_graph;
    use ddae_model::diffusion::sampler::ddim;
    use ddae_model::networks::soda_graph;
    use ddae_tests::{relative_error, rule_values, rule_weights, tolerance};
    use tch::{Device, Kind};

    use super::*;
    use crate::torch::{Layout, Precision};
    use crate::training::Place;

    const CONFIG: &str = "
dataset: cifar10
encoder: {arch: resnet18, feature_dim: 8, cifar_small_image: True}
decoder:
  image_shape: [3, 8, 8]
  n_channels: 32
  ch_mults: [1, 1]
  is_attn: [False, True]
  dropout: 0.1
  n_blocks: 1
  use_res_for_updown: False
  z_channels: 8
diffusion: {betas: [1.0e-4, 0.02], n_T: 100, drop_prob: 0.1}
batch_size: 4
lrate: 1.0e-3
lrate_ratio: 2
n_epoch: 1
ema: 0.9
n_sample: 4
save_dir: run
save_per: 1
";
    const SHAPE: [usize; 3] = [3, 8, 8];
    const SIZE: usize = 192;
    const SEED: u64 = 3;

    fn split() -> Split {
        let levels = rule_values("levels", 8 * SIZE, 0.0, 256.0).into_iter().map(|level| level as u8);
        Split::in_memory("data", vec!["a".to_string()], vec![0; 8], SHAPE, levels.collect()).expect("a split")
    }

    /// Source and target of an image, normalised by these statistics.
    fn views(statistics: &ChannelStatistics, position: usize) -> [Vec<f32>; 2] {
        let mut views = SodaViews::new(SHAPE, statistics, SodaAugmentation::default()).expect("RGB");
        let (mut source, mut levels) = (vec![], vec![0; SIZE]);
        split().read(position, &mut levels).expect("an image");
        let key = ImageKey { seed: SEED, epoch: 0, id: position as u64 };
        views.source(&levels, key, &mut source);
        [source, views.target(&levels, key).iter().map(|&level| f32::from(level) / 255.0).collect()]
    }

    #[test]
    fn rows_are_sources_targets_and_what_the_latents_lead_to() {
        let config = SodaRun::parse(CONFIG, "CONFIG", &[]).expect("a configuration");
        let place = Place { device: Device::Cpu, layout: Layout::Contiguous, precision: Precision::Full };
        let graph = soda_graph(&config.networks).expect("a graph");
        let weights = rule_weights(&graph);
        let weights = Parameters::new(&graph, &weights, place.device, Kind::Float, place.layout, false);
        let weights = weights.expect("parameters");
        let encoder = Encoder::new(&config.networks.encoder, place).expect("an encoder");
        let step = model_sampler_graph(&config.decoder_model()).expect("a graph");
        let plan = ddim(&config.diffusion.process(), 3, 0.0);
        let sampler = Sampler::new(&step, plan.expect("a plan"), SHAPE, place).expect("a sampler");
        let normalisation = ChannelStatistics { mean: vec![0.2, 0.5, 0.7], std: vec![0.3, 0.2, 0.4] };
        let rows = |augment_target: bool| {
            let augmentation = SodaAugmentation { augment_target, ..SodaAugmentation::default() };
            let reconstruction = Reconstruction {
                encoder: &encoder,
                sampler: &sampler,
                weights: &weights,
                normalisation: &normalisation,
                augmentation,
                seed: SEED,
            };
            let (sources, targets) = reconstruction.views(&split(), 5..7).expect("views");
            let made = reconstruction.made(&split(), 5..7, 2).expect("images").expect("no interrupt");
            [reconstruction.shown(&sources, SHAPE), targets, made]
        };
        let [sources, targets, made] = rows(true);

        let plain = ChannelStatistics { mean: vec![0.0; 3], std: vec![1.0; 3] };
        let mut normalised = Vec::new();
        for (i, position) in [5, 6].into_iter().enumerate() {
            let [source, target] = views(&plain, position);
            assert_eq!(targets[i * SIZE..][..SIZE], target);
            // The same but for the noise, which comes after the normalisation.
            for (shown, source) in sources[i * SIZE..][..SIZE].chunks(64).zip(source.chunks(64)) {
                let mean = shown.iter().zip(source).map(|(a, b)| a - b).sum::<f32>() / 64.0;
                assert!(mean.abs() < 0.05, "{mean}");
            }
            normalised.extend_from_slice(&views(&normalisation, position)[0]);
        }
        let z = encoder.images(&weights, &normalised).expect("latents");
        let expected = |guidance: f32| {
            let guides = [("z", z.clone()), ("guidance", Array::f32(&[1], vec![guidance]))];
            sampler.sample(&weights, 5..7, SEED, &guides).expect("images").expect("no interrupt")
        };
        let error = |guidance: f32| relative_error(&made, &expected(guidance));
        assert!(error(0.3) <= tolerance::SAMPLER && error(0.0) > tolerance::SAMPLER);

        let [same, unaltered, _] = rows(false);
        assert_eq!(same, sources);
        let mut levels = vec![0; SIZE];
        split().read(6, &mut levels).expect("an image");
        let levels: Vec<f32> = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
        assert_eq!(unaltered[SIZE..], levels);
    }
}
