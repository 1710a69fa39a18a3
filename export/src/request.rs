//! From what is asked for to a graph.

use ddae_model::config::{AnyConfig, ModelConfig};
use ddae_model::diffusion::{
    ClassifierOptions, FeatureOptions, classifier_graph, encoder_graph, feature_layers, latent_graph,
    loss_graph, model_features_graph, model_sampler_graph,
};
use ddae_model::graph::{Graph, GraphError};
use ddae_model::networks::{Architecture, Classifier, Role};
use ddae_onnx::metadata::{GraphKind, Pixels, TapDescription};

use crate::ExportError;

/// The name that stands for every layer.
const ALL_TAPS: &str = "all";

/// The output of an `encoder` graph.
const CODE: &str = "z";

/// The graph that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphRequest {
    /// What it computes.
    pub kind: GraphKind,
    /// Intermediate layers (`out_6`), or `all`.
    pub taps: Vec<String>,
    /// A timestep that is fixed in the graph.
    pub timestep: Option<i64>,
    /// Whether images in [0, 1] come as bytes.
    pub input_u8: bool,
    /// Whether it takes the network's labels.
    pub label: bool,
    /// Whether a code is divided by its length.
    pub unit_length: bool,
    /// Whether the layers of a `features` graph are given as maps, and not their means.
    pub unpooled: bool,
}

/// An option, the kinds of graphs that it means something to, and whether a request has it.
type KindOption = (&'static str, &'static [GraphKind], fn(&GraphRequest) -> bool);

const OPTIONS: [KindOption; 6] = {
    use GraphKind::{Classifier, Encoder, Features, Latent, Loss, Network};
    [
        ("--timestep", &[Features, Classifier], |request| request.timestep.is_some()),
        ("--input u8", &[Features, Encoder, Latent, Classifier, Loss], |request| request.input_u8),
        ("--label", &[Network, Features], |request| request.label),
        ("--normalise", &[Encoder], |request| request.unit_length),
        ("--taps", &[Network, Features], |request| !request.taps.is_empty()),
        ("--unpooled", &[Features], |request| request.unpooled),
    ]
};

/// Kinds as a sentence lists them: `features, encoder or latent`.
fn either(kinds: &[GraphKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

impl GraphRequest {
    /// Completes the request: a `classifier` graph of a network that was fine-tuned at one timestep has it built in; without
    /// layers, a `features` graph gives the one of the configuration's linear probe, and
    /// that of Inception its last; `all` becomes every layer.
    ///
    /// # Errors
    /// [`ExportError::Argument`] for a kind of graph that the network does not have, or lacks something for, and for
    /// options that the kind does not have; an unknown layer with the list of those there are.
    pub(crate) fn resolve(&mut self, config: &AnyConfig) -> Result<(), ExportError> {
        let (kind, model) = (self.kind, config.model_for(self.kind));
        let network = &model.architecture;
        self.check_kind(&model)?;
        for (option, kinds, is_given) in OPTIONS {
            if is_given(self) && !kinds.contains(&kind) {
                let message = format!("{option} is for --graph {}, not {}", either(kinds), kind.name());
                return Err(ExportError::Argument(message));
            }
        }
        if self.label && kind == GraphKind::Features && network.denoiser().is_ok_and(|n| n.classes() == 0) {
            let name = network.name();
            return Err(ExportError::Argument(format!(
                "--label: {name} is told of no class in a features graph"
            )));
        }
        if self.label && network.network().labels().is_empty() {
            let reason = match network.unet() {
                Some(_) => "this network has no augmentation label (augment_dim is 0)".to_string(),
                None => format!("{} takes no label", network.name()),
            };
            return Err(ExportError::Argument(format!("--label: {reason}")));
        }
        if kind == GraphKind::Classifier && self.timestep.is_none() {
            self.timestep = network.classifier().ok().and_then(Classifier::timestep);
        }
        self.resolve_taps(config, network)
    }

    /// Refuses kinds of graphs that cannot be made. Whether there is a loss depends on the run, not on the network.
    fn check_kind(&self, model: &ModelConfig) -> Result<(), ExportError> {
        let (kind, network) = (self.kind.name(), &model.architecture);
        let kinds = network.kinds();
        let message = match (self.kind, network.network().role()) {
            (GraphKind::Loss, _) => return Ok(()),
            (asked, _) if !kinds.contains(&asked) => {
                let known: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let (name, known) = (network.name(), known.join(", "));
                format!("--graph {kind}: this is {name}, which has graphs of kind {known}")
            }
            (GraphKind::Features | GraphKind::Sampler, Role::Denoiser(_)) if model.process.is_none() => {
                format!(
                    "--graph {kind} needs the diffusion process, which the weights do not tell: give --config FILE, or \
                     --process NAME for a published one"
                )
            }
            (GraphKind::Classifier, _) if model.process.is_none() => {
                "--graph classifier needs the process that noised the images, which the weights do not tell: give --process \
                 ddpm or edm, or --config FILE"
                    .to_string()
            }
            (GraphKind::Encoder, _) if model.normalisation.is_none() => {
                "--graph encoder needs means and standard deviations of the training images, which the weights do not \
                 tell: give --statistics cifar10, cifar100 or tiny, or M,M,M/S,S,S"
                    .to_string()
            }
            _ => return Ok(()),
        };
        Err(ExportError::Argument(message))
    }

    fn resolve_taps(&mut self, config: &AnyConfig, network: &Architecture) -> Result<(), ExportError> {
        let is_features = self.kind == GraphKind::Features;
        let layers: Vec<String> = match is_features {
            true => feature_layers(network)?.into_iter().map(|(name, _)| name).collect(),
            false => network.network_graph(self.label)?.taps().iter().map(|(name, _)| name.clone()).collect(),
        };
        if self.taps.iter().any(|tap| tap == ALL_TAPS) {
            self.taps = layers.clone();
        }
        if is_features && self.taps.is_empty() {
            let published = config.training().and_then(|config| config.linear.as_ref());
            self.taps = match (published, network.network().role()) {
                (Some(linear), _) => vec![linear.blockname.clone()],
                (None, Role::Extractor(extractor)) => vec![extractor.features().to_string()],
                _ => {
                    let message = format!("give the layers with --taps; there are {}", layers.join(", "));
                    return Err(ExportError::Argument(message));
                }
            };
        }
        for (i, tap) in self.taps.iter().enumerate() {
            if !layers.contains(tap) {
                let (name, known) = (tap.clone(), layers.join(", "));
                return Err(GraphError::UnknownLayer { name, known }.into());
            }
            if self.taps[..i].contains(tap) {
                return Err(ExportError::Argument(format!("--taps names {tap} twice")));
            }
        }
        Ok(())
    }

    /// Builds the graph of a resolved request: around the network of `model`, or from the run of `config`.
    ///
    /// # Errors
    /// When the configuration cannot be built or is not that of a run though a loss is wanted, or the timestep is outside
    /// the process.
    pub(crate) fn graph(&self, config: &AnyConfig, model: &ModelConfig) -> Result<Graph, ExportError> {
        Ok(match (self.kind, config) {
            (GraphKind::Network, _) => {
                let mut graph = model.architecture.network_graph(self.label)?;
                let results: Vec<String> = graph.outputs().iter().map(|(name, _)| name.clone()).collect();
                for tap in &self.taps {
                    let map = graph.find_tap(tap)?;
                    graph.output(tap, map);
                }
                let names: Vec<&str> = results.iter().chain(&self.taps).map(String::as_str).collect();
                graph.keep(&names)?
            }
            (GraphKind::Features, _) => {
                let GraphRequest { taps, timestep, input_u8, label, unpooled, .. } = self.clone();
                model_features_graph(model, &FeatureOptions { taps, unpooled, timestep, input_u8, label })?
            }
            (GraphKind::Sampler, _) => model_sampler_graph(model)?,
            (GraphKind::Encoder, _) => encoder_graph(model, self.input_u8, self.unit_length)?,
            (GraphKind::Latent, _) => latent_graph(model, self.input_u8)?,
            (GraphKind::Classifier, _) => {
                let options = ClassifierOptions { timestep: self.timestep, input_u8: self.input_u8 };
                classifier_graph(model, &options)?
            }
            (GraphKind::Loss, AnyConfig::Run(run)) => loss_graph(run, self.input_u8)?,
            (GraphKind::Loss, AnyConfig::Model(_)) => {
                return Err(ExportError::argument(
                    "--graph loss needs the configuration of a training run, which the weights do not tell: give \
                     --config FILE",
                ));
            }
        })
    }

    /// Names and shapes, without the batch, of the layers among the graph's outputs: those asked for, or an encoder's
    /// code.
    pub(crate) fn taps(&self, graph: &Graph) -> Vec<TapDescription> {
        let is_code = |name: &str| self.kind == GraphKind::Encoder && name == CODE;
        let outputs = graph.outputs().iter().filter(|(name, _)| self.taps.contains(name) || is_code(name));
        let describe = |(name, value): &(String, _)| {
            let shape = graph.shape(*value);
            let shape = (0..shape.rank()).filter_map(|axis| shape.size(axis)).collect();
            TapDescription { name: name.clone(), shape }
        };
        outputs.map(describe).collect()
    }

    /// The values that image inputs have.
    pub(crate) fn pixels(&self, architecture: &Architecture) -> Pixels {
        match (self.kind, architecture.network().pixels()) {
            (GraphKind::Sampler, _) => Pixels::Signed,
            (GraphKind::Network, pixels) | (_, pixels @ Pixels::Latent) => pixels,
            _ if self.input_u8 => Pixels::Bytes,
            _ => Pixels::Unit,
        }
    }

    /// What a file of this graph is called after the run: `features-out_6-t11`.
    pub(crate) fn file_stem(&self) -> String {
        let mut parts = vec![self.kind.name().to_string()];
        match self.taps.len() {
            0..=3 => parts.extend(self.taps.iter().cloned()),
            n => parts.push(format!("{n}-layers")),
        }
        parts.extend(self.timestep.map(|t| format!("t{t}")));
        for (part, is_given) in [
            ("maps", self.unpooled),
            ("u8", self.input_u8),
            ("label", self.label),
            ("unit", self.unit_length),
        ] {
            parts.extend(is_given.then(|| part.to_string()));
        }
        parts.join("-")
    }
}
