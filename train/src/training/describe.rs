//! A run in words, for `--dry-run` and the log.

use std::fmt;

use ddae_base::plain;
use ddae_model::config::{
    ClassifierRun, LrSchedule, ProcessConfig, RunConfig, SodaAugmentation, SodaDiffusion,
};
use ddae_model::networks::{BlockDepths, Classifier};

use super::options::Amp;
use super::plan::TrainingPlan;

/// Shows a [`TrainingPlan`].
#[derive(Debug)]
pub struct Description<'a> {
    plan: &'a TrainingPlan,
    amp: Amp,
}

impl<'a> Description<'a> {
    pub(super) fn new(plan: &'a TrainingPlan, amp: Amp) -> Description<'a> {
        Description { plan, amp }
    }

    /// Bytes of weights, average, gradients and moments, and a guess at those of the activations that the backward pass
    /// needs: every result of the forward pass, once.
    fn memory(&self) -> (f64, f64) {
        let graph = &self.plan.graph;
        let parameters = graph.parameter_count();
        let activations: usize = graph.nodes().iter().map(|n| n.shape.per_sample()).sum();
        let activations = activations.saturating_sub(parameters) as f64;
        let bytes = if self.amp == Amp::Off { 4.0 } else { 2.0 };
        let batch = self.plan.batch.pass as f64;
        let numbers = (3 + self.plan.moments()) as f64;
        (numbers * 4.0 * parameters as f64, activations * bytes * batch)
    }
}

/// The noise and the augmentation of a classifier in words.
fn classified(config: &ClassifierRun) -> String {
    let process = match &config.process {
        ProcessConfig::Ddpm(ddpm) => format!("DDPM, {} timesteps", ddpm.n_t),
        ProcessConfig::Edm(edm) => {
            format!("EDM, ln sigma of mean {} and deviation {}", edm.p_mean, edm.p_std)
        }
    };
    let noise = match config.network.classifier().ok().and_then(Classifier::timestep) {
        Some(timestep) => format!("noised to timestep {timestep}"),
        None => "noised to all levels".to_string(),
    };
    let crop = match config.crop {
        0 => String::new(),
        padding => format!(", cropped with a padding of {padding}"),
    };
    let flip = if config.flip { ", half of them mirrored" } else { "" };
    format!("{process}; classes of images {noise}{crop}{flip}")
}

/// The process in words.
fn process(config: &RunConfig) -> String {
    match config {
        RunConfig::Classifier(config) => classified(config),
        RunConfig::Diffusion(config) => match &config.process {
            ProcessConfig::Ddpm(c) => format!("DDPM, {} timesteps", c.n_t),
            ProcessConfig::Edm(c) if c.augment_prob > 0.0 => {
                format!("EDM, augmented with probability {}", c.augment_prob)
            }
            ProcessConfig::Edm(_) => "EDM".to_string(),
        },
        RunConfig::Soda(config) => {
            let SodaDiffusion { n_t, drop_prob, layer_mask_prob, .. } = config.diffusion;
            let parts = match config.networks.decoder.z_parts {
                1 => String::new(),
                parts => format!(", cut into {parts} parts"),
            };
            let masked = match layer_mask_prob {
                0.0 => String::new(),
                p => format!(", each of them with probability {p}"),
            };
            let SodaAugmentation { augment_target, crop_area } = config.augmentation;
            let crops = if crop_area == SodaAugmentation::default().crop_area {
                String::new()
            } else {
                let [smallest, largest] = crop_area.map(|share| 100.0 * share);
                format!(", crops of {smallest:.0} to {largest:.0} % of the image")
            };
            let target = if augment_target { "augmented" } else { "unaltered" };
            format!(
                "SODA, {n_t} timesteps, targets {target}{crops}; latent of {} numbers{parts}, hidden with probability \
                 {drop_prob}{masked}",
                config.networks.encoder.feature_dim
            )
        }
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrainingPlan { config, train, origin, graph, steps_per_epoch, .. } = self.plan;
        let training = config.training();
        let schedule = match training.lr_schedule {
            LrSchedule::Constant => "constant",
            LrSchedule::Cosine => "cosine to 0",
            LrSchedule::CosineEpoch => "cosine to 0 epoch by epoch",
        };
        let schedule = match training.tref_epoch {
            Some(epoch) => format!("{schedule}, as 1/sqrt(epoch) from epoch {epoch} on"),
            None => schedule.to_string(),
        };
        let clipping = match training.grad_clip_norm {
            f64::INFINITY => "gradients not clipped".to_string(),
            norm => format!("gradients clipped to a norm of {norm}"),
        };
        let momentum = match training.optim_args.momentum() {
            0.0 => String::new(),
            momentum => format!(" with momentum {momentum}"),
        };
        let average = match training.ema {
            0.0 => "no EMA".to_string(),
            ema => format!("EMA {ema}"),
        };
        let (state, activations) = self.memory();
        let factor = self.plan.batch.rate_factor;
        let encoder = config.soda().map_or(String::new(), |config| {
            format!(" (encoder {:e})", config.lrate_ratio * factor * config.training.lrate)
        });
        let layers =
            config.classifier().filter(|config| config.layer_decay != 1.0).map_or(String::new(), |config| {
                let blocks = BlockDepths::of(graph).count();
                let first = config.layer_decay.powi(blocks as i32 - 1);
                format!(
                    " (times {} for each block below the head: times {first:.1e} in the first of {blocks})",
                    config.layer_decay
                )
            });
        let flops = graph.flops() as f64;
        writeln!(f, "data        {}: {} images, {}", train.name(), train.len(), plain(origin))?;
        writeln!(f, "process     {}", process(config))?;
        writeln!(
            f,
            "network     {} parameters, {:.2} GFLOP forward per image",
            thousands(graph.parameter_count() as u64),
            flops / 1e9
        )?;
        let left_out = train.len() as u64 - self.plan.images_per_epoch();
        let last = match (self.plan.last_batch, left_out) {
            (_, left_out) if left_out > 0 => format!(" ({left_out} left out of each, drop_last)"),
            (last, _) if last < self.plan.batch.total as u64 => format!(" (the last of {last})"),
            _ => String::new(),
        };
        writeln!(
            f,
            "steps       {} epochs of {} steps of {} images{last}: {} steps, {:.3} PFLOP in all",
            training.n_epoch,
            steps_per_epoch,
            self.plan.batch.total,
            thousands(self.plan.steps()),
            // The backward pass computes two products for each one of the forward pass.
            3.0 * flops * (self.plan.images_per_epoch() as f64 * training.n_epoch as f64) / 1e15
        )?;
        if self.plan.shared().is_some() {
            writeln!(f, "ranks       {}", self.plan.batch)?;
        }
        writeln!(
            f,
            "optimiser   {}{momentum}, learning rate {:e}{encoder}{layers}, {} warm-up epochs, {schedule}, {clipping}, {average}",
            training.optim.name(),
            factor * training.lrate,
            training.warm_epoch,
        )?;
        if let Some(validation) = &self.plan.validation {
            writeln!(f, "validation  {}", validation.describe(self.plan.images_per_epoch(), training.ema))?;
        }
        if training.n_sample > 0 && !self.plan.sheets.is_empty() {
            writeln!(f, "sheets      {}", self.plan.sheets)?;
        }
        write!(
            f,
            "memory      {:.2} GiB of weights and optimiser, about {:.2} GiB of activations (amp {})",
            state / f64::from(1 << 30),
            activations / f64::from(1 << 30),
            self.amp
        )?;
        if let Err(error) = self.plan.check_memory(self.amp, true) {
            write!(f, "\nnote        on the CPU of this machine, {error}")?;
        }
        self.plan.notes.iter().try_for_each(|note| write!(f, "\nnote        {note}"))
    }
}

/// 35746307 as 35,746,307.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(thousands(35_746_307), "35,746,307");
        assert_eq!(thousands(746_307), "746,307");
        assert_eq!(thousands(0), "0");
    }
}
