//! The learning rate of each step.

use std::f64::consts::PI;

use ddae_model::config::{LrSchedule, TrainingConfig};

/// Warm-up and decay of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    base: f64,
    warm_epochs: u64,
    tref_epochs: Option<u64>,
    steps_per_epoch: u64,
    epochs: u64,
    steps: u64,
    schedule: LrSchedule,
}

impl LearningRate {
    /// The schedule of a run of `config.n_epoch` epochs of `steps_per_epoch` steps.
    pub fn new(config: &TrainingConfig, steps_per_epoch: u64) -> LearningRate {
        LearningRate {
            base: config.lrate,
            warm_epochs: config.warm_epoch as u64,
            tref_epochs: config.tref_epoch.map(|epochs| epochs as u64),
            steps_per_epoch,
            epochs: config.n_epoch as u64,
            steps: steps_per_epoch.saturating_mul(config.n_epoch as u64),
            schedule: config.lr_schedule,
        }
    }

    /// At `step`, counted from 0 over all epochs.
    ///
    /// The warm-up rises once per epoch, `min((epoch + 1) / warm_epoch, 1)`, as published. `cosine` falls from the end of
    /// the warm-up to the end of the run, step by step: `(1 + cos(pi s / S)) / 2`. `cosine_epoch` falls once per epoch after a
    /// warm-up of `w` epochs: `(1 + cos(pi epoch / n_epoch)) / (1 + cos(pi (w - 1) / n_epoch))`, without a warm-up
    /// `(1 + cos(pi epoch / n_epoch)) / 2`. That is what PyTorch's `CosineAnnealingLR` makes of a rate that the published
    /// classifiers' code sets itself during the warm-up, since each of its steps multiplies the rate there is. After the warm-up,
    /// `tref_epoch` divides by `sqrt(max(epoch / tref_epoch, 1))`, once per epoch, as published.
    pub fn at(&self, step: u64) -> f64 {
        let epoch = step / self.steps_per_epoch.max(1);
        let per_epoch = match self.tref_epochs {
            _ if epoch < self.warm_epochs => (epoch + 1) as f64 / self.warm_epochs as f64,
            Some(tref) => (epoch as f64 / tref as f64).max(1.0).sqrt().recip(),
            None => 1.0,
        };
        let decay = match self.schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Cosine => {
                let start = self.warm_epochs.saturating_mul(self.steps_per_epoch);
                let span = self.steps.saturating_sub(start).max(1) as f64;
                let progress = (step.saturating_sub(start) as f64 / span).min(1.0);
                0.5 * (1.0 + (PI * progress).cos())
            }
            LrSchedule::CosineEpoch if epoch < self.warm_epochs => 1.0,
            LrSchedule::CosineEpoch => {
                let height = |epoch: u64| 1.0 + (PI * (epoch as f64 / self.epochs as f64).min(1.0)).cos();
                match self.warm_epochs.saturating_sub(1) {
                    // A warm-up as long as the run leaves no epoch to fall in.
                    last if last < self.epochs => height(epoch) / height(last),
                    _ => 0.0,
                }
            }
        };
        self.base * per_epoch * decay
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::config::Config;

    use super::*;

    fn rate(warm_epoch: usize, lr_schedule: LrSchedule) -> LearningRate {
        let demo = include_str!("../../configs/demo.yaml");
        let config = Config::parse(demo, "demo.yaml", &[]).expect("the demo's configuration");
        let training =
            TrainingConfig { n_epoch: 10, lrate: 2e-4, warm_epoch, lr_schedule, ..config.training };
        LearningRate::new(&training, 5)
    }

    #[test]
    fn the_warm_up_rises_once_per_epoch_and_then_stays() {
        let rate = rate(4, LrSchedule::Constant);
        let at: Vec<f64> = [0, 4, 5, 14, 15, 20, 49].map(|step| rate.at(step) / 2e-4).to_vec();
        assert_eq!(at, [0.25, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn it_falls_with_the_root_of_the_epochs_after_the_reference() {
        let at = |warm_epoch, tref_epoch, epochs: [u64; 5]| {
            let demo = include_str!("../../configs/demo.yaml");
            let config = Config::parse(demo, "demo.yaml", &[]).expect("the demo's configuration");
            let training = TrainingConfig {
                n_epoch: 2000,
                lrate: 0.02,
                warm_epoch,
                tref_epoch,
                lr_schedule: LrSchedule::Constant,
                ..config.training
            };
            let rate = LearningRate::new(&training, 97);
            epochs.map(|epoch| {
                // The same in the first and the last step of an epoch.
                assert_eq!(rate.at(97 * epoch), rate.at(97 * epoch + 96));
                rate.at(97 * epoch) / 0.02
            })
        };
        // Config E of EDM2.
        let close = |found: [f64; 5], expected: [f64; 5]| {
            let differs = found.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-12);
            assert!(!differs, "{found:?} instead of {expected:?}");
        };
        let at_1999 = (400.0 / 1999.0f64).sqrt();
        close(at(200, Some(400), [0, 199, 400, 1600, 1999]), [0.005, 1.0, 1.0, 0.5, at_1999]);
        close(at(200, None, [0, 199, 400, 1600, 1999]), [0.005, 1.0, 1.0, 1.0, 1.0]);
        // The warm-up comes first, however late the reference.
        close(
            at(300, Some(100), [99, 299, 300, 400, 900]),
            [1.0 / 3.0, 1.0, 1.0 / 3f64.sqrt(), 0.5, 1.0 / 3.0],
        );
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_full_rate() {
        assert_eq!(rate(0, LrSchedule::Constant).at(0), 2e-4);
    }

    #[test]
    fn the_cosine_falls_from_the_end_of_the_warm_up_to_the_end_of_the_run() {
        let rate = rate(2, LrSchedule::Cosine);
        assert_eq!(rate.at(9), 2e-4);
        assert_eq!(rate.at(10), 2e-4);
        assert!((rate.at(30) / 2e-4 - 0.5).abs() < 1e-12);
        assert!(rate.at(49) / 2e-4 < 0.002);
        assert_eq!(rate.at(50), 0.0);
    }

    #[test]
    fn the_cosine_by_epochs_is_over_the_whole_run() {
        let of = |warm_epoch| {
            let rate = rate(warm_epoch, LrSchedule::CosineEpoch);
            move |epoch: u64| {
                assert_eq!(rate.at(5 * epoch), rate.at(5 * epoch + 4), "the same in all steps of an epoch");
                rate.at(5 * epoch) / 2e-4
            }
        };
        let at = of(0);
        assert!(at(0) == 1.0 && (at(5) - 0.5).abs() < 1e-12 && at(10).abs() < 1e-12);
        // It goes on from the last epoch of the warm-up: cos(pi / 10) = 0.9510565, cos(pi / 5) = 0.8090170.
        let at = of(2);
        assert_eq!((at(0), at(1)), (0.5, 1.0));
        assert!((at(2) - 1.809_017 / 1.951_056_5).abs() < 1e-6, "{}", at(2));
        assert!((at(5) - 1.0 / 1.951_056_5).abs() < 1e-6, "{}", at(5));
        let at = of(20);
        assert_eq!((at(9), at(19)), (0.5, 1.0));
    }

    #[test]
    fn a_warm_up_longer_than_the_run_never_decays() {
        let rate = rate(20, LrSchedule::Cosine);
        assert_eq!(rate.at(49), 2e-4 * 0.5);
    }
}
