//! The loop over the steps of a sampler, the same for every interpreter.

use super::plan::SamplerPlan;
use crate::tensor::{DType, Tensor};

/// An interpreter that runs graphs of kind `sampler` on values of its own, which may stay on a device.
pub trait SamplerBackend {
    /// A tensor.
    type Value;
    /// Why it fails.
    type Error;

    /// Whether the graph has the input `carry`. Those of DDPMs that earlier versions exported have none.
    fn carries(&self) -> bool;

    /// A tensor as a value.
    ///
    /// # Errors
    /// When it cannot be had.
    fn upload(&self, tensor: Tensor) -> Result<Self::Value, Self::Error>;

    /// Runs the graph on inputs by name; `last` says that the results are wanted in this process's memory.
    ///
    /// # Errors
    /// When the graph does not take them, or its interpreter fails.
    fn step(&mut self, inputs: &[(&str, &Self::Value)], last: bool) -> Result<Vec<Self::Value>, Self::Error>;

    /// A value as a tensor.
    ///
    /// # Errors
    /// When it cannot be read.
    fn download(&self, value: Self::Value) -> Result<Tensor, Self::Error>;
}

/// Why a run ends without images.
#[derive(Debug, PartialEq)]
pub enum RunError<E> {
    /// The interpreter's reason.
    Backend(E),
    /// The graph is not one step of this plan.
    Graph(String),
}

impl SamplerPlan {
    /// Runs the plan for one batch of images of `shape = [B, C, H, W]`.
    ///
    /// `guides` are inputs that stay the same from step to step: those of a guided network. `noise(draw, values)` fills in
    /// the standard normal values of a draw for the whole batch, row-major. The result is the images in [0, 1] as far as
    /// the network keeps to it: nothing is clamped.
    ///
    /// # Errors
    /// Those of the backend; [`RunError::Graph`] when the graph takes no `carry` though the plan needs it, or gives too
    /// few results, too many, or of another size.
    pub fn run<B: SamplerBackend>(
        &self,
        backend: &mut B,
        shape: [usize; 4],
        guides: &[(&str, B::Value)],
        mut noise: impl FnMut(usize, &mut [f32]),
    ) -> Result<Vec<f64>, RunError<B::Error>> {
        let with_carry = backend.carries();
        if self.carries && !with_carry {
            let message =
                "this sampler needs a graph with the input 'carry', which it does not have".to_string();
            return Err(RunError::Graph(message));
        }
        let count = shape.iter().product();
        let upload = |backend: &B, tensor| backend.upload(tensor).map_err(RunError::Backend);
        let mut drawn = vec![0f32; count];
        noise(0, &mut drawn);
        let mut start: Vec<f64> = drawn.iter().map(|z| f64::from(*z) * self.start_scale).collect();
        if self.start_churn != 0.0 {
            noise(1, &mut drawn);
            start.iter_mut().zip(&drawn).for_each(|(x, z)| *x += self.start_churn * f64::from(*z));
        }
        let mut x = upload(backend, self.state(&shape, start))?;
        let mut carry = upload(backend, self.state(&shape, vec![0.0; count]))?;
        let silent = upload(backend, Tensor::f32(&shape, vec![0.0; count]))?;
        for (i, step) in self.steps.iter().enumerate() {
            let fresh = match step.noise {
                None => None,
                Some(draw) => {
                    noise(draw, &mut drawn);
                    Some(upload(backend, Tensor::f32(&shape, drawn.clone()))?)
                }
            };
            let t = upload(backend, Tensor::f32(&[1], vec![step.t]))?;
            let preconditioning = Tensor::f32(&[step.preconditioning.len()], step.preconditioning.clone());
            let preconditioning = upload(backend, preconditioning)?;
            // Graphs without the input have no coefficient for it, which is the last.
            let known = step.coefficients.len() - usize::from(!with_carry);
            let coefficients = upload(backend, self.state(&[known], step.coefficients[..known].to_vec()))?;
            let mut inputs: Vec<(&str, &B::Value)> = vec![
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
            let last = i + 1 == self.steps.len();
            let results = backend.step(&inputs, last).map_err(RunError::Backend)?;
            let wanted = 1 + usize::from(with_carry);
            if results.len() != wanted {
                let message = format!("it gives {} results for {wanted}", results.len());
                return Err(RunError::Graph(message));
            }
            let mut results = results.into_iter();
            if let Some(next) = results.next() {
                x = next;
            }
            if let Some(next) = results.next() {
                carry = next;
            }
        }
        let images = backend.download(x).map_err(RunError::Backend)?;
        let fits = images.shape() == shape && matches!(images.dtype(), DType::F32 | DType::F64);
        if !fits {
            let (dtype, found) = (images.dtype(), images.shape());
            return Err(RunError::Graph(format!("it gives {dtype} {found:?} for images {shape:?}")));
        }
        Ok(images.to_f64_vec().into_iter().map(|x| (x + 1.0) / 2.0).collect())
    }
}
