//! Steps in parts: what a rank has of a batch, and the learning rate that goes with the number of parts.

use std::fmt;
use std::ops::Range;

use ddae_data::DataError;
use ddae_data::loader::Parts;
use ddae_model::config::RunConfig;

use crate::TrainError;

/// `--batch-of`: whose `batch_size` the configuration's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BatchOf {
    /// Of one rank: batch and learning rate grow with the ranks; the rate of a WideResNet stays, as published
    Rank,
    /// Of all ranks: it is divided among them, and the learning rate stays
    All,
}

/// Into how many parts steps are cut, and who computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Number of ranks.
    pub ranks: usize,
    /// This one, counted from 0.
    pub rank: usize,
    /// Passes of each rank for one step.
    pub accumulate: usize,
    /// Whose batch `batch_size` is; what is published for the network where not given.
    pub batch_of: Option<BatchOf>,
}

impl Default for Shares {
    /// One rank, one pass.
    fn default() -> Shares {
        Shares { ranks: 1, rank: 0, accumulate: 1, batch_of: None }
    }
}

/// The batch of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepBatch {
    /// Images of a step over all ranks and passes; fewer at the end of an epoch.
    pub total: usize,
    /// Of them, those of one pass of one rank.
    pub pass: usize,
    /// Who computes them.
    pub shares: Shares,
    /// Whose batch `batch_size` is.
    pub batch_of: BatchOf,
    /// What the configuration's learning rate is multiplied by.
    pub rate_factor: f64,
}

/// The images of a pass among those of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The place of the first one.
    pub first: usize,
    /// Images of the step.
    pub total: usize,
    /// Of this part; 0 where the step has fewer images than parts. Then the batch holds one that does not count.
    pub count: usize,
}

impl Part {
    /// A step in one pass.
    pub fn whole(count: usize) -> Part {
        Part { first: 0, total: count, count }
    }

    /// Whether there is no other part.
    pub fn is_whole(self) -> bool {
        self.count == self.total
    }

    /// How much the mean over the part adds to the mean over the step.
    pub fn weight(self) -> f64 {
        self.count as f64 / self.total as f64
    }

    /// The part's rows of what was drawn for the step.
    pub(crate) fn of(self, drawn: tch::Tensor) -> Result<tch::Tensor, tch::TchError> {
        if self.is_whole() {
            return Ok(drawn);
        }
        drawn.f_narrow(0, self.first as i64, self.count.max(1) as i64)
    }
}

/// Whose batch `batch_size` is in what was published for a network: DDAE's and SODA's code have that of one device, and multiply
/// the learning rate by their number, but for the noise-conditional classifiers ([`rate_grows`]); EDM, EDM2 and DiT have that of
/// all. Fine-tuning, whose schedule DDAE's paper does not tell, is taken as DDAE's other trainings, whatever the denoiser.
fn published(config: &RunConfig) -> BatchOf {
    match config.diffusion().map(|config| config.network.net_type()) {
        None | Some("UNet") => BatchOf::Rank,
        Some(_) => BatchOf::All,
    }
}

/// Whether the learning rate grows with a batch that is of one rank. DDAE's code multiplies that of every training but the
/// noise-conditional WideResNets', which train at the configuration's whatever the number of devices.
fn rate_grows(config: &RunConfig) -> bool {
    config.classifier().is_none_or(|config| config.network.fine_tuned().is_some())
}

impl StepBatch {
    /// The batch of a configuration.
    ///
    /// # Errors
    /// When a batch of all ranks cannot be divided among them.
    pub fn new(config: &RunConfig, shares: Shares) -> Result<StepBatch, TrainError> {
        let (batch, parts) = (config.training().batch_size, shares.ranks * shares.accumulate);
        let batch_of = shares.batch_of.unwrap_or_else(|| published(config));
        let (total, pass, rate_factor) = match batch_of {
            BatchOf::Rank => {
                let rate_factor = if rate_grows(config) { parts as f64 } else { 1.0 };
                (batch.saturating_mul(parts), batch, rate_factor)
            }
            BatchOf::All if batch.is_multiple_of(parts) => (batch, batch / parts, 1.0),
            BatchOf::All => {
                return Err(TrainError::Argument(format!(
                    "batch_size is {batch}, of all ranks, and cannot be divided by {parts} (ranks: {}, --accumulate {}): set \
                     another batch_size, or --batch-of rank",
                    shares.ranks, shares.accumulate
                )));
            }
        };
        Ok(StepBatch { total, pass, shares, batch_of, rate_factor })
    }

    /// Number of parts of a step.
    pub fn parts(&self) -> usize {
        self.shares.ranks * self.shares.accumulate
    }

    /// Those of this rank, for a loader.
    pub fn loader_parts(&self) -> Parts {
        Parts::of_rank(self.shares.rank, self.shares.ranks, self.shares.accumulate)
    }

    /// The images of pass `turn` of this rank in a step of `total` images.
    pub fn part(&self, turn: usize, total: usize) -> Part {
        let Range { start, end } = self.loader_parts().places(turn, total);
        let count = end - start;
        // One without images takes the first one.
        Part { first: if count == 0 { 0 } else { start }, total, count }
    }

    /// The batches of the next step, one for each pass; none at the end of the epoch.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn next<B>(
        &self,
        batches: &mut impl Iterator<Item = Result<B, DataError>>,
    ) -> Result<Option<Vec<B>>, DataError> {
        let step: Vec<B> = batches.take(self.shares.accumulate).collect::<Result<_, _>>()?;
        Ok((!step.is_empty()).then_some(step))
    }
}

impl fmt::Display for StepBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepBatch { total, pass, shares, .. } = self;
        let ranks = format!("{} rank{}", shares.ranks, if shares.ranks == 1 { "" } else { "s" });
        write!(f, "{ranks} x {pass} images")?;
        if shares.accumulate > 1 {
            write!(f, " x {} passes", shares.accumulate)?;
        }
        write!(f, " = {total} a step; ")?;
        match self.batch_of {
            BatchOf::Rank if self.parts() > 1 && self.rate_factor == 1.0 => {
                write!(f, "learning rate as it is, as published (batch_size is of one rank, lrate of all)")
            }
            BatchOf::Rank => {
                write!(f, "learning rate x {} (batch_size and lrate are of one rank)", self.rate_factor)
            }
            BatchOf::All => write!(f, "learning rate as it is (batch_size and lrate are of all ranks)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::config::AnyConfig;

    use super::*;

    fn batch(file: &str, shares: Shares) -> Result<StepBatch, String> {
        let config = AnyConfig::parse(file, "demo.yaml", &[]).expect("a configuration");
        let AnyConfig::Run(config) = config else { panic!("the configuration of a run") };
        StepBatch::new(&config, shares).map_err(|error| error.to_string())
    }

    const UNET: &str = include_str!("../../../configs/DDPM_ddpm.yaml");
    const EDM2: &str = include_str!("../../../configs/edm2_cifar10_C.yaml");

    #[test]
    fn ddae_multiplies_and_edm2_divides() {
        let four = Shares { ranks: 4, rank: 1, ..Shares::default() };
        let of_unet = batch(UNET, four).expect("a batch");
        assert_eq!((of_unet.total, of_unet.pass, of_unet.rate_factor), (512, 128, 4.0));
        // One device that takes four passes makes the steps of four devices.
        let passes = batch(UNET, Shares { accumulate: 4, ..Shares::default() }).expect("a batch");
        assert_eq!((passes.total, passes.pass, passes.rate_factor), (512, 128, 4.0));
        let of_edm2 = batch(EDM2, four).expect("a batch");
        assert_eq!((of_edm2.total, of_edm2.pass, of_edm2.rate_factor), (512, 128, 1.0));
        let alone = batch(UNET, Shares::default()).expect("a batch");
        assert_eq!((alone.total, alone.pass, alone.rate_factor), (128, 128, 1.0));
        let other = batch(UNET, Shares { batch_of: Some(BatchOf::All), ..four }).expect("a batch");
        assert_eq!((other.total, other.pass, other.rate_factor), (128, 32, 1.0));
        let refused =
            batch(EDM2, Shares { ranks: 3, ..Shares::default() }).expect_err("3 does not divide 512");
        assert!(
            refused.starts_with("batch_size is 512, of all ranks, and cannot be divided by 3 (ranks: 3, "),
            "{refused}"
        );
    }

    #[test]
    fn published_classifiers_train_at_one_rate_whatever_the_ranks() {
        let wide = include_str!("../../../configs/WRN_ve.yaml");
        for (shares, said) in [
            (Shares { ranks: 4, rank: 1, ..Shares::default() }, "4 ranks x 128 images = 512 a step; "),
            (Shares { accumulate: 4, ..Shares::default() }, "1 rank x 128 images x 4 passes = 512 a step; "),
        ] {
            let of_four = batch(wide, shares).expect("a batch");
            assert_eq!((of_four.total, of_four.pass, of_four.rate_factor), (512, 128, 1.0));
            let rate = "learning rate as it is, as published (batch_size is of one rank, lrate of all)";
            assert_eq!(of_four.to_string(), format!("{said}{rate}"));
        }
    }

    #[test]
    fn parts_fill_a_step_whatever_its_images() {
        for total in [1, 3, 5, 12] {
            let mut places = Vec::new();
            for turn in 0..2 {
                for rank in 0..2 {
                    let shares = Shares { ranks: 2, rank, accumulate: 2, batch_of: None };
                    let part = batch(UNET, shares).expect("a batch").part(turn, total);
                    places.extend(part.first..part.first + part.count);
                }
            }
            assert_eq!(places, (0..total).collect::<Vec<_>>());
        }
    }
}
