//! What a noise-conditional head found, by timestep.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MadeBy, Split};

/// Accuracies of one layer's features at several timesteps, by one head: `ddae.noise_probe/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct NoiseProbe {
    /// The file that it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// What it is called in plots.
    #[serde(skip)]
    pub name: String,
    /// The layer.
    pub tap: String,
    /// Number of features.
    pub dim: u64,
    /// The accuracies, by ascending timestep.
    pub timesteps: Vec<AtTimestep>,
    /// What the numbers depend on.
    pub protocol: Map<String, Value>,
    /// The training split.
    pub train: Split,
    /// The test split.
    pub test: Split,
    /// What to know before trusting the numbers.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How it was made, where it is said.
    #[serde(default)]
    pub made_by: Option<MadeBy>,
}

/// The accuracy at one timestep.
#[derive(Clone, Debug, Deserialize)]
pub struct AtTimestep {
    /// The timestep.
    pub timestep: i64,
    /// Accuracy on the test set, 0 to 1.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl NoiseProbe {
    /// Whether the features are of an EDM, whose timesteps are steps of its grid. False where their file does not say.
    pub fn is_of_edm(&self) -> bool {
        let config = self.test.attributes.get("config").and_then(Value::as_str).unwrap_or_default();
        config.lines().any(|line| line.trim() == "model_type: EDM")
    }

    /// Whether the numbers belong together.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.timesteps.is_empty() {
            return Err("it has no timesteps".to_string());
        }
        if !self.timesteps.is_sorted_by(|a, b| a.timestep < b.timestep) {
            return Err("its timesteps do not ascend".to_string());
        }
        match self.timesteps.iter().find(|at| !(0.0..=1.0).contains(&at.accuracy)) {
            Some(at) => Err(format!(
                "the accuracy at timestep {} is {}, not between 0 and 1",
                at.timestep, at.accuracy
            )),
            None => Ok(()),
        }
    }
}
