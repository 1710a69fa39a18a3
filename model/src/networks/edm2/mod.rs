//! The UNets of EDM2 (arXiv 2312.02696), configs C, E and G, as FutureXiang/edm2 has them for small images.
//!
//! | module | holds |
//! | --- | --- |
//! | `unet_c`, `unet_e`, `unet_g` | the networks, each with the uncertainty of its loss |
//! | `network` | the way through the resolutions |
//! | `layers` | weights, Fourier features, attention |
//! | `config` | sizes |

mod config;
mod layers;
mod network;
mod unet_c;
mod unet_e;
mod unet_g;

pub use config::Edm2Config;
pub use unet_c::{UNetCConfig, uncertainty_c, unet_c};
pub use unet_e::{UNetEConfig, uncertainty_e, unet_e};
pub use unet_g::{UNetGConfig, uncertainty_g, unet_g};

use crate::graph::{GraphError, Value};

type Built = Result<Value, GraphError>;

fn wrong(message: String) -> GraphError {
    GraphError::Shape { path: "network".to_string(), message }
}
