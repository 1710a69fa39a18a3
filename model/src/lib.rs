//! Networks of denoising diffusion autoencoders, written once as a [`graph::Graph`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`graph`] | the typed graph: nodes, shapes, building, pruning, counting, printing |
//! | [`networks`] | one file per network, reading like the paper's figure |
//! | [`diffusion`] | DDPM and EDM: schedules, noising, preconditioning, samplers, as tables and as graphs |
//! | [`mod@reference`] | a plain interpreter of graphs (ndarray), the yardstick of the fast ones |
//! | [`checkpoint`] | checkpoint files, ours and those of others |
//! | [`pickle`] | a reader of Python pickles that runs nothing |
//! | [`config`] | the published YAML configurations |
//! | [`weights`] | parameters by name: initialisation, checks against a graph |
//! | [`onnx_metadata`] | what an exported ONNX file says of itself |
//! | [`tensor`] | the dense array that passes between them |

pub mod checkpoint;
pub mod config;
pub mod diffusion;
pub mod graph;
pub mod networks;
pub mod onnx_metadata;
pub mod pickle;
pub mod reference;
pub mod tensor;
pub mod weights;
