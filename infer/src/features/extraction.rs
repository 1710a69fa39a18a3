//! What is extracted, divided into runs of the graph.

use std::ops::Range;
use std::sync::Arc;

use ddae_base::random::{ImageKey, Purpose, stream_key};
use ddae_data::augment::{Augmentation, Augmenter};
use ddae_model::tensor::Tensor;
use ddae_store::FeatureKey;
use ndarray::Array2;

use super::noise::NoiseSource;
use super::source::Source;
use crate::engine::{Engine, Keep, Noise, Value};
use crate::error::InferError;
use crate::images::image_input;

/// How an image looks from one view to the next. Every view has noise of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Number of views.
    pub count: usize,
    /// Zeros around the image before it is cropped at random, 0 for no crop.
    pub crop_padding: usize,
    /// Whether it is mirrored at random.
    pub flip: bool,
    /// Whether it is cropped, scaled and mirrored ([`Augmentation::ResizedCrop`]), in place of the above.
    pub resized_crop: bool,
}

impl Views {
    /// Whether an image itself looks different from view to view.
    pub fn alter(&self) -> bool {
        self.augmentation() != Augmentation::NONE
    }

    fn augmentation(&self) -> Augmentation {
        match self.resized_crop {
            true => Augmentation::ResizedCrop,
            false => {
                let padding = Some(self.crop_padding).filter(|&padding| padding > 0);
                Augmentation::Crop { padding, flip: self.flip }
            }
        }
    }
}

/// What random draws are a function of: part of [`ddae_store::Provenance`].
pub use ddae_base::random::IMAGE_STREAM as NOISE_STREAM;

/// How a graph noises the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noising {
    /// Not at all: it sees them as they are.
    None,
    /// As at the timestep that is built into it.
    BuiltIn,
    /// As at a timestep that is one of its inputs.
    Given,
    /// It draws latents from their posterior.
    Posterior,
}

/// A layer that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name, that of the graph's output.
    pub name: String,
    /// Its shape without the batch: `[D]`, or of a map `[D, H, W]` or `[tokens, D]`, which is stored as one row.
    pub shape: Vec<usize>,
}

impl Layer {
    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What is extracted from each image.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// The images, or the latents that were made of them.
    pub source: Source,
    /// Shape of the latents that the network sees or gives, where there are any.
    pub latents: Option<[usize; 3]>,
    /// The timesteps; 0 alone for a graph without.
    pub timesteps: Vec<i64>,
    /// Whether the graph takes noise, and a timestep.
    pub noising: Noising,
    /// The noise, where the graph takes some.
    pub noise: NoiseSource,
    /// Whether the graph takes bytes.
    pub bytes: bool,
    /// The layers, in the order of the graph's outputs.
    pub taps: Vec<Layer>,
    /// The views.
    pub views: Views,
    /// Seed of augmentation and noise.
    pub seed: u64,
    /// Images per run of the graph.
    pub batch: usize,
    /// Whether the device draws the noise, rather than the threads that prepare its inputs.
    pub draw_on_device: bool,
}

/// In place of a timestep, in the key of the noise by which latents are drawn from their posterior.
const POSTERIOR: u64 = u32::MAX as u64;

/// The key of the noise that is the same for all images: of the seed and the timestep alone.
fn fixed_key(seed: u64, timestep: u64) -> [u8; 32] {
    stream_key(seed, Purpose::Noise, 0, timestep)
}

/// One run of the graph: some rows, at one view and timestep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The first row.
    pub first: usize,
    /// Rows, at most a batch.
    pub count: usize,
    /// The view.
    pub view: usize,
    /// The timestep.
    pub timestep: i64,
    /// Whether it is the first of these rows' passes.
    pub leads: bool,
}

/// The inputs of a pass.
pub struct PassInputs {
    pass: Pass,
    /// The image, or the latent that was stored.
    image: Value,
    /// The posterior's, where another graph makes latents.
    posterior: Option<Value>,
    noise: Option<Value>,
    timestep: Option<Value>,
    keys: Vec<ImageKey>,
}

/// The results of a pass.
pub struct Computed {
    /// The features of each layer, `[rows, D]` in the order of [`Extraction::taps`].
    pub features: Vec<Array2<f32>>,
    /// What the draws for the rows' images are keyed by, where the file is to say it.
    pub image_keys: Vec<ImageKey>,
}

impl Extraction {
    /// The datasets of the feature file, by timestep, then layer.
    pub fn keys(&self) -> Vec<(FeatureKey, usize)> {
        let of_timestep = |&timestep: &i64| {
            self.taps.iter().map(move |tap| (FeatureKey::new(timestep, &tap.name), tap.width()))
        };
        self.timesteps.iter().flat_map(of_timestep).collect()
    }

    /// Runs of the graph for each row: views times timesteps.
    pub fn runs_per_row(&self) -> usize {
        self.views.count * self.timesteps.len()
    }

    /// Number of passes over `rows` rows.
    pub fn passes(&self, rows: usize) -> usize {
        rows.div_ceil(self.batch) * self.runs_per_row()
    }

    /// The pass of number `index` over `rows`: by batch, then view, then timestep, so that a batch's rows are finished
    /// soon after they were begun.
    pub fn pass(&self, rows: &Range<usize>, index: usize) -> Pass {
        let (batch, rest) = (index / self.runs_per_row(), index % self.runs_per_row());
        let first = rows.start + batch * self.batch;
        Pass {
            first,
            count: self.batch.min(rows.end - first),
            view: rest / self.timesteps.len(),
            timestep: self.timesteps[rest % self.timesteps.len()],
            leads: rest == 0,
        }
    }

    /// Reads and augments the images of a pass and draws their noise. A batch that is not full is padded.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn inputs(&self, pass: Pass) -> Result<PassInputs, InferError> {
        let (image, keys) = self.rows(pass)?;
        let [c, h, w] = self.latents.unwrap_or(self.source.shape());
        let noise = |variant: u64| -> Value {
            let keys = match self.noise {
                NoiseSource::Keyed => {
                    keys.iter().map(|key| key.stream_key(self.seed, Purpose::Noise, variant)).collect()
                }
                NoiseSource::Fixed => {
                    vec![fixed_key(self.seed, variant & u64::from(u32::MAX)); keys.len()]
                }
                NoiseSource::None => Vec::new(),
            };
            let noise = Noise { keys, shape: vec![self.batch, c, h, w] };
            let is_drawn_there = self.draw_on_device && self.noise != NoiseSource::None;
            if is_drawn_there { Value::Noise(Arc::new(noise)) } else { noise.drawn().into() }
        };
        // Timesteps are far below 2^32, and other than the last.
        let view = (pass.view as u64) << 32;
        let posterior = self.makes_latents_first().then(|| noise(view | POSTERIOR));
        let noise = match self.noising {
            Noising::None => None,
            Noising::BuiltIn | Noising::Given => Some(noise(view | pass.timestep as u64)),
            Noising::Posterior => Some(noise(view | POSTERIOR)),
        };
        let timestep = match self.noising {
            Noising::None | Noising::BuiltIn | Noising::Posterior => None,
            Noising::Given => Some(Tensor::i64(&[self.batch], vec![pass.timestep; self.batch]).into()),
        };
        Ok(PassInputs { pass, image, posterior, noise, timestep, keys })
    }

    /// Whether another graph makes latents of the images.
    fn makes_latents_first(&self) -> bool {
        let is_of_images = matches!(self.source, Source::Images(_));
        is_of_images && self.latents.is_some() && self.noising != Noising::Posterior
    }

    /// Whether anything of the features depends on the seed.
    pub fn is_drawn(&self) -> bool {
        (self.takes_noise() && self.noise != NoiseSource::None) || self.views.alter()
    }

    /// Whether a layer is stored as a map, or as a latent.
    pub fn has_maps(&self) -> bool {
        self.taps.iter().any(|tap| tap.shape.len() > 1)
    }

    /// Whether there is noise to be chosen: the graph's, or that by which latents are drawn from their posterior.
    pub fn takes_noise(&self) -> bool {
        self.noising != Noising::None || self.latents.is_some()
    }

    /// Whether an image's views differ from each other.
    pub fn views_differ(&self) -> bool {
        self.views.alter() || (self.takes_noise() && self.noise == NoiseSource::Keyed)
    }

    /// What the graph sees of a pass's rows, `[batch, C, H, W]` (of bytes `[batch, H, W, C]`), padded with zeros, and what
    /// their draws are keyed by.
    fn rows(&self, pass: Pass) -> Result<(Value, Vec<ImageKey>), InferError> {
        let [c, h, w] = self.source.shape();
        let (shape, size) = ([self.batch, c, h, w], c * h * w);
        let images = match &self.source {
            Source::Images(images) => images,
            Source::Latents(latents) => {
                let (rows, keys) = latents.read(pass.rows(), pass.view)?;
                let mut values: Vec<f32> = rows.into_iter().collect();
                values.resize(self.batch * size, 0.0);
                return Ok((Tensor::f32(&shape, values).into(), keys.to_vec()));
            }
        };
        let mut levels = vec![0; self.batch * size];
        let mut keys = Vec::with_capacity(pass.count);
        let mut augmenter = Augmenter::new(self.views.augmentation(), images.augmented_shape())?;
        for (row, image) in pass.rows().zip(levels.chunks_exact_mut(size)) {
            keys.push(images.read(row, &mut augmenter, self.seed, pass.view, image)?);
        }
        Ok((image_input(&levels, shape, self.bytes).into(), keys))
    }

    /// Runs the graph.
    ///
    /// # Errors
    /// When the runtime fails or the graph gives something else than its description promises.
    pub fn compute(&self, engine: &mut Engine, inputs: PassInputs) -> Result<Computed, InferError> {
        let latent = match (engine.before(), &inputs.posterior) {
            (Some(encoder), Some(posterior)) => {
                // Another session reads it.
                let latent = encoder.run(&[("image", &inputs.image), ("noise", posterior)], Keep::Host)?;
                latent.into_iter().next()
            }
            _ => None,
        };
        let mut named = vec![match (&latent, &self.source) {
            (Some(latent), _) => ("latent", latent),
            (None, Source::Latents(_)) => ("latent", &inputs.image),
            (None, Source::Images(_)) => ("image", &inputs.image),
        }];
        named.extend(inputs.noise.as_ref().map(|noise| ("noise", noise)));
        named.extend(inputs.timestep.as_ref().map(|timestep| ("timestep", timestep)));
        let results = engine.run(&named, Keep::Host)?;
        let promised = self.taps.iter().map(|tap| &tap.name);
        if !promised.clone().eq(engine.outputs()) {
            let promised: Vec<&str> = promised.map(String::as_str).collect();
            let (found, promised) = (engine.outputs().join(", "), promised.join(", "));
            return Err(engine.unusable(format!("it gives {found} and describes {promised}")));
        }
        let count = inputs.pass.count;
        let features = self.taps.iter().zip(&results).map(|(tap, result)| {
            let (shape, values) = result.floats()?;
            if shape.first() != Some(&self.batch) || shape[1..] != tap.shape {
                let promised = [&[self.batch][..], &tap.shape].concat();
                let message = format!("its output {} is {shape:?} and not {promised:?}", tap.name);
                return Err(engine.unusable(message));
            }
            let rows = values[..count * tap.width()].to_vec();
            Array2::from_shape_vec((count, tap.width()), rows)
                .map_err(|error| engine.unusable(error.to_string()))
        });
        let features = features.collect::<Result<_, _>>()?;
        let is_told = self.noising == Noising::Posterior && inputs.pass.leads;
        Ok(Computed { features, image_keys: if is_told { inputs.keys } else { Vec::new() } })
    }
}

impl Pass {
    /// The rows.
    pub fn rows(&self) -> Range<usize> {
        self.first..self.first + self.count
    }
}

#[cfg(test)]
mod tests {
    use ddae_data::split::Split;

    use super::*;

    /// Three views of black images of 2x2.
    fn extraction(split: &str, images: usize, latents: Option<[usize; 3]>, timesteps: &[i64]) -> Extraction {
        let (labels, levels) = (vec![0; images], vec![0; 4 * images]);
        let split = Split::in_memory(split, vec!["a".into()], labels, [1, 2, 2], levels);
        Extraction {
            source: split.expect("a split").into(),
            latents,
            timesteps: timesteps.to_vec(),
            noising: Noising::Given,
            noise: NoiseSource::Keyed,
            bytes: false,
            taps: vec![Layer { name: "out_1".into(), shape: vec![4] }],
            views: Views { count: 3, ..Views::default() },
            seed: 0,
            batch: 8,
            draw_on_device: false,
        }
    }

    /// Two splits whose images have the same numbers and the same levels.
    #[test]
    fn no_two_draws_of_training_and_test_jobs_are_alike() {
        let mut draws = Vec::new();
        for split in ["grey/train", "grey/test"] {
            let extraction = extraction(split, 20, Some([1, 2, 2]), &[1, 21]);
            let rows = 0..20;
            for index in 0..extraction.passes(rows.len()) {
                let pass = extraction.pass(&rows, index);
                let inputs = extraction.inputs(pass).expect("inputs");
                let posterior = inputs.posterior.filter(|_| pass.timestep == 1);
                for noise in inputs.noise.into_iter().chain(posterior) {
                    let values = noise.floats().expect("floats").1.to_vec();
                    draws.extend(
                        values[..4 * pass.count]
                            .chunks_exact(4)
                            .map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>()),
                    );
                }
            }
        }
        // 2 splits of 20 images, 3 views, 2 timesteps and a posterior each.
        assert_eq!(draws.len(), 2 * 20 * 3 * 3);
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), 2 * 20 * 3 * 3);
    }

    /// The noise of all passes over `images` images: timestep, view, and the bits of each row.
    fn noise_of(extraction: &Extraction) -> Vec<(i64, usize, Vec<Vec<u32>>)> {
        let rows = 0..extraction.source.len();
        let passes = (0..extraction.passes(rows.len())).map(|index| extraction.pass(&rows, index));
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        passes
            .map(|pass| {
                let inputs = extraction.inputs(pass).expect("inputs");
                let noise = inputs.noise.expect("noise");
                let values = noise.floats().expect("floats").1;
                (pass.timestep, pass.view, values[..4 * pass.count].chunks_exact(4).map(bits).collect())
            })
            .collect()
    }

    /// The numbers of docs/noise.md, which its Python gave.
    #[test]
    fn draws_are_those_that_are_documented() {
        let levels = vec![1, 2, 3, 4, 5, 10, 20, 30, 40, 50];
        let split = Split::in_memory("grey/train", vec!["a".into()], vec![0; 2], [1, 1, 5], levels);
        let source = split.expect("a split").into();
        let keyed = Extraction { source, seed: 7, ..extraction("", 1, None, &[11]) };
        let fixed = Extraction { noise: NoiseSource::Fixed, ..keyed.clone() };
        let noise = |extraction: &Extraction| {
            let pass = Pass { first: 1, count: 1, view: 1, timestep: 11, leads: false };
            let noise = extraction.inputs(pass).expect("inputs").noise.expect("noise");
            noise.floats().expect("floats").1[..5].to_vec()
        };
        assert_eq!(noise(&keyed), [0.1657211, -0.73208964, -0.039555747, 0.18574916, 0.43493444]);
        assert_eq!(noise(&fixed), [-1.236839, -1.2969993, -0.07469501, 0.8439579, -0.08772419]);
    }

    #[test]
    fn fixed_noise_is_one_draw_for_each_timestep_and_none_is_zeros() {
        let keyed = extraction("grey", 20, None, &[1, 21]);
        let fixed = Extraction { noise: NoiseSource::Fixed, ..keyed.clone() };
        let mut draws: Vec<Vec<Vec<u32>>> = Vec::new();
        for timestep in [1, 21] {
            let of = |(found, ..): &(i64, usize, _)| *found == timestep;
            let mut rows: Vec<_> =
                noise_of(&fixed).into_iter().filter(of).flat_map(|(.., rows)| rows).collect();
            assert_eq!(rows.len(), 20 * 3);
            rows.dedup();
            draws.push(rows);
        }
        assert!(draws.iter().all(|rows| rows.len() == 1) && draws[0] != draws[1]);
        let other = Extraction { seed: 1, ..fixed.clone() };
        assert_ne!(noise_of(&other), noise_of(&fixed));
        assert!(keyed.views_differ() && !fixed.views_differ());
        let none = Extraction { noise: NoiseSource::None, ..keyed.clone() };
        assert!(noise_of(&none).iter().all(|(.., rows)| rows.iter().flatten().all(|&bits| bits == 0)));
        assert!(fixed.is_drawn() && !none.is_drawn());
    }

    #[test]
    fn every_row_view_and_timestep_has_one_pass() {
        let extraction = extraction("grey", 50, None, &[21, 1]);
        let rows = 13..34;
        let mut seen = Vec::new();
        for index in 0..extraction.passes(rows.len()) {
            let pass = extraction.pass(&rows, index);
            assert_eq!(pass.leads, pass.view == 0 && pass.timestep == 21);
            seen.extend(pass.rows().map(|row| (row, pass.view, pass.timestep)));
        }
        seen.sort_unstable();
        let all = rows.flat_map(|row| (0..3).flat_map(move |view| [1, 21].map(|t| (row, view, t))));
        assert_eq!(seen, all.collect::<Vec<_>>());
    }
}
