//! Networks of denoising diffusion autoencoders, written once as a [`graph::Graph`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`graph`] | the typed graph: nodes, shapes, building, pruning, counting, printing |
//! | [`networks`] | one file per network, reading like the paper's figure |
//! | [`diffusion`] | DDPM and EDM: schedules, noising, preconditioning, samplers, as tables and as graphs |
//! | [`mod@reference`] | a plain interpreter of graphs (ndarray), the yardstick of the fast ones |
//! | [`config`] | the published YAML configurations |
//! | [`weights`] | parameters by name: initialisation, checks against a graph |
//! | [`tensor`] | the dense array that passes between them |

pub mod config;
pub mod diffusion;
pub mod graph;
pub mod networks;
pub mod reference;
pub mod tensor;
pub mod weights;
