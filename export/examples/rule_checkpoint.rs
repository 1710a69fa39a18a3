//! Writes a checkpoint of a large network whose weights follow a rule, one tensor in memory at a time: to try an export
//! at full size without the published file.
//!
//!     cargo run --release -p ddae-export --example rule_checkpoint -- dit-xl-2 dit-xl-2.safetensors
//!
//! The rule is that of the fixtures (`tests/fixtures/README.md`): every value is a function of the parameter's name.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use ddae_model::config::Config;
use ddae_model::graph::Graph;
use ddae_model::networks::{DitConfig, DitSize, dit_graph};
use ddae_tests::rule_weight;
use safetensors::{Dtype, View};

/// Checkpoints of large networks with weights by rule.
#[derive(Parser)]
struct Arguments {
    /// The network.
    network: Network,
    /// The file to write.
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    /// The published DDPM UNet: 35.7 M parameters, 143 MB.
    UnetDdpm,
    /// DiT-XL/2: 675 M parameters, 2.7 GB.
    #[value(name = "dit-xl-2")]
    DitXl2,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let graph = graph(arguments.network)?;
    let tensors = graph.parameters().map(|(_, node)| {
        let tensor = ByRule { name: node.name.clone(), shape: node.shape.resolve(1) };
        (node.name.clone(), tensor)
    });
    safetensors::serialize_to_file(tensors, None, &arguments.file)
        .with_context(|| format!("cannot write {}", arguments.file.display()))?;
    println!("{}: {} parameters", arguments.file.display(), graph.parameter_count());
    Ok(())
}

fn graph(network: Network) -> Result<Graph> {
    Ok(match network {
        Network::UnetDdpm => {
            let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/DDPM_ddpm.yaml");
            Config::read(&config)?.network.network_graph(false)?
        }
        Network::DitXl2 => dit_graph(&DitConfig::new(DitSize::XL, 2, 32), true)?,
    })
}

/// A tensor whose values are made when they are written.
struct ByRule {
    name: String,
    shape: Vec<usize>,
}

impl View for ByRule {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        rule_weight(&self.name, &self.shape).into_iter().flat_map(f32::to_le_bytes).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}
