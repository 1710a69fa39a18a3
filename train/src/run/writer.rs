//! Checkpoints written by a thread of their own, beside the training: the loop hands over what is to be written and goes on.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use ddae_checkpoint::{TrainingState, WeightSet};
use ddae_model::config::RunConfig;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::Tensor;

use super::checkpoints;
use crate::TrainError;
use crate::torch::{TorchError, convert};
use crate::training::method::Recorder;

/// A name in a checkpoint and the tensor.
pub type Named = (String, Tensor);

/// What a checkpoint holds, as tensors that may be those of the training: they are copied by the thread that writes, and must not
/// change before that has said so.
pub struct Snapshot {
    /// The weights.
    pub weights: Vec<Named>,
    /// Their average.
    pub average: Vec<Named>,
    /// The optimiser's moments, by the names that they have in a file.
    pub moments: Vec<Named>,
    /// What the average gives for fixed inputs.
    pub recorder: Recorder,
    /// Says that all is copied.
    pub copied: SyncSender<()>,
}

impl Snapshot {
    /// A channel for [`Snapshot::copied`].
    pub fn channel() -> (SyncSender<()>, Receiver<()>) {
        sync_channel(1)
    }

    /// All tensors of a checkpoint, under the names of [`ddae_checkpoint`].
    fn tensors(self) -> Result<Vec<(String, Array)>, TrainError> {
        let Snapshot { weights, average, moments, recorder, copied } = self;
        let mut tensors = arrays(WeightSet::Model.prefix(), weights)?;
        let average = arrays("", average)?;
        tensors.extend(arrays("", moments)?);
        // Whoever waits for it may have ended.
        let _ = copied.try_send(());
        let mut weights = Weights::new();
        for (name, array) in average {
            weights.insert(name, array);
        }
        tensors.extend(recorder(&weights)?);
        let prefix = WeightSet::Ema.prefix();
        tensors.extend(weights.into_iter().map(|(name, array)| (format!("{prefix}{name}"), array)));
        Ok(tensors)
    }
}

fn arrays(prefix: &str, tensors: Vec<Named>) -> Result<Vec<(String, Array)>, TorchError> {
    let array = |(name, tensor): Named| Ok((format!("{prefix}{name}"), convert::from_torch(&tensor)?));
    tensors.into_iter().map(array).collect()
}

/// A checkpoint to write.
pub struct Job {
    /// Its file.
    pub path: PathBuf,
    /// Whether it gets the name of the latest, too.
    pub becomes_latest: bool,
    /// The run's configuration.
    pub config: RunConfig,
    /// Where the run stands.
    pub state: TrainingState,
    /// What is written.
    pub snapshot: Snapshot,
}

/// A checkpoint that was written, or not.
pub struct Written {
    /// Its file.
    pub path: PathBuf,
    /// Finished steps.
    pub state: TrainingState,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a checkpoint.
pub enum Outcome {
    /// It is there, whole.
    Whole,
    /// It was not written, because this tensor holds values that are not finite.
    NotFinite(String),
    /// It could not be written.
    Failed(TrainError),
}

/// Writes one checkpoint at a time.
#[derive(Debug, Default)]
pub struct Writer {
    at_work: Option<(PathBuf, TrainingState, JoinHandle<Outcome>)>,
}

impl Writer {
    /// Begins to write; what was begun before must have been [taken](Writer::take).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn begin(&mut self, job: Job) -> Result<(), TrainError> {
        let (path, state) = (job.path.clone(), job.state.clone());
        let thread = thread::Builder::new().name("ddae-checkpoint".into()).spawn(|| write(job));
        let thread = thread.map_err(TrainError::io(&path))?;
        self.at_work = Some((path, state, thread));
        Ok(())
    }

    /// What came of the checkpoint that was begun, once: of one that is not finished only where it is to be `waited` for.
    pub fn take(&mut self, waited: bool) -> Option<Written> {
        let is_over = |(_, _, thread): &mut (_, _, JoinHandle<Outcome>)| waited || thread.is_finished();
        let (path, state, thread) = self.at_work.take_if(is_over)?;
        let outcome = thread.join().unwrap_or_else(|_| {
            let source = std::io::Error::other("the thread that writes checkpoints ended unexpectedly");
            Outcome::Failed(TrainError::io(&path)(source))
        });
        Some(Written { path, state, outcome })
    }
}

fn write(job: Job) -> Outcome {
    let Job { path, becomes_latest, config, state, snapshot } = job;
    let tensors = match snapshot.tensors() {
        Ok(tensors) => tensors,
        Err(error) => return Outcome::Failed(error),
    };
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    if let Some((name, _)) = tensors.iter().find(|(_, array)| !array.as_f32().is_none_or(finite)) {
        return Outcome::NotFinite(name.clone());
    }
    let named = |path: &Path| if becomes_latest { checkpoints::name_latest(path) } else { Ok(()) };
    let written = ddae_checkpoint::write(&path, &config, &state, &tensors).map_err(TrainError::from);
    match written.and_then(|()| named(&path)) {
        Ok(()) => Outcome::Whole,
        Err(error) => Outcome::Failed(error),
    }
}
