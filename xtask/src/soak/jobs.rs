//! What is killed: the jobs, the commands that start them and go on with them, and what these need.

/// A kind of work whose result must not depend on how often it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Job {
    /// `ddae-train diffusion`
    Diffusion,
    /// `ddae-train diffusion --force`, which replaces what the killed one left
    Replace,
    /// `ddae-train soda`
    Soda,
    /// `ddae-train diffusion --nproc 2`
    Ranks,
    /// `ddae-train diffusion` twice, as the ranks of one run that launchers such as torchrun start
    RanksApart,
    /// `ddae-infer features`
    Features,
    /// `ddae-infer merge`
    Merge,
    /// `ddae-infer sample`
    Sample,
    /// `ddae-infer reconstruct`
    Reconstruct,
    /// `ddae-export`
    Export,
    /// `ddae-export` with the weights in a file of their own
    ExportData,
}

/// How many ranks a training has that has several.
pub const RANKS: usize = 2;

/// How many shards the features are computed in.
pub const SHARDS: usize = 3;

const EXPORT: &str = "ddae-export ../ddpm --graph sampler -o sampler.onnx";
const FEATURES: &str = "ddae-infer features ../features.onnx --data-root ../data --timesteps 11 --views 2 --batch 8 \
                        --threads 1 -o out";
/// Of trainings that are killed.
const CLOSELY: &str = "--run run --log-every 1 --sample-steps 2";
/// Of trainings over ranks, which are lost sooner than usual.
const LOST_SOON: &str = "--rank-timeout 5";
/// Of trainings that make something to export.
const BRIEFLY: &str = "--epochs 1 --set n_sample=0";
/// 2 epochs of 3 steps, with a checkpoint after each.
const SODA_STEPS: &str = "--epochs 2 --set batch_size=16 --set save_per=1";

/// A training of the configuration `name`; `root` leads to the campaign's folder.
fn training(command: &str, name: &str, root: &str, options: &str) -> String {
    format!(
        "ddae-train {command} --config {root}{name}.yaml --data-root {root}data --device cpu --threads 1 {options}"
    )
}

impl Job {
    /// All of them.
    pub const ALL: [Job; 11] = [
        Job::Diffusion,
        Job::Replace,
        Job::Soda,
        Job::Ranks,
        Job::RanksApart,
        Job::Features,
        Job::Merge,
        Job::Sample,
        Job::Reconstruct,
        Job::Export,
        Job::ExportData,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Job::Diffusion => "diffusion",
            Job::Replace => "replace",
            Job::Soda => "soda",
            Job::Ranks => "ranks",
            Job::RanksApart => "ranks-apart",
            Job::Features => "features",
            Job::Merge => "merge",
            Job::Sample => "sample",
            Job::Reconstruct => "reconstruct",
            Job::Export => "export",
            Job::ExportData => "export-data",
        }
    }

    /// The command line that starts it in a folder of its own, beside what [`Job::needs`] names.
    pub fn start(self) -> String {
        match self {
            Job::Diffusion => training("diffusion", "ddpm", "../", &format!("{CLOSELY} --save-every 1")),
            Job::Replace => format!("{} --force", Job::Diffusion.start()),
            Job::Ranks => format!("{} --nproc {RANKS}", Job::RanksApart.start()),
            Job::RanksApart => format!("{} {LOST_SOON}", Job::Diffusion.start()),
            Job::Soda => training("soda", "soda", "../", &format!("{CLOSELY} {SODA_STEPS}")),
            Job::Features => format!("{FEATURES} --shards {SHARDS}"),
            Job::Merge => "ddae-infer merge out".to_string(),
            Job::Sample => "ddae-infer sample ../sampler.onnx --seeds 0-5 --steps 4 --batch 2 --threads 1 -o images \
                            --npy images.npy --sheet images.png"
                .to_string(),
            Job::Reconstruct => "ddae-infer reconstruct --encoder ../encoder.onnx --sampler ../decoder.onnx \
                                 --data folder --data-root ../data --indices 0-2 --variations 2 --steps 3 --batch 2 \
                                 --threads 1 --pictures images -o images.png"
                .to_string(),
            Job::Export => EXPORT.to_string(),
            Job::ExportData => format!("{EXPORT} --external-data always"),
        }
    }

    /// What is added to the command to go on, as documented.
    pub fn go_on(self) -> &'static str {
        match self {
            Job::Diffusion | Job::Soda | Job::Ranks | Job::RanksApart => "--resume",
            _ => "",
        }
    }

    /// What else the program may ask for when there is nothing to go on with: its advice, and what is added then in place
    /// of [`Job::go_on`].
    pub fn advice(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Job::Diffusion | Job::Soda | Job::Ranks | Job::RanksApart => {
                &[("without --resume", ""), ("--force", "--force")]
            }
            // One that was killed after its end has left its file; data alone are not asked about.
            Job::Export | Job::ExportData => &[("sampler.onnx: it exists already", "--force")],
            _ => &[],
        }
    }

    /// Names of the [`products`] that it takes.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Job::Diffusion | Job::Replace | Job::Soda | Job::Ranks | Job::RanksApart => &[],
            Job::Features | Job::Merge => &["features.onnx"],
            Job::Sample => &["sampler.onnx"],
            Job::Reconstruct => &["encoder.onnx", "decoder.onnx"],
            Job::Export | Job::ExportData => &["ddpm"],
        }
    }

    /// The ranks that it trains on; 0 for a job of one process.
    pub fn ranks(self) -> usize {
        if matches!(self, Job::Ranks | Job::RanksApart) { RANKS } else { 0 }
    }

    /// Whether its ranks are started by the campaign, with torchrun's variables, rather than by the program.
    pub fn is_apart(self) -> bool {
        self == Job::RanksApart
    }

    /// Whether it has files on the way that are not in its result, the shards.
    pub fn has_shards(self) -> bool {
        matches!(self, Job::Features | Job::Merge)
    }

    /// Whether they are there when it starts.
    pub fn begins_with_shards(self) -> bool {
        self == Job::Merge
    }
}

/// The command line that computes one of the shards.
pub fn shard_line(shard: usize) -> String {
    format!("{FEATURES} --shard {shard}/{SHARDS}")
}

/// Something that jobs take.
#[derive(Debug)]
pub struct Product {
    /// Its name.
    pub name: &'static str,
    /// What it is made of.
    pub needs: &'static [&'static str],
    /// The command line that makes it.
    pub line: String,
}

/// What the jobs take besides data and configurations.
pub fn products() -> [Product; 6] {
    let trained = |command: &str, name: &'static str| Product {
        name,
        needs: &[],
        line: training(command, name, "", &format!("--run {name} {BRIEFLY}")),
    };
    let exported = |name: &'static str, needs: &'static [&'static str], graph: &str| Product {
        name,
        needs,
        line: format!("ddae-export {} --graph {graph} -o {name}", needs.join(" ")),
    };
    [
        trained("diffusion", "ddpm"),
        exported("features.onnx", &["ddpm"], "features --taps out_1,out_2"),
        exported("sampler.onnx", &["ddpm"], "sampler"),
        trained("soda", "soda"),
        exported("encoder.onnx", &["soda"], "encoder"),
        exported("decoder.onnx", &["soda"], "sampler"),
    ]
}

/// A DDPM of 32 channels: 3 epochs of 3 steps.
pub const DDPM: &str = "dataset: folder
classes: 2
model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
net_type: UNet
network:
  image_shape: [1, 8, 8]
  n_channels: 32
  ch_mults: [1, 1]
  is_attn: [False, True]
  dropout: 0.1
  n_blocks: 1
  use_res_for_updown: False
n_epoch: 3
batch_size: 16
lrate: 1.0e-3
warm_epoch: 2
flip: True
ema: 0.9
n_sample: 4
save_dir: run
";

/// A SODA, whose encoder is the smallest there is.
pub const SODA: &str = include_str!("../../../tests/configs/tiny_soda.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_needed_is_made_before() {
        let products = products();
        let named = |name: &str| products.iter().position(|product| product.name == name);
        for need in Job::ALL.iter().flat_map(|job| job.needs()) {
            assert!(named(need).is_some(), "{need}");
        }
        for Product { name, needs, line } in &products {
            assert!(needs.iter().all(|need| named(need) < named(name)), "{name}");
            assert!(line.split_whitespace().any(|word| word == *name), "{line}");
        }
    }
}
