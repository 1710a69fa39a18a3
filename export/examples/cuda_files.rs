//! Files of the published 35.7 M network, portable and for GPUs, unverified, to be timed on one (`ddae-infer`'s example
//! `cuda_speed`).
//!
//!     cargo run --release -p ddae-export --example cuda_files -- FOLDER
//!
//! `twin` files are those by which the files for GPUs are checked: standard convolutions between transpositions.
//! Weights are as training begins with them: the speed does not depend on what they are.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use ddae_export::lower::channels_last::{lower_for_gpu, portable_twin};
use ddae_export::lower::half_precision::compute_f16;
use ddae_export::lower::lower;
use ddae_model::config::Config;
use ddae_model::diffusion::{FeatureOptions, features_graph, sampler_graph};
use ddae_model::weights::Weights;
use ddae_onnx::write::LARGEST_MESSAGE;

#[derive(Parser)]
struct Arguments {
    /// Where the files go.
    folder: PathBuf,
    /// Only files whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

const CONFIGS: [(&str, &str); 2] = [
    ("ddpm", include_str!("../../configs/DDPM_ddpm.yaml")),
    ("edm", include_str!("../../configs/EDM_ddpm.yaml")),
];

/// The published probe's of the DDPM.
const TIMESTEP: i64 = 11;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.folder)?;
    for (run, text) in CONFIGS {
        let config = Config::parse(text, run, &[])?;
        let features = |input_u8| {
            let taps = vec!["out_6".to_string()];
            features_graph(
                &config,
                &FeatureOptions { taps, timestep: Some(TIMESTEP), input_u8, label: false, unpooled: false },
            )
        };
        let graphs = [
            ("network", config.network.network_graph(false)?),
            ("sampler", sampler_graph(&config)?),
            ("features", features(false)?),
            ("features_u8", features(true)?),
        ];
        for (kind, graph) in graphs {
            let weights = Weights::initial(&graph, 0);
            for target in ["portable", "cuda", "twin"] {
                for dtype in ["f32", "f16"] {
                    let name = format!("{run}_{kind}_{target}_{dtype}.onnx");
                    if !name.contains(&arguments.only) {
                        continue;
                    }
                    let mut model = match target {
                        "cuda" | "twin" => lower_for_gpu(&graph, &weights)?.model,
                        _ => lower(&graph, &weights)?,
                    };
                    if dtype == "f16" {
                        compute_f16(&mut model)?;
                    }
                    if target == "twin" {
                        model = portable_twin(&model);
                    }
                    model.name = kind.to_string();
                    let path = arguments.folder.join(name);
                    model.write(&path, &[], LARGEST_MESSAGE)?;
                    println!("{}", path.display());
                }
            }
        }
    }
    Ok(())
}
