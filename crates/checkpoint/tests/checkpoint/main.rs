//! Checkpoint files: ours, published ones, and what is wrong with others.

mod averages;
mod checksums;
mod damage;
mod edm;
mod edm2;
mod many_sets;
mod memory;
mod names;
mod objects;
mod ours;
mod published;
mod pytorch;
mod sharded;
mod torch_save;
mod wide_archives;

use ddae_model::graph::{Graph, Init, Path};

/// A graph of these parameters and nothing else.
fn graph_of(parameters: &[(&str, &[usize])]) -> Graph {
    let mut graph = Graph::new();
    for (name, shape) in parameters {
        graph.parameter(&Path::root().at(name), shape, Init::Zeros).expect("a parameter");
    }
    graph
}
