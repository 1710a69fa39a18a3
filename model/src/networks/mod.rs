//! Networks, one file each. A network is a function that adds its layers to a graph.

mod unet;

pub use unet::{UNetConfig, unet, unet_graph};
