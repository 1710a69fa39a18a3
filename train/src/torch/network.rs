//! The interpreter of graphs on libtorch.

use std::sync::Arc;

use ddae_model::graph::{Dim, Graph};
use ddae_model::tensor::DType;
use tch::{Device, Kind, Tensor};

use super::lower::{self, Context};
use super::plan::{Kernel, Operand, Plan, Step};
use super::shim::ranks::Group;
use super::{Parameters, TorchError, convert, shim};

/// Order of the axes of images `[B,C,H,W]` in memory. The results are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Row-major: each channel's image in one piece.
    Contiguous,
    /// Each pixel's channels side by side, which convolutions are fastest with.
    ChannelsLast,
}

/// The numbers that convolutions, linear layers and attention multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Those of the parameters.
    Full,
    /// 16-bit brain floats; parameters and gradients stay float32.
    Bf16,
    /// 16-bit floats; small gradients vanish unless the loss is scaled.
    Fp16,
}

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether dropout acts, and batch norms take the batch's statistics and move the running ones.
    pub train: bool,
    /// Mixed precision or not.
    pub precision: Precision,
}

impl Mode {
    /// Evaluation at full precision.
    pub const EVALUATION: Mode = Mode { train: false, precision: Precision::Full };
}

/// The part of a batch that a pass of training has. Dropouts take what they would take of it in a pass over the whole batch.
#[derive(Clone, Debug)]
pub struct Share {
    /// The place of its first sample in the batch.
    pub first: usize,
    /// Samples of the whole batch.
    pub total: usize,
    /// Ranks whose samples batch norms take statistics over.
    pub group: Option<Arc<Group>>,
}

/// A graph planned once, to be run many times with whatever parameters.
///
/// Inputs and results of the graph's type f32 have the network's `kind`, `Float` or (to check gradients) `Double`.
#[derive(Debug)]
pub struct Network {
    plan: Plan,
    constants: Vec<Tensor>,
    device: Device,
    kind: Kind,
    layout: Layout,
    /// Whether norms are computed by the project's kernels for CUDA.
    kernels: bool,
}

impl Network {
    /// Plans `graph` for `device`.
    ///
    /// # Errors
    /// libtorch's, as for a device that does not exist.
    pub fn new(graph: &Graph, device: Device, kind: Kind, layout: Layout) -> Result<Network, TorchError> {
        let kernels =
            layout == Layout::ChannelsLast && kind == Kind::Float && shim::cuda::has_kernels(device);
        let plan = Plan::new(graph, kernels);
        let constant = |array| {
            let tensor = convert::to_torch(array)?;
            let kind = if array.dtype() == DType::F32 { kind } else { tensor.kind() };
            tensor
                .f_to_device(device)
                .and_then(|t| t.f_to_kind(kind))
                .map_err(|e| TorchError::at("constant", e))
        };
        let constants = plan.constants.iter().map(constant).collect::<Result<_, _>>()?;
        Ok(Network { plan, constants, device, kind, layout, kernels })
    }

    /// Names of the results, in the order in which [`Network::forward`] gives them.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.plan.outputs.iter().map(|(name, _)| name.as_str())
    }

    /// Runs the graph. `parameters` may hold more than the graph needs (a pruned graph on the whole network's).
    ///
    /// In training mode the running statistics among the buffers of `parameters` are moved.
    ///
    /// Results are of the network's kind whatever the precision, and carry gradients to the parameters unless
    /// [`tch::no_grad`] is on.
    ///
    /// # Errors
    /// When an input is missing, unknown or of another shape, when a parameter is missing, or libtorch's, with the
    /// name of the node.
    pub fn forward(
        &self,
        parameters: &Parameters,
        inputs: &[(&str, &Tensor)],
        mode: Mode,
    ) -> Result<Vec<Tensor>, TorchError> {
        self.forward_share(parameters, inputs, mode, None)
    }

    /// The same for a part of a batch.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_share(
        &self,
        parameters: &Parameters,
        inputs: &[(&str, &Tensor)],
        mode: Mode,
        share: Option<&Share>,
    ) -> Result<Vec<Tensor>, TorchError> {
        let plan = &self.plan;
        let inputs = self.inputs(inputs)?;
        let parameters = plan
            .parameters
            .iter()
            .map(|name| {
                parameters
                    .get(name)
                    .ok_or_else(|| TorchError::Input(format!("there is no parameter '{name}'")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let seed = self.seed(mode).map_err(|e| TorchError::at("seed", e))?;
        let (batch, kind, cuda) = (self.batch(&inputs), self.kind, self.device.is_cuda());
        let context = Context { batch, kind, cuda, kernels: self.kernels, seed, mode, share };

        let mut results: Vec<Option<Tensor>> = plan.steps.iter().map(|_| None).collect();
        for (at, step) in plan.steps.iter().enumerate() {
            let operands = step
                .operands
                .iter()
                .map(|operand| self.find(*operand, &results, &inputs, &parameters))
                .collect::<Result<Vec<_>, _>>()?;
            let result = lower::run(step, &operands, &context).map_err(|e| TorchError::at(&step.name, e))?;
            results[at] = Some(result);
            for &done in &step.last_uses {
                results[done] = None;
            }
        }
        plan.outputs
            .iter()
            .map(|(name, operand)| {
                let tensor = self.find(*operand, &results, &inputs, &parameters)?;
                let low = matches!(tensor.kind(), Kind::BFloat16 | Kind::Half);
                let kind = if low { self.kind } else { tensor.kind() };
                tensor.f_to_kind(kind).map_err(|e| TorchError::at(name, e))
            })
            .collect()
    }

    /// What decides which elements are dropped, from the device's generator, where kernels drop some.
    fn seed(&self, mode: Mode) -> Result<Option<Tensor>, tch::TchError> {
        let drops = |step: &Step| matches!(step.kernel, Kernel::Norm(norm) if norm.dropout > 0.0);
        if !(self.kernels && mode.train && self.plan.steps.iter().any(drops)) {
            return Ok(None);
        }
        Tensor::f_randint(i64::MAX, [1], (Kind::Int64, self.device)).map(Some)
    }

    fn find<'a>(
        &'a self,
        operand: Operand,
        results: &'a [Option<Tensor>],
        inputs: &'a [Tensor],
        parameters: &[&'a Tensor],
    ) -> Result<&'a Tensor, TorchError> {
        match operand {
            Operand::Step(i) => results[i].as_ref().ok_or_else(|| TorchError::Operation {
                context: self.plan.steps[i].name.clone(),
                message: "was dropped before its last use".to_string(),
            }),
            Operand::Input(i) => Ok(&inputs[i]),
            Operand::Parameter(i) => Ok(parameters[i]),
            Operand::Constant(i) => Ok(&self.constants[i]),
        }
    }

    /// The given inputs in the graph's order, checked, on the device and in the layout of the network.
    fn inputs(&self, given: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, TorchError> {
        let wanted = &self.plan.inputs;
        let names = || wanted.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(", ");
        if let Some((name, _)) = given.iter().find(|(name, _)| wanted.iter().all(|(known, ..)| known != name))
        {
            return Err(TorchError::Input(format!(
                "the network has no input '{name}'; it takes {}",
                names()
            )));
        }
        let mut batch = None;
        let mut inputs = Vec::with_capacity(wanted.len());
        for (name, dtype, shape) in wanted {
            let Some((_, tensor)) = given.iter().find(|(known, _)| known == name) else {
                return Err(TorchError::Input(format!("the network's input '{name}' {shape} is missing")));
            };
            let size = tensor.size();
            let fits = size.len() == shape.rank()
                && shape.dims().iter().zip(&size).all(|(dim, &n)| match dim {
                    Dim::Size(expected) => *expected as i64 == n,
                    Dim::Batch(factor) => {
                        let samples = n / *factor as i64;
                        samples * *factor as i64 == n && *batch.get_or_insert(samples) == samples
                    }
                });
            let kind = if *dtype == DType::F32 { self.kind } else { convert::kind(*dtype) };
            let float = |kind| matches!(kind, Kind::Float | Kind::Double);
            if !fits || (tensor.kind() != kind && !(float(kind) && float(tensor.kind()))) {
                let batch = batch.map_or(String::new(), |n| format!(" (B is {n})"));
                let found = format!("{:?} {size:?}", tensor.kind());
                return Err(TorchError::Input(format!(
                    "the network's input '{name}' is {dtype} {shape}{batch}, got {found}"
                )));
            }
            let moved = tensor.f_to_device(self.device).and_then(|t| t.f_to_kind(kind));
            let mut tensor = moved.map_err(|e| TorchError::at(name, e))?;
            if tensor.dim() == 4 {
                tensor = self.laid_out(tensor, *dtype)?;
            }
            inputs.push(tensor);
        }
        Ok(inputs)
    }

    /// Images in the order that the network's layout asks for once the graph sees them as `[B,C,H,W]`: bytes come as
    /// `[B,H,W,C]` and are permuted there, which moves nothing.
    fn laid_out(&self, images: Tensor, dtype: DType) -> Result<Tensor, TorchError> {
        let planes = || images.f_permute([0, 3, 1, 2])?.f_contiguous()?.f_permute([0, 2, 3, 1]);
        match (self.layout, dtype) {
            (Layout::ChannelsLast, DType::U8) => Ok(images),
            (Layout::ChannelsLast, _) => shim::channels_last(&images),
            (Layout::Contiguous, DType::U8) => planes().map_err(|e| TorchError::at("images", e)),
            (Layout::Contiguous, _) => Ok(images),
        }
    }

    /// The number of samples, 1 for a graph without a batch.
    fn batch(&self, inputs: &[Tensor]) -> usize {
        let sizes = self.plan.inputs.iter().zip(inputs).flat_map(|((_, _, shape), tensor)| {
            let dims = shape.dims().to_vec();
            dims.into_iter().zip(tensor.size())
        });
        sizes
            .filter_map(|(dim, n)| match dim {
                Dim::Batch(factor) => Some(n as usize / factor),
                Dim::Size(_) => None,
            })
            .next()
            .unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::networks::{UNetConfig, unet_graph};
    use ddae_model::weights::Weights;

    use super::*;

    /// Every weight's gradient, and the result, of a network of all that adds a convolution's bias late.
    fn run(late_bias: bool) -> Vec<Tensor> {
        let config = UNetConfig {
            image_shape: [3, 8, 8],
            n_channels: 32,
            ch_mults: vec![1, 2],
            is_attn: vec![false, true],
            n_blocks: 1,
            dropout: 0.0,
            ..UNetConfig::ddpm()
        };
        let graph = unet_graph(&config, false).expect("a network");
        let mut weights = Weights::initial(&graph, 0);
        // No bias is 0, or adding it twice would change nothing.
        weights = weights
            .into_iter()
            .map(|(name, array)| {
                let values = array.as_f32().expect("f32").iter().enumerate();
                let moved = values.map(|(i, v)| v + 0.05 * ((i % 7) as f32 - 2.0)).collect();
                let shape = array.shape().to_vec();
                (name, ddae_model::tensor::Tensor::f32(&shape, moved))
            })
            .collect();
        let (device, layout) = (Device::Cpu, Layout::ChannelsLast);
        let parameters =
            Parameters::new(&graph, &weights, device, Kind::Double, layout, true).expect("parameters");
        let mut network = Network::new(&graph, device, Kind::Double, layout).expect("a network");
        network.plan = Plan::new(&graph, late_bias);
        let late = network.plan.steps.iter().filter(|step| match step.kernel {
            Kernel::Norm(norm) => norm.before.is_some(),
            Kernel::BiasSum => true,
            _ => false,
        });
        assert_eq!(late.count() > 10, late_bias, "norms and sums that take a bias");
        tch::manual_seed(3);
        let x = Tensor::randn([2, 3, 8, 8], (Kind::Double, device));
        let t = Tensor::from_slice(&[0.1, 0.7]);
        let y = network.forward(&parameters, &[("x", &x), ("t", &t)], Mode::EVALUATION).expect("a result");
        y[0].square().sum(Kind::Double).backward();
        let gradients = parameters.gradients().expect("gradients");
        std::iter::once(y[0].detach()).chain(gradients).collect()
    }

    #[test]
    fn a_bias_that_is_added_later_is_the_same_bias() {
        for (late, usual) in run(true).iter().zip(run(false)) {
            let error = (late - &usual).abs().max().double_value(&[]);
            assert!(error <= 1e-10 * (1.0 + usual.abs().max().double_value(&[])), "{error:e}");
        }
    }
}
