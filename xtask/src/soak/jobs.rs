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
}

/// How many shards the features are computed in.
pub const SHARDS: usize = 3;

const FEATURES: &str = "ddae-infer features ../features.onnx --data-root ../data --timesteps 11 --views 2 --batch 8 \
                        --threads 1 -o out";
const TRAINING: &str = "--data-root ../data --device cpu --threads 1 --log-every 1 --sample-steps 2";

impl Job {
    /// All of them.
    pub const ALL: [Job; 8] = [
        Job::Diffusion,
        Job::Replace,
        Job::Soda,
        Job::Features,
        Job::Merge,
        Job::Sample,
        Job::Reconstruct,
        Job::Export,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Job::Diffusion => "diffusion",
            Job::Replace => "replace",
            Job::Soda => "soda",
            Job::Features => "features",
            Job::Merge => "merge",
            Job::Sample => "sample",
            Job::Reconstruct => "reconstruct",
            Job::Export => "export",
        }
    }

    /// The command line that starts it in a folder of its own, beside what [`Job::needs`] names.
    pub fn start(self) -> String {
        match self {
            Job::Diffusion => {
                format!("ddae-train diffusion --config ../ddpm.yaml --run run --save-every 1 {TRAINING}")
            }
            Job::Replace => format!("{} --force", Job::Diffusion.start()),
            Job::Soda => format!("ddae-train soda --config ../soda.yaml --run run {TRAINING}"),
            Job::Features => format!("{FEATURES} --shards {SHARDS}"),
            Job::Merge => "ddae-infer merge out".to_string(),
            Job::Sample => "ddae-infer sample ../sampler.onnx --seeds 0-5 --steps 4 --batch 2 --threads 1 -o images \
                            --npy images.npy --sheet images.png"
                .to_string(),
            Job::Reconstruct => "ddae-infer reconstruct --encoder ../encoder.onnx --sampler ../decoder.onnx \
                                 --data folder --data-root ../data --indices 0-2 --variations 2 --steps 3 --batch 2 \
                                 --threads 1 --pictures images -o images.png"
                .to_string(),
            Job::Export => "ddae-export ../ddpm --graph sampler -o sampler.onnx".to_string(),
        }
    }

    /// What is added to the command to go on, as documented.
    pub fn go_on(self) -> &'static str {
        match self {
            Job::Diffusion | Job::Soda => "--resume",
            // An export that was killed after its end has left its file.
            Job::Export => "--force",
            Job::Replace | Job::Features | Job::Merge | Job::Sample | Job::Reconstruct => "",
        }
    }

    /// What else the program may ask for when there is nothing to go on with: its advice, and what is added then in place
    /// of [`Job::go_on`].
    pub fn advice(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Job::Diffusion | Job::Soda => &[("without --resume", ""), ("--force", "--force")],
            _ => &[],
        }
    }

    /// Names of the [`PRODUCTS`] that it takes.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Job::Diffusion | Job::Replace | Job::Soda => &[],
            Job::Features | Job::Merge => &["features.onnx"],
            Job::Sample => &["sampler.onnx"],
            Job::Reconstruct => &["encoder.onnx", "decoder.onnx"],
            Job::Export => &["ddpm"],
        }
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

/// Something that jobs take: its name, the names of what it is made of, and the command line that makes it.
pub type Product = (&'static str, &'static [&'static str], &'static str);

/// What the jobs take besides data and configurations.
pub const PRODUCTS: [Product; 6] = [
    (
        "ddpm",
        &[],
        "ddae-train diffusion --config ddpm.yaml --run ddpm --epochs 1 --set n_sample=0 --data-root data --device cpu \
         --threads 1",
    ),
    ("features.onnx", &["ddpm"], "ddae-export ddpm --graph features --taps out_1,out_2 -o features.onnx"),
    ("sampler.onnx", &["ddpm"], "ddae-export ddpm --graph sampler -o sampler.onnx"),
    (
        "soda",
        &[],
        "ddae-train soda --config soda.yaml --run soda --epochs 1 --set n_sample=0 --data-root data --device cpu \
         --threads 1",
    ),
    ("encoder.onnx", &["soda"], "ddae-export soda --graph encoder -o encoder.onnx"),
    ("decoder.onnx", &["soda"], "ddae-export soda --graph sampler -o decoder.onnx"),
];

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

/// A SODA, whose encoder is the smallest there is: 2 epochs of 3 steps.
pub const SODA: &str = "dataset: folder
encoder: {arch: resnet18, feature_dim: 8, cifar_small_image: False}
decoder:
  image_shape: [1, 8, 8]
  n_channels: 32
  ch_mults: [1, 1]
  is_attn: [False, True]
  dropout: 0.1
  n_blocks: 1
  use_res_for_updown: False
  z_channels: 8
  z_parts: 2
diffusion: {betas: [1.0e-4, 0.02], n_T: 100, drop_prob: 0.1, layer_mask_prob: 0.2}
batch_size: 16
lrate: 1.0e-3
lrate_ratio: 2
optim: AdamW
optim_args: {weight_decay: 0.05, betas: [0.9, 0.95]}
grad_clip_norm: 1
n_epoch: 2
warm_epoch: 1
ema: 0.9
n_sample: 3
save_dir: run
save_per: 1
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_needed_is_made_before() {
        let named = |name: &str| PRODUCTS.iter().position(|(other, ..)| *other == name);
        for need in Job::ALL.iter().flat_map(|job| job.needs()) {
            assert!(named(need).is_some(), "{need}");
        }
        for (name, needs, line) in PRODUCTS {
            assert!(needs.iter().all(|need| named(need) < named(name)), "{name}");
            assert!(line.split_whitespace().any(|word| word == name), "{line}");
        }
    }
}
