//! A denoiser cut after a layer, with a linear head: a classifier of noised images (DDAE, arXiv 2303.09769, fine-tuning).
//!
//! The denoiser's parameters keep their names; those of the head are `linear_head.weight` and `linear_head.bias`.

use serde::{Deserialize, Serialize};

use super::network::{Classifier, Conditions, Domain, HeadsGiven, Network, PublishedProcess, Role};
use super::recognition::RecogniseError;
use super::registry::{Architecture, Family};
use crate::config::{Preconditioner, ProcessConfig};
use crate::diffusion::feature_timesteps;
use crate::graph::{Graph, GraphError, GraphKind, Path, Shape, Value};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

/// What the names of the head's parameters begin with.
const HEAD: &str = "linear_head";

/// What is left of a denoiser, and its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTunedConfig {
    /// The denoiser before it was cut: `net_type` and `network`.
    pub denoiser: Box<Architecture>,
    /// The last layer that is left (`out_6`). Its mean over the image goes into the head.
    pub layer: String,
    /// The only timestep at which images are seen; absent, they are noised as the denoiser's training noised them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestep: Option<i64>,
    /// Number of classes.
    pub classes: usize,
}

/// The network as files hold it.
pub(super) static FAMILY: Family = Family {
    name: "a fine-tuned denoiser",
    kinds: &[GraphKind::Network, GraphKind::Classifier],
    signature: ["linear_head.weight", "linear_head.bias"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |_, _| {
        Err(RecogniseError::incomplete(
            "a fine-tuned denoiser".to_string(),
            "the denoiser and the layer it was cut after",
            "its run folder",
        ))
    },
};

impl FineTunedConfig {
    /// Adds the denoiser and gives the layer's mean `[B, D]`.
    fn features(&self, g: &mut Graph, x: Value, t: Value) -> Built {
        let denoiser = self.denoiser.denoiser().map_err(wrong)?;
        denoiser.predict(g, x, t, Conditions::default())?;
        let layer = g.find_tap(&self.layer)?;
        match g.shape(layer).rank() {
            4 => g.pool(layer),
            3 => g.mean(layer, &[1]),
            _ => Ok(layer),
        }
    }

    /// What is left of the denoiser, without the head, as a graph with the inputs `x` and `t`: the parameters that are the
    /// denoiser's.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    pub fn backbone(&self) -> Result<Graph, GraphError> {
        let (mut g, x, t) = self.inputs()?;
        let features = self.features(&mut g, x, t)?;
        g.only("features", features)
    }

    fn inputs(&self) -> Result<(Graph, Value, Value), GraphError> {
        let mut g = Graph::new();
        let shape = self.denoiser.image_shape().unwrap_or_default();
        let x = g.input("x", DType::F32, Shape::batch(&shape))?;
        let t = g.input("t", DType::F32, Shape::batch(&[]))?;
        Ok((g, x, t))
    }
}

fn wrong(message: String) -> GraphError {
    GraphError::Shape { path: "network.denoiser".to_string(), message }
}

impl Network for FineTunedConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let (denoiser, layer, classes) = (self.denoiser.describe(), &self.layer, self.classes);
        format!("{denoiser}, cut after {layer}, with a linear head of {classes} classes")
    }

    fn check(&self) -> Result<(), String> {
        let of_denoiser = |message: String| format!("denoiser: {message}");
        self.denoiser.check().map_err(of_denoiser)?;
        let denoiser = self.denoiser.denoiser().map_err(of_denoiser)?;
        let name = self.denoiser.name();
        if denoiser.guidance().is_some() {
            return Err(of_denoiser(format!(
                "{name} is guided by the latent of another view, which is not here"
            )));
        }
        if denoiser.domain() != Domain::Images {
            return Err(of_denoiser(format!("{name} works on latents; images are fine-tuned on here")));
        }
        if self.classes == 0 {
            return Err("classes is 0; it must be at least 1".to_string());
        }
        let graph = self.denoiser.network_graph(false).map_err(|error| of_denoiser(error.to_string()))?;
        if graph.taps().iter().all(|(tap, _)| *tap != self.layer) {
            let known: Vec<&str> = graph.taps().iter().map(|(tap, _)| tap.as_str()).collect();
            return Err(format!("layer is {}; {name} has {}", self.layer, known.join(", ")));
        }
        Ok(())
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        self.denoiser.image_shape()
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        *self.denoiser = self.denoiser.resized(size)?;
        Ok(())
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        let (mut g, x, t) = self.inputs()?;
        let logits = self.classify(&mut g, x, t)?;
        g.only("logits", logits)
    }

    fn role(&self) -> Role<'_> {
        Role::Classifier(self)
    }
}

impl Classifier for FineTunedConfig {
    /// Adds the whole denoiser, of which the logits need a part: the graph is to be cut to its results
    /// ([`Graph::keep`]).
    fn classify(&self, g: &mut Graph, x: Value, t: Value) -> Built {
        let features = self.features(g, x, t)?;
        g.linear(&Path::root().at(HEAD), features, self.classes, true)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn is_preconditioned(&self) -> bool {
        true
    }

    fn timestep(&self) -> Option<i64> {
        self.timestep
    }

    fn refuses(&self, process: &ProcessConfig) -> Option<String> {
        let range = feature_timesteps(process);
        match (self.timestep, process) {
            (Some(timestep), _) if !range.contains(&timestep) => {
                let (first, last) = (range.start(), range.end());
                Some(format!("timestep is {timestep}; this process has {first} to {last}"))
            }
            (None, ProcessConfig::Edm(edm)) if edm.preconditioning != Preconditioner::Edm => {
                let name = edm.preconditioning.name();
                Some(format!(
                    "how preconditioning {name} was noised in training is not known here: give a timestep"
                ))
            }
            _ => None,
        }
    }
}
