//! Everything that a run says of itself: log, statistics, TensorBoard, the terminal.

use std::path::Path;

use ddae_base::progress::shown_rate;
use ddae_checkpoint::TrainingState;
use tch::Device;

use super::meter::Meter;
use super::method::Scores;
use super::options::{Amp, Options};
use super::plan::TrainingPlan;
use super::trainer::LossScale;
use super::validation::ValidationPlan;
use crate::TrainError;
use crate::run::folder::RunFolder;
use crate::run::progress::Progress;
use crate::run::stats::{ScoresLine, Stats, ValidationLine};
use crate::run::tensorboard::EventFile;

/// The places where a run is written down.
pub(super) struct RunLog {
    pub folder: RunFolder,
    pub meter: Meter,
    pub stats: Stats,
    pub progress: Progress,
    events: EventFile,
}

impl RunLog {
    /// Opens them for a run that stands at `state`.
    pub fn open(
        folder: RunFolder,
        plan: &TrainingPlan,
        options: &Options,
        state: &TrainingState,
    ) -> Result<RunLog, TrainError> {
        folder.write_config(&plan.config)?;
        let last_rate = plan.learning_rate.at(plan.position(state).saturating_sub(1));
        let mut events = EventFile::create(&folder.tensorboard(), state.step)?;
        events.text(state.step, "configuration", &plan.config.to_yaml())?;
        Ok(RunLog {
            stats: Stats::open(&folder.stats(), state.step)?,
            events,
            progress: Progress::new(state.step, plan.last_step(state), plan.epochs(), options.quiet),
            meter: Meter::new(state.since_line, last_rate),
            folder,
        })
    }

    /// To the log and the terminal.
    pub fn say(&mut self, line: &str) -> Result<(), TrainError> {
        self.progress.line(line);
        self.folder.log(line)
    }

    /// What is begun, and where.
    pub fn begin(
        &mut self,
        plan: &TrainingPlan,
        amp: Amp,
        device: Device,
        seed: u64,
        notes: &[String],
    ) -> Result<(), TrainError> {
        let device = match device {
            Device::Cpu => format!("CPU, threads: {}", tch::get_num_threads()),
            device => format!("{device:?}"),
        };
        for line in plan.describe(amp).to_string().lines() {
            self.say(line)?;
        }
        self.say(&format!("device      {device}, seed {seed}"))?;
        notes.iter().try_for_each(|note| self.say(note))
    }

    /// Reads the losses of the steps that were not read yet. The first that is not finite: its step, learning rate and
    /// what it was.
    pub fn read(&mut self, state: &TrainingState) -> Result<Option<(u64, f64, String)>, TrainError> {
        let read = self.meter.read()?;
        self.progress.add(&read.losses);
        self.show(state);
        Ok(read.broken)
    }

    /// How far the run is, on the terminal. The time of a step counts once it is known to the meter.
    pub fn show(&mut self, state: &TrainingState) {
        self.progress.update(state.step, state.epoch, self.meter.total());
    }

    /// A line of statistics about the steps since the last one.
    pub fn line(
        &mut self,
        state: &TrainingState,
        plan: &TrainingPlan,
        scale: Option<LossScale>,
    ) -> Result<(), TrainError> {
        // At the end of the last epoch there is no next one to speak of.
        let epoch = state.epoch.min(plan.epochs().saturating_sub(1));
        let Some(mut line) = self.meter.line(state.step, epoch) else { return Ok(()) };
        if let Some(LossScale { scale, skipped, .. }) = scale {
            (line.loss_scale, line.skipped_steps) = (Some(scale), Some(skipped));
        }
        self.stats.append(&line)?;
        let mut scalars = vec![("train/loss", line.loss), ("train/learning_rate", line.lr)];
        scalars.extend(line.images_per_second.map(|rate| ("speed/images_per_second", rate)));
        scalars.extend(line.data_wait.map(|share| ("speed/data_wait", share)));
        scalars.extend(line.grad_norm.map(|norm| ("train/grad_norm", norm)));
        scalars.extend(line.loss_scale.map(|scale| ("train/loss_scale", scale)));
        self.events.scalars(state.step, &scalars)
    }

    /// The end of an epoch.
    pub fn epoch(&mut self, state: &TrainingState, epochs: u64) -> Result<(), TrainError> {
        let loss = self.progress.loss().unwrap_or(f64::NAN);
        let rate = shown_rate(self.progress.images_per_second());
        self.folder.log(&format!("epoch {}/{epochs}: loss {loss:.4}, {rate} images/s", state.epoch))
    }

    /// A validation loss, which may be no number.
    pub fn validated(
        &mut self,
        state: &TrainingState,
        plan: &ValidationPlan,
        loss: f64,
    ) -> Result<(), TrainError> {
        let (step, epoch, split) = (state.step, state.epoch, plan.images.name().to_string());
        self.folder.log(&format!("epoch {epoch}: validation loss {loss:.4}"))?;
        self.progress.validated(loss);
        self.events.scalars(step, &[("validation/loss", loss)])?;
        let validation_loss = Some(loss).filter(|loss| loss.is_finite());
        let images = plan.images.len();
        self.stats.append_validation(ValidationLine { step, epoch, validation_loss, images, split })
    }

    /// What an evaluation found.
    pub fn evaluated(
        &mut self,
        state: &TrainingState,
        scores: Scores,
        sheet: Option<&Path>,
    ) -> Result<(), TrainError> {
        let (step, epoch) = (state.step, state.epoch);
        let Scores { values, count, by_timestep, protocol, notes } = scores;
        for note in notes {
            self.say(&format!("warning     {note}"))?;
        }
        if !values.is_empty() {
            let of = count.map_or(String::new(), |count| format!(" {count}"));
            let named: Vec<String> =
                values.iter().map(|(name, value)| format!("{name} {value:.4}{of}")).collect();
            self.say(&format!("epoch {epoch}: {}", named.join(", ")))?;
            if !by_timestep.is_empty() {
                let each = by_timestep.iter().map(|at| format!("t{} {:.4}", at.timestep, at.accuracy));
                let each: Vec<String> = each.collect();
                self.folder.log(&format!("epoch {epoch}: accuracy by timestep: {}", each.join(", ")))?;
            }
            let tagged = values.iter().map(|(name, value)| (format!("evaluation/{name}"), *value));
            let at = by_timestep.iter().map(|at| (format!("by_timestep/t{:04}", at.timestep), at.accuracy));
            let tagged: Vec<(String, f64)> = tagged.chain(at).collect();
            let scalars: Vec<(&str, f64)> =
                tagged.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
            self.events.scalars(step, &scalars)?;
            let scores = values.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            self.stats.append_scores(ScoresLine { step, epoch, by_timestep, count, scores, protocol })?;
        }
        if let Some(path) = sheet {
            self.folder.log(&format!("wrote {}", path.display()))?;
            self.events.image(step, "samples", path)?;
            self.progress.line(&format!("samples: {}", path.display()));
        }
        Ok(())
    }

    /// The end of the process's work.
    pub fn end(&mut self, result: &Result<(), TrainError>) {
        self.progress.finish();
        if let Err(error) = result {
            // A log that cannot be written must not hide why the run ended.
            let _ = self.folder.log(&error.to_string());
        }
    }
}
