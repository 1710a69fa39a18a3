//! The UNets of EDM2 (arXiv 2312.02696), configs C, E and G, as FutureXiang/edm2 has them for small images.
//!
//! | module | holds |
//! | --- | --- |
//! | `unet_c`, `unet_e`, `unet_g` | the networks, each with the uncertainty of its loss |
//! | `network` | the way through the resolutions |
//! | `layers` | weights, Fourier features, attention |
//! | `config`, `recognise` | sizes, given or from parameters |

mod config;
mod layers;
mod network;
mod recognise;
mod unet_c;
mod unet_e;
mod unet_g;

pub use config::Edm2Config;
pub use unet_c::{UNetCConfig, uncertainty_c, unet_c};
pub use unet_e::{UNetEConfig, uncertainty_e, unet_e};
pub use unet_g::{UNetGConfig, uncertainty_g, unet_g};

pub(super) use recognise::{C_OR_E, G};

use super::network::{Conditions, Denoiser, Network, Role};
use super::registry::Family;
use crate::graph::{Graph, GraphError, Path, Shape, Value};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

fn wrong(message: String) -> GraphError {
    GraphError::Shape { path: "network".to_string(), message }
}

/// What is the same for the networks but for their functions.
macro_rules! edm2_network {
    ($config:ident, $name:literal, $family:ident, $network:ident, $uncertainty:ident) => {
        impl Network for $config {
            fn family(&self) -> &'static Family {
                &$family
            }

            fn describe(&self) -> String {
                format!("{}: {}", $name, self.0.describe())
            }

            fn check(&self) -> Result<(), String> {
                $config::check(self)
            }

            fn image_shape(&self) -> Option<[usize; 3]> {
                Some(self.0.image_shape)
            }

            fn resize(&mut self, [height, width]: [usize; 2]) -> Result<(), String> {
                self.0.image_shape = [self.0.image_shape[0], height, width];
                Ok(())
            }

            fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
                let mut g = Graph::new();
                let x = g.input("x", DType::F32, Shape::batch(&self.0.image_shape))?;
                let t = g.input("t", DType::F32, Shape::batch(&[]))?;
                let y = $network(&mut g, &Path::root(), self, x, t)?;
                g.output("y", y);
                Ok(g)
            }

            fn role(&self) -> Role<'_> {
                Role::Denoiser(self)
            }
        }

        impl Denoiser for $config {
            fn predict(&self, g: &mut Graph, x: Value, t: Value, _: Conditions) -> Built {
                $network(g, &Path::root(), self, x, t)
            }

            fn uncertainty(&self, g: &mut Graph, t: Value) -> Result<Option<Value>, GraphError> {
                $uncertainty(g, &Path::root(), t).map(Some)
            }
        }
    };
}

edm2_network!(UNetCConfig, "UNetC", C_OR_E, unet_c, uncertainty_c);
edm2_network!(UNetEConfig, "UNetE", C_OR_E, unet_e, uncertainty_e);
edm2_network!(UNetGConfig, "UNetG", G, unet_g, uncertainty_g);
