//! Graphs of kind `classifier`: images, noised, to the logits of classes; and the loss of classifiers.

use super::image::{Pixels, image_input};
use super::process::{DdpmLevel, EdmLevel, edm_noised, edm_noised_on_grid};
use crate::config::{ClassifierRun, ModelConfig, ProcessConfig};
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::networks::Classifier;
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// What a `classifier` graph takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassifierOptions {
    /// A timestep fixed in the graph; its input disappears.
    pub timestep: Option<i64>,
    /// Images as bytes `[B,H,W,C]` rather than floats `[B,C,H,W]`.
    pub input_u8: bool,
}

/// A graph of kind `classifier`.
///
/// # Shapes
/// Inputs: `image` f32 `[B,C,H,W]` in [0, 1] (or u8 `[B,H,W,C]`), `noise` f32 `[B,C,H,W]` standard normal, and, unless fixed,
/// `timestep` i64 `[B]`, one of [`super::feature_timesteps`]. Output: `logits` f32 `[B, classes]`.
///
/// # Errors
/// For a network that is no classifier of images or has no process, a timestep outside the process, or a configuration
/// that cannot be built.
pub fn classifier_graph(model: &ModelConfig, options: &ClassifierOptions) -> Result<Graph, GraphError> {
    let classifier = model.architecture.classifier().map_err(|message| wrong("network", message))?;
    let Some(process) = &model.process else {
        let message = format!("the diffusion process of this {} is not known", model.architecture.name());
        return Err(wrong("classifier", message));
    };
    let mut g = Graph::new();
    let image = signed_image(&mut g, model, options.input_u8)?;
    let noise = noise_like(&mut g, image)?;
    let timestep = match options.timestep {
        Some(timestep) => fixed(&mut g, process, timestep)?,
        None => g.input("timestep", DType::I64, Shape::batch(&[]))?,
    };
    let logits = at_timestep(&mut g, process, classifier, image, noise, timestep)?;
    g.only("logits", logits)
}

/// The logits of a run's classifier for images noised as in training.
///
/// # Shapes
/// Inputs and output are those of the run's graph of kind `loss`, but for `label`, which is none, and `logits` f32
/// `[B, classes]`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn training_logits_graph(config: &ClassifierRun, input_u8: bool) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let logits = in_training(&mut g, config, input_u8)?;
    g.only("logits", logits)
}

/// The graph of kind `loss` of a classifier: the cross-entropy of each image.
pub(super) fn classification_loss(config: &ClassifierRun, input_u8: bool) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let logits = in_training(&mut g, config, input_u8)?;
    let label = g.input("label", DType::I64, Shape::batch(&[]))?;
    let loss = cross_entropy(&mut g, logits, label, config.classes)?;
    g.only("loss", loss)
}

/// The logits of images that are noised as far as the inputs of a loss say.
fn in_training(g: &mut Graph, config: &ClassifierRun, input_u8: bool) -> Built {
    let classifier = config.network.classifier().map_err(|message| wrong("network", message))?;
    let image = signed_image(g, &config.model(), input_u8)?;
    let noise = noise_like(g, image)?;
    match (classifier.timestep(), &config.process) {
        (Some(timestep), process) => {
            let timestep = fixed(g, process, timestep)?;
            at_timestep(g, process, classifier, image, noise, timestep)
        }
        (None, process @ ProcessConfig::Ddpm(_)) => {
            let level = g.input("level", DType::I64, Shape::batch(&[]))?;
            at_timestep(g, process, classifier, image, noise, level)
        }
        (None, ProcessConfig::Edm(edm)) => {
            let normal = g.input("level", DType::F32, Shape::batch(&[]))?;
            let ln_sigma = g.affine(normal, edm.p_std, edm.p_mean)?;
            let sigma = g.exp(ln_sigma)?;
            let sigma = g.per_image(sigma)?;
            let x = edm_noised(g, image, sigma, noise)?;
            if !classifier.is_preconditioned() {
                return classifier.classify(g, x, ln_sigma);
            }
            let level = EdmLevel::of(g, edm, sigma, ln_sigma)?;
            let input = level.input(g, x)?;
            classifier.classify(g, input, level.t)
        }
    }
}

/// The logits of images `[B,C,H,W]` in [-1, 1], noised to timesteps i64 `[B]` or `[1]`.
fn at_timestep(
    g: &mut Graph,
    process: &ProcessConfig,
    classifier: &dyn Classifier,
    image: Value,
    noise: Value,
    timestep: Value,
) -> Built {
    match process {
        ProcessConfig::Ddpm(ddpm) => {
            let level = DdpmLevel::at(g, ddpm, timestep)?;
            let x = level.noised(g, image, noise)?;
            classifier.classify(g, x, level.t)
        }
        ProcessConfig::Edm(edm) if classifier.is_preconditioned() => {
            let (level, sigma) = EdmLevel::on_grid(g, edm, timestep)?;
            let x = edm_noised(g, image, sigma, noise)?;
            let input = level.input(g, x)?;
            classifier.classify(g, input, level.t)
        }
        ProcessConfig::Edm(edm) => {
            let (x, ln_sigma) = edm_noised_on_grid(g, edm, image, noise, timestep)?;
            classifier.classify(g, x, ln_sigma)
        }
    }
}

/// `[B]`: the cross-entropy of logits `[B, classes]` and labels i64 `[B]`.
fn cross_entropy(g: &mut Graph, logits: Value, label: Value, classes: usize) -> Built {
    // A row of the identity for each class.
    let rows = (0..classes * classes).map(|at| if at % (classes + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let rows = g.constant(Tensor::f32(&[classes, classes], rows))?;
    let chosen = g.gather(rows, label)?;
    let logarithms = g.log_softmax(logits)?;
    let chosen = g.mul(logarithms, chosen)?;
    let mean = g.mean(chosen, &[1])?;
    g.affine(mean, -(classes as f64), 0.0)
}

fn signed_image(g: &mut Graph, model: &ModelConfig, input_u8: bool) -> Built {
    let shape = model.architecture.image_shape().unwrap_or_default();
    image_input(g, "image", shape, input_u8, Pixels::Signed)
}

fn noise_like(g: &mut Graph, image: Value) -> Built {
    let shape = g.shape(image).clone();
    g.input("noise", DType::F32, shape)
}

/// A timestep as a constant, i64 `[1]`.
fn fixed(g: &mut Graph, process: &ProcessConfig, timestep: i64) -> Built {
    let range = super::feature_timesteps(process);
    if !range.contains(&timestep) {
        let (first, last) = (range.start(), range.end());
        return Err(wrong("timestep", format!("{timestep} is outside {first}..={last} of this process")));
    }
    g.constant(Tensor::i64(&[1], vec![timestep]))
}

fn wrong(path: &str, message: String) -> GraphError {
    GraphError::Shape { path: path.to_string(), message }
}
