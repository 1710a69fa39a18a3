//! Heads that are trained for some epochs, as probes: the published linear probe, one with a hidden layer, and one that pools
//! maps by attention.
//!
//! | module | subject |
//! | --- | --- |
//! | `epochs` | the rows that each epoch sees |
//! | `heads` | the heads of many features, trained side by side |
//! | `places` | maps, place by place |

mod epochs;
mod heads;
mod places;

use ddae_classify::attention::usual_heads;
use ddae_classify::linear::trainer::ADAM;
use ddae_classify::linear::{LinearOptions, Preset, TrainingSummary};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::experiment::{Classified, Probe, Progress, Tables, Tuned};

/// A head that is trained for some epochs, with its settings.
#[derive(Clone, Copy, Debug)]
pub struct TrainedProbe {
    /// Where the settings that were not given come from.
    pub preset: Preset,
    /// How to train.
    pub options: LinearOptions,
    /// What is trained.
    pub layers: Layers,
}

/// The layers of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// A linear layer.
    One,
    /// Two with SiLU between them; `hidden` units inside, or twice the number of features, as published.
    Two {
        /// Width of the hidden layer.
        hidden: Option<usize>,
    },
    /// One learned query that looks over the places of a map, and a linear layer ([`ddae_classify::attention`]).
    Attention {
        /// Number of heads, or one for every 64 features.
        heads: Option<usize>,
    },
}

impl Layers {
    /// Width of the hidden layer for so many features, where there is one.
    fn hidden(self, dim: usize) -> Option<usize> {
        match self {
            Self::One | Self::Attention { .. } => None,
            Self::Two { hidden } => Some(hidden.unwrap_or(2 * dim)),
        }
    }
}

impl Layers {
    /// What training begins with.
    fn initial_weights(self) -> &'static str {
        match self {
            Self::One | Self::Two { .. } => "uniform within 1/sqrt(inputs of the layer), PyTorch's default",
            Self::Attention { .. } => {
                "query normal with deviation 0.02; keys and values, without bias, and the layer uniform within 1/sqrt(inputs), \
                 PyTorch's default"
            }
        }
    }

    /// Number of heads for features of so many numbers a place; 1 without attention.
    fn heads(self, dim: usize) -> usize {
        match self {
            Self::One | Self::Two { .. } => 1,
            Self::Attention { heads } => heads.unwrap_or_else(|| usual_heads(dim)),
        }
    }
}

impl TrainedProbe {
    /// The same with another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { options: LinearOptions { seed, ..self.options }, ..self }
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

    /// How a head for `dim` features was trained.
    fn protocol(&self, dim: usize, summary: TrainingSummary) -> Map<String, Value> {
        let TrainingSummary { steps, last_loss } = summary;
        let LinearOptions { epochs, batch, learning_rate, normalisation, batch_norm, seed } = self.options;
        let preset = match self.changed().as_slice() {
            [] => self.preset.name().to_string(),
            changed => format!("{} but for {}", self.preset.name(), changed.join(", ")),
        };
        let mut protocol = Map::new();
        if let Some(hidden) = self.layers.hidden(dim) {
            protocol.insert("hidden".to_string(), json!(hidden));
            protocol.insert("activation".to_string(), json!("silu"));
        }
        if let Layers::Attention { .. } = self.layers {
            let pooling = "attention of one learned query over the places of the map";
            protocol.insert("pooling".to_string(), json!(pooling));
            protocol.insert("heads".to_string(), json!(self.layers.heads(dim)));
            protocol.insert("place_dim".to_string(), json!(dim));
        }
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
            ("initial_weights", json!(self.layers.initial_weights())),
            ("training_seed", json!(seed)),
            ("last_training_loss", json!(last_loss)),
            ("computed_in", json!("f32")),
        ] {
            protocol.insert(name.to_string(), value);
        }
        protocol
    }
}

/// What is said of features that say nothing: they lead to the loss of guessing, up to the noise of the last steps.
pub(crate) fn at_chance(last_loss: f64, chance: f64) -> Option<String> {
    (last_loss > 0.999 * chance).then(|| {
        format!(
            "the probe is at chance: its loss in the last epoch is {last_loss:.4}, and guessing by the classes' \
             frequency has {chance:.4}; more --epochs or a larger --lr may help, or the features say nothing"
        )
    })
}

impl Probe for TrainedProbe {
    type Setting = ();

    fn name(&self) -> &'static str {
        match self.layers {
            Layers::One => "linear",
            Layers::Two { .. } => "mlp",
            Layers::Attention { .. } => "attention",
        }
    }

    fn title(&self) -> &'static str {
        match self.layers {
            Layers::One => "linear probe",
            Layers::Two { .. } => "two-layer probe",
            Layers::Attention { .. } => "attention-pooled probe",
        }
    }

    fn draws(&self) -> bool {
        true
    }

    fn tune(&self, tables: &[Tables], progress: &mut dyn Progress) -> Result<Vec<Tuned<()>>> {
        let trained = self.train(tables, progress)?;
        let tuned = tables.iter().zip(&trained).map(|(tables, trained)| {
            Ok(Tuned { setting: (), accuracy: tables.accuracy(&trained.ranks)?, tried: Vec::new() })
        });
        tuned.collect()
    }

    fn classify(
        &self,
        tables: &[Tables],
        _settings: &[Option<()>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Classified>> {
        let trained = self.train(tables, progress)?;
        let classified = trained.into_iter().map(|trained| {
            let protocol = self.protocol(trained.dim, trained.summary);
            let warnings = at_chance(trained.summary.last_loss, trained.chance).into_iter().collect();
            Classified { ranks: trained.ranks, by_setting: Vec::new(), protocol, warnings }
        });
        Ok(classified.collect())
    }
}
