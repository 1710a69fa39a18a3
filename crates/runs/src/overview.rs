//! What a run folder tells of its run.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ddae_base::read_bounded;
use ddae_checkpoint::{Checkpoint, RunCheckpoints, SharedSteps, TrainingState};
use ddae_model::config::{ProcessConfig, RunConfig};
use ddae_model::networks::Architecture;
use serde::Serialize;
use serde_json::Value;

use crate::lines::{Line, ScoresLine, StatsLine, ValidationLine};
use crate::settings::{self, Settings};
use crate::tail;

/// The most bytes of a configuration.
const LONGEST_CONFIG: usize = 1 << 16;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process is training in the folder.
    Running,
    /// All epochs are trained.
    Finished,
    /// No process is at work, and there is more to train.
    Stopped,
    /// No step was made.
    Begun,
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunState::Running => "running",
            RunState::Finished => "finished",
            RunState::Stopped => "stopped",
            RunState::Begun => "begun",
        })
    }
}

/// A loss and when it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossAt {
    /// The loss.
    pub loss: f64,
    /// Finished steps.
    pub step: u64,
    /// The epoch: of a training loss the one that the steps are in, counted from 0, of a validation loss the finished ones.
    pub epoch: u64,
}

/// Scores and when they were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoresAt {
    /// Names and values from 0 to 1.
    pub values: BTreeMap<String, f64>,
    /// Finished steps.
    pub step: u64,
    /// Finished epochs.
    pub epoch: u64,
}

/// A run as its folder tells it. What cannot be read is absent, and said in `notes`.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// The folder.
    pub run: PathBuf,
    /// How it stands.
    pub state: RunState,
    /// The data set.
    pub dataset: Option<String>,
    /// What is trained: `DDPM UNet`, `SODA`.
    pub kind: Option<String>,
    /// Finished epochs, as far as checkpoints and logs tell.
    pub epoch: u64,
    /// Epochs in all.
    pub epochs: Option<u64>,
    /// Finished steps, likewise.
    pub step: u64,
    /// The last training loss, an average over the steps of a line.
    pub loss: Option<LossAt>,
    /// The last validation loss.
    pub validation: Option<LossAt>,
    /// The smallest validation loss.
    pub best_validation: Option<LossAt>,
    /// The last scores.
    pub scores: Option<ScoresAt>,
    /// When statistics or log were last written, in seconds since 1970.
    pub updated: Option<u64>,
    /// What could not be read.
    pub notes: Vec<String>,
    /// Its configuration, with seed, precision, digest of the data, and how steps were shared out last, from a checkpoint.
    pub settings: Option<Settings>,
}

impl Overview {
    /// Reads the folder of a run.
    pub fn read(folder: &Path) -> Overview {
        let mut notes = Vec::new();
        let config = config(&folder.join("config.yaml")).map_err(|error| notes.push(error)).ok();
        let checkpoint = newest_checkpoint(&folder.join("checkpoints"), &mut notes);
        let stats = Statistics::read(&folder.join("stats.jsonl"), &mut notes);
        let log = folder.join("log.txt");
        let logged = tail::epochs(&log);

        let epochs =
            config.as_ref().map(|config| config.training().n_epoch as u64).or(logged.map(|(_, all)| all));
        let state = checkpoint.as_ref();
        let validated = stats.validation.iter().map(|line| (line.step, line.epoch));
        let scored = stats.scores.iter().map(|line| (line.step, line.epoch));
        let trained = stats.loss.iter().map(|line| (line.step, line.epoch));
        let saved = state.iter().map(|state| (state.step, state.epoch));
        let known: Vec<(u64, u64)> = validated.chain(scored).chain(trained).chain(saved).collect();
        let step = known.iter().map(|(step, _)| *step).max().unwrap_or(0);
        let epoch =
            known.iter().map(|(_, epoch)| *epoch).chain(logged.map(|(done, _)| done)).max().unwrap_or(0);
        let run_state = match epochs {
            _ if is_locked(&log) => RunState::Running,
            Some(epochs) if epochs > 0 && epoch >= epochs => RunState::Finished,
            _ if step > 0 => RunState::Stopped,
            _ => RunState::Begun,
        };
        let settings = config.as_ref().and_then(|config| {
            let mut settings = settings::of_object(&serde_json::to_value(config).ok()?);
            if let Some(state) = state {
                let TrainingState { seed, amp, data, drop_last, .. } = state;
                settings.insert("seed".to_string(), Value::from(*seed));
                settings.insert("amp".to_string(), Value::from(amp.clone()));
                settings.insert("data_digest".to_string(), Value::from(data.clone()));
                settings.insert("drop_last".to_string(), Value::from(*drop_last));
                let usual = SharedSteps::of_one(config.training().batch_size as u64);
                let SharedSteps { ranks, accumulate, batch, rate_factor } = state.shared.unwrap_or(usual);
                settings.insert("ranks".to_string(), Value::from(ranks));
                settings.insert("accumulate".to_string(), Value::from(accumulate));
                settings.insert("step_batch".to_string(), Value::from(batch));
                settings.insert("rate_factor".to_string(), Value::from(rate_factor));
            }
            Some(settings)
        });
        Overview {
            run: folder.to_path_buf(),
            state: run_state,
            dataset: config.as_ref().map(|config| config.dataset().to_string()),
            kind: config.as_ref().map(kind),
            epoch,
            epochs,
            step,
            loss: stats.loss,
            validation: stats.validation,
            best_validation: stats.best_validation,
            scores: stats.scores,
            updated: updated([&folder.join("stats.jsonl"), &log]),
            notes,
            settings,
        }
    }
}

/// What is trained, in two words.
fn kind(config: &RunConfig) -> String {
    let of = |process: &ProcessConfig, network: &Architecture| {
        let process = match process {
            ProcessConfig::Ddpm(_) => "DDPM",
            ProcessConfig::Edm(_) => "EDM",
        };
        format!("{process} {}", network.net_type())
    };
    match config {
        RunConfig::Soda(_) => "SODA".to_string(),
        RunConfig::Diffusion(config) => of(&config.process, &config.network),
        RunConfig::Classifier(config) => of(&config.process, &config.network),
    }
}

fn config(path: &Path) -> Result<RunConfig, String> {
    let text = read_bounded(path, LONGEST_CONFIG).map_err(|error| format!("config.yaml: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "config.yaml: not a text file".to_string())?;
    RunConfig::parse(&text, "config.yaml").map_err(|error| error.to_string())
}

/// What the furthest checkpoint says that can be opened. Tensors are not read: whether it is whole is for who goes on from it.
fn newest_checkpoint(folder: &Path, notes: &mut Vec<String>) -> Option<TrainingState> {
    let Ok(checkpoints) = RunCheckpoints::list(folder) else {
        notes.push("checkpoints: there is no such folder".to_string());
        return None;
    };
    let mut states = Vec::new();
    for path in &checkpoints.paths {
        match Checkpoint::open(path) {
            Ok(checkpoint) => states.extend(checkpoint.state().cloned()),
            Err(error) => notes.push(error.to_string()),
        }
    }
    states.into_iter().max_by_key(|state| state.step)
}

/// The newest numbers of `stats.jsonl`.
#[derive(Default)]
struct Statistics {
    loss: Option<LossAt>,
    validation: Option<LossAt>,
    best_validation: Option<LossAt>,
    scores: Option<ScoresAt>,
}

impl Statistics {
    fn read(path: &Path, notes: &mut Vec<String>) -> Statistics {
        let mut found = Statistics::default();
        if let Err(error) = tail::for_lines(path, |line| found.add(line)) {
            notes.push(format!("stats.jsonl: {error}"));
        }
        found
    }

    /// Takes a line of any kind; of later versions, what is known of it.
    fn add(&mut self, line: &str) {
        match Line::parse(line) {
            Some(Line::Validation(ValidationLine { step, epoch, validation_loss, .. })) => {
                let Some(loss) = validation_loss else { return };
                let now = LossAt { loss, step, epoch };
                self.validation = Some(now);
                if self.best_validation.is_none_or(|best| loss < best.loss) {
                    self.best_validation = Some(now);
                }
            }
            Some(Line::Stats(StatsLine { step, epoch, loss, .. })) => {
                self.loss = Some(LossAt { loss, step, epoch });
            }
            Some(Line::Scores(ScoresLine { step, epoch, scores, .. })) => {
                self.scores = Some(ScoresAt { values: scores, step, epoch });
            }
            None => {}
        }
    }
}

/// Whether a process is at work in the folder of this log. Nothing is waited for or kept.
fn is_locked(log: &Path) -> bool {
    let Ok(file) = File::open(log) else { return false };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => true,
        Ok(()) | Err(TryLockError::Error(_)) => false,
    }
}

/// When one of the files was last written.
fn updated(files: [&Path; 2]) -> Option<u64> {
    let of = |file: &&Path| {
        let modified = fs::metadata(file).and_then(|file| file.modified()).ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    files.iter().filter_map(of).max()
}

#[cfg(test)]
mod tests {
    use ddae_base::lock;

    use super::*;

    const CONFIG: &str = include_str!("../../../configs/demo.yaml");
    const LINE: &str = r#"{"step":50,"epoch":0,"steps":50,"loss":0.25,"lr":0.001,"grad_norm":0.5,"images_per_second":1.0,"seconds":1.0,"data_wait":0.0}"#;

    fn run(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn the_last_numbers_are_told() {
        let validation = |step: u64, loss: &str| {
            format!(
                r#"{{"step":{step},"epoch":{},"validation_loss":{loss},"images":3,"split":"test"}}"#,
                step / 50
            )
        };
        let scores = r#"{"step":50,"epoch":1,"knn_accuracy":0.5,"protocol":{}}"#;
        let later = r#"{"step":60,"something":"of a later version"}"#;
        let lines =
            [&validation(0, "0.9"), LINE, &validation(50, "0.2"), scores, &validation(100, "0.3"), later];
        let stats = format!("{}\n{{\"step\":150,\"ep", lines.join("\n"));
        let folder = run(&[("config.yaml", CONFIG), ("log.txt", ""), ("stats.jsonl", &stats)]);
        fs::create_dir(folder.path().join("checkpoints")).expect("created");
        let found = Overview::read(folder.path());
        assert_eq!(
            (found.state, found.step, found.epoch, found.epochs),
            (RunState::Stopped, 100, 2, Some(10))
        );
        assert_eq!(found.loss, Some(LossAt { loss: 0.25, step: 50, epoch: 0 }));
        assert_eq!(found.validation, Some(LossAt { loss: 0.3, step: 100, epoch: 2 }));
        assert_eq!(found.best_validation, Some(LossAt { loss: 0.2, step: 50, epoch: 1 }));
        assert_eq!(found.scores.expect("scores").values["knn_accuracy"], 0.5);
        assert_eq!(
            (found.dataset.as_deref(), found.kind.as_deref()),
            (Some("fashion-sample"), Some("DDPM UNet"))
        );
        assert_eq!(found.settings.expect("settings")["network.n_channels"], 64);
        assert_eq!(found.notes, [""; 0]);
        assert!(found.updated.expect("a time") > 1_700_000_000);
    }

    #[test]
    fn folders_that_are_half_written_or_damaged_tell_what_they_can() {
        let log = "[      2.0 s] epoch 10/10: loss 0.4, 3.0 images/s\n";
        for (files, state, notes) in [
            (
                &[("log.txt", "")][..],
                RunState::Begun,
                &["config.yaml: ", "checkpoints: ", "stats.jsonl: "][..],
            ),
            (
                &[("log.txt", log), ("stats.jsonl", LINE)],
                RunState::Finished,
                &["config.yaml: ", "checkpoints: "],
            ),
            (
                &[("config.yaml", "a: ["), ("stats.jsonl", "{\n")],
                RunState::Begun,
                &["config.yaml: ", "checkpoints: "],
            ),
            (&[("config.yaml", CONFIG), ("stats.jsonl", "\u{0}")], RunState::Begun, &["checkpoints: "]),
        ] {
            let folder = run(files);
            let found = Overview::read(folder.path());
            assert_eq!(found.state, state, "{files:?}");
            let starts = found.notes.iter().zip(notes).all(|(note, start)| note.starts_with(start));
            assert!(starts && found.notes.len() == notes.len(), "{files:?}: {:?}", found.notes);
        }
        let folder = run(&[("config.yaml", CONFIG)]);
        fs::create_dir(folder.path().join("checkpoints")).expect("created");
        fs::write(folder.path().join("checkpoints/latest.safetensors"), "half").expect("written");
        let notes = Overview::read(folder.path()).notes;
        assert!(notes.iter().any(|note| note.contains("latest.safetensors: ")), "{notes:?}");
    }

    #[test]
    fn a_run_that_another_process_trains_is_running() {
        let folder = run(&[("config.yaml", CONFIG), ("log.txt", "")]);
        // A lock belongs to an open file, so that this one is as good as another process's.
        let log = File::options().append(true).open(folder.path().join("log.txt")).expect("the log");
        assert!(lock::try_acquire(&log).expect("locks"));
        assert_eq!(Overview::read(folder.path()).state, RunState::Running);
        drop(log);
        assert_eq!(Overview::read(folder.path()).state, RunState::Begun);
    }
}
