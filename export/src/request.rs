//! From what is asked for to a graph.

use ddae_model::config::Config;
use ddae_model::diffusion::{FeatureOptions, features_graph, sampler_graph};
use ddae_model::graph::{Graph, GraphError};
use ddae_model::networks::unet_graph;
use ddae_model::onnx_metadata::{GraphKind, Pixels, TapDescription};

use crate::ExportError;

/// The name that stands for every layer.
pub const ALL_TAPS: &str = "all";

/// The graph that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What it computes.
    pub kind: GraphKind,
    /// Intermediate layers (`out_6`, or [`ALL_TAPS`]).
    pub taps: Vec<String>,
    /// A timestep fixed in a `features` graph.
    pub timestep: Option<i64>,
    /// Whether a `features` graph takes bytes.
    pub input_u8: bool,
    /// Whether a `network` graph takes the augmentation label.
    pub label: bool,
}

impl Request {
    /// Completes the request: without layers, a `features` graph gives the one of the configuration's linear probe;
    /// [`ALL_TAPS`] becomes every layer.
    ///
    /// # Errors
    /// [`ExportError::Argument`] for options that the kind of graph does not have; an unknown layer with the list of
    /// those there are.
    pub fn resolve(&mut self, config: &Config) -> Result<(), ExportError> {
        let kind = self.kind;
        let wrong = |option: &str, of: GraphKind| {
            let (kind, of) = (kind.name(), of.name());
            Err(ExportError::Argument(format!("{option} is for --graph {of}, not {kind}")))
        };
        if self.timestep.is_some() && kind != GraphKind::Features {
            return wrong("--timestep", GraphKind::Features);
        }
        if self.input_u8 && kind != GraphKind::Features {
            return wrong("--input u8", GraphKind::Features);
        }
        if self.label && kind != GraphKind::Network {
            return wrong("--label", GraphKind::Network);
        }
        if self.label && config.network.augment_dim == 0 {
            let message = "--label: this network has no augmentation label (augment_dim is 0)";
            return Err(ExportError::Argument(message.to_string()));
        }
        if kind == GraphKind::Sampler && !self.taps.is_empty() {
            return wrong("--taps", GraphKind::Features);
        }
        let network = unet_graph(&config.network, false)?;
        if self.taps.iter().any(|tap| tap == ALL_TAPS) {
            self.taps = network.taps().iter().map(|(name, _)| name.clone()).collect();
        }
        if kind == GraphKind::Features && self.taps.is_empty() {
            let Some(linear) = &config.linear else {
                let known: Vec<&str> = network.taps().iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("give the layers with --taps; there are {}", known.join(", "));
                return Err(ExportError::Argument(message));
            };
            self.taps = vec![linear.blockname.clone()];
        }
        for (i, tap) in self.taps.iter().enumerate() {
            network.find_tap(tap)?;
            if self.taps[..i].contains(tap) {
                return Err(ExportError::Argument(format!("--taps names {tap} twice")));
            }
        }
        Ok(())
    }

    /// Builds the graph of a resolved request.
    ///
    /// # Errors
    /// When the configuration cannot be built, or the timestep is outside the process.
    pub fn graph(&self, config: &Config) -> Result<Graph, GraphError> {
        match self.kind {
            GraphKind::Network => {
                let mut graph = unet_graph(&config.network, self.label)?;
                for tap in &self.taps {
                    let map = graph.find_tap(tap)?;
                    graph.output(tap, map);
                }
                let names: Vec<&str> =
                    std::iter::once("y").chain(self.taps.iter().map(String::as_str)).collect();
                graph.keep(&names)
            }
            GraphKind::Features => {
                let options = FeatureOptions {
                    taps: self.taps.clone(),
                    timestep: self.timestep,
                    input_u8: self.input_u8,
                };
                features_graph(config, &options)
            }
            GraphKind::Sampler => sampler_graph(config),
        }
    }

    /// Names and shapes, without the batch, of the layers among the graph's outputs.
    pub fn taps(&self, graph: &Graph) -> Vec<TapDescription> {
        let outputs = graph.outputs().iter().filter(|(name, _)| self.taps.contains(name));
        let describe = |(name, value): &(String, _)| {
            let shape = graph.shape(*value);
            let shape = (0..shape.rank()).filter_map(|axis| shape.size(axis)).collect();
            TapDescription { name: name.clone(), shape }
        };
        outputs.map(describe).collect()
    }

    /// The values that picture inputs have.
    pub fn pixels(&self) -> Pixels {
        match (self.kind, self.input_u8) {
            (GraphKind::Features, true) => Pixels::Bytes,
            (GraphKind::Features, false) => Pixels::Unit,
            _ => Pixels::Signed,
        }
    }

    /// What a file of this graph is called after the run: `features-out_6-t11`.
    pub fn file_stem(&self) -> String {
        let mut parts = vec![self.kind.name().to_string()];
        match self.taps.len() {
            0..=3 => parts.extend(self.taps.iter().cloned()),
            n => parts.push(format!("{n}-layers")),
        }
        parts.extend(self.timestep.map(|t| format!("t{t}")));
        parts.extend(self.input_u8.then(|| "u8".to_string()));
        parts.extend(self.label.then(|| "label".to_string()));
        parts.join("-")
    }
}
