//! The command line of `ddae-export`.

mod export;
mod inspect;
mod named;
mod precision;
mod recognition;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  ddae-export runs/demo --list-taps
  ddae-export runs/demo --graph features --taps out_2,out_3 --timestep 11
  ddae-export runs/demo --graph sampler -o demo-sampler.onnx
  ddae-export checkpoint.pth --config configs/DDPM_ddpm.yaml --graph features
  ddae-export ddpm-cifar10-32 --graph features --taps out_6
  ddae-export DiT-XL-2-256x256.pt --graph features --taps layer-13
  ddae-export sd-vae --graph latent
  ddae-export soda.pth --graph encoder --image-size 32x32 --statistics cifar10 --normalise
  ddae-export soda.pth --graph sampler --image-size 32x32
  ddae-export inspect demo-sampler.onnx";

const KINDS: &str = "\
Graphs (B is the batch, free in every file):
  network   x [B,C,H,W], t [B] (what the network embeds), with --label augment_label [B,9];
            a SODA decoder also z [B,Z], mask [B]; a DiT t i64, with --label label i64 [B]
            -> y [B,C,H,W] (classifiers: logits, encoders: z, moments or pool) and the layers
            asked for [B,C,H,W]
  features  image [B,C,H,W] in 0..1 (with --input u8: bytes [B,H,W,C]; a DiT: latent),
            noise [B,C,H,W] standard normal, timestep i64 [B] unless fixed by --timestep;
            Inception: image alone
            -> the layers asked for, averaged over the image [B,D]
  sampler   x [B,C,H,W], noise [B,C,H,W], t [1], preconditioning, coefficients, carry [B,C,H,W];
            a SODA decoder also z [B,Z], guidance [1] (0 for none, usually 0.3)
            -> one step on: next, next_carry
  encoder   image [B,C,H,W] in 0..1 -> z [B,Z]
  latent    image [B,C,H,W] in 0..1, noise [B,Z,H/8,W/8] standard normal, or zeros for the mean
            -> latent, like noise
  classifier  image and noise as of features, timestep [B] unless fixed -> logits [B,classes]
  loss      image [B,C,H,W] in 0..1, noise [B,C,H,W] standard normal, level [B]: a DDPM's timestep
            i64, of an EDM standard normal; where the network takes one, augment_label [B,9]; a
            SODA also source [B,C,H,W], normalised, and mask [B], 1 where its latent is hidden
            -> loss [B], whose mean a training run minimises

What a file of weights holds is recognised by names and shapes; what they do not tell (size of
the images, process) is asked for. docs/import.md lists what can be imported, with commands.

The file is run in ONNX Runtime and compared with a reference before it appears under its name.";

/// Writes a checkpoint's network as an ONNX file.
#[derive(Debug, Parser)]
#[command(
    name = "ddae-export",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = EXAMPLES,
    after_long_help = format!("{KINDS}\n\n{EXAMPLES}")
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    export: export::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Arguments),
}

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Some(Command::Inspect(arguments)) => inspect::run(arguments),
        None => export::run(&arguments.export),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_says_what_it_wants() {
        assert_eq!(ddae_base::arguments::audit::<Arguments>(), Vec::<String>::new());
    }
}
