//! One batch of images through the steps of a sampler.

use ddae_base::random::{Purpose, stream};
use ddae_model::diffusion::SamplerPlan;
use ddae_model::diffusion::sampler::{RunError, SamplerBackend};
use ddae_model::tensor::Tensor;

use crate::engine::{Engine, Keep, Value};
use crate::error::InferError;

/// Standard normal noise of draw `draw` for the image of `seed`.
pub(crate) fn image_noise(seed: u64, draw: usize, values: &mut [f32]) {
    stream(seed, Purpose::Sample, 0, draw as u64).fill_normal(values);
}

/// The class of the image of `seed`, one of so many, each as likely.
pub fn image_class(seed: u64, classes: usize) -> i64 {
    match classes {
        0 => 0,
        _ => stream(seed, Purpose::Class, 0, 0).below(classes as u64) as i64,
    }
}

/// A sampler graph in ONNX Runtime; `step` is called before each network call.
struct Steps<'e, F> {
    engine: &'e mut Engine,
    carries: bool,
    step: F,
}

impl<F: FnMut() -> Result<(), InferError>> SamplerBackend for Steps<'_, F> {
    type Value = Value;
    type Error = InferError;

    fn carries(&self) -> bool {
        self.carries
    }

    fn upload(&self, tensor: Tensor) -> Result<Value, InferError> {
        Ok(tensor.into())
    }

    fn step(&mut self, inputs: &[(&str, &Value)], last: bool) -> Result<Vec<Value>, InferError> {
        (self.step)()?;
        self.engine.run(inputs, if last { Keep::Host } else { Keep::Device })
    }

    fn download(&self, value: Value) -> Result<Tensor, InferError> {
        value.into_tensor()
    }
}

/// Runs the sampler graph through a plan for one batch of `shape = [B, C, H, W]`.
///
/// `guides` are inputs that stay the same from step to step: those of a guided network. `noise(draw, values)` fills in
/// the standard normal values of a draw, row-major. `step` is called before each network call and can end the run by an
/// error. The state stays on the device from one step to the next.
///
/// Returns the images, row-major, in [0, 1] as far as the network keeps to it: nothing is clamped.
///
/// # Errors
/// Those of `step` and of the runtime, and for a graph that is no step of this plan.
pub fn sample_batch(
    engine: &mut Engine,
    plan: &SamplerPlan,
    shape: [usize; 4],
    guides: &[(&str, Value)],
    noise: impl FnMut(usize, &mut [f32]),
    step: impl FnMut() -> Result<(), InferError>,
) -> Result<Vec<f64>, InferError> {
    let carries = engine.inputs().iter().any(|name| name == "carry");
    let mut steps = Steps { engine, carries, step };
    match plan.run(&mut steps, shape, guides, noise) {
        Ok(images) => Ok(images),
        Err(RunError::Backend(error)) => Err(error),
        Err(RunError::Graph(message)) => Err(steps.engine.unusable(message)),
    }
}
