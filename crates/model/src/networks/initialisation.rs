//! Initial weights other than PyTorch's default.

use crate::graph::Init;

/// Normal, of variance `2 / fan`, for networks of ReLUs (He et al., arXiv 1502.01852): with the inputs of one output as
/// `fan`, activations keep their size on the way forward; with the outputs of one input, gradients keep theirs on the
/// way back.
pub(super) fn he_normal(fan: usize) -> Init {
    Init::Normal { std: (2.0 / fan as f64).sqrt() }
}

/// Uniform, of a variance between those that keep the sizes of activations and of gradients (Glorot and Bengio 2010),
/// times `gain`.
pub(super) fn xavier_uniform(fan_in: usize, fan_out: usize, gain: f64) -> Init {
    Init::Uniform { bound: gain * (6.0 / (fan_in + fan_out) as f64).sqrt() }
}
