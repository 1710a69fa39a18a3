//! The training loop, from the first step to the last checkpoint.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ddae_checkpoint::{LATEST, TrainingState, epoch_name};
use serde::Serialize;

use super::log::RunLog;
use super::meter::Speed;
use super::method::{Epoch, Evaluation, Method, Place};
use super::options::{Amp, Options};
use super::plan::TrainingPlan;
use super::start::{StartingPoint, WROTE};
use super::trainer::{Beginning, Trainer};
use super::validation::Validation;
use crate::TrainError;
use crate::ranks::group::{Command, Opening};
use crate::ranks::{Division, Ranks, follow};
use crate::run::folder;
use crate::run::stats::ScoresLine;
use crate::run::writer::{Job, Outcome, Writer, Written};
use crate::torch::shim;

/// The steps of a process that a trace shows, counted from 0: behind those that search and allocate.
const TRACED: std::ops::Range<u64> = 20..25;

/// Steps between readings of the loss on a GPU, each of which waits for it.
const GPU_READ_EVERY: usize = 10;

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The run folder.
    pub run: PathBuf,
    /// Finished epochs.
    pub epochs: u64,
    /// Finished steps.
    pub steps: u64,
    /// The smoothed loss at the end; `None` where the run was finished already.
    pub loss: Option<f64>,
    /// The validation loss at the end, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Images per second of this process; 0 where it made no step.
    pub images_per_second: f64,
    /// Seconds that this process spent on steps.
    pub seconds: f64,
    /// The last checkpoint, unless `save_model` is off.
    pub checkpoint: Option<PathBuf>,
    /// What the last evaluation measured, if the method measures anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoresLine>,
}

/// Trains until the last epoch, from wherever the run stands. `method` is made once it is known where the run computes.
///
/// # Errors
/// Those of starting; [`TrainError::Diverged`] when the loss is not finite any more; [`TrainError::Interrupted`] after a
/// request to [stop](Options::stop). A checkpoint under its final name is always whole and good.
pub fn train<M: Method>(
    options: &Options,
    plan: &TrainingPlan,
    method: impl FnOnce(Place) -> Result<M, TrainError>,
) -> Result<Summary, TrainError> {
    let Some(place) = &options.ranks else { return lead(options, plan, method, None) };
    let ranks = Ranks::join(place, options.patience, &options.stop)?;
    follow::notes(&ranks);
    let result = match place.leads() {
        true => lead(options, plan, method, Some(&ranks)),
        false => follow::follow(options, plan, method, &ranks).map(|state| Summary {
            run: options.run.clone(),
            epochs: state.epoch,
            steps: state.step,
            loss: None,
            validation_loss: None,
            images_per_second: 0.0,
            seconds: 0.0,
            checkpoint: None,
            scores: None,
        }),
    };
    ranks.leave(result)
}

/// The process that writes a run: the only one, or rank 0.
fn lead<M: Method>(
    options: &Options,
    plan: &TrainingPlan,
    method: impl FnOnce(Place) -> Result<M, TrainError>,
    ranks: Option<&Ranks>,
) -> Result<Summary, TrainError> {
    let start = StartingPoint::find(options, plan, ranks)?;
    let place = start.place;
    if let Some(ranks) = ranks {
        let (version, config) = (env!("CARGO_PKG_VERSION").to_string(), plan.config.to_yaml());
        ranks.open(&Opening { version, config, state: start.state.clone(), looks_at: plan.looks_at() })?;
    }
    let StartingPoint { weights, state, checkpoint, captures, .. } = &start;
    let beginning = Beginning { place, weights, state, checkpoint: checkpoint.as_ref(), captures: *captures };
    let trainer = Trainer::new(plan, method(place)?, beginning, ranks)?;
    let validation = Validation::new(plan, place)?;
    let log = RunLog::open(start.folder, plan, options, &start.state)?;
    let (state, amp, kept) = (start.state, start.amp, start.kept);
    let mut run = Run {
        options,
        plan,
        trainer,
        validation,
        first_step: state.step,
        state,
        amp,
        place,
        ranks,
        writer: Writer::default(),
        held_up: Duration::ZERO,
        log,
        last_save: Instant::now(),
        kept,
    };
    run.log.begin(plan, amp, place.device, run.state.seed, &start.notes)?;
    let result = run.epochs();
    // Also of a run that is stopped meanwhile; the first error is the one to be told.
    let traced = run.finish_trace();
    let result = result.and(traced);
    // What is being written is written to its end, however the run ended.
    let written = run.written(true);
    let result = result.and(written).and(run.tell_overlap());
    run.log.end(&result);
    result.map(|()| run.summary())
}

/// A process at work on a run.
struct Run<'a, M> {
    options: &'a Options,
    plan: &'a TrainingPlan,
    trainer: Trainer<M>,
    validation: Option<Validation>,
    state: TrainingState,
    amp: Amp,
    place: Place,
    /// That which this process began with.
    first_step: u64,
    /// The others, where there are several ranks.
    ranks: Option<&'a Ranks>,
    writer: Writer,
    /// How long the last checkpoint kept the training waiting.
    held_up: Duration,
    log: RunLog,
    last_save: Instant,
    /// The last good checkpoint and its step.
    kept: Option<(PathBuf, u64)>,
}

/// Which sheets of images are made.
#[derive(Clone, Copy, PartialEq)]
enum Sheets {
    /// One for every evaluation: an older one is of other weights.
    New,
    /// Those that are not there.
    Missing,
}

impl<M: Method> Run<'_, M> {
    fn epochs(&mut self) -> Result<(), TrainError> {
        let epochs = self.plan.epochs();
        if self.state.step == 0 && self.state.epoch == 0 {
            self.save(&epoch_name(0))?;
        }
        if self.state.step_in_epoch == 0 {
            // Where the last process was stopped between a checkpoint and its evaluation.
            self.validate_if_due()?;
            self.evaluate_if_due(Sheets::Missing)?;
        }
        let mut resizing = None;
        while self.state.epoch < epochs {
            self.epoch()?;
            self.tell_resizing(&mut resizing)?;
            self.state.epoch += 1;
            self.state.step_in_epoch = 0;
            let (epoch, last) = (self.state.epoch, self.state.epoch == epochs);
            if last {
                self.read()?;
                self.write_line()?;
            }
            if last || is_due(self.options.save_every, epoch) {
                self.save(&epoch_name(epoch))?;
            }
            self.validate_if_due()?;
            self.evaluate_if_due(Sheets::New)?;
            self.log.epoch(&self.state, epochs)?;
        }
        self.written(true)
    }

    /// Says what of the images was resized, and by which rule, once an epoch has met them; again where a later one meets
    /// more, since the first of a run that goes on may be a part of one.
    fn tell_resizing(&mut self, told: &mut Option<String>) -> Result<(), TrainError> {
        let note = self.plan.train.resizing_note();
        if let Some(note) = note.filter(|note| told.as_ref() != Some(note)) {
            self.log.say(&format!("note        {note}"))?;
            *told = Some(note);
        }
        Ok(())
    }

    /// The rest of the current epoch.
    fn epoch(&mut self) -> Result<(), TrainError> {
        let TrainingState { seed, epoch: number, step_in_epoch: start, .. } = self.state;
        let workers = self.options.workers(self.place.device);
        let mut batches = self.trainer.method().batches(self.plan, Epoch { seed, number, start, workers })?;
        let read_every = if self.place.device.is_cuda() { GPU_READ_EVERY } else { 1 };
        loop {
            let start = Instant::now();
            let Some(batch) = self.plan.batch.next(&mut batches)? else { return Ok(()) };
            let waiting = start.elapsed();
            let learning_rate = self.plan.learning_rate.at(self.plan.position(&self.state));
            let images = self.plan.images_of(self.state.step_in_epoch);
            self.trace()?;
            let replays = self.trainer.not_recorded().is_none();
            let asked_to_stop = self.lead_step()?;
            let result = self.trainer.step(&batch, self.state.step, images as usize, learning_rate)?;
            if let Some(reason) = self.trainer.not_recorded().filter(|_| replays) {
                self.log.say(&format!("warning     steps are not replayed as a CUDA graph: {reason}"))?;
            }
            self.state.step += 1;
            self.state.step_in_epoch += 1;
            self.log.meter.add(self.state.step, learning_rate, result);
            let line_due = self.state.step.is_multiple_of(self.options.log_every.max(1));
            if line_due || self.log.meter.pending() >= read_every {
                self.read()?;
            }
            self.log.meter.spend(Speed { images, time: start.elapsed(), waiting });
            self.log.show(&self.state);
            if line_due {
                self.write_line()?;
            }
            self.written(false)?;
            if asked_to_stop || self.options.stop.is_requested() {
                self.save(LATEST)?;
                self.written(true)?;
                return Err(self.interrupted());
            }
            if self.last_save.elapsed() >= self.options.save_interval {
                self.save(LATEST)?;
            }
        }
    }

    /// Has the other ranks take part in the next step. Whether one of them was asked to stop after it.
    fn lead_step(&self) -> Result<bool, TrainError> {
        let TrainingState { epoch, step_in_epoch, step, .. } = self.state;
        self.lead(Command::Step { epoch, step_in_epoch, step })
    }

    /// Has the other ranks do something, if there are any. Whether one of them was asked to stop.
    fn lead(&self, command: Command) -> Result<bool, TrainError> {
        self.ranks.map_or(Ok(false), |ranks| ranks.lead(command))
    }

    /// How work on the average of the weights is divided.
    fn division(&self) -> Division<'_> {
        self.ranks.map_or(Division::alone(&self.options.stop), Ranks::division)
    }

    /// Begins or ends the trace that was asked for, before a step.
    fn trace(&mut self) -> Result<(), TrainError> {
        if self.options.trace.is_none() {
            return Ok(());
        }
        let step = self.state.step - self.first_step;
        let cuda = self.place.device.is_cuda();
        if step == TRACED.start {
            shim::begin_trace(cuda)?;
        } else if step == TRACED.end {
            self.end_trace(step)?;
        }
        Ok(())
    }

    /// Writes the trace that was begun, of the steps before the `end`th of this process.
    fn end_trace(&mut self, end: u64) -> Result<(), TrainError> {
        let Some(path) = &self.options.trace else { return Ok(()) };
        self.read()?;
        shim::end_trace(path)?;
        let whole = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        self.log.say(&match whole {
            true => format!("trace       {}: steps {} to {}", path.display(), TRACED.start, end - 1),
            false => {
                format!("warning     {} was not written: the profiler says nothing more", path.display())
            }
        })
    }

    /// At the end of the run, the trace of one that was shorter than that.
    fn finish_trace(&mut self) -> Result<(), TrainError> {
        let done = self.state.step - self.first_step;
        if self.options.trace.is_none() || done >= TRACED.end {
            return Ok(());
        }
        if done > TRACED.start {
            return self.end_trace(done);
        }
        let first = TRACED.start;
        self.log.say(&format!(
            "warning     no trace: it begins at step {first}, and this process made {done} steps"
        ))
    }

    /// Reads the losses of the last steps and stops the run where they are not finite.
    fn read(&mut self) -> Result<(), TrainError> {
        let Some((step, learning_rate, what)) = self.log.read(&self.state)? else { return Ok(()) };
        // A step that overflowed under fp16 was left out, and the scale halved. Below 1 it is not the scale that is wrong.
        if self.amp == Amp::Fp16 && self.trainer.loss_scale(self.state.step)?.scale >= 1.0 {
            return Ok(());
        }
        Err(self.diverged(step, learning_rate, what))
    }

    /// A line of statistics.
    fn write_line(&mut self) -> Result<(), TrainError> {
        let scale = match self.amp {
            Amp::Fp16 => Some(self.trainer.loss_scale(self.state.step)?),
            Amp::Off | Amp::Bf16 => None,
        };
        self.log.line(&self.state, self.plan, scale)
    }

    /// Begins to write a checkpoint under `name`, which becomes the latest, while the training goes on.
    fn save(&mut self, name: &str) -> Result<(), TrainError> {
        self.last_save = Instant::now();
        if !self.plan.config.training().save_model {
            return Ok(());
        }
        self.read()?;
        self.written(true)?;
        if let Some(ranks) = self.ranks {
            ranks.lead(Command::Compare)?;
            self.trainer.compare(ranks, self.state.step)?;
        }
        let start = Instant::now();
        self.trainer.loss_scale(self.state.step)?.keep(&mut self.state);
        self.state.since_line = self.log.meter.since_line();
        let job = Job {
            path: self.log.folder.checkpoints().join(name),
            becomes_latest: name != LATEST,
            config: self.plan.config.clone(),
            state: self.state.clone(),
            snapshot: self.trainer.snapshot()?,
        };
        self.writer.begin(job)?;
        self.held_up = start.elapsed();
        Ok(())
    }

    /// Takes note of a checkpoint that was written, if there is one, or waits for that which is being written.
    fn written(&mut self, waited: bool) -> Result<(), TrainError> {
        let Some(Written { path, state, outcome }) = self.writer.take(waited) else { return Ok(()) };
        match outcome {
            Outcome::Whole => {}
            Outcome::Failed(error) => return Err(error),
            Outcome::NotFinite(name) => {
                let position = self.plan.position(&state).saturating_sub(1);
                let what = format!("'{name}' holds values that are not finite");
                return Err(self.diverged(state.step, self.plan.learning_rate.at(position), what));
            }
        }
        self.kept = Some((path.with_file_name(LATEST), state.step));
        let held_up = (self.held_up + self.trainer.waited_for_copy()).as_secs_f64() * 1e3;
        let line = format!(
            "{WROTE}{} at step {} (the training waited {held_up:.0} ms for it)",
            path.display(),
            state.step
        );
        self.log.folder.log(&line)
    }

    /// How much of the exchange of gradients was hidden behind the backward pass.
    fn tell_overlap(&mut self) -> Result<(), TrainError> {
        let (found, steps) = (self.trainer.overlap(), self.state.step - self.first_step);
        if found.buckets == 0 || steps == 0 {
            return Ok(());
        }
        self.log.folder.log(&format!(
            "gradients: {:.1} of {:.1} buckets a step were on their way before the backward pass was over; {:.2} ms a step were \
             waited for them after it",
            found.early as f64 / steps as f64,
            found.buckets as f64 / steps as f64,
            1e3 * found.waited / steps as f64
        ))
    }

    /// Measures the loss of the average on images that are not trained on, between epochs, as often as the plan says.
    fn validate_if_due(&mut self) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else { return Ok(()) };
        let TrainingState { epoch, step, .. } = self.state;
        let is_due = validation.plan().is_due(epoch, self.plan.epochs());
        if !is_due || self.log.stats.validation(step).is_some() {
            return Ok(());
        }
        let (method, average) = (self.trainer.method(), self.trainer.average());
        self.lead(Command::Validate)?;
        match validation.loss(method, average, self.division())? {
            Some(loss) => self.log.validated(&self.state, validation.plan(), loss),
            None => {
                self.save(LATEST)?;
                self.written(true)?;
                Err(self.interrupted())
            }
        }
    }

    /// Evaluates the average between epochs, as often as the options or the method say. The untrained network has scores, if the method
    /// has any, but makes no images.
    fn evaluate_if_due(&mut self, sheets: Sheets) -> Result<(), TrainError> {
        let TrainingState { epoch, step, seed, .. } = self.state;
        let last = epoch == self.plan.epochs();
        let is_due = epoch == 0 || last || is_due(self.options.evaluate_every, epoch);
        if !(is_due || self.trainer.method().wants_scores(epoch)) {
            return Ok(());
        }
        let makes_images = is_due && epoch > 0 && self.plan.config.training().n_sample > 0;
        let sheet = Some(folder::sheet(self.log.folder.path(), epoch));
        let sheet = sheet.filter(|sheet| makes_images && (sheets == Sheets::New || !sheet.exists()));
        let scores = self.trainer.method().has_scores() && self.log.stats.scores(step).is_none();
        if sheet.is_none() && !scores {
            return Ok(());
        }
        let wanted = Evaluation { epoch, seed, sheet, scores };
        let (method, average) = (self.trainer.method(), self.trainer.average());
        self.lead(Command::Evaluate { epoch, sheet: wanted.sheet.is_some(), scores })?;
        let found = method.evaluate(self.plan, average, &wanted, self.division())?;
        let Some(scores) = found else {
            self.save(LATEST)?;
            self.written(true)?;
            return Err(self.interrupted());
        };
        self.log.evaluated(&self.state, scores, wanted.sheet.as_deref())
    }

    fn diverged(&mut self, step: u64, learning_rate: f64, what: String) -> TrainError {
        // The checkpoint that is being written is the last good one. Where it cannot be written, an earlier one is.
        let _ = self.written(true);
        let rescue = match &self.kept {
            Some((path, step)) => format!("The last good checkpoint is {} (step {step})", path.display()),
            None => "There is no checkpoint of this run".to_string(),
        };
        TrainError::Diverged { step, what, learning_rate, rescue }
    }

    fn interrupted(&self) -> TrainError {
        let resume = if self.plan.config.training().save_model {
            format!("Go on with: {}", self.options.resume_command)
        } else {
            "Nothing was saved (save_model is off)".to_string()
        };
        TrainError::Interrupted { step: self.state.step, resume }
    }

    fn summary(&self) -> Summary {
        let checkpoint = self.kept.as_ref().map(|(path, _)| path.clone());
        Summary {
            run: self.log.folder.path().to_path_buf(),
            epochs: self.state.epoch,
            steps: self.state.step,
            loss: self.log.progress.loss(),
            validation_loss: self.log.stats.validation(self.state.step).and_then(|line| line.validation_loss),
            images_per_second: self.log.progress.images_per_second().unwrap_or(0.0),
            seconds: self.log.meter.total().time.as_secs_f64(),
            checkpoint: checkpoint.filter(|_| self.plan.config.training().save_model),
            scores: self.log.stats.scores(self.state.step).cloned(),
        }
    }
}

/// Whether something that is done every so many epochs (0: never) is to be done after this one.
fn is_due(every: u64, epoch: u64) -> bool {
    every > 0 && epoch.is_multiple_of(every)
}
