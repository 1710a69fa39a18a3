//! Images to latents.

use std::sync::atomic::AtomicBool;

use ddae_data::split::Split;

use crate::engine::Keep;
use crate::error::InferError;
use crate::images::image_input;
use crate::workers::Workers;

/// Images of a split through an encoder graph.
pub struct Encoding<'a> {
    /// The images, in the encoder's shape.
    pub split: &'a Split,
    /// Whether the graph takes bytes.
    pub bytes: bool,
    /// Length of a latent.
    pub width: usize,
    /// Images per run of the graph.
    pub batch: usize,
}

impl Encoding<'_> {
    /// The latents of all images, one after the other, in their order.
    ///
    /// # Errors
    /// When an image cannot be read, the runtime fails, or the graph gives something else than latents of this length;
    /// [`InferError::Interrupted`] soon after `stop` was set.
    pub fn run(&self, workers: &mut Workers, stop: &AtomicBool) -> Result<Vec<f32>, InferError> {
        let [channels, height, width] = self.split.shape();
        let (count, size) = (self.split.len(), self.split.image_len());
        let mut latents = vec![0.0; count * self.width];
        workers.run(
            count.div_ceil(self.batch),
            stop,
            |job| {
                // The last batch is padded with black images.
                let mut levels = vec![0; self.batch * size];
                let rows = job * self.batch..count.min((job + 1) * self.batch);
                for (row, image) in rows.zip(levels.chunks_exact_mut(size)) {
                    self.split.read(row, image)?;
                }
                Ok(levels)
            },
            |engine, levels| {
                let image = image_input(&levels, [self.batch, channels, height, width], self.bytes).into();
                let results = engine.run(&[("image", &image)], Keep::Host)?;
                let wanted = [self.batch, self.width];
                let Some(z) = results.first() else {
                    return Err(engine.unusable("it has no output".to_string()));
                };
                let (shape, values) = z.floats()?;
                if shape != wanted {
                    let message = format!("its output is {shape:?} and not {wanted:?}");
                    return Err(engine.unusable(message));
                }
                Ok(values.to_vec())
            },
            |job, values| {
                let all = &mut latents[job * self.batch * self.width..];
                let kept = all.len().min(values.len());
                all[..kept].copy_from_slice(&values[..kept]);
                Ok(())
            },
        )?;
        Ok(latents)
    }
}
