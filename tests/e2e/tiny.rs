//! A tiny data set, a tiny network, and everything that is made of them once for all tests.

use std::sync::OnceLock;

use crate::formats::png;
use crate::place::Place;

/// The classes of the data set in the order of their labels.
pub const CLASSES: [&str; 3] = ["columns", "flat", "rows"];
/// Training images of each class.
pub const TRAIN: usize = 30;
/// Test images of each class.
pub const TEST: usize = 10;
/// Side of the images, which have one channel.
pub const SIDE: usize = 8;
/// Steps of an epoch: 90 images in batches of 16, the last of 10.
pub const STEPS: u64 = 6;
/// The layers of the network.
pub const TAPS: [&str; 4] = ["out_1", "out_2", "out_3", "out_4"];
/// Channels of each of its layers. With the 32 that a group norm has groups, each group would be one channel, and the
/// norm would take away what the timestep adds.
pub const CHANNELS: usize = 64;

/// What every training command ends with: the tiny data set, one thread of the CPU.
pub const TRAINING: &str = "--data-root data --device cpu --threads 1";

const NETWORK: &str = "
net_type: UNet
network:
  image_shape: [1, 8, 8]
  n_channels: 64
  ch_mults: [1, 1]
  is_attn: [False, True]
  dropout: 0.1
  n_blocks: 1
  use_res_for_updown: False
n_epoch: 2
batch_size: 16
lrate: 1.0e-3
warm_epoch: 1
flip: True
ema: 0.9
n_sample: 4
save_dir: run
linear: {n_epoch: 15, batch_size: 16, lrate: 1.0e-3, timestep: 11, blockname: out_2}
";

/// A DDPM of 100 timesteps on the data set `folder`: 2 epochs.
pub fn ddpm() -> String {
    format!(
        "dataset: folder\nclasses: 3\nmodel_type: DDPM\ndiffusion: {{n_T: 100, betas: [1.0e-4, 0.02]}}{NETWORK}"
    )
}

/// An EDM with augmentation, and the network that takes its label.
pub fn edm() -> String {
    let network = NETWORK
        .replace("dropout: 0.1", "dropout: 0.1\n  augment_dim: 9")
        .replace("timestep: 11", "timestep: 4");
    format!(
        "dataset: folder\nclasses: 3\nmodel_type: EDM\ndiffusion: {{sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, \
         sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1, S_noise: 1.007, augment_prob: 0.5}}{network}"
    )
}

/// What denoises images beside the UNet, each at a size that trains in seconds: `net_type` and a configuration of one
/// epoch on the data set `folder`.
pub fn others() -> [(&'static str, String); 5] {
    const TRANSFORMER: &str = "{input_size: 8, patch_size: 2, in_channels: 1, hidden_size: 32, depth: 2, num_heads: 2, \
                               num_classes: 1, learn_sigma: False, space: image}";
    const UNET: &str = "{image_shape: [1, 8, 8], n_channels: 32, ch_mults: [1, 2], is_attn: [False, True], \
                        attn_channels_per_head: 32, dropout: 0.1, n_blocks: 2}";
    // Told the class.
    const SONG: &str = "{img_resolution: 8, img_channels: 1, label_dim: 3, model_channels: 32, channel_mult: [1, 2], \
                        num_blocks: 1, attn_resolutions: [4], dropout: 0.1, embedding_type: fourier, \
                        channel_mult_noise: 2, encoder_type: residual, resample_filter: [1, 3, 3, 1]}";
    const EDM: &str = "{sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, \
                       S_max: 1, S_noise: 1.007}";
    const DDPM: &str = "{n_T: 100, betas: [1.0e-4, 0.02], timesteps: index}";
    let config = |net_type: &'static str, network: &str, layer: &str| {
        let (kind, process, timestep) = if net_type == "DiT" { ("DDPM", DDPM, 11) } else { ("EDM", EDM, 4) };
        let text = format!(
            "dataset: folder\nclasses: 3\nmodel_type: {kind}\ndiffusion: {process}\nnet_type: {net_type}\n\
             network: {network}\nn_epoch: 2\nbatch_size: 16\nlrate: 2.0e-3\nwarm_epoch: 0\nflip: True\nema: 0.9\n\
             n_sample: 4\nsave_dir: {net_type}\n\
             linear: {{n_epoch: 15, batch_size: 16, lrate: 1.0e-3, timestep: {timestep}, blockname: {layer}}}\n"
        );
        (net_type, text)
    };
    [
        config("UNetC", UNET, "out_2"),
        config("UNetE", UNET, "out_2"),
        config("UNetG", UNET, "out_2"),
        config("SongUNet", SONG, "out_2"),
        config("DiT", TRANSFORMER, "layer-1"),
    ]
}

/// Image `number` of the class `label`: columns, a flat grey, or rows, of varying brightness and place.
fn image(label: usize, number: usize) -> Vec<u8> {
    let (shift, level) = (number % 2, 150 + 3 * (number % 31));
    let lit = |x: usize, y: usize| match label {
        0 => ((x + shift) / 2).is_multiple_of(2),
        1 => true,
        _ => ((y + shift) / 2).is_multiple_of(2),
    };
    let at = |i: usize| if lit(i % SIDE, i / SIDE) { (level + i % 7) as u8 } else { (number % 40) as u8 };
    (0..SIDE * SIDE).map(at).collect()
}

/// Writes the data set as `data/train/CLASS/NN.png` and `data/test/CLASS/NN.png`.
pub fn write_images(place: &Place) {
    for (label, class) in CLASSES.iter().enumerate() {
        for number in 0..TRAIN + TEST {
            // Every fourth, so that both splits are of the same kind.
            let split = if number % 4 == 3 { "test" } else { "train" };
            let bytes = png(&image(label, number), SIDE, SIDE);
            place.write(&format!("data/{split}/{class}/{number:02}.png"), bytes);
        }
    }
}

/// What the programs make of the data set, made once: `data/`, `ddpm.yaml`, `run/`, `features.onnx` (all layers),
/// `sampler.onnx`, `network.onnx`, `train.h5` and `test.h5` (timesteps 1 and 11).
pub fn trained() -> &'static Place {
    // A static is never dropped, so this folder would stay: it lies where cargo keeps what tests leave.
    static TRAINED: OnceLock<Place> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let place = Place::lasting();
        write_images(&place);
        place.write("ddpm.yaml", ddpm());
        place.done(&format!("ddae-train diffusion --config ddpm.yaml {TRAINING}"));
        place.done("ddae-export run --graph features --taps all -o features.onnx");
        place.done("ddae-export run --graph sampler -o sampler.onnx");
        place.done("ddae-export run --graph network --taps out_2,out_4 -o network.onnx");
        for split in ["train", "test"] {
            let options = "--data-root data --timesteps 1,11 --threads 1";
            place.done(&format!("ddae-infer features features.onnx --split {split} -o {split} {options}"));
        }
        place
    })
}

/// A place with copies of parts of [`trained`].
pub fn with(names: &[&str]) -> Place {
    let place = Place::new();
    names.iter().for_each(|name| place.bring(trained(), name));
    place
}
