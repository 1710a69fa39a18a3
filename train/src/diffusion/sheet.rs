//! Sheets of generated images above real ones.

use std::path::Path;

use ddae_data::sheet::Sheet;
use ddae_data::split::Split;
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::sampler::Sampler;
use ddae_model::diffusion::{PlanError, SamplerPlan};
use ddae_model::tensor::Tensor as Array;

use crate::TrainError;
use crate::sampler::Sampler as TorchSampler;
use crate::torch::Parameters;

/// Rows of real images under the samples.
const REAL_ROWS: usize = 2;

/// DDIM (eta 0) for a DDPM, EDM's sampler without churn for an EDM; with the published number of steps, or another.
///
/// # Errors
/// When the process cannot be sampled with so many steps.
pub fn plan(process: &ProcessConfig, steps: Option<usize>) -> Result<SamplerPlan, PlanError> {
    let sampler = Sampler::of(process);
    sampler.plan(process, steps.unwrap_or_else(|| sampler.default_steps(process)), 0.0)
}

/// The samples of a sheet.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// Their number.
    pub count: usize,
    /// How many are drawn at a time.
    pub batch: usize,
    /// What all draws are a function of.
    pub seed: u64,
    /// The classes, which the samples are of in turn; 0 where the network is not told.
    pub classes: usize,
}

/// Writes a PNG sheet of samples above two rows of the first images of `real`. `false` if the sampler was to stop, and
/// there is no sheet.
///
/// # Errors
/// libtorch's, or the system's.
pub fn write(
    sampler: &TorchSampler,
    weights: &Parameters,
    draws: Draws,
    real: &Split,
    path: &Path,
) -> Result<bool, TrainError> {
    let Draws { count, batch, seed, classes } = draws;
    let shape = real.shape();
    let size = real.image_len();
    let columns = (count as f64).sqrt().ceil() as usize;
    let rows = count.div_ceil(columns);
    let captions = std::iter::repeat_n("sample", rows).chain(std::iter::repeat_n("real", REAL_ROWS));
    let mut sheet = Sheet::new(columns, shape)?.gap(2).scale(scale(shape)).captions(captions);
    for first in (0..count).step_by(batch) {
        let numbers = first as u64..(first + batch).min(count) as u64;
        let class = |number: u64| (number % classes as u64) as i64;
        let guides: Vec<_> = (classes > 0)
            .then(|| numbers.clone().map(class).collect::<Vec<i64>>())
            .map(|of| ("label", Array::i64(&[of.len()], of)))
            .into_iter()
            .collect();
        let Some(images) = sampler.sample(weights, numbers, seed, &guides)? else { return Ok(false) };
        for image in images.chunks_exact(size) {
            sheet.push_f32(image)?;
        }
    }
    for _ in count..rows * columns {
        sheet.push_f32(&vec![1.0; size])?;
    }
    let mut levels = vec![0; size];
    for i in 0..REAL_ROWS * columns {
        // A data set smaller than the sheet begins anew.
        real.read(i % real.len().max(1), &mut levels)?;
        sheet.push_u8(&levels)?;
    }
    sheet.write_png(path)?;
    Ok(true)
}

/// Pixels of a sheet along each side of an image's pixel, so that small images can be seen.
pub(crate) fn scale([_, height, _]: [usize; 3]) -> usize {
    (96 / height.max(1)).clamp(1, 4)
}
