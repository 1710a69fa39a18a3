//! Logistic regression as a probe.

use ddae_classify::ConfusionMatrix;
use ddae_classify::logistic::{LogisticModel, LogisticOptions, TrainingSet};
use ddae_classify::rows::{self, read_all};
use ddae_classify::scaling::{Normalisation, Scaled, Scaling};
use serde_json::{Map, json};

use crate::error::Result;
use crate::experiment::{Classified, Probe, Progress, Tuned, describe};
use crate::source::table::Table;

/// What [`Regularisation::HeldOut`] chooses from, strongest penalty first.
pub(crate) const C_GRID: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// Values of C in a row without a gain after which no weaker penalty is tried: those fits take longest.
const PATIENCE: usize = 2;

/// The inverse strength of the penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regularisation {
    /// This C.
    Fixed(f64),
    /// The best C of a grid on held-out training samples.
    HeldOut,
}

/// Logistic regression with its penalty.
#[derive(Clone, Copy, Debug)]
pub struct LogisticProbe {
    /// What is done to features first.
    pub normalisation: Normalisation,
    /// The penalty; it replaces [`LogisticOptions::c`].
    pub regularisation: Regularisation,
    /// How to fit.
    pub options: LogisticOptions,
}

impl LogisticProbe {
    fn fit(
        &self,
        data: &TrainingSet,
        c: f64,
        start: Option<&LogisticModel>,
        progress: &mut dyn Progress,
    ) -> Result<LogisticModel> {
        Ok(data.fit(&LogisticOptions { c, ..self.options }, start, &mut || progress.advance(1))?)
    }

    fn training_set(&self, train: &Table) -> Result<TrainingSet> {
        let features = read_all(&Scaled { rows: train, scaling: self.row_scaling() })?;
        Ok(match self.normalisation {
            Normalisation::Standardise => TrainingSet::new(features, &train.labels()),
            Normalisation::L2 | Normalisation::None => TrainingSet::unscaled(features, &train.labels()),
        }?)
    }

    fn predict(&self, model: &LogisticModel, rows: &Table) -> Result<Vec<usize>> {
        let rows = Scaled { rows, scaling: self.row_scaling() };
        Ok(rows::predict(&rows, |block| model.predict(block))?)
    }

    /// What is done to each row on its own; the model does what is learned from all.
    fn row_scaling(&self) -> &'static Scaling {
        match self.normalisation {
            Normalisation::L2 => &Scaling::L2,
            Normalisation::Standardise | Normalisation::None => &Scaling::None,
        }
    }
}

impl Probe for LogisticProbe {
    /// C.
    type Setting = f64;

    fn name(&self) -> &'static str {
        "logistic"
    }

    fn title(&self) -> &'static str {
        "logistic regression"
    }

    fn open_setting(&self) -> Option<(&'static str, &'static str)> {
        (self.regularisation == Regularisation::HeldOut).then_some(("C", "give it, such as --c 1"))
    }

    /// Walks along the grid from the strongest penalty, each fit starting where the one before ended.
    fn tune(&self, train: &Table, held_out: &Table, progress: &mut dyn Progress) -> Result<Tuned<f64>> {
        let data = self.training_set(train)?;
        progress.begin(&describe("fitting", train), None);
        let truth = data.classes().indices(&held_out.labels(), held_out.origin())?;
        let grid = match self.regularisation {
            Regularisation::Fixed(c) => vec![c],
            Regularisation::HeldOut => C_GRID.to_vec(),
        };
        let mut tuned = Tuned { setting: grid[0], accuracy: -1.0, tried: Vec::new() };
        let mut since_best = 0;
        let mut model: Option<LogisticModel> = None;
        for c in grid {
            let fitted = self.fit(&data, c, model.as_ref(), progress)?;
            let accuracy =
                ConfusionMatrix::new(&truth, &self.predict(&fitted, held_out)?, data.classes().len())
                    .accuracy();
            tuned.tried.push((format!("C = {c}"), accuracy));
            model = Some(fitted);
            if accuracy > tuned.accuracy {
                (tuned.setting, tuned.accuracy, since_best) = (c, accuracy, 0);
                continue;
            }
            since_best += 1;
            if since_best == PATIENCE {
                break;
            }
        }
        Ok(tuned)
    }

    fn classify(
        &self,
        train: &Table,
        test: &Table,
        setting: Option<f64>,
        progress: &mut dyn Progress,
    ) -> Result<Classified> {
        let c = match self.regularisation {
            Regularisation::Fixed(c) => c,
            Regularisation::HeldOut => setting.unwrap_or(self.options.c),
        };
        progress.begin(&describe(&format!("fitting with C = {c}"), train), None);
        let model = self.fit(&self.training_set(train)?, c, None, progress)?;
        let predictions = self.predict(&model, test)?;
        let summary = model.summary();
        let mut protocol = Map::new();
        protocol.insert("c".into(), json!(c));
        let chosen = match self.regularisation {
            Regularisation::Fixed(_) => "given",
            Regularisation::HeldOut => "chosen on held-out training samples",
        };
        protocol.insert("c_from".into(), json!(chosen));
        protocol.insert("normalise".into(), json!(self.normalisation.name()));
        protocol.insert("solver".into(), json!(self.options.solver.name()));
        protocol.insert("max_iterations".into(), json!(self.options.max_iterations));
        protocol.insert("tolerance".into(), json!(self.options.tolerance));
        protocol.insert("iterations".into(), json!(summary.iterations));
        protocol.insert("converged".into(), json!(summary.converged));
        protocol.insert("mean_training_loss".into(), json!(summary.mean_loss));
        protocol.insert("computed_in".into(), json!("f64"));
        let mut warnings = Vec::new();
        if !summary.converged {
            warnings.push(format!(
                "the {} solver stopped before the minimum (gradient {:.1e}, wanted {:.0e}): raise --max-iterations or \
                 lower --c",
                self.options.solver.name(),
                summary.gradient,
                self.options.tolerance
            ));
        }
        Ok(Classified { predictions, protocol, warnings })
    }
}
