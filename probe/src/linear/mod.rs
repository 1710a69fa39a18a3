//! The published linear probe as a probe: the rows of its epochs, and what it reports.

mod epochs;

use ddae_classify::ConfusionMatrix;
use ddae_classify::labels::Classes;
use ddae_classify::linear::model::LinearModel;
use ddae_classify::linear::trainer::ADAM;
use ddae_classify::linear::{LinearOptions, Preset, TrainingSummary, train};
use ddae_classify::logistic::chance_loss;
use ddae_classify::rows::{self, Rows};
use ddae_classify::scaling::{Scaled, Scaling};
use serde_json::{Map, json};

use crate::error::Result;
use crate::experiment::{Classified, Probe, Progress, Tuned, describe};
use crate::source::table::Table;
use epochs::Epochs;

/// The linear probe with its settings.
#[derive(Clone, Copy, Debug)]
pub struct LinearProbe {
    /// Where the settings that were not given come from.
    pub preset: Preset,
    /// How to train.
    pub options: LinearOptions,
}

/// What was learned from a training table.
struct Trained {
    model: LinearModel,
    scaling: Scaling,
    classes: Classes,
    summary: TrainingSummary,
    /// The loss of guessing.
    chance: f64,
}

impl Trained {
    fn predict(&self, rows: &Table) -> Result<Vec<usize>> {
        let rows = Scaled { rows, scaling: &self.scaling };
        Ok(rows::predict(&rows, |block| self.model.predict(block))?)
    }
}

impl LinearProbe {
    fn train(&self, table: &Table, progress: &mut dyn Progress) -> Result<Trained> {
        let labels = table.labels();
        let classes = Classes::of(&labels)?;
        let indices = classes.indices(&labels, table.origin())?;
        let scaling = self.options.normalisation.fit(table)?;
        let rows = table.len() as u64 * self.options.epochs as u64;
        progress.begin(&describe(&format!("training {} epochs", self.options.epochs), table), Some(rows));
        let mut epochs = Epochs::new(table, &scaling, self.options.seed);
        let (model, summary) =
            train(&mut epochs, &indices, classes.len(), &self.options, &mut |rows| progress.advance(rows))?;
        let chance = chance_loss(&indices, classes.len());
        Ok(Trained { model, scaling, classes, summary, chance })
    }

    /// The settings that are not the preset's, by name.
    fn changed(&self) -> Vec<&'static str> {
        let (given, published) = (self.options, self.preset.options());
        let settings = [
            ("epochs", given.epochs == published.epochs),
            ("batch", given.batch == published.batch),
            ("learning_rate", given.learning_rate == published.learning_rate),
            ("normalise", given.normalisation == published.normalisation),
            ("batch_norm", given.batch_norm == published.batch_norm),
        ];
        settings.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

impl Probe for LinearProbe {
    type Setting = ();

    fn name(&self) -> &'static str {
        "linear"
    }

    fn title(&self) -> &'static str {
        "linear probe"
    }

    fn tune(&self, train: &Table, held_out: &Table, progress: &mut dyn Progress) -> Result<Tuned<()>> {
        let trained = self.train(train, progress)?;
        let truth = trained.classes.indices(&held_out.labels(), held_out.origin())?;
        let predictions = trained.predict(held_out)?;
        let accuracy = ConfusionMatrix::new(&truth, &predictions, trained.classes.len()).accuracy();
        Ok(Tuned { setting: (), accuracy, tried: Vec::new() })
    }

    fn classify(
        &self,
        train: &Table,
        test: &Table,
        _setting: Option<()>,
        progress: &mut dyn Progress,
    ) -> Result<Classified> {
        let trained = self.train(train, progress)?;
        let predictions = trained.predict(test)?;
        let TrainingSummary { steps, last_loss } = trained.summary;
        let LinearOptions { epochs, batch, learning_rate, normalisation, batch_norm, seed } = self.options;
        let preset = match self.changed().as_slice() {
            [] => self.preset.name().to_string(),
            changed => format!("{} but for {}", self.preset.name(), changed.join(", ")),
        };
        let mut protocol = Map::new();
        for (name, value) in [
            ("preset", json!(preset)),
            ("normalise", json!(normalisation.name())),
            ("batch_norm", json!(if batch_norm { "without scale and shift, eps 1e-6" } else { "none" })),
            ("optimiser", json!(format!("adam, betas {} and {}, eps {:e}", ADAM.0, ADAM.1, ADAM.2))),
            ("learning_rate", json!(learning_rate)),
            ("schedule", json!("cosine to 0, stepped per epoch")),
            ("epochs", json!(epochs)),
            ("batch", json!(batch)),
            ("steps", json!(steps)),
            ("initial_weights", json!("uniform within 1/sqrt(features), PyTorch's default")),
            ("training_seed", json!(seed)),
            ("last_training_loss", json!(last_loss)),
            ("computed_in", json!("f32")),
        ] {
            protocol.insert(name.to_string(), value);
        }
        let mut warnings = Vec::new();
        // Features that say nothing lead to the loss of guessing, up to the noise of the last steps.
        if last_loss > 0.999 * trained.chance {
            warnings.push(format!(
                "the probe is at chance: its loss in the last epoch is {last_loss:.4}, and guessing by the classes' \
                 frequency has {:.4}; more --epochs or a larger --lr may help, or the features say nothing",
                trained.chance
            ));
        }
        Ok(Classified { predictions, protocol, warnings })
    }
}
