//! What rank 0 says to the others.

use serde::{Deserialize, Serialize};

/// What rank 0 has all ranks do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A step.
    Step {
        /// Epoch, counted from 0.
        epoch: u64,
        /// Finished steps of the epoch.
        step_in_epoch: u64,
        /// Finished steps of the run.
        step: u64,
    },
    /// Compare weights and averages.
    Compare,
    /// The validation loss, of which each rank takes a part.
    Validate,
    /// Evaluate the average after so many epochs, likewise.
    Evaluate {
        /// Finished epochs.
        epoch: u64,
        /// Whether a sheet of images is wanted.
        sheet: bool,
        /// Whether scores are wanted.
        scores: bool,
        /// Whether scores by timestep are wanted, where there are such.
        by_timestep: bool,
    },
    /// Nothing more.
    Finish {
        /// Whether the run was stopped on the way.
        interrupted: bool,
    },
}

impl Command {
    pub(super) fn words(self) -> [i64; 4] {
        match self {
            Command::Step { epoch, step_in_epoch, step } => {
                [1, epoch as i64, step_in_epoch as i64, step as i64]
            }
            Command::Compare => [2, 0, 0, 0],
            Command::Finish { interrupted } => [3, i64::from(interrupted), 0, 0],
            Command::Validate => [4, 0, 0, 0],
            Command::Evaluate { epoch, sheet, scores, by_timestep } => {
                let scores = i64::from(scores) | (i64::from(by_timestep) << 1);
                [5, epoch as i64, i64::from(sheet), scores]
            }
        }
    }

    pub(super) fn of([kind, a, b, c]: [i64; 4]) -> Option<Command> {
        let [a, b, c] = [a, b, c].map(|word| word as u64);
        match kind {
            1 => Some(Command::Step { epoch: a, step_in_epoch: b, step: c }),
            2 => Some(Command::Compare),
            3 => Some(Command::Finish { interrupted: a != 0 }),
            4 => Some(Command::Validate),
            5 => {
                let (scores, by_timestep) = (c & 1 != 0, c & 2 != 0);
                Some(Command::Evaluate { epoch: a, sheet: b != 0, scores, by_timestep })
            }
            _ => None,
        }
    }
}

/// What rank 0 tells the others of the run's beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The program's version.
    pub version: String,
    /// The configuration.
    pub config: String,
    /// Where the run stands.
    pub state: ddae_checkpoint::TrainingState,
    /// The images that validation losses and scores are of, in words; all ranks evaluate a part of them.
    pub evaluated: String,
    /// What tells them from others.
    pub evaluated_digest: Option<String>,
    /// How the images of sheets are sampled, in words.
    pub sheets: String,
}

impl Opening {
    /// Reads what rank 0 says. `None` if it is of another version, which may say other things.
    pub(super) fn read(text: &str) -> serde_json::Result<Option<Opening>> {
        let said: serde_json::Value = serde_json::from_str(text)?;
        let is_own = said["version"] == env!("CARGO_PKG_VERSION");
        is_own.then(|| serde_json::from_str(text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_from_what_cannot_be_read() {
        let of_another = Opening::read(r#"{"version": "0.0.1", "config": ""}"#).expect("JSON");
        assert_eq!(of_another, None);
        let broken = format!(r#"{{"version": "{}", "config": ""}}"#, env!("CARGO_PKG_VERSION"));
        assert!(Opening::read(&broken).is_err_and(|e| e.to_string().contains("missing field")));
    }

    #[test]
    fn commands_are_read_as_they_are_said() {
        let evaluate = |epoch, [sheet, scores, by_timestep]: [bool; 3]| Command::Evaluate {
            epoch,
            sheet,
            scores,
            by_timestep,
        };
        for command in [
            Command::Step { epoch: 3, step_in_epoch: 0, step: 97 },
            Command::Compare,
            Command::Validate,
            evaluate(30, [true, false, false]),
            evaluate(0, [false, true, false]),
            evaluate(2, [false, true, true]),
            Command::Finish { interrupted: true },
            Command::Finish { interrupted: false },
        ] {
            assert_eq!(Command::of(command.words()), Some(command));
        }
        assert_eq!(Command::of([0; 4]), None);
    }
}
