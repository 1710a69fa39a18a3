//! Many images over the sessions of a device.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use ddae_model::diffusion::SamplerPlan;
use ddae_model::tensor::Tensor;
use rayon::prelude::*;

use super::run::{image_noise, sample_batch};
use crate::engine::Value;
use crate::error::InferError;
use crate::workers::Workers;

/// A sampling job.
pub struct Sampling<'a> {
    /// The steps.
    pub plan: &'a SamplerPlan,
    /// Shape of an image, `[C, H, W]`.
    pub shape: [usize; 3],
    /// Images per batch.
    pub batch: usize,
    /// What guides a network that takes latents.
    pub guide: Option<Guide<'a>>,
    /// What a network that takes classes is told of each image.
    pub classes: Option<&'a [i64]>,
}

/// The latents that guide a network.
#[derive(Clone, Copy, Debug)]
pub struct Guide<'a> {
    /// One after the other, as many as there are images.
    pub latents: &'a [f32],
    /// Length of a latent.
    pub width: usize,
    /// How much further than by itself each leads.
    pub guidance: f32,
}

impl Guide<'_> {
    /// The inputs of a batch for the images at `positions`, padded with zeros.
    fn inputs(&self, positions: Range<usize>, batch: usize) -> Vec<(&'static str, Value)> {
        let mut latents = self.latents[positions.start * self.width..positions.end * self.width].to_vec();
        latents.resize(batch * self.width, 0.0);
        let latents = Tensor::f32(&[batch, self.width], latents);
        vec![("z", latents.into()), ("guidance", Tensor::f32(&[1], vec![self.guidance]).into())]
    }
}

/// The size of batches, at most `largest`, that lets all `sessions` end at about the same time.
pub fn balanced_batch(images: usize, sessions: usize, largest: usize) -> usize {
    let sessions = sessions.max(1);
    let rounds = images.div_ceil(sessions * largest.max(1)).max(1);
    images.div_ceil(sessions * rounds).max(1)
}

impl Sampling<'_> {
    /// Draws the images of `seeds`, each with the latent and the class at its position, and gives each to `consume` (its position in
    /// `seeds`, values in [0, 1] not clamped, `[C, H, W]`), in the order in which batches are ready. `progress` is told of
    /// every network call (its images), from any thread.
    ///
    /// The last batch is padded to its full size.
    ///
    /// # Errors
    /// Those of the runtime and of `consume`; [`InferError::NotFinite`] for an image that is none;
    /// [`InferError::Interrupted`] soon after `stop` was set.
    pub fn run(
        &self,
        workers: &mut Workers,
        seeds: &[u64],
        stop: &AtomicBool,
        progress: impl Fn(usize) + Sync,
        mut consume: impl FnMut(usize, &[f64]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let [c, h, w] = self.shape;
        let (batch, size) = (self.batch, c * h * w);
        let cores_are_free = workers.prepare_apart();
        workers.run(
            seeds.len().div_ceil(batch),
            stop,
            |job| Ok(job * batch..seeds.len().min((job + 1) * batch)),
            |engine, positions| {
                let guides = self.guide.map(|guide| guide.inputs(positions.clone(), batch));
                let mut guides = guides.unwrap_or_default();
                if let Some(classes) = self.classes {
                    let mut classes = classes[positions.clone()].to_vec();
                    classes.resize(batch, 0);
                    guides.push(("label", Tensor::i64(&[batch], classes).into()));
                }
                let seeds = &seeds[positions];
                let noise = |draw: usize, values: &mut [f32]| {
                    let draw_image = |(i, values): (usize, &mut [f32])| match seeds.get(i) {
                        Some(seed) => image_noise(*seed, draw, values),
                        None => values.fill(0.0),
                    };
                    match cores_are_free {
                        true => values.par_chunks_exact_mut(size).enumerate().for_each(draw_image),
                        false => values.chunks_exact_mut(size).enumerate().for_each(draw_image),
                    }
                };
                let step = || match stop.load(Ordering::Relaxed) {
                    true => Err(InferError::Interrupted),
                    false => {
                        progress(seeds.len());
                        Ok(())
                    }
                };
                sample_batch(engine, self.plan, [batch, c, h, w], &guides, noise, step)
            },
            |job, images| {
                let positions = job * batch..seeds.len();
                positions.zip(images.chunks_exact(size)).try_for_each(|(at, image)| {
                    match image.iter().find(|value| !value.is_finite()) {
                        Some(&value) => Err(InferError::NotFinite { seed: seeds[at], value }),
                        None => consume(at, image),
                    }
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_balanced_over_the_sessions() {
        for (images, sessions, largest, expected) in [
            (64, 2, 16, 16),
            (33, 2, 16, 9),
            (20, 2, 16, 10),
            (1, 8, 16, 1),
            (0, 2, 16, 1),
            (300, 1, 256, 150),
        ] {
            let batch = balanced_batch(images, sessions, largest);
            assert_eq!(batch, expected, "{images} images, {sessions} sessions");
        }
    }
}
