//! Where a run begins: with new weights, with those of a file, or with a checkpoint of its own.

use ddae_checkpoint::{Checkpoint, TrainingState, WeightSet};
use ddae_model::weights::Weights;

use super::options::{Amp, Options, Start};
use super::plan::Plan;
use super::resume;
use crate::TrainError;
use crate::run::checkpoints::{self, epoch_name};
use crate::run::folder::RunFolder;

/// Where a process starts from.
pub struct Beginning {
    /// The run folder, locked.
    pub folder: RunFolder,
    /// The weights to begin with.
    pub weights: Weights,
    /// Where the run stands.
    pub state: TrainingState,
    /// What the rest is loaded from when a run goes on.
    pub checkpoint: Option<Checkpoint>,
    /// The precision.
    pub amp: Amp,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Beginning {
    /// Makes or opens the run folder; `data` is the digest of the data set.
    ///
    /// # Errors
    /// When the folder or a file is not what the options say, or the run was started with other settings.
    pub fn find(options: &Options, plan: &Plan, data: &str) -> Result<Beginning, TrainError> {
        let (force, init) = match &options.start {
            Start::Fresh { force, init } => (*force, init),
            Start::Latest | Start::Epoch(_) => return Beginning::resumed(options, plan, data),
        };
        let seed = options.seed.unwrap_or(0);
        // Before an old run is removed, everything that the new one needs is there.
        let (weights, notes) = match init {
            None => (Weights::initial(&plan.graph, seed), vec![]),
            Some(path) => {
                let checkpoint = Checkpoint::open(path)?;
                let set = checkpoint.weight_sets().first().copied().unwrap_or_default();
                let weights = checkpoint.weights(set, &plan.graph)?;
                let (path, layout) = (path.display(), checkpoint.layout());
                (weights, vec![format!("start       with the weights of {path} ({layout})")])
            }
        };
        let amp = options.amp.unwrap_or_default();
        let folder = RunFolder::create(&options.run, force)?;
        let state = TrainingState { seed, ..TrainingState::default() };
        Ok(Beginning { folder, weights, state, checkpoint: None, amp, notes })
    }

    fn resumed(options: &Options, plan: &Plan, data: &str) -> Result<Beginning, TrainError> {
        let folder = RunFolder::open(&options.run)?;
        checkpoints::remove_leftovers(&folder.checkpoints())?;
        let (checkpoint, state, unreadable) = match options.start {
            Start::Epoch(epoch) => {
                let (checkpoint, state) = checkpoints::open(&folder.checkpoints().join(epoch_name(epoch)))?;
                (checkpoint, state, vec![])
            }
            _ => checkpoints::furthest(&folder.checkpoints())?,
        };
        let path = checkpoint.path().to_path_buf();
        let saved = checkpoint.config().unwrap_or(&plan.config);
        resume::check(&path, saved, &state, &plan.config, options, data)?;
        let amp = resume::amp(&path, &state)?;
        let weights = checkpoint.weights(WeightSet::Model, &plan.graph)?;
        let mut notes: Vec<String> =
            unreadable.iter().map(|error| format!("warning     passed over: {error}")).collect();
        notes.push(format!("resume      {} at step {} of {}", path.display(), state.step, plan.steps()));
        Ok(Beginning { folder, weights, state, checkpoint: Some(checkpoint), amp, notes })
    }
}
