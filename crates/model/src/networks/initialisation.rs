//! Initial weights other than PyTorch's default.

use crate::graph::Init;

/// Normal, of variance `2 / fan`, for networks of ReLUs (He et al., arXiv 1502.01852): with the inputs of one output as
/// `fan`, activations keep their size on the way forward; with the outputs of one input, gradients keep theirs on the
/// way back.
pub(super) fn he_normal(fan: usize) -> Init {
    Init::Normal { std: (2.0 / fan as f64).sqrt() }
}
