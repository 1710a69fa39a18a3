//! The keys that all training runs share.

use serde::{Deserialize, Serialize};
use serde_norway::{Mapping, Value};

use super::{typed, words};

/// The largest `n_sample`.
const MOST_SAMPLES: usize = 10_000;

/// The keys of [`TrainingConfig`].
const KEYS: [&str; 18] = [
    "n_epoch",
    "batch_size",
    "drop_last",
    "lrate",
    "warm_epoch",
    "tref_epoch",
    "lr_schedule",
    "load_epoch",
    "ema",
    "optim",
    "optim_args",
    "grad_clip_norm",
    "n_sample",
    "hold_out",
    "validate_every",
    "validation_images",
    "save_dir",
    "save_model",
];

/// Optimisers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optim {
    /// Adam; weight decay, where given, is added to the gradient.
    #[default]
    Adam,
    /// AdamW: decoupled weight decay.
    AdamW,
    /// Gradient descent with momentum, not Nesterov's; weight decay is added to the gradient.
    #[serde(rename = "SGD")]
    Sgd,
}

impl Optim {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Optim::Adam => "Adam",
            Optim::AdamW => "AdamW",
            Optim::Sgd => "SGD",
        }
    }
}

/// `optim_args`: what optimisers have of them, and PyTorch's defaults for what is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimArgs {
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay of the sum of gradients, of SGD alone. Absent: 0, no sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Decay of the first and second moment, of Adam and AdamW alone; configurations that are read have them then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Added to the root of the second moment, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
}

impl OptimArgs {
    /// Decay of the sum of gradients; 0, which is no sum, unless it is said.
    pub fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.0)
    }

    /// Decay of the first and second moment; (0.9, 0.999) unless it is said.
    pub fn betas(&self) -> [f64; 2] {
        self.betas.unwrap_or([0.9, 0.999])
    }

    /// What is added to the root of the second moment; 1e-8 unless it is said.
    pub fn eps(&self) -> f64 {
        self.eps.unwrap_or(1e-8)
    }

    /// Says what an optimiser has, and the configuration left out.
    fn complete(&mut self, optim: Optim) {
        if optim != Optim::Sgd {
            self.betas = Some(self.betas());
            self.eps = Some(self.eps());
        }
    }

    /// Refuses what `optim` does not have, and what is out of range.
    fn check(&self, optim: Optim) -> Result<(), String> {
        let of_other = |key: &str, value: String, others: &str| {
            let optim = optim.name();
            Err(format!("optim_args.{key} is {value}; it is for optim: {others}, not {optim}"))
        };
        match (optim, self.momentum) {
            (Optim::Adam | Optim::AdamW, Some(momentum)) => {
                return of_other("momentum", momentum.to_string(), "SGD");
            }
            (_, Some(momentum)) if !(0.0..1.0).contains(&momentum) => {
                return Err(format!("optim_args.momentum is {momentum}; it must be in [0, 1)"));
            }
            _ => {}
        }
        match (optim, self.betas, self.eps) {
            (Optim::Sgd, Some([b1, b2]), _) => {
                return of_other("betas", format!("[{b1}, {b2}]"), "Adam and AdamW");
            }
            (Optim::Sgd, _, Some(eps)) => return of_other("eps", eps.to_string(), "Adam and AdamW"),
            (_, Some([b1, b2]), _) if !(0.0..1.0).contains(&b1) || !(0.0..1.0).contains(&b2) => {
                return Err(format!("optim_args.betas is [{b1}, {b2}]; both must be in [0, 1)"));
            }
            _ => {}
        }
        let least_0 = [("weight_decay", self.weight_decay), ("eps", self.eps())];
        match least_0.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            Some((key, value)) => Err(format!("optim_args.{key} is {value}; it must be at least 0")),
            None => Ok(()),
        }
    }
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// It stays, as published.
    #[default]
    Constant,
    /// It falls to zero from the end of the warm-up to the end of the run along half a cosine, step by step.
    Cosine,
    /// It falls once per epoch, as that of the published noise-conditional classifiers: along half a cosine over all epochs, the
    /// warm-up's too, in multiples of the cosine's value at the last epoch of the warm-up.
    CosineEpoch,
}

/// The part of a training run that is the same for all networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Number of passes over the data.
    pub n_epoch: usize,
    /// Images per step and device.
    pub batch_size: usize,
    /// Our addition: whether the last batch of an epoch is left out where it would be smaller. Absent: it is kept, as
    /// published, and a run that is gone on with does what it did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_last: Option<bool>,
    /// Learning rate, of one device as published.
    pub lrate: f64,
    /// Epochs over which the learning rate rises linearly.
    #[serde(default)]
    pub warm_epoch: usize,
    /// From this epoch `t`, counted from 0, the learning rate falls with the root of the epochs: `lrate / sqrt(epoch / t)`
    /// (arXiv 2312.02696, eq. 67). Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tref_epoch: Option<usize>,
    /// What follows the warm-up; `cosine` is our addition.
    #[serde(default)]
    pub lr_schedule: LrSchedule,
    /// Epoch to go on from; -1 for none. Checkpoints of later epochs are renamed then.
    #[serde(default = "TrainingConfig::from_scratch")]
    pub load_epoch: i64,
    /// Largest decay of the moving average of the weights.
    pub ema: f64,
    /// The optimiser.
    #[serde(default)]
    pub optim: Optim,
    /// Its settings.
    #[serde(default)]
    pub optim_args: OptimArgs,
    /// Largest joint norm of the gradients; `.inf` for no clipping. The published configurations do not say it: DDAE's code
    /// has 1, EDM2's none.
    #[serde(default = "TrainingConfig::published_norm")]
    pub grad_clip_norm: f64,
    /// Images on a sheet of samples or reconstructions.
    pub n_sample: usize,
    /// Our addition: the share of the training images that is not trained on, but kept to measure on; the same images for
    /// every run. Absent: none, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<f64>,
    /// Our addition: epochs between two measurements of the loss on images that are not trained on; 0 for none. Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<u64>,
    /// Our addition: how many images such a loss is of. Absent: 1024, but at most one for every 16 that are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_images: Option<usize>,
    /// The run folder.
    pub save_dir: String,
    /// Whether checkpoints are written.
    #[serde(default = "TrainingConfig::saving")]
    pub save_model: bool,
}

impl TrainingConfig {
    fn from_scratch() -> i64 {
        -1
    }

    fn published_norm() -> f64 {
        1.0
    }

    fn saving() -> bool {
        true
    }

    /// Whether the last, smaller batch of an epoch is left out.
    pub fn drops_last(&self) -> bool {
        self.drop_last.unwrap_or(false)
    }

    /// Steps of an epoch over `images` images: CIFAR-10's 50,000 in batches of 128 are 391, of which the last has 80.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        match self.drops_last() {
            true => images / self.batch_size,
            false => images.div_ceil(self.batch_size),
        }
    }

    /// Reads these keys of a configuration; gives the other keys as well, all of which are among `others`.
    pub(super) fn split(value: Value, others: &[&str]) -> Result<(TrainingConfig, Value), String> {
        let Value::Mapping(mapping) = value else {
            return Err("not a configuration: it needs keys like 'dataset: cifar'".to_string());
        };
        let (mut training, mut rest) = (Mapping::new(), Mapping::new());
        for (key, value) in mapping {
            match key.as_str() {
                Some(name) if KEYS.contains(&name) => training.insert(key, value),
                Some(name) if others.contains(&name) => rest.insert(key, value),
                _ => {
                    let name = key.as_str().map_or_else(|| format!("{key:?}"), str::to_string);
                    let known = words::unknown_key(&name, others.iter().chain(&KEYS).copied());
                    return Err(format!("{name}: {known}"));
                }
            };
        }
        let mut training: TrainingConfig = typed(Value::Mapping(training), "")?;
        training.optim_args.complete(training.optim);
        Ok((training, Value::Mapping(rest)))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let positive = [("n_epoch", self.n_epoch), ("batch_size", self.batch_size)];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{key} is 0; it must be at least 1"));
        }
        if !(self.lrate.is_finite() && self.lrate > 0.0) {
            return Err(format!("lrate is {}; it must be above 0", self.lrate));
        }
        if self.grad_clip_norm.is_nan() || self.grad_clip_norm <= 0.0 {
            return Err(format!(
                "grad_clip_norm is {}; it must be above 0 (.inf for no clipping)",
                self.grad_clip_norm
            ));
        }
        if self.tref_epoch == Some(0) {
            return Err("tref_epoch is 0; it must be at least 1, or absent for no decay".to_string());
        }
        if !(0.0..1.0).contains(&self.ema) {
            return Err(format!("ema is {}; it must be in [0, 1)", self.ema));
        }
        self.optim_args.check(self.optim)?;
        if self.n_sample > MOST_SAMPLES {
            return Err(format!("n_sample is {}; a sheet holds at most {MOST_SAMPLES}", self.n_sample));
        }
        if let Some(share) = self.hold_out.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(format!(
                "hold_out is {share}; it must lie between 0 and 1, or be absent to hold nothing out"
            ));
        }
        if self.validation_images == Some(0) {
            return Err(
                "validation_images is 0; it must be at least 1 (validate_every: 0 leaves the loss out)"
                    .to_string(),
            );
        }
        if self.load_epoch < -1 {
            return Err(format!(
                "load_epoch is {}; it must be -1 (from scratch) or an epoch",
                self.load_epoch
            ));
        }
        Ok(())
    }
}
