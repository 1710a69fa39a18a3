//! Where weights and configuration come from: a checkpoint, a run folder, a folder of diffusers, or a plain file of
//! weights, which is recognised by its names and shapes.

mod diffusers;
mod edm;
mod locate;
mod scheduler;
mod taken;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ddae_checkpoint::{Checkpoint, NameMap, WeightChoice, WeightSet, names_average, words};
use ddae_model::config::{
    AnyConfig, ChannelStatistics, DdpmConfig, EdmConfig, ModelConfig, Override, Preconditioner,
    ProcessConfig, RunConfig, Timesteps,
};
use ddae_model::graph::{Graph, Init, Op, Path as GraphPath};
use ddae_model::networks::recognition::{
    Found, Given, Names, RecogniseError, Shapes, find, name_map, refuse_foreign,
};
use ddae_model::networks::{
    Architecture, AttentionNames, DIFFUSERS, Family, HeadsGiven, PublishedProcess, Role,
};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::GraphKind;

use self::diffusers::DiffusersFolder;
use self::locate::{CACHED, Chosen, Located, SNAPSHOTS, locate};
use self::taken::{Taken, chosen, unrecognised};
use self::variants::STEM;
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
    pub weights: Option<WeightChoice>,
    /// The graph that is wanted: which network of several is taken.
    pub kind: GraphKind,
    /// Height and width of the images.
    pub image_size: Option<[usize; 2]>,
    /// Number of attention heads.
    pub heads: Option<usize>,
    /// Channels of an attention head.
    pub head_channels: Option<usize>,
    /// Classes that a DiT knows.
    pub classes: Option<usize>,
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
    taken: Taken,
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
        let located = locate(path, options)?;
        let configured = configured(&located, options)?;
        let Located { checkpoint, passed_over, diffusers, chosen: of_folder, asked, .. } = located;
        let asked = asked.as_ref();
        let (config, names, found, taken, shapes) = match configured {
            Some(config) => {
                let architecture = config.model_for(options.kind).architecture;
                let taken = Taken::from(&checkpoint, asked, |family| architecture.is_of(family))?;
                let shapes = checkpoint.shapes_below(&taken.root);
                refuse_foreign(&shapes, |family| architecture.is_of(family))
                    .map_err(|source| unrecognised(&checkpoint, source))?;
                let (family, found) = (names_for(&shapes, &architecture), architecture.describe());
                (config, family, found, taken, shapes)
            }
            None => {
                let family = chosen(&checkpoint, asked, options.kind)?;
                let taken = Taken::from(&checkpoint, asked, |found| found == family)?;
                let shapes = checkpoint.shapes_below(&taken.root);
                let (config, names, found) =
                    recognised(&checkpoint, family, &taken.root, &shapes, &diffusers, options)?;
                (config, names, found, taken, shapes)
            }
        };
        // Of a folder of several, names of folders and files say what the file does not.
        let taken = match of_folder {
            Some(Chosen { name, role, is_asked }) => Taken {
                told: role.or(taken.told),
                named: is_asked.then(|| name.clone()).or(taken.named),
                folder: Some(name),
                ..taken
            },
            None => taken,
        };
        let trained = config.model_for(options.kind).architecture;
        let unused = trained.unused(names, &shapes)?.into_iter().map(str::to_string).collect();
        let config = options.resized(config)?;
        let model = completed(config.model_for(options.kind), options)?;
        // What is exported is what is described, at its size.
        let found = found.replacen(&trained.describe(), &model.architecture.describe(), 1);
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
        Ok(WeightSource { checkpoint, config, model, trained, found, passed_over, taken, names, unused })
    }

    /// The parameters and buffers of a graph. Only they are read.
    ///
    /// # Errors
    /// The first that is missing, or of another shape or type.
    pub fn weights(&self, graph: &Graph) -> Result<Weights, ExportError> {
        let Taken { set, .. } = &self.taken;
        Ok(match self.checkpoint.sets().iter().find(|known| Some(known.prefix()) == set.as_deref()) {
            Some(set) => self.checkpoint.weights_of(set, graph, &self.names)?,
            None => self.checkpoint.mapped_weights(self.taken.kind(), graph, &self.names)?,
        })
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

    /// Which weights these are, where the file tells averages from others.
    pub fn weight_set(&self) -> Option<WeightSet> {
        self.taken.told
    }

    /// What stands before the names of these weights in the file, or the folder that they were chosen by; nothing for bare
    /// names.
    pub fn weights_name(&self) -> Option<&str> {
        let prefix = self.taken.set.as_deref().map(|prefix| prefix.trim_end_matches('.'));
        self.taken.folder.as_deref().or(prefix).filter(|name| !name.is_empty())
    }

    /// The name by which these weights were asked for, as a part of a file's name.
    pub fn named(&self) -> Option<String> {
        let name = match self.taken.named.as_deref()? {
            "" => "bare",
            name => name,
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' };
        Some(name.trim_end_matches('.').chars().map(plain).collect())
    }

    /// A name for the run: that of its folder, else that of the file.
    pub fn run_name(&self) -> String {
        // In a cache of Hugging Face, files are links to others whose names are their digests.
        let given = self.checkpoint.path();
        let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
        let is_cached = folder.as_ref().is_ok_and(|folder| folder.iter().any(|part| part == SNAPSHOTS));
        let path = match (folder, given.file_name()) {
            (Ok(folder), Some(name)) if is_cached => folder.join(name),
            _ => fs::canonicalize(given).unwrap_or_else(|_| given.to_path_buf()),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.as_str();
        let stem = stem.split_once(".index.").map_or(stem, |(stem, _)| stem);
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        // Of which precision the file is says its content.
        let stem = if stem.starts_with(STEM) { STEM } else { stem };
        // Folders whose names say more than the file's; those that say nothing themselves are passed by.
        let is_plain = |name: &str| {
            let is_revision = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_part = |word: &str| matches!(word, "unet" | "vae");
            let is_chosen =
                || self.taken.folder.as_ref().and_then(|chosen| chosen.split('/').next()) == Some(name);
            let is_average =
                names_average(name) && (words(name).iter().any(|word| is_part(word)) || is_chosen());
            is_revision || is_part(name) || is_average || name == "checkpoints" || name == SNAPSHOTS
        };
        let folders = path.ancestors().skip(1).filter_map(Path::file_name).map(|name| name.to_string_lossy());
        let mut folders = folders.peekable();
        let in_folder = stem == STEM || folders.peek().is_some_and(|name| name == "checkpoints");
        let folder = folders.find(|name| !is_plain(name)).filter(|_| in_folder);
        match folder {
            Some(folder) => match folder.strip_prefix(CACHED) {
                Some(repository) => repository.rsplit("--").next().unwrap_or(repository).to_string(),
                None => folder.into_owned(),
            },
            None if stem.is_empty() => "network".to_string(),
            None => stem.to_string(),
        }
    }
}

/// Channels of the latents of `sd-vae-ft-mse`, and the key of what they are multiplied by.
const PUBLISHED_LATENTS: usize = 4;
const SCALING_FACTOR: &str = "network.scaling_factor";

/// Classes of the published DiTs, which have a label more for none.
const PUBLISHED_CLASSES: usize = 1000;

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
        ("--classes", options.classes.is_some(), "network.num_classes"),
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
    let found = find(shapes).unwrap_or_default();
    let is_own = |found: &&Found| found.prefix.is_empty();
    let own = if let [only] = &*found { Some(only) } else { found.iter().find(is_own) };
    match (own, architecture) {
        (Some(found), Architecture::UNet(_)) if *found.family == DIFFUSERS => {
            Names::DiffusersUNet(AttentionNames::among(all))
        }
        (_, Architecture::VaeEncoder(_)) => Names::of_vae(shapes),
        _ => Names::Published,
    }
}

/// What the names and shapes of the weights tell.
fn recognised(
    checkpoint: &Checkpoint,
    family: &'static Family,
    root: &str,
    shapes: &Shapes,
    folder: &DiffusersFolder,
    options: &WeightOptions,
) -> Result<(AnyConfig, Names, String), ExportError> {
    let wrong = |source| unrecognised(checkpoint, source);
    let found = Found { family, prefix: String::new() };
    let WeightOptions { image_size, heads, head_channels, classes, .. } = *options;
    check_heads(found.family, options)?;
    let is_diffusers = *found.family == DIFFUSERS;
    let diffusers = if is_diffusers { folder.unet(image_size)? } else { None };
    if let (Some(_), Some(_)) = (head_channels, &diffusers) {
        let message = "--head-channels: the config.json beside the weights tells them (attention_head_dim)";
        return Err(ExportError::argument(message));
    }
    let is_guessed = is_diffusers && diffusers.is_none();
    let given = Given { image_size, heads, head_channels, classes, diffusers };
    let mut recognised = found.recognise(shapes, &given).map_err(wrong)?;
    if let Architecture::VaeEncoder(config) = &mut recognised.architecture {
        folder.adapt_autoencoder(config)?;
        let is_told = folder.has_config() || options.overrides.iter().any(|key| key.sets(SCALING_FACTOR));
        if !is_told && config.latent_channels != PUBLISHED_LATENTS {
            return Err(wrong(RecogniseError::Incomplete {
                found: format!("a latent encoder of {} channels", config.latent_channels),
                what: "what its latents are multiplied by",
                option: "--set network.scaling_factor=N, where there is no shift_factor",
            }));
        }
    }
    let mut pickled = None;
    if let Architecture::SongUNet(config) = &mut recognised.architecture {
        let root = format!("{root}{}", recognised.prefix);
        let said = edm::network(checkpoint.modules(), &root, config)
            .map_err(|message| ExportError::unusable(checkpoint.path(), message))?;
        if let Some(edm::Pickled { config: made, wrapper }) = said {
            *config = made;
            pickled = wrapper;
        }
    }
    // What is assumed is said.
    let assumed = match &recognised.architecture {
        _ if is_guessed => ", taken for one of Google's DDPMs (no config.json is beside it)",
        Architecture::VaeEncoder(config) if !folder.has_config() => match config.use_quant_conv {
            true => ", groups and scaling taken for those of sd-vae-ft-mse (no config.json is beside it)",
            false => {
                ", with no quant_conv, groups and scaling taken for those of sd-vae-ft-mse (no config.json is beside it)"
            }
        },
        Architecture::DiT(config) if !config.null_label && classes.is_none() => {
            ", its one label taken for that of all images"
        }
        Architecture::DiT(config) if config.num_classes != PUBLISHED_CLASSES && classes.is_none() => {
            ", its last label taken for 'no label' (--classes N says otherwise)"
        }
        _ => "",
    };
    let mut sentence = format!("{}{assumed}", recognised.describe());
    let pickled = pickled.map(|(class, process)| {
        sentence.push_str(&format!(", preconditioned by {class}"));
        process
    });
    let needs_process = matches!(options.kind, GraphKind::Features | GraphKind::Sampler);
    if let (true, Some(given)) = (is_diffusers, options.process)
        && let Some(other) = folder.other_than(&given.published(Timesteps::Index))
    {
        sentence.push_str(&format!(", {other} (--process)"));
    }
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
    // What is described is what keys were set to.
    let changed = config.model_for(options.kind).architecture.describe();
    let sentence = sentence.replacen(&model.architecture.describe(), &changed, 1);
    Ok((config, recognised.names, sentence))
}

/// Refuses numbers of heads for networks that have none to be told.
fn check_heads(family: &Family, options: &WeightOptions) -> Result<(), ExportError> {
    for (option, is_given, given, of) in [
        ("--heads", options.heads.is_some(), HeadsGiven::Number, "a DiT"),
        ("--classes", options.classes.is_some(), HeadsGiven::Number, "a DiT"),
        ("--head-channels", options.head_channels.is_some(), HeadsGiven::Channels, "UNets"),
    ] {
        if is_given && family.heads != given {
            let message = format!("{option} is for {of}; this is {}", family.name);
            return Err(ExportError::Argument(message));
        }
    }
    Ok(())
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
        (Some(_), None)
            if model.architecture.denoiser().is_err() && model.architecture.classifier().is_err() =>
        {
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
