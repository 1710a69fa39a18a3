//! The conformance suite: small graphs that every interpreter of the graph must compute alike.
//!
//! [`cases`] covers every operation, over its attributes and several random shapes, and the combinations that an
//! interpreter may treat as one (upsampling before a convolution, a norm before its activation, …).
//! [`random_network`] gives whole small UNets. An interpreter's test runs each [`Case`] and compares the outputs with
//! the reference interpreter's, and gradients with finite differences.

mod attention;
mod blocks;
mod casts;
mod elementwise;
mod network;
mod normalisation;
mod pooling;
mod shaping;
mod suite;
mod windows;

pub use network::{random_edm2_network, random_network, random_song_network};
pub use suite::Case;

use ddae_model::graph::{Graph, Op};
use suite::Suite;

/// All cases. The same seed gives the same cases.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut suite = Suite::new(seed);
    windows::add(&mut suite);
    pooling::add(&mut suite);
    normalisation::add(&mut suite);
    attention::add(&mut suite);
    elementwise::add(&mut suite);
    shaping::add(&mut suite);
    casts::add(&mut suite);
    blocks::add(&mut suite);
    suite.into_cases()
}

/// One list makes both: an operation that is added to [`Op`] does not compile here until it is named, and is then
/// asked for by [`missing_kinds`].
macro_rules! kinds {
    ($($pattern:pat => $name:literal,)*) => {
        const KINDS: &[&str] = &[$($name),*];

        fn kind(op: &Op) -> &'static str {
            match op {
                $($pattern => $name,)*
            }
        }
    };
}

kinds! {
    Op::Input => "Input",
    Op::Parameter { trained: true, .. } => "Parameter",
    Op::Parameter { trained: false, .. } => "Buffer",
    Op::Constant(_) => "Constant",
    Op::Conv2d { .. } => "Conv2d",
    Op::Linear => "Linear",
    Op::Gather => "Gather",
    Op::GroupNorm { .. } => "GroupNorm",
    Op::BatchNorm { .. } => "BatchNorm",
    Op::LayerNorm { .. } => "LayerNorm",
    Op::RmsNorm { .. } => "RmsNorm",
    Op::WeightNorm { .. } => "WeightNorm",
    Op::Relu => "Relu",
    Op::Silu => "Silu",
    Op::GeluTanh => "GeluTanh",
    Op::Sqrt => "Sqrt",
    Op::Exp => "Exp",
    Op::LogSoftmax => "LogSoftmax",
    Op::Attention { .. } => "Attention",
    Op::Reshape => "Reshape",
    Op::Transpose { .. } => "Transpose",
    Op::Concat { .. } => "Concat",
    Op::Slice { .. } => "Slice",
    Op::Add => "Add",
    Op::Sub => "Sub",
    Op::Mul => "Mul",
    Op::Div => "Div",
    Op::Affine { .. } => "Affine",
    Op::Clamp { .. } => "Clamp",
    Op::Sin => "Sin",
    Op::Cos => "Cos",
    Op::UpsampleNearest { .. } => "UpsampleNearest",
    Op::ResizeBilinear { .. } => "ResizeBilinear",
    Op::MaxPool(_) => "MaxPool",
    Op::AvgPool { .. } => "AvgPool",
    Op::Pad { .. } => "Pad",
    Op::Mean { .. } => "Mean",
    Op::Dropout { .. } => "Dropout",
    Op::Cast(_) => "Cast",
}

/// The operations that none of the graphs use.
pub fn missing_kinds<'a>(graphs: impl IntoIterator<Item = &'a Graph>) -> Vec<&'static str> {
    let used: std::collections::BTreeSet<&str> =
        graphs.into_iter().flat_map(|graph| graph.nodes()).map(|node| kind(&node.op)).collect();
    KINDS.iter().copied().filter(|name| !used.contains(name)).collect()
}
