//! Where weights and configuration come from: a checkpoint, a run folder, a folder of diffusers, or a plain file of
//! weights, which is recognised by its names and shapes.

mod diffusers;
mod edm;
mod locate;

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ddae_checkpoint::{Checkpoint, LayoutKind, NameMap, WeightSet};
use ddae_model::config::{
    AnyConfig, ChannelStatistics, DdpmConfig, EdmConfig, ModelConfig, Override, Preconditioner,
    ProcessConfig, RunConfig, Timesteps,
};
use ddae_model::graph::{Graph, Init, Op, Path as GraphPath};
use ddae_model::networks::recognition::{Found, Given, Names, Shapes, find, name_map};
use ddae_model::networks::{
    Architecture, AttentionNames, DIFFUSERS, Family, HeadsGiven, PublishedProcess, Role,
};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::GraphKind;

use self::diffusers::DiffusersFolder;
use self::locate::{Located, locate};
use crate::ExportError;

/// How far the values of a stored table may be from its formula's: filters are made of small whole numbers.
const TABLE_TOLERANCE: f32 = 1e-6;

/// What is said about a file beside its path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightOptions {
    /// A configuration file, in place of what the file holds or tells.
    pub config: Option<PathBuf>,
    /// Single keys of the configuration.
    pub overrides: Vec<Override>,
    /// Which weights, where the file has several sets [default: the moving average, where there is one].
    pub weights: Option<WeightSet>,
    /// The graph that is wanted: which network of several is taken.
    pub kind: GraphKind,
    /// Height and width of the images.
    pub image_size: Option<[usize; 2]>,
    /// Number of attention heads.
    pub heads: Option<usize>,
    /// Channels of an attention head.
    pub head_channels: Option<usize>,
    /// The diffusion process, as published.
    pub process: Option<ProcessName>,
    /// Means and deviations of the images that an encoder was trained on.
    pub normalisation: Option<ChannelStatistics>,
}

/// A process with the values of the published configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProcessName {
    /// 1000 timesteps, variances from 1e-4 to 0.02
    Ddpm,
    /// Sigma from 0.002 to 80, data of deviation 0.5
    Edm,
    /// As edm, of a network that finds the noise and is told of 1000 timesteps (a SongUNet in EDM's VPPrecond)
    Vp,
    /// As edm, of a network that is told the noise level as it is (a SongUNet in EDM's VEPrecond)
    Ve,
}

impl ProcessName {
    /// The process of a network that counts timesteps so.
    fn published(self, timesteps: Timesteps) -> ProcessConfig {
        match self {
            ProcessName::Ddpm => ProcessConfig::Ddpm(DdpmConfig::published(timesteps)),
            ProcessName::Edm => ProcessConfig::Edm(EdmConfig::published()),
            ProcessName::Vp => ProcessConfig::Edm(EdmConfig {
                preconditioning: Preconditioner::Vp,
                ..EdmConfig::published()
            }),
            // Its own least noise level is 0.02.
            ProcessName::Ve => ProcessConfig::Edm(EdmConfig {
                preconditioning: Preconditioner::Ve,
                sigma_min: 0.02,
                ..EdmConfig::published()
            }),
        }
    }
}

/// An open checkpoint with its configuration.
pub struct WeightSource {
    /// The file.
    pub checkpoint: Checkpoint,
    /// The configuration, overrides applied: of a training run, or of what was recognised.
    pub config: AnyConfig,
    /// The network and its process, out of the configuration, with what was given beside it.
    pub model: ModelConfig,
    /// The network as it was trained, where images of another size were asked for.
    pub trained: Architecture,
    /// What the network is, in a sentence.
    pub found: String,
    /// Files of the run folder that cannot be read, a line each.
    pub passed_over: Vec<String>,
    /// Which of its weights.
    set: WeightSet,
    names: NameMap,
    /// Tensors of the network in the file that the network as it was trained does not have.
    unused: Vec<String>,
}

impl WeightOptions {
    /// A configuration for images of the wanted size.
    ///
    /// # Errors
    /// When the network cannot have it.
    pub fn resized(&self, config: AnyConfig) -> Result<AnyConfig, ExportError> {
        let Some(size) = self.image_size else { return Ok(config) };
        config.resized(size).map_err(|message| ExportError::Argument(format!("--image-size: {message}")))
    }
}

impl WeightSource {
    /// Opens `path`, a checkpoint, a file of weights, a run folder (whose furthest checkpoint is taken) or a folder of
    /// diffusers. The configuration is the one given, else what the checkpoint holds, else `config.yaml` of its run
    /// folder, else what the names and shapes of the weights tell.
    ///
    /// # Errors
    /// When there is no checkpoint, when its network is not known, when something is missing that the weights do not
    /// tell, or when options contradict the file.
    pub fn open(path: &Path, options: &WeightOptions) -> Result<WeightSource, ExportError> {
        let located = locate(path, options.kind)?;
        let set = weight_set(&located.checkpoint, options.weights)?;
        let shapes = located.checkpoint.shapes(set)?;
        let configured = configured(&located, options)?;
        let Located { checkpoint, passed_over, diffusers, .. } = located;
        let (config, names, found) = match configured {
            Some(config) => {
                let architecture = config.model_for(options.kind).architecture;
                let (family, found) = (names_for(&shapes, &architecture), architecture.describe());
                (config, family, found)
            }
            None => recognised(&checkpoint, set, &shapes, &diffusers, options)?,
        };
        let trained = config.model_for(options.kind).architecture;
        let unused = trained.unused(names, &shapes)?.into_iter().map(str::to_string).collect();
        let config = options.resized(config)?;
        let model = completed(config.model_for(options.kind), options)?;
        // What was given is part of what a file says of itself.
        let config = match config {
            AnyConfig::Model(_) => model.clone().into(),
            AnyConfig::Run(RunConfig::Soda(mut run)) => {
                run.normalisation = options.normalisation.clone().or(run.normalisation);
                AnyConfig::Run(RunConfig::Soda(run))
            }
            training => training,
        };
        let names = name_map(names, &model.architecture)?;
        Ok(WeightSource { checkpoint, config, model, trained, found, passed_over, set, names, unused })
    }

    /// The parameters and buffers of a graph. Only they are read.
    ///
    /// # Errors
    /// The first that is missing, or of another shape or type.
    pub fn weights(&self, graph: &Graph) -> Result<Weights, ExportError> {
        Ok(self.checkpoint.mapped_weights(self.set, graph, &self.names)?)
    }

    /// Refuses weights that the network, as it is recognised or configured, does not use: it would be exported as another
    /// network than the file's.
    ///
    /// # Errors
    /// With the name of the first.
    pub fn check_whole(&self) -> Result<(), ExportError> {
        self.check_tables()?;
        let Some(first) = self.unused.first() else { return Ok(()) };
        let others = match self.unused.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} other tensor{}", if n == 1 { "" } else { "s" }),
        };
        let message = format!(
            "it holds '{}'{others}, which {} does not have ({}): that would be another network than the file's. Give the \
             right configuration with --config FILE or --set KEY=VALUE, if there is one",
            first.escape_debug(),
            self.trained.name(),
            self.trained.describe()
        );
        Err(ExportError::unusable(self.checkpoint.path(), message))
    }

    /// Refuses tables in the file that have other values than the network's formulas, where those are computed with: the
    /// filters of a SongUNet.
    fn check_tables(&self) -> Result<(), ExportError> {
        let network = self.trained.network_graph(true)?;
        let users = network.users();
        for (value, node) in network.parameters() {
            let Op::Parameter { init: Init::Values(formula), trained: false } = &node.op else { continue };
            if users.count(value) > 0 {
                continue;
            }
            let mut alone = Graph::new();
            alone.buffer(&GraphPath::root().at(&node.name), &node.shape.resolve(1), Init::Zeros)?;
            // A file without them leaves nothing to compare.
            let Ok(stored) = self.weights(&alone) else { continue };
            let stored = stored.get(&node.name).and_then(|tensor| tensor.as_f32()).unwrap_or_default();
            let is_formula = stored.iter().zip(formula.iter()).all(|(a, b)| (a - b).abs() <= TABLE_TOLERANCE);
            if !is_formula {
                let message = format!(
                    "its '{}' has other values than {} has: that would be another network than the file's",
                    node.name.escape_debug(),
                    self.trained.describe()
                );
                return Err(ExportError::unusable(self.checkpoint.path(), message));
            }
        }
        Ok(())
    }

    /// Which weights these are, where the file has several sets.
    pub fn weight_set(&self) -> Option<WeightSet> {
        (self.checkpoint.layout().kind() != LayoutKind::StateDict).then_some(self.set)
    }

    /// A name for the run: that of its folder, else that of the file.
    pub fn run_name(&self) -> String {
        let path =
            fs::canonicalize(self.checkpoint.path()).unwrap_or_else(|_| self.checkpoint.path().to_path_buf());
        let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = stem.trim_end_matches(".index.json");
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        // Folders whose names say more than the file's; those that say nothing themselves are passed by.
        let is_plain = |name: &str| matches!(name, "checkpoints" | "unet" | "vae");
        let folders = path.ancestors().skip(1).filter_map(Path::file_name).map(|name| name.to_string_lossy());
        let mut folders = folders.peekable();
        let in_folder =
            stem == "diffusion_pytorch_model" || folders.peek().is_some_and(|name| name == "checkpoints");
        let folder = folders.find(|name| !is_plain(name)).filter(|_| in_folder);
        match folder {
            Some(folder) => folder.into_owned(),
            None if stem.is_empty() => "network".to_string(),
            None => stem.to_string(),
        }
    }
}

/// The set that is taken.
fn weight_set(checkpoint: &Checkpoint, asked: Option<WeightSet>) -> Result<WeightSet, ExportError> {
    if let (LayoutKind::StateDict, Some(set)) = (checkpoint.layout().kind(), asked) {
        let (set, path) = (set.name(), checkpoint.path().display());
        let message = format!("--weights {set}: {path} is a plain file of weights and holds only one set");
        return Err(ExportError::Argument(message));
    }
    Ok(asked.or_else(|| checkpoint.weight_sets().first().copied()).unwrap_or_default())
}

/// The configuration of a file that has one.
fn configured(located: &Located, options: &WeightOptions) -> Result<Option<AnyConfig>, ExportError> {
    let overrides = &options.overrides;
    let config = match (&options.config, located.checkpoint.config(), &located.config) {
        (Some(path), _, _) => AnyConfig::read(path, overrides)?,
        (None, Some(own), _) => {
            AnyConfig::parse(&own.to_yaml(), "the checkpoint's configuration", overrides)?
        }
        (None, None, Some(path)) => AnyConfig::read(path, overrides)?,
        (None, None, None) => return Ok(None),
    };
    for (option, is_given, key) in [
        ("--heads", options.heads.is_some(), "network.num_heads"),
        ("--head-channels", options.head_channels.is_some(), "network.attn_channels_per_head"),
    ] {
        if is_given {
            let message =
                format!("{option} is for weights without a configuration; here, give --set {key}=N");
            return Err(ExportError::Argument(message));
        }
    }
    Ok(Some(config))
}

/// How the file names a network that is known already.
fn names_for(shapes: &Shapes, architecture: &Architecture) -> Names {
    let all = shapes.iter().map(|(name, _)| name);
    match (find(shapes).as_deref(), architecture) {
        (Ok([found]), Architecture::UNet(_)) if *found.family == DIFFUSERS => {
            Names::DiffusersUNet(AttentionNames::among(all))
        }
        (_, Architecture::VaeEncoder(_)) if Names::is_older_vae(shapes) => Names::OlderVae,
        _ => Names::Published,
    }
}

/// What the names and shapes of the weights tell.
fn recognised(
    checkpoint: &Checkpoint,
    set: WeightSet,
    shapes: &Shapes,
    folder: &DiffusersFolder,
    options: &WeightOptions,
) -> Result<(AnyConfig, Names, String), ExportError> {
    let wrong = |source| ExportError::Recognise { path: checkpoint.path().to_path_buf(), source };
    let all = find(shapes).map_err(wrong)?;
    let found = chosen(checkpoint, &all, options.kind)?;
    let WeightOptions { image_size, heads, head_channels, .. } = *options;
    check_heads(found.family, options)?;
    let is_diffusers = *found.family == DIFFUSERS;
    let diffusers = if is_diffusers { folder.unet(image_size)? } else { None };
    if let (Some(_), Some(_)) = (head_channels, &diffusers) {
        let message = "--head-channels: the config.json beside the weights tells them (attention_head_dim)";
        return Err(ExportError::argument(message));
    }
    let is_guessed = is_diffusers && diffusers.is_none();
    let given = Given { image_size, heads, head_channels, diffusers };
    let mut recognised = found.recognise(shapes, &given).map_err(wrong)?;
    if let Architecture::VaeEncoder(config) = &mut recognised.architecture {
        folder.adapt_autoencoder(config)?;
    }
    let mut pickled = None;
    if let Architecture::SongUNet(config) = &mut recognised.architecture {
        let root = format!("{}{}", checkpoint.layout().root(set).unwrap_or_default(), recognised.prefix);
        let said = edm::network(checkpoint.modules(), &root, config)
            .map_err(|message| ExportError::unusable(checkpoint.path(), message))?;
        if let Some(edm::Pickled { config: made, wrapper }) = said {
            *config = made;
            pickled = wrapper;
        }
    }
    let mut sentence = recognised.describe();
    let pickled = pickled.map(|(class, process)| {
        sentence.push_str(&format!(", preconditioned by {class}"));
        process
    });
    if is_guessed {
        sentence.push_str(", taken for one of Google's DDPMs (no config.json is beside it)");
    }
    let needs_process = matches!(options.kind, GraphKind::Features | GraphKind::Sampler);
    let process = match (found.family.process, options.process) {
        _ if pickled.is_some() => pickled,
        (PublishedProcess::One(process), _) => Some(process()),
        (PublishedProcess::Several, None) if is_diffusers && needs_process => folder.process()?,
        (PublishedProcess::Several, Some(ddpm @ ProcessName::Ddpm)) if is_diffusers => {
            Some(ddpm.published(Timesteps::Index))
        }
        (PublishedProcess::Several | PublishedProcess::None, _) => None,
    };
    let model = ModelConfig { architecture: recognised.architecture, process, normalisation: None };
    let config = AnyConfig::parse(&model.to_yaml(), "what the weights tell", &options.overrides)?;
    Ok((config, recognised.names, sentence))
}

/// Refuses numbers of heads for networks that have none to be told.
fn check_heads(family: &Family, options: &WeightOptions) -> Result<(), ExportError> {
    for (option, is_given, given, of) in [
        ("--heads", options.heads.is_some(), HeadsGiven::Number, "a DiT"),
        ("--head-channels", options.head_channels.is_some(), HeadsGiven::Channels, "UNets"),
    ] {
        if is_given && family.heads != given {
            let message = format!("{option} is for {of}; this is {}", family.name);
            return Err(ExportError::Argument(message));
        }
    }
    Ok(())
}

/// The network among several from which the wanted graph can be made.
fn chosen<'f>(
    checkpoint: &Checkpoint,
    found: &'f [Found],
    wanted: GraphKind,
) -> Result<&'f Found, ExportError> {
    let mut fitting: Vec<&Found> =
        found.iter().filter(|found| found.family.kinds.contains(&wanted)).collect();
    if wanted == GraphKind::Network && fitting.len() > 1 {
        // An encoder has a kind of its own.
        fitting.retain(|found| !found.family.kinds.contains(&GraphKind::Encoder));
    }
    match (&*fitting, found) {
        ([only], _) => Ok(*only),
        ([], [only]) => Ok(only),
        (several, all) => {
            let names = |found: &[&Found]| {
                let names = found.iter().map(|found| format!("{} ('{}')", found.family.name, found.prefix));
                names.collect::<Vec<_>>().join(", ")
            };
            let kind = wanted.name();
            let message = match several {
                [] => {
                    let all = names(&all.iter().collect::<Vec<_>>());
                    format!("it holds {all}, and none has a graph of kind {kind}")
                }
                several => {
                    let several = names(several);
                    format!("it holds {several}: several for a graph of kind {kind}; give --config FILE")
                }
            };
            Err(ExportError::unusable(checkpoint.path(), message))
        }
    }
}

/// The model with the process and normalisation that are given.
fn completed(mut model: ModelConfig, options: &WeightOptions) -> Result<ModelConfig, ExportError> {
    let name = model.architecture.name();
    match (options.process, &model.process) {
        (None, _) => {}
        (Some(given), Some(known)) => {
            let timesteps = match known {
                ProcessConfig::Ddpm(known) => known.timesteps,
                ProcessConfig::Edm(_) => Timesteps::Fraction,
            };
            // What is said again is no contradiction.
            if given.published(timesteps) != *known {
                return Err(ExportError::argument(
                    "--process: the process is known already; change it with --set diffusion.KEY=VALUE",
                ));
            }
        }
        (Some(_), None) if model.architecture.denoiser().is_err() => {
            return Err(ExportError::Argument(format!("--process: {name} has none")));
        }
        (Some(given), None) => model.process = Some(given.published(Timesteps::Fraction)),
    }
    if let Some(normalisation) = &options.normalisation {
        if !matches!(model.architecture.network().role(), Role::Encoder(_)) {
            return Err(ExportError::Argument(format!("--statistics is for encoders; this is {name}")));
        }
        model.normalisation = Some(normalisation.clone());
    }
    Ok(model)
}
