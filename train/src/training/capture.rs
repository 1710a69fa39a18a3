//! Steps on a GPU, recorded once and replayed.
//!
//! A step of a small network is little but the time that starting its hundreds of kernels takes. Recorded as one CUDA
//! graph for each shape of a batch, they are started at once. What changes from step to step lies on the device, where
//! the replay reads it: inputs, the learning rate, the weight of the average, and the seed and counter of libtorch's
//! generator, so that a replayed step draws what it would have drawn otherwise.

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};

use super::trainer::StepResult;
use crate::torch::TorchError;
use crate::torch::shim::cuda::Graph;

/// The steps of a run that were recorded.
#[derive(Debug, Default)]
pub struct Captures {
    known: HashMap<Shapes, State>,
    /// Why no more is recorded.
    given_up: Option<String>,
}

/// A step on its inputs, by their names.
type Step<'a> = dyn FnMut(&[(&'static str, Tensor)]) -> Result<StepResult, TorchError> + 'a;

/// Names, sizes and types of a step's inputs.
type Shapes = Vec<(&'static str, Vec<i64>, Kind)>;

#[derive(Debug)]
enum State {
    /// A step of these shapes was run: what libraries search for or allocate once, they have.
    Warm,
    Recorded(Recorded),
}

#[derive(Debug)]
struct Recorded {
    graph: Graph,
    inputs: Vec<Tensor>,
    result: StepResult,
}

impl Captures {
    /// Runs `step` on `inputs`, by a replay where a step of these shapes was recorded. The first of its shapes is run as it
    /// is, the second is recorded.
    ///
    /// # Errors
    /// Those of the step, and of a recording that CUDA broke off.
    pub fn run(
        &mut self,
        inputs: &[(&'static str, Tensor)],
        step: &mut Step<'_>,
    ) -> Result<StepResult, TorchError> {
        let shapes: Shapes = inputs.iter().map(|(name, x)| (*name, x.size(), x.kind())).collect();
        match self.known.get(&shapes) {
            Some(State::Recorded(recorded)) => return recorded.replay(inputs),
            // Those that were recorded before are replayed still.
            _ if self.given_up.is_some() => return step(inputs),
            None => {
                self.known.insert(shapes, State::Warm);
                return step(inputs);
            }
            Some(State::Warm) => {}
        }
        match Recorded::new(inputs, step)? {
            Ok(recorded) => {
                let result = recorded.replay(inputs);
                self.known.insert(shapes, State::Recorded(recorded));
                result
            }
            Err(error) => {
                self.given_up = Some(error.to_string());
                step(inputs)
            }
        }
    }

    /// Why steps of other shapes are run one operation at a time, if recording one failed.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }
}

impl Recorded {
    fn new(
        inputs: &[(&'static str, Tensor)],
        step: &mut Step<'_>,
    ) -> Result<Result<Recorded, TorchError>, TorchError> {
        let copy = |(name, x): &(&'static str, Tensor)| {
            copied(x).map(|copy| (*name, copy)).map_err(|e| TorchError::at(*name, e))
        };
        let inputs = inputs.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
        let recorded = Graph::record(|| step(&inputs))?;
        let inputs = inputs.into_iter().map(|(_, x)| x).collect();
        Ok(recorded.map(|(graph, result)| Recorded { graph, inputs, result }))
    }

    fn replay(&self, inputs: &[(&'static str, Tensor)]) -> Result<StepResult, TorchError> {
        for (place, (name, x)) in self.inputs.iter().zip(inputs) {
            place.shallow_clone().f_copy_(x).map_err(|e| TorchError::at(*name, e))?;
        }
        self.graph.replay()?;
        // The next replay overwrites them.
        let kept = |x| copied(x).map_err(|e| TorchError::at("loss", e));
        Ok(StepResult { loss: kept(&self.result.loss)?, norm: kept(&self.result.norm)? })
    }
}

/// The same values in the same layout, elsewhere.
fn copied(x: &Tensor) -> Result<Tensor, TchError> {
    let mut copy = x.f_empty_like()?;
    copy.f_copy_(x)?;
    Ok(copy)
}
