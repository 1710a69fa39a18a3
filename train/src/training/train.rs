//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use ddae_checkpoint::TrainingState;
use serde::Serialize;
use tch::{Cuda, Device};

use super::meter::Meter;
use super::method::{Epoch, Evaluation, Method, Place, Scores};
use super::options::{Amp, Options};
use super::plan::Plan;
use super::start::Beginning;
use super::trainer::Trainer;
use crate::TrainError;
use crate::run::checkpoints::{self, LATEST, epoch_name};
use crate::run::folder::RunFolder;
use crate::run::progress::Progress;
use crate::run::stats::{ScoresLine, Stats};
use crate::run::tensorboard::EventFile;
use crate::torch::{device, shim};

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
    /// Images per second of this process.
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
    plan: &Plan,
    method: impl FnOnce(Place) -> Result<M, TrainError>,
) -> Result<Summary, TrainError> {
    let mut session = Session::begin(options, plan, method)?;
    let result = session.run();
    session.progress.finish();
    if let Err(error) = &result {
        // A log that cannot be written must not hide why the run ended.
        let _ = session.folder.log(&error.to_string());
    }
    result.map(|()| session.summary())
}

/// Which sheets of images are made.
#[derive(Clone, Copy, PartialEq)]
enum Sheets {
    /// One for every evaluation: an older one is of other weights.
    New,
    /// Those that are not there.
    Missing,
}

/// A process at work on a run.
struct Session<'a, M> {
    options: &'a Options,
    plan: &'a Plan,
    folder: RunFolder,
    trainer: Trainer<M>,
    state: TrainingState,
    amp: Amp,
    device: Device,
    meter: Meter,
    stats: Stats,
    events: EventFile,
    progress: Progress,
    last_save: Instant,
}

impl<M: Method> Session<'_, M> {
    fn run(&mut self) -> Result<(), TrainError> {
        let epochs = self.plan.epochs();
        if self.state.step == 0 && self.state.epoch == 0 {
            self.save(&epoch_name(0))?;
        }
        if self.state.step_in_epoch == 0 {
            // Where the last process was stopped between a checkpoint and its evaluation.
            self.evaluate_if_due(Sheets::Missing)?;
        }
        while self.state.epoch < epochs {
            self.epoch()?;
            self.state.epoch += 1;
            self.state.step_in_epoch = 0;
            let (epoch, last) = (self.state.epoch, self.state.epoch == epochs);
            if last {
                self.read()?;
                self.log()?;
            }
            if last || is_due(self.options.save_every, epoch) {
                self.save(&epoch_name(epoch))?;
            }
            self.evaluate_if_due(Sheets::New)?;
            let loss = self.progress.loss().unwrap_or(f64::NAN);
            let rate = self.progress.images_per_second(self.state.step);
            self.folder.log(&format!("epoch {epoch}/{epochs}: loss {loss:.4}, {rate:.1} images/s"))?;
        }
        Ok(())
    }

    /// The rest of the current epoch.
    fn epoch(&mut self) -> Result<(), TrainError> {
        let TrainingState { seed, epoch: number, step_in_epoch: start, .. } = self.state;
        let workers = self.options.workers(self.device);
        let mut batches = self.trainer.method().batches(self.plan, Epoch { seed, number, start, workers })?;
        let read_every = if self.device.is_cuda() { GPU_READ_EVERY } else { 1 };
        loop {
            let start = Instant::now();
            let Some(batch) = batches.next().transpose()? else { return Ok(()) };
            let waiting = start.elapsed();
            let learning_rate = self.plan.learning_rate.at(self.state.step);
            let result = self.trainer.step(&batch, self.state.step, learning_rate)?;
            self.state.step += 1;
            self.state.step_in_epoch += 1;
            self.meter.add(self.state.step, learning_rate, result);
            let log_due = self.state.step.is_multiple_of(self.options.log_every.max(1));
            if log_due || self.meter.pending() >= read_every {
                self.read()?;
            }
            self.meter.spend(start.elapsed(), waiting);

            if log_due {
                self.log()?;
            }
            if self.options.stop.is_requested() {
                self.save(LATEST)?;
                return Err(self.interrupted());
            }
            if self.last_save.elapsed() >= self.options.save_interval {
                self.save(LATEST)?;
            }
        }
    }

    /// Reads the losses of the last steps and stops the run where they are not finite.
    fn read(&mut self) -> Result<(), TrainError> {
        let read = self.meter.read()?;
        self.progress.update(self.state.step, self.state.epoch, &read.losses, self.meter.total());
        let Some((step, learning_rate, what)) = read.broken else { return Ok(()) };
        if self.amp == Amp::Fp16 {
            // The scaler left the step out and halved the scale. Below 1 it is not the scale that is wrong.
            let (scale, ..) = self.trainer.loss_scale(self.state.step)?;
            if scale >= 1.0 {
                return Ok(());
            }
        }
        Err(self.diverged(step, learning_rate, what))
    }

    fn log(&mut self) -> Result<(), TrainError> {
        let TrainingState { step, epoch, .. } = self.state;
        let batch = self.plan.config.training().batch_size as u64;
        // At the end of the last epoch there is no next one to speak of.
        let epoch = epoch.min(self.plan.epochs().saturating_sub(1));
        let Some(mut line) = self.meter.line(step, epoch, batch) else { return Ok(()) };
        if self.amp == Amp::Fp16 {
            let (scale, _, skipped) = self.trainer.loss_scale(step)?;
            (line.loss_scale, line.skipped_steps) = (Some(scale), Some(skipped));
        }
        self.stats.append(&line)?;
        let mut scalars = vec![
            ("train/loss", line.loss),
            ("train/learning_rate", line.lr),
            ("speed/images_per_second", line.images_per_second),
            ("speed/data_wait", line.data_wait),
        ];
        scalars.extend(line.grad_norm.map(|norm| ("train/grad_norm", norm)));
        scalars.extend(line.loss_scale.map(|scale| ("train/loss_scale", scale)));
        self.events.scalars(step, &scalars)
    }

    /// Writes a checkpoint under `name`, and makes it the latest.
    fn save(&mut self, name: &str) -> Result<(), TrainError> {
        self.last_save = Instant::now();
        if !self.plan.config.training().save_model {
            return Ok(());
        }
        self.read()?;
        let tensors = self.trainer.to_tensors()?;
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        let broken = tensors.iter().find(|(_, array)| !array.as_f32().is_none_or(finite));
        if let Some((name, _)) = broken {
            let step = self.state.step;
            let learning_rate = self.plan.learning_rate.at(step.saturating_sub(1));
            return Err(self.diverged(
                step,
                learning_rate,
                format!("'{name}' holds values that are not finite"),
            ));
        }
        let (scale, scale_steps, skipped) = self.trainer.loss_scale(self.state.step)?;
        self.state.loss_scale = scale;
        self.state.loss_scale_steps = scale_steps;
        self.state.skipped_steps = skipped;
        let path = self.folder.checkpoints().join(name);
        ddae_checkpoint::write(&path, &self.plan.config, &self.state, &tensors)?;
        if name != LATEST {
            checkpoints::name_latest(&path)?;
        }
        self.folder.log(&format!("wrote {} at step {}", path.display(), self.state.step))
    }

    /// The sheet of images of the current epoch.
    fn sheet(&self) -> PathBuf {
        self.folder.samples().join(format!("epoch_{:04}.png", self.state.epoch))
    }

    /// Evaluates the average between epochs, as often as the options say. The untrained network has scores, if the method
    /// has any, but makes no images.
    fn evaluate_if_due(&mut self, sheets: Sheets) -> Result<(), TrainError> {
        let TrainingState { epoch, step, seed, .. } = self.state;
        let last = epoch == self.plan.epochs();
        if !(epoch == 0 || last || is_due(self.options.evaluate_every, epoch)) {
            return Ok(());
        }
        let makes_images = epoch > 0 && self.plan.config.training().n_sample > 0;
        let sheet =
            Some(self.sheet()).filter(|sheet| makes_images && (sheets == Sheets::New || !sheet.exists()));
        let scores = self.trainer.method().has_scores() && self.stats.scores(step).is_none();
        if sheet.is_none() && !scores {
            return Ok(());
        }
        let wanted = Evaluation { epoch, seed, sheet, scores };
        let found = self.trainer.method().evaluate(self.plan, self.trainer.average(), &wanted)?;
        let Some(Scores { values, protocol, notes }) = found else {
            self.save(LATEST)?;
            return Err(self.interrupted());
        };
        for note in notes {
            self.say(&format!("warning     {note}"))?;
        }
        if !values.is_empty() {
            let named: Vec<String> =
                values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            self.say(&format!("epoch {epoch}: {}", named.join(", ")))?;
            let tags: Vec<String> = values.iter().map(|(name, _)| format!("evaluation/{name}")).collect();
            let scalars: Vec<(&str, f64)> =
                tags.iter().map(String::as_str).zip(values.iter().map(|(_, value)| *value)).collect();
            self.events.scalars(step, &scalars)?;
            let scores = values.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            self.stats.append_scores(ScoresLine { step, epoch, scores, protocol })?;
        }
        if let Some(path) = wanted.sheet {
            self.folder.log(&format!("wrote {}", path.display()))?;
            self.progress.line(&format!("samples: {}", path.display()));
        }
        Ok(())
    }

    /// To the log and the terminal.
    fn say(&mut self, line: &str) -> Result<(), TrainError> {
        self.progress.line(line);
        self.folder.log(line)
    }

    fn diverged(&self, step: u64, learning_rate: f64, what: String) -> TrainError {
        let latest = self.folder.checkpoints().join(LATEST);
        let rescue = match checkpoints::open(&latest) {
            Ok((_, state)) => {
                format!("The last good checkpoint is {} (step {})", latest.display(), state.step)
            }
            Err(_) => "There is no checkpoint of this run".to_string(),
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
        let latest = self.folder.checkpoints().join(LATEST);
        Summary {
            run: self.folder.path().to_path_buf(),
            epochs: self.state.epoch,
            steps: self.state.step,
            loss: self.progress.loss(),
            images_per_second: self.progress.images_per_second(self.state.step),
            seconds: self.meter.total().as_secs_f64(),
            checkpoint: self.plan.config.training().save_model.then_some(latest),
            scores: self.stats.scores(self.state.step).cloned(),
        }
    }
}

impl<'a, M: Method> Session<'a, M> {
    fn begin(
        options: &'a Options,
        plan: &'a Plan,
        method: impl FnOnce(Place) -> Result<M, TrainError>,
    ) -> Result<Session<'a, M>, TrainError> {
        let (device, no_gpu) = device::resolve(options.device)?;
        if let Some(threads) = options.threads {
            tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        }
        // Adam's second moments of unused weights decay into numbers that processors are slow with.
        shim::flush_denormals(true)?;
        // The same memory at every step, without asking the system for it each time.
        shim::keep_memory()?;
        if device.is_cuda() {
            Cuda::cudnn_set_benchmark(true);
        }

        let data = plan.data_digest()?;
        let Beginning { mut folder, weights, mut state, checkpoint, amp, notes } =
            Beginning::find(options, plan, &data)?;
        (state.data, state.amp) = (data, amp.to_string());
        let place = Place { device, layout: options.layout, precision: amp.precision() };
        let mut trainer = Trainer::new(plan, method(place)?, &weights, state.seed, place)?;
        if let Some(checkpoint) = &checkpoint {
            trainer.load(checkpoint, &state)?;
        }
        folder.write_config(&plan.config)?;

        let batch = plan.config.training().batch_size as u64;
        let progress = Progress::new(state.step, plan.steps(), batch, plan.epochs(), options.quiet);
        let threads = tch::get_num_threads();
        let device_note = match device {
            Device::Cpu => format!("CPU, threads: {threads}"),
            device => format!("{device:?}"),
        };
        let description = plan.describe(amp).to_string();
        let device_note = format!("device      {device_note}, seed {}", state.seed);
        for line in description.lines().chain([&*device_note]).chain(notes.iter().map(String::as_str)) {
            folder.log(line)?;
            progress.line(line);
        }
        if let Some(reason) = no_gpu {
            folder.log(&format!("no GPU      {reason}"))?;
        }
        Ok(Session {
            stats: Stats::open(&folder.stats(), state.step)?,
            events: EventFile::create(&folder.tensorboard(), state.step)?,
            options,
            plan,
            folder,
            trainer,
            state,
            amp,
            device,
            meter: Meter::default(),
            progress,
            last_save: Instant::now(),
        })
    }
}

/// Whether something that is done every so many epochs (0: never) is to be done after this one.
fn is_due(every: u64, epoch: u64) -> bool {
    every > 0 && epoch.is_multiple_of(every)
}
