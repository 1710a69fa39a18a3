//! DiT, the diffusion transformer on latents (arXiv 2212.09748), in all its published sizes.
//!
//! | module | holds |
//! | --- | --- |
//! | `config` | sizes S, B, L, XL with patches of 2, 4 or 8 |
//! | `embeddings` | what the blocks start from: positions, timestep, label |
//! | `network` | the blocks, adaLN-zero modulation, and back to an image |

mod config;
mod embeddings;
mod network;

pub use config::{DitConfig, DitSize};
pub use embeddings::position_table;
pub use network::{dit, dit_graph};
