//! Runs the program on a tiny network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ddae_checkpoint::{Checkpoint, TrainingState};
use ddae_model::weights::Weights;
use ddae_tests::programs::{self, Ended};
use ddae_tests::{TINY_SODA, refusals};
use tempfile::TempDir;

/// Images of 8x8 in two classes: 24 bright squares in the one, 24 dark ones in the other.
const IMAGES: usize = 24;

/// A folder with a data set, a configuration and room for runs.
pub struct Place {
    folder: TempDir,
    command: &'static str,
}

impl Place {
    /// For `ddae-train diffusion`.
    pub fn new() -> Place {
        Place::of("diffusion")
    }

    /// For another command.
    pub fn of(command: &'static str) -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { folder, command };
        for (class, level) in [("bright", 200), ("dark", 40)] {
            let class = place.path("data/train").join(class);
            fs::create_dir_all(&class).expect("created");
            for number in 0..IMAGES {
                let levels: Vec<f32> = (0..64).map(|i| (level + (i * number) % 32) as f32 / 255.0).collect();
                let path = class.join(format!("{number:02}.png"));
                ddae_data::sheet::write_png_image(path, &levels, [1, 8, 8]).expect("written");
            }
        }
        place.write("ddpm.yaml", CONFIG);
        place.write("edm.yaml", CONFIG.replace(DDPM, EDM));
        place.write("soda.yaml", TINY_SODA);
        place
    }

    /// The same folder for another command.
    pub fn into_of(self, command: &'static str) -> Place {
        Place { command, ..self }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("written");
    }

    /// The command in the folder, on one thread of the CPU unless said otherwise.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-train"));
        command.current_dir(self.folder.path()).env_remove("DDAE_DATA").arg(self.command).args(arguments);
        command.args(["--data-root", "data", "--threads", "1"]);
        if !arguments.contains(&"--device") {
            command.args(["--device", "cpu"]);
        }
        command
    }

    /// Runs it to the end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        programs::run(&mut self.command(arguments))
    }

    /// Arguments with which it fails ([`refusals::refused`]).
    #[track_caller]
    pub fn refuses<L: AsRef<str>, W: AsRef<str>>(&self, cases: impl IntoIterator<Item = (i32, L, W)>) {
        let run = |line: &str| self.run(&line.split_whitespace().collect::<Vec<_>>());
        refusals::refused(self.folder.path(), run, cases);
    }

    /// Runs it and expects success.
    pub fn train(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        ended.success();
        ended
    }

    pub fn checkpoint(&self, name: &str) -> Saved {
        Saved::read(&self.path(name))
    }
}

/// A checkpoint's tensors and state.
#[derive(Debug, PartialEq)]
pub struct Saved {
    pub state: TrainingState,
    pub weights: Weights,
}

impl Saved {
    pub fn read(path: &Path) -> Saved {
        let checkpoint = Checkpoint::open(path).expect("a checkpoint");
        Saved {
            state: checkpoint.state().cloned().expect("a state"),
            weights: checkpoint.tensors_with_prefix("").expect("tensors"),
        }
    }

    /// Fails with the first tensor that is not the same to the bit.
    pub fn assert_same(&self, other: &Saved) {
        assert_eq!(self.state, other.state);
        let bits = |saved: &Saved| -> BTreeMap<String, Vec<u32>> {
            let bits = |t: &ddae_model::tensor::Tensor| {
                t.as_f32().expect("f32").iter().map(|v| v.to_bits()).collect()
            };
            saved.weights.iter().map(|(name, tensor)| (name.to_string(), bits(tensor))).collect()
        };
        let (ours, theirs) = (bits(self), bits(other));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, values) in &ours {
            assert!(values == &theirs[name], "'{name}' differs");
        }
    }
}

const DDPM: &str = "model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
";

const EDM: &str = "model_type: EDM
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007, augment_prob: 0.5}
";

/// 3 epochs of 6 steps.
const CONFIG: &str = "dataset: folder
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
  augment_dim: 9
n_epoch: 3
batch_size: 8
lrate: 1.0e-3
warm_epoch: 2
flip: True
ema: 0.99
n_sample: 4
save_dir: run
";
