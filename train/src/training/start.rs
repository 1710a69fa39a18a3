//! Where a run begins and computes: with new weights, with those of a file, or with a checkpoint of its own.

use std::path::PathBuf;

use ddae_checkpoint::{Checkpoint, LATEST, NameMap, TrainingState, WeightSet, epoch_name};
use ddae_cuda::Element;
use ddae_model::config::RunConfig;
use ddae_model::networks::{Architecture, DecoderConfig, Family, FineTunedConfig, SodaConfig};
use ddae_model::weights::Weights;
use tch::Device;

use super::method::Place;
use super::options::{Amp, Gpu, Init, Options, Start};
use super::plan::TrainingPlan;
use super::resume;
use crate::TrainError;
use crate::ranks::Ranks;
use crate::run::checkpoints;
use crate::run::folder::RunFolder;
use crate::torch::{Layout, device, shim, threads};

/// What the line of the log begins with that says which weights a run began with.
const GIVEN: &str = "start       with the weights of ";

/// What the line of the log begins with that says that a checkpoint was written.
pub(super) const WROTE: &str = "wrote ";

/// Where a process starts from.
pub(super) struct StartingPoint {
    /// The run folder, locked.
    pub folder: RunFolder,
    /// The weights to begin with.
    pub weights: Weights,
    /// Where the run stands.
    pub state: TrainingState,
    /// What the rest is loaded from when a run goes on, ...
    pub checkpoint: Option<Checkpoint>,
    /// ... by the name that it has for the user, and its step.
    pub kept: Option<(PathBuf, u64)>,
    /// The precision, ...
    pub amp: Amp,
    /// ... with the device and the layout of images there.
    pub place: Place,
    /// Whether steps are recorded and replayed.
    pub captures: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Where a process computes: the device, and libtorch set up for it.
pub(crate) struct SetUp {
    /// Where tensors live.
    pub device: Device,
    /// Why it is no GPU, where one was looked for.
    no_gpu: Option<String>,
    /// What the user should know.
    notes: Vec<String>,
    /// Whether steps are recorded and replayed.
    captures: bool,
}

impl SetUp {
    /// Chooses the device and sets libtorch up, for one of several ranks or a run of one process.
    ///
    /// # Errors
    /// When there is no such device, or too little memory.
    pub fn new(options: &Options, plan: &TrainingPlan, ranks: Option<&Ranks>) -> Result<SetUp, TrainError> {
        let (device, no_gpu) = match ranks {
            Some(ranks) => ranks.device(options.device)?,
            None => device::resolve(options.device)?,
        };
        plan.check_memory(options.amp.unwrap_or_default(), !device.is_cuda())?;
        threads::set(options.threads, ranks.map_or(1, |ranks| ranks.place().local_world));
        // Adam's second moments of unused weights decay into numbers that processors are slow with.
        shim::flush_denormals(true)?;
        // The same memory at every step, without asking the system for it each time.
        shim::keep_memory()?;
        let mut notes = match device {
            Device::Cuda(number) => begin_on_gpu(number, options)?,
            _ if options.gpu != Gpu::default() => {
                vec![
                    "warning     the options for GPUs are without effect: this run is on the CPU".to_string(),
                ]
            }
            _ => vec![],
        };
        let wanted = device.is_cuda() && options.gpu.graphs && options.gpu.kernels;
        let captures = wanted && plan.batch.parts() == 1;
        if wanted && !captures {
            notes.push("note        steps in parts are not replayed as a CUDA graph".to_string());
        }
        Ok(SetUp { device, no_gpu, notes, captures })
    }
}

impl StartingPoint {
    /// Chooses the device, sets libtorch up, and makes or opens the run folder.
    ///
    /// # Errors
    /// When the folder or a file is not what the options say, the run was started with other settings, or there is no such
    /// device.
    pub fn find(
        options: &Options,
        plan: &TrainingPlan,
        ranks: Option<&Ranks>,
    ) -> Result<StartingPoint, TrainError> {
        let SetUp { device, no_gpu, notes: gpu_notes, captures } = SetUp::new(options, plan, ranks)?;
        let data = plan.data_digest()?;
        let place = |amp: Amp| Place { device, layout: options.layout, precision: amp.precision() };
        let seed = options.seed.unwrap_or(0);
        let begin = |folder, weights, notes| {
            let (amp, drop_last) = (options.amp.unwrap_or_default(), plan.config.training().drops_last());
            let state = TrainingState { seed, drop_last, shared: plan.shared(), ..TrainingState::default() };
            let (checkpoint, kept, place) = (None, None, place(amp));
            StartingPoint { folder, weights, state, checkpoint, kept, amp, place, captures, notes }
        };
        let mut start = match &options.start {
            Start::Fresh { force, init } => {
                // Before an old run is removed, everything that the new one needs is there.
                let (weights, notes) = match init {
                    None => (Weights::initial(&plan.graph, seed), vec![]),
                    Some(init) => given_weights(init, plan, seed)?,
                };
                begin(RunFolder::create(&options.run, *force)?, weights, notes)
            }
            Start::Latest | Start::Epoch(_) => {
                let is_begun = RunFolder::is_begun(&options.run);
                let folder = RunFolder::open(&options.run)?;
                checkpoints::remove_leftovers(&folder.checkpoints())?;
                if is_begun && options.start == Start::Latest && is_before_the_first(&folder, plan)? {
                    let weights = Weights::initial(&plan.graph, seed);
                    let note = "resume      no checkpoint was written yet: at step 0, with new weights";
                    let mut start = begin(folder, weights, vec![note.to_string()]);
                    start.notes.splice(0..0, gpu_notes);
                    return start.finished(data, no_gpu);
                }
                let (checkpoint, state, passed_over) = match options.start {
                    Start::Epoch(epoch) => {
                        let (checkpoint, state) =
                            checkpoints::open(&folder.checkpoints().join(epoch_name(epoch)))?;
                        checkpoint.verify()?;
                        (checkpoint, state, vec![])
                    }
                    _ => checkpoints::furthest(&folder.checkpoints())?,
                };
                let path = checkpoint.path().to_path_buf();
                let saved = checkpoint.config().unwrap_or(&plan.config);
                let known = if state.data.contains(':') { data.clone() } else { plan.sampled_data_digest()? };
                resume::check(&path, saved, &state, &plan.config, options, &known)?;
                let amp = resume::amp(&path, &state)?;
                let weights = checkpoint.weights(WeightSet::Model, &plan.graph)?;
                let mut notes: Vec<String> =
                    passed_over.iter().map(|error| format!("warning     passed over: {error}")).collect();
                let mut state = state;
                let shared_otherwise = resume::share_anew(plan, &mut state);
                let (step, steps) = (state.step, plan.last_step(&state));
                notes.push(format!("resume      {} at step {step} of {steps}", path.display()));
                notes.extend(shared_otherwise);
                if let Start::Epoch(epoch) = options.start {
                    for (name, now) in checkpoints::go_back(&path, epoch, step)? {
                        notes.push(format!("set aside   {name}, which is further: it is {now} now"));
                    }
                } else if !checkpoints::is_latest(&path, step) {
                    checkpoints::name_latest(&path)?;
                    notes.push(format!("repaired    {LATEST} in that folder, which was not that checkpoint"));
                }
                let kept = Some((path.with_file_name(LATEST), step));
                let checkpoint = Some(checkpoint);
                StartingPoint {
                    folder,
                    weights,
                    state,
                    checkpoint,
                    kept,
                    amp,
                    place: place(amp),
                    captures,
                    notes,
                }
            }
        };
        start.notes.splice(0..0, gpu_notes);
        start.finished(data, no_gpu)
    }

    /// The same with what is known of the data, and why there is no GPU where one was looked for in the log.
    fn finished(mut self, data: String, no_gpu: Option<String>) -> Result<StartingPoint, TrainError> {
        (self.state.data, self.state.amp) = (data, self.amp.to_string());
        if let Some(reason) = no_gpu {
            self.folder.log(&format!("no GPU      {reason}"))?;
        }
        Ok(self)
    }
}

/// Whether the run in a folder ended before its first checkpoint, so that it can only begin again. One that never writes any has
/// got nowhere to go on from, and new weights are not those of a file that it began with.
fn is_before_the_first(folder: &RunFolder, plan: &TrainingPlan) -> Result<bool, TrainError> {
    let saves = plan.config.training().save_model;
    // Where checkpoints were and are gone, what else is told of the run is not cut off.
    if !saves || !checkpoints::is_without(&folder.checkpoints())? || folder.has_said(WROTE)? {
        return Ok(false);
    }
    if folder.has_said(GIVEN)? {
        let message = "holds no checkpoint yet of a run that began with --init: start it again with --force --init FILE";
        return Err(TrainError::Folder { path: folder.path().to_path_buf(), message: message.to_string() });
    }
    Ok(true)
}

impl TrainingPlan {
    /// Reads what a new run would start with, and says what that is.
    ///
    /// # Errors
    /// When the file is not one of this network's weights.
    pub fn check_init(&self, start: &Start) -> Result<Vec<String>, TrainError> {
        match start {
            Start::Fresh { init: Some(init), .. } => Ok(given_weights(init, self, 0)?.1),
            _ => Ok(Vec::new()),
        }
    }
}

/// Sets libtorch up for a GPU, and says what computes there.
fn begin_on_gpu(number: usize, options: &Options) -> Result<Vec<String>, TrainError> {
    let gpu = options.gpu;
    shim::cuda::own_stream(number)?;
    if gpu.deterministic {
        shim::cuda::deterministic()?;
    } else {
        shim::cuda::search_convolutions(gpu.convolution_search)?;
    }
    // A resumed run's precision is known later; it compiles what it wants then.
    let elements: &[Element] = match options.amp.unwrap_or_default() {
        Amp::Off => &[Element::F32],
        Amp::Bf16 => &[Element::F32, Element::Bf16],
        Amp::Fp16 => &[Element::F32, Element::F16],
    };
    let folders = device::compiler_folders();
    let loaded = gpu.kernels.then(|| shim::cuda::load_kernels(number, &folders, elements));
    let kernels = match (loaded, options.layout) {
        (Some(Ok(architecture)), Layout::ChannelsLast) => format!("own, for {architecture}"),
        (Some(Ok(architecture)), Layout::Contiguous) => {
            format!(
                "own, for {architecture}, of averages; libtorch's of norms, since images are not channels-last"
            )
        }
        (Some(Err(reason)), _) => format!("libtorch's, which are slower, and no CUDA graph: {reason}"),
        (None, _) => "libtorch's, and no CUDA graph".to_string(),
    };
    let mut notes = vec![format!("kernels     {kernels}")];
    if gpu.deterministic {
        notes.push("algorithms  only those that give the same bits every time".to_string());
    }
    Ok(notes)
}

/// The networks whose weights a run can begin with: one, of fine-tuning the denoiser, or both halves of a SODA.
fn wanted_networks(config: &RunConfig) -> Vec<Architecture> {
    match config {
        RunConfig::Diffusion(config) => vec![config.network.clone()],
        RunConfig::Classifier(config) => match config.network.fine_tuned() {
            Some(tuned) => vec![(*tuned.denoiser).clone()],
            None => vec![config.network.clone()],
        },
        RunConfig::Soda(config) => {
            let SodaConfig { encoder, decoder } = config.networks.clone();
            vec![encoder.into(), DecoderConfig(decoder).into()]
        }
    }
}

/// The weights of another run, or of a file of others, for a new run; and what was taken. A head that the file cannot have is
/// new, of this seed.
fn given_weights(init: &Init, plan: &TrainingPlan, seed: u64) -> Result<(Weights, Vec<String>), TrainError> {
    let path = init.file.as_path();
    let networks = wanted_networks(&plan.config);
    let wanted = if let [only] = &*networks { Some(only.net_type()) } else { None };
    let checkpoint = Checkpoint::open(path)?;
    let saved = checkpoint.config();
    let of_file = saved.and_then(RunConfig::network).map(Architecture::net_type);
    // Names and shapes do not tell all networks apart: those of UNetC and UNetE are the same.
    if let (Some(saved), Some(given)) = (of_file, wanted)
        && saved != given
    {
        let shown = path.display();
        return Err(TrainError::Argument(format!(
            "--init {shown}: it holds the weights of net_type {saved}, and the configuration says net_type {given}"
        )));
    }
    let tuned = plan.config.classifier().and_then(|config| config.network.fine_tuned());
    let backbone = tuned.map(FineTunedConfig::backbone).transpose()?;
    let graph = backbone.as_ref().unwrap_or(&plan.graph);
    let is_wanted = |family: &Family| networks.iter().any(|network| network.is_of(family));
    let (weights, taken) = match checkpoint.choose(init.weights.as_ref(), "--init-weights", is_wanted)? {
        Some(set) => (checkpoint.weights_of(set, graph, &NameMap::new())?, set.to_string()),
        // Names that only the whole graph knows.
        None => {
            let set = checkpoint.weight_sets().first().copied().unwrap_or_default();
            (checkpoint.weights(set, graph)?, checkpoint.layout().to_string())
        }
    };
    let weights = match backbone {
        None => weights,
        Some(_) => {
            let mut whole = Weights::initial(&plan.graph, seed);
            weights.into_iter().for_each(|(name, tensor)| whole.insert(name, tensor));
            whole
        }
    };
    let shown = path.display();
    let mut note = format!("{GIVEN}{shown}: {taken}");
    // What a file of others does not say is taken from the configuration.
    if let (None, Some(given)) = (saved, wanted) {
        note.push_str(&format!(", taken as those of net_type {given}"));
    }
    let passed_over = init.passed_over.iter().map(|error| format!("warning     passed over: {error}"));
    Ok((weights, passed_over.chain([note]).collect()))
}
