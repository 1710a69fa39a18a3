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
    /// Why nothing is recorded any more.
    given_up: Option<String>,
}

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
    /// Those of the step.
    pub fn run(
        &mut self,
        inputs: &[(&'static str, Tensor)],
        step: &mut dyn FnMut(&[(&'static str, Tensor)]) -> Result<StepResult, TorchError>,
    ) -> Result<StepResult, TorchError> {
        if self.given_up.is_some() {
            return step(inputs);
        }
        let shapes: Shapes = inputs.iter().map(|(name, x)| (*name, x.size(), x.kind())).collect();
        match self.known.get(&shapes) {
            None => {
                self.known.insert(shapes, State::Warm);
                return step(inputs);
            }
            Some(State::Recorded(recorded)) => return recorded.replay(inputs),
            Some(State::Warm) => {}
        }
        match Recorded::new(inputs, step) {
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

    /// Why steps are run one operation at a time, if recording one failed.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }
}

impl Recorded {
    fn new(
        inputs: &[(&'static str, Tensor)],
        step: &mut dyn FnMut(&[(&'static str, Tensor)]) -> Result<StepResult, TorchError>,
    ) -> Result<Recorded, TorchError> {
        let copy = |(name, x): &(&'static str, Tensor)| {
            copied(x).map(|copy| (*name, copy)).map_err(|e| TorchError::at(*name, e))
        };
        let inputs = inputs.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
        let (graph, result) = Graph::record(|| step(&inputs))?;
        Ok(Recorded { graph, inputs: inputs.into_iter().map(|(_, x)| x).collect(), result })
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
