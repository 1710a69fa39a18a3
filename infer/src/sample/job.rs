//! One batch through the sampler, and many batches over the workers.

use std::sync::atomic::AtomicBool;

use ddae_data::random::{Purpose, stream};
use ddae_model::diffusion::Plan;
use ddae_model::tensor::DType;
use ort::value::{DynValue, Tensor};

use crate::engine::{Engine, Keep};
use crate::error::InferError;
use crate::model_file::ModelFile;

/// Standard normal noise of draw `draw` for the picture of `seed`.
pub fn picture_noise(seed: u64, draw: usize, values: &mut [f32]) {
    stream(seed, Purpose::Sample, 0, draw as u64).fill_normal(values);
}

/// Runs the sampler graph through a plan for one batch of `shape = [B, C, H, W]`.
///
/// `noise(draw, values)` fills in the standard normal values of a draw. The state stays on the device between the
/// steps. Returns the pictures in [0, 1], not clamped, row-major.
///
/// # Errors
/// When the runtime fails.
pub fn sample_batch(
    engine: &mut Engine,
    plan: &Plan,
    shape: [usize; 4],
    mut noise: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<f64>, InferError> {
    let value = |error: ort::Error| InferError::Settings(format!("ONNX Runtime refuses an input: {error}"));
    let count = shape.iter().product();
    let mut drawn = vec![0f32; count];
    noise(0, &mut drawn);
    let mut start: Vec<f64> = drawn.iter().map(|z| f64::from(*z) * plan.start_scale).collect();
    if plan.start_churn != 0.0 {
        noise(1, &mut drawn);
        start.iter_mut().zip(&drawn).for_each(|(x, z)| *x += plan.start_churn * f64::from(*z));
    }
    let with_carry = plan.dtype == DType::F64;
    let mut x = state(plan, &shape, start).map_err(value)?;
    let mut carry = state(plan, &shape, vec![0.0; count]).map_err(value)?;
    let silent = Tensor::from_array((shape, vec![0f32; count])).map_err(value)?.into_dyn();
    for (i, step) in plan.steps.iter().enumerate() {
        let fresh = match step.noise {
            None => None,
            Some(draw) => {
                noise(draw, &mut drawn);
                Some(Tensor::from_array((shape, drawn.clone())).map_err(value)?.into_dyn())
            }
        };
        let t = Tensor::from_array(([1], vec![step.t])).map_err(value)?.into_dyn();
        let scale = step.preconditioning.clone();
        let scale = Tensor::from_array(([scale.len()], scale)).map_err(value)?.into_dyn();
        let coefficients =
            state(plan, &[step.coefficients.len()], step.coefficients.clone()).map_err(value)?;
        let mut inputs: Vec<(&str, &DynValue)> = vec![
            ("x", &x),
            ("noise", fresh.as_ref().unwrap_or(&silent)),
            ("t", &t),
            ("preconditioning", &scale),
            ("coefficients", &coefficients),
        ];
        if with_carry {
            inputs.push(("carry", &carry));
        }
        let keep = if i + 1 == plan.steps.len() { Keep::Host } else { Keep::Device };
        let mut results = engine.run(&inputs, keep)?.into_iter();
        if let Some(next) = results.next() {
            x = next;
        }
        if let Some(next) = results.next() {
            carry = next;
        }
    }
    let values: Vec<f64> = if with_carry {
        x.try_extract_tensor::<f64>().map_err(value)?.1.to_vec()
    } else {
        x.try_extract_tensor::<f32>().map_err(value)?.1.iter().map(|v| f64::from(*v)).collect()
    };
    Ok(values.into_iter().map(|x| (x + 1.0) / 2.0).collect())
}

/// Values in the type of the plan's state.
fn state(plan: &Plan, shape: &[usize], values: Vec<f64>) -> ort::Result<DynValue> {
    Ok(match plan.dtype {
        DType::F64 => Tensor::from_array((shape.to_vec(), values))?.into_dyn(),
        _ => {
            let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
            Tensor::from_array((shape.to_vec(), values))?.into_dyn()
        }
    })
}

/// A sampling job.
pub struct Sampling<'a> {
    /// The sampler graph.
    pub model: &'a mut ModelFile,
    /// The steps.
    pub plan: &'a Plan,
    /// Pictures per batch.
    pub batch: usize,
}

impl Sampling<'_> {
    /// Draws the pictures of `seeds` and gives each to `consume` (position in `seeds`, values in [0, 1] not clamped,
    /// `[C, H, W]`), in the order in which they are ready. Stops early when `stop` is set.
    ///
    /// Batches are always full (the last one is padded), so a picture does not depend on how many are asked for.
    ///
    /// # Errors
    /// Those of the runtime and of `consume`.
    pub fn run(
        self,
        seeds: &[u64],
        stop: &AtomicBool,
        mut consume: impl FnMut(usize, &[f64]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let [c, h, w] = self.model.config.network.image_shape;
        let (plan, batch, size) = (self.plan, self.batch, c * h * w);
        self.model.workers.run(
            seeds.len().div_ceil(batch),
            stop,
            |engine, job| {
                let first = job * batch;
                sample_batch(engine, plan, [batch, c, h, w], |draw, values| {
                    for (i, values) in values.chunks_exact_mut(size).enumerate() {
                        match seeds.get(first + i) {
                            Some(seed) => picture_noise(*seed, draw, values),
                            None => values.fill(0.0),
                        }
                    }
                })
            },
            |job, pictures| {
                let positions = (job * batch)..seeds.len();
                positions.zip(pictures.chunks_exact(size)).try_for_each(|(at, picture)| consume(at, picture))
            },
        )
    }
}
