//! The ranks other than 0: they do what rank 0 says, and write nothing.

use ddae_base::tell;
use ddae_checkpoint::TrainingState;
use ddae_model::weights::Weights;

use super::command::{Command, Opening};
use super::group::{Ranks, lost};
use crate::TrainError;
use crate::run::folder;
use crate::training::method::{Epoch, Evaluation, Method, Place};
use crate::training::start::SetUp;
use crate::training::trainer::{Beginning, Trainer};
use crate::training::validation::Validation;
use crate::training::{Options, TrainingPlan, resume};

/// Takes part in a run until rank 0 says that it is over. Where it stands then.
///
/// # Errors
/// When this rank's configuration or data are not those of rank 0, [`TrainError::Interrupted`] when the run is stopped, and those of
/// a step.
pub(crate) fn follow<M: Method>(
    options: &Options,
    plan: &TrainingPlan,
    method: impl FnOnce(Place) -> Result<M, TrainError>,
    ranks: &Ranks,
) -> Result<TrainingState, TrainError> {
    let SetUp { device, .. } = SetUp::new(options, plan, Some(ranks))?;
    let Opening { config, mut state, evaluated, evaluated_digest, sheets, .. } = ranks.opening()?;
    let rank = ranks.place().rank;
    let differs =
        |what: &str| lost(format!("rank {rank} has another {what} than rank 0: give all ranks the same"));
    let lacks = |what: &str| {
        lost(format!("rank {rank} has no images for {what}, and rank 0 has: give all ranks the same images"))
    };
    if config != plan.config.to_yaml() {
        return Err(differs("configuration"));
    }
    if plan.shared() != state.shared {
        return Err(differs("--accumulate or --batch-of"));
    }
    if plan.sheets != sheets {
        return Err(differs("--sample-steps"));
    }
    let here = plan.evaluated_in_words();
    if here != evaluated {
        return Err(lost(format!(
            "rank {rank} has {here}, and rank 0 {evaluated}: give all ranks the same images"
        )));
    }
    // Ranks of one machine read the same files.
    if ranks.place().local_rank == 0 {
        if plan.data_digest()? != state.data {
            return Err(differs(&format!("data set {}", plan.train.name())));
        }
        if plan.evaluated_digest()? != evaluated_digest {
            return Err(differs(&format!("data set {}", plan.unseen().name())));
        }
    }
    let precision = resume::amp(&options.run, &state)?.precision();
    let place = Place { device, layout: options.layout, precision };
    let weights = Weights::initial(&plan.graph, state.seed);
    let beginning = Beginning { place, weights: &weights, state: &state, checkpoint: None, captures: false };
    let mut trainer = Trainer::new(plan, method(place)?, beginning, Some(ranks))?;
    let validation = Validation::new(plan, place)?;
    let workers = options.workers(device);
    let mut batches: Option<(u64, M::Batches)> = None;
    loop {
        let (command, is_stopped) = ranks.follow()?;
        match command {
            Command::Step { epoch, step_in_epoch, step } => {
                (state.epoch, state.step_in_epoch, state.step) = (epoch, step_in_epoch, step);
                let wanted = Epoch { seed: state.seed, number: epoch, start: step_in_epoch, workers };
                let of_epoch = match batches.take().filter(|(number, _)| *number == epoch) {
                    Some((_, of_epoch)) => of_epoch,
                    None => trainer.method().batches(plan, wanted)?,
                };
                let (_, of_epoch) = batches.insert((epoch, of_epoch));
                let Some(batch) = plan.batch.next(of_epoch)? else {
                    return Err(lost(format!(
                        "rank {rank} has no batch for step {} of the epoch",
                        step_in_epoch + 1
                    )));
                };
                let rate = plan.learning_rate.at(plan.position(&state));
                trainer.step(&batch, step, plan.images_of(step_in_epoch) as usize, rate)?;
                state.step += 1;
                state.step_in_epoch += 1;
            }
            Command::Compare => trainer.compare(ranks, state.step)?,
            // All leave out what they were asked to stop before.
            Command::Validate | Command::Evaluate { .. } if is_stopped => {}
            // What is found is for rank 0, and so is what follows from a stop.
            Command::Validate => {
                let Some(validation) = &validation else { return Err(lacks("a validation loss")) };
                let _loss = validation.loss(trainer.method(), trainer.average(), ranks.division())?;
            }
            Command::Evaluate { epoch, sheet, scores, by_timestep } => {
                let method = trainer.method();
                if scores && !method.has_scores() {
                    return Err(lacks("scores"));
                }
                let sheet = sheet.then(|| folder::sheet(&options.run, epoch));
                let wanted = Evaluation { epoch, seed: state.seed, sheet, scores, by_timestep };
                let _scores = method.evaluate(plan, trainer.average(), &wanted, ranks.division())?;
            }
            Command::Finish { interrupted: false } => return Ok(state),
            Command::Finish { interrupted: true } => {
                let resume = "Rank 0 says how to go on".to_string();
                return Err(TrainError::Interrupted { step: state.step, resume });
            }
        }
    }
}

/// What a rank was told of its place and how it took it, on stderr. Rank 0 speaks for all.
pub(crate) fn notes(ranks: &Ranks) {
    if ddae_base::is_quiet() || !ranks.place().leads() {
        return;
    }
    for note in &ranks.place().notes {
        tell(format_args!("note        rank {}: {note}", ranks.place().rank));
    }
}
