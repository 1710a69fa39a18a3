//! The stored tensors of a network.

use std::collections::HashMap;

use ddae_model::graph::{Graph, Op};
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use super::{Layout, TorchError, convert, shim};

/// Tensors under the parameters' names. Networks, averages of them and optimiser moments alike are one of these.
///
/// What is trained comes first, then the buffers, each in the graph's order. Buffers belong to the network's state: they
/// are loaded, stored, copied and averaged like the rest, but have no gradients and no moments.
#[derive(Debug)]
pub struct Parameters {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    /// How many of them are trained.
    trained: usize,
    places: HashMap<String, usize>,
}

impl Parameters {
    /// The graph's parameters and buffers from `weights`, the former as leaves of the gradient computation where
    /// `trained`.
    ///
    /// `kind` is `Float`, or `Double` for checks of gradients. With [`Layout::ChannelsLast`], convolution weights lie
    /// in memory as channels-last activations want them.
    ///
    /// # Errors
    /// [`TorchError::Weights`] names the first parameter that is missing or of another shape.
    pub fn new(
        graph: &Graph,
        weights: &Weights,
        device: Device,
        kind: Kind,
        layout: Layout,
        trained: bool,
    ) -> Result<Parameters, TorchError> {
        weights.check(graph)?;
        let (mut names, mut tensors) = (Vec::new(), Vec::new());
        let is_trained = |op: &Op| matches!(op, Op::Parameter { trained: true, .. });
        let (parameters, buffers): (Vec<_>, Vec<_>) =
            graph.parameters().map(|(_, node)| node).partition(|node| is_trained(&node.op));
        for node in parameters.iter().chain(&buffers) {
            let Some(array) = weights.get(&node.name) else { continue };
            let tensor = convert::to_torch(array)?;
            let mut tensor =
                tensor.f_to_device(device).and_then(|t| t.f_to_kind(kind)).map_err(at(&node.name))?;
            if layout == Layout::ChannelsLast && tensor.dim() == 4 {
                tensor = shim::channels_last(&tensor)?;
            }
            let leaf = trained && is_trained(&node.op);
            tensors.push(tensor.f_set_requires_grad(leaf).map_err(at(&node.name))?);
            names.push(node.name.clone());
        }
        let places = names.iter().cloned().zip(0..).collect();
        Ok(Parameters { names, tensors, trained: parameters.len(), places })
    }

    /// Tensors of the trained ones' names, shapes and memory layouts, all zeros and without gradients: an optimiser's
    /// moments.
    ///
    /// # Errors
    /// libtorch's, as for lack of memory.
    pub fn zeros_like(&self) -> Result<Parameters, TorchError> {
        self.map("zeros_like", self.trained, |t| t.detach().f_zeros_like())
    }

    /// A copy that is not trained: an average, or a network to sample from.
    ///
    /// # Errors
    /// libtorch's, as for lack of memory.
    pub fn copy(&self) -> Result<Parameters, TorchError> {
        self.map("copy", self.tensors.len(), |t| {
            let mut copy = t.detach().f_empty_like()?;
            copy.f_copy_(&t.detach())?;
            Ok(copy)
        })
    }

    /// The first `count` tensors, changed.
    fn map(
        &self,
        context: &str,
        count: usize,
        f: impl Fn(&Tensor) -> Result<Tensor, tch::TchError>,
    ) -> Result<Parameters, TorchError> {
        let tensors = self.tensors[..count].iter().map(f).collect::<Result<_, _>>();
        let tensors = tensors.map_err(|e| TorchError::at(context, e))?;
        let names = self.names[..count].to_vec();
        let places = names.iter().cloned().zip(0..).collect();
        Ok(Parameters { names, tensors, trained: self.trained, places })
    }

    /// Overwrites the values with those of `weights`, keeping device, type and memory layout.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(&self, weights: &Weights) -> Result<(), TorchError> {
        for (name, tensor) in self.names.iter().zip(&self.tensors) {
            let expected: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
            let found = weights.get(name).map(Array::shape);
            if found != Some(&expected[..]) {
                let found = found.map_or("not there".to_string(), |shape| format!("{shape:?}"));
                let message = format!("is {expected:?} in the network and {found} in the weights");
                return Err(TorchError::Operation { context: format!("parameter '{name}'"), message });
            }
        }
        for (name, tensor) in self.names.iter().zip(&self.tensors) {
            let Some(array) = weights.get(name) else { continue };
            let source = convert::to_torch(array)?;
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&source)).map_err(at(name))?;
        }
        Ok(())
    }

    /// A copy of the values as float32, row-major, on the host.
    ///
    /// # Errors
    /// libtorch's.
    pub fn to_weights(&self) -> Result<Weights, TorchError> {
        let mut weights = Weights::new();
        for (name, tensor) in self.names.iter().zip(&self.tensors) {
            let single = tensor.detach().f_to_kind(convert::kind(DType::F32)).map_err(at(name))?;
            weights.insert(name.clone(), convert::from_torch(&single)?);
        }
        Ok(weights)
    }

    /// The gradients of the trained tensors after a backward pass, in order.
    ///
    /// # Errors
    /// Names a parameter that got none.
    pub fn gradients(&self) -> Result<Vec<Tensor>, TorchError> {
        let mut gradients = Vec::with_capacity(self.trained);
        for (name, tensor) in self.names.iter().zip(self.tensors()) {
            let gradient = tensor.f_grad().map_err(at(name))?;
            if !gradient.defined() {
                let message =
                    "has no gradient: the loss does not depend on it, or was not propagated back".to_string();
                return Err(TorchError::Operation { context: format!("parameter '{name}'"), message });
            }
            gradients.push(gradient);
        }
        Ok(gradients)
    }

    /// The names of the trained tensors, in the graph's order.
    pub fn names(&self) -> &[String] {
        &self.names[..self.trained]
    }

    /// The trained tensors, in the graph's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors[..self.trained]
    }

    /// The buffers, in the graph's order.
    pub fn buffers(&self) -> &[Tensor] {
        &self.tensors[self.trained..]
    }

    /// All tensors with their names, in the order of [`Parameters::state`].
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names.iter().map(String::as_str).zip(&self.tensors)
    }

    /// The trained tensors, then the buffers: the network's whole state.
    pub fn state(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|&place| &self.tensors[place])
    }

    /// Number of trained values.
    pub fn count(&self) -> usize {
        self.tensors().iter().map(Tensor::numel).sum()
    }
}

fn at(name: &str) -> impl Fn(tch::TchError) -> TorchError + '_ {
    move |error| TorchError::at(format!("parameter '{name}'"), error)
}
