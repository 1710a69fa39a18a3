//! The noise-conditional MLP head: classes from a pooled feature and the timestep it was taken at.
//!
//! Source: the evaluation of DDAE (arXiv 2303.09769).

use serde::{Deserialize, Serialize};

use super::network::{HeadsGiven, Network, PublishedProcess, Role};
use super::recognition::{Names, RecogniseError, Shapes};
use super::registry::Family;
use super::sinusoids::Sinusoids;
use crate::diffusion::Pixels;
use crate::graph::{Graph, GraphError, GraphKind, Path, Shape, Value};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const NOISE_MLP: &str = "a noise-conditional MLP head";

/// A limit far above any head: beyond it its numbers could not even be counted.
const LARGEST_WIDTH: usize = 1 << 20;

/// The shape of a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseMlpConfig {
    /// Length of a feature; a multiple of 8, at least 16.
    pub dim: usize,
    /// Number of classes.
    pub classes: usize,
}

impl NoiseMlpConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the value.
    pub fn check(&self) -> Result<(), String> {
        let NoiseMlpConfig { dim, classes } = *self;
        if !(16..=LARGEST_WIDTH).contains(&dim) || !dim.is_multiple_of(8) {
            return Err(format!(
                "dim is {dim}; it must be a multiple of 8 from 16 to {LARGEST_WIDTH} (dim / 8 sines and cosines)"
            ));
        }
        if !(1..=LARGEST_WIDTH).contains(&classes) {
            return Err(format!("classes is {classes}; it must be 1 to {LARGEST_WIDTH}"));
        }
        Ok(())
    }
}

/// The head as files hold it.
pub(super) static FAMILY: Family = Family {
    name: "a noise-conditional MLP head",
    kinds: &[GraphKind::Network],
    signature: ["time_emb.lin2.weight", "cls.2.weight"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |shapes, _| Ok((deduce(shapes)?.into(), Names::Published)),
};

impl Network for NoiseMlpConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        format!("noise-conditional MLP head: features of {}, {} classes", self.dim, self.classes)
    }

    fn check(&self) -> Result<(), String> {
        NoiseMlpConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        None
    }

    fn resize(&mut self, _size: [usize; 2]) -> Result<(), String> {
        Err(format!("{} takes no images", FAMILY.name))
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        noise_mlp_graph(self)
    }

    fn pixels(&self) -> Pixels {
        Pixels::Latent
    }

    fn role(&self) -> Role<'_> {
        Role::Head
    }
}

/// The head as a graph of kind `network`: inputs `feature [B, dim]` and `t [B]`; output `logits [B, classes]`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn noise_mlp_graph(config: &NoiseMlpConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let feature = g.input("feature", DType::F32, Shape::batch(&[config.dim]))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let logits = noise_mlp(&mut g, config, feature, t)?;
    g.output("logits", logits);
    Ok(g)
}

/// Adds the head to a graph.
///
/// # Shapes
/// `feature [B, dim]`, `t [B]` or `[1]` (the timestep itself, DDPM `1..=n_T`, EDM `1..=18`), the result
/// `[B, classes]`.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn noise_mlp(g: &mut Graph, config: &NoiseMlpConfig, feature: Value, t: Value) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let time = p.at("time_emb");
    let emb = Sinusoids { width: config.dim / 4, shift: 1.0, cosines_first: false }.of(g, t)?;
    let emb = g.linear(&time.at("lin1"), emb, config.dim, true)?;
    let emb = g.silu(emb)?;
    let emb = g.linear(&time.at("lin2"), emb, config.dim, true)?;
    let h = g.add(feature, emb)?;
    let h = g.linear(&p.at("cls").at(0), h, 2 * config.dim, true)?;
    let h = g.silu(h)?;
    g.linear(&p.at("cls").at(2), h, config.classes, true)
}

/// The sizes of a head, from its parameters.
fn deduce(shapes: &Shapes) -> Result<NoiseMlpConfig, RecogniseError> {
    let [dim, _] = shapes.want::<2>(NOISE_MLP, "time_emb.lin2.weight")?;
    let [classes, _] = shapes.want::<2>(NOISE_MLP, "cls.2.weight")?;
    Ok(NoiseMlpConfig { dim, classes })
}
