//! `stats.jsonl`: the numbers of a run, a JSON object per logging interval, one per validation loss and one per evaluation.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use ddae_base::files::{append, write_whole};
pub use ddae_runs::lines::{Count, ScoresLine, StatsLine, TimestepAccuracy, ValidationLine};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The file, open for appending.
#[derive(Debug)]
pub struct Stats {
    path: PathBuf,
    file: File,
    /// The last evaluation.
    scores: Option<ScoresLine>,
    /// The last validation loss.
    validation: Option<ValidationLine>,
}

impl Stats {
    /// Opens `path` for a run that stands after `step`: lines about later steps, of a process that was ended before its
    /// next checkpoint, are dropped.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(path: &Path, step: u64) -> Result<Stats, TrainError> {
        let io = |e| TrainError::io(path)(e);
        let old = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(io(e)),
        };
        let kept: String = old.split_inclusive('\n').filter(|line| is_before(line, step)).collect();
        if kept.len() != old.len() {
            write_whole(path, |out| out.write_all(kept.as_bytes()))?;
        }
        let scores = kept.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        let validation = kept.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        let file = append(path)?;
        Ok(Stats { path: path.to_path_buf(), file, scores, validation })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn append(&mut self, line: &StatsLine) -> Result<(), TrainError> {
        self.write(line)
    }

    /// Appends the line of an evaluation.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn append_scores(&mut self, line: ScoresLine) -> Result<(), TrainError> {
        self.write(&line)?;
        self.scores = Some(line);
        Ok(())
    }

    /// The evaluation after `step` steps, if there was one.
    pub fn scores(&self, step: u64) -> Option<&ScoresLine> {
        self.scores.as_ref().filter(|line| line.step == step)
    }

    /// Appends the line of a validation loss.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn append_validation(&mut self, line: ValidationLine) -> Result<(), TrainError> {
        self.write(&line)?;
        self.validation = Some(line);
        Ok(())
    }

    /// The validation loss after `step` steps, if it was measured.
    pub fn validation(&self, step: u64) -> Option<&ValidationLine> {
        self.validation.as_ref().filter(|line| line.step == step)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), TrainError> {
        let json = serde_json::to_string(line).map_err(std::io::Error::from);
        json.and_then(|json| self.file.write_all(format!("{json}\n").as_bytes()))
            .map_err(TrainError::io(&self.path))
    }
}

/// What lines of all kinds have.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

/// Whether a whole line of the file is about finished steps.
fn is_before(line: &str, step: u64) -> bool {
    let parsed: Option<Step> = line.strip_suffix('\n').and_then(|l| serde_json::from_str(l).ok());
    parsed.is_some_and(|parsed| parsed.step <= step)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn line(step: u64) -> StatsLine {
        StatsLine {
            step,
            epoch: 0,
            steps: Some(10),
            loss: 0.25,
            lr: 1e-3,
            grad_norm: Some(0.5),
            images_per_second: Some(100.0),
            seconds: 1.0,
            data_wait: Some(0.01),
            loss_scale: None,
            skipped_steps: None,
        }
    }

    #[test]
    fn reopening_drops_what_was_not_saved_and_half_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stats.jsonl");
        let mut stats = Stats::open(&path, 0).expect("opened");
        for step in [10, 20, 30] {
            stats.append(&line(step)).expect("written");
        }
        stats.file.write_all(b"{\"step\": 40, \"ep").expect("written");
        let mut stats = Stats::open(&path, 20).expect("reopened");
        stats.append(&line(25)).expect("written");
        let text = fs::read_to_string(&path).expect("read");
        let steps: Vec<u64> =
            text.lines().map(|l| serde_json::from_str::<StatsLine>(l).expect("a line").step).collect();
        assert_eq!(steps, [10, 20, 25]);
    }

    #[test]
    fn what_was_measured_at_a_step_is_known_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stats.jsonl");
        let mut stats = Stats::open(&path, 0).expect("opened");
        let split = "data/test".to_string();
        let validation = ValidationLine { step: 10, epoch: 1, validation_loss: Some(0.5), images: 3, split };
        let scores = BTreeMap::from([("knn_accuracy".to_string(), 0.25)]);
        let at = TimestepAccuracy { timestep: 51, accuracy: 0.75, count: Count::new(3, 4) };
        let scores = ScoresLine {
            step: 10,
            epoch: 1,
            by_timestep: vec![at],
            count: Some(Count::new(1, 4)),
            scores,
            protocol: serde_json::Value::Null,
        };
        stats.append_validation(validation.clone()).expect("written");
        stats.append_scores(scores.clone()).expect("written");
        stats.append(&line(20)).expect("written");
        let stats = Stats::open(&path, 20).expect("reopened");
        assert_eq!(stats.validation(10), Some(&validation));
        assert_eq!(stats.scores(10), Some(&scores));
        assert_eq!((stats.validation(20), stats.scores(20)), (None, None));
        assert!(Stats::open(&path, 9).expect("reopened").validation(10).is_none());
    }
}
