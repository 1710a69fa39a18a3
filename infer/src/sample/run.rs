//! One batch of images through the steps of a sampler.

use ddae_base::random::{Purpose, stream};
use ddae_model::diffusion::Plan;
use ddae_model::tensor::DType;
use ort::value::{DynValue, Tensor};

use crate::engine::{Engine, Keep};
use crate::error::InferError;

/// Standard normal noise of draw `draw` for the image of `seed`.
pub fn image_noise(seed: u64, draw: usize, values: &mut [f32]) {
    stream(seed, Purpose::Sample, 0, draw as u64).fill_normal(values);
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
/// Those of `step` and of the runtime.
pub fn sample_batch(
    engine: &mut Engine,
    plan: &Plan,
    shape: [usize; 4],
    guides: &[(&str, DynValue)],
    mut noise: impl FnMut(usize, &mut [f32]),
    mut step: impl FnMut() -> Result<(), InferError>,
) -> Result<Vec<f64>, InferError> {
    let count = shape.iter().product();
    let mut drawn = vec![0f32; count];
    noise(0, &mut drawn);
    let mut start: Vec<f64> = drawn.iter().map(|z| f64::from(*z) * plan.start_scale).collect();
    if plan.start_churn != 0.0 {
        noise(1, &mut drawn);
        start.iter_mut().zip(&drawn).for_each(|(x, z)| *x += plan.start_churn * f64::from(*z));
    }
    let with_carry = plan.dtype == DType::F64;
    let mut x = state(plan, &shape, start)?;
    let mut carry = state(plan, &shape, vec![0.0; count])?;
    let silent = Tensor::from_array((shape, vec![0f32; count]))?.into_dyn();
    for (i, call) in plan.steps.iter().enumerate() {
        step()?;
        let fresh = match call.noise {
            None => None,
            Some(draw) => {
                noise(draw, &mut drawn);
                Some(Tensor::from_array((shape, drawn.clone()))?.into_dyn())
            }
        };
        let t = Tensor::from_array(([1], vec![call.t]))?.into_dyn();
        let preconditioning = call.preconditioning.clone();
        let preconditioning = Tensor::from_array(([preconditioning.len()], preconditioning))?.into_dyn();
        let coefficients = state(plan, &[call.coefficients.len()], call.coefficients.clone())?;
        let mut inputs: Vec<(&str, &DynValue)> = vec![
            ("x", &x),
            ("noise", fresh.as_ref().unwrap_or(&silent)),
            ("t", &t),
            ("preconditioning", &preconditioning),
            ("coefficients", &coefficients),
        ];
        inputs.extend(guides.iter().map(|(name, value)| (*name, value)));
        if with_carry {
            inputs.push(("carry", &carry));
        }
        let keep = if i + 1 == plan.steps.len() { Keep::Host } else { Keep::Device };
        let mut results = engine.run(&inputs, keep)?.into_iter();
        x = results.next().ok_or_else(|| engine.unusable("it has no output".to_string()))?;
        carry = results.next().unwrap_or(carry);
    }
    let values: Vec<f64> = match plan.dtype {
        DType::F64 => x.try_extract_tensor::<f64>()?.1.to_vec(),
        _ => x.try_extract_tensor::<f32>()?.1.iter().map(|value| f64::from(*value)).collect(),
    };
    if values.len() != count {
        return Err(engine.unusable(format!("it gives {} values for {count}", values.len())));
    }
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
