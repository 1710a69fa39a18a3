//! What every network says of itself, and what those that can be trained, sampled or probed add to it.

use crate::config::ProcessConfig;
use crate::diffusion::Pixels;
use crate::graph::{Graph, GraphError, GraphKind, Value};

use super::Family;

type Built = Result<Value, GraphError>;

/// A network with all its sizes.
pub trait Network {
    /// Its entry in the [registry](super::FAMILIES), under its published names.
    fn family(&self) -> &'static Family;

    /// What it is, with its sizes, in a sentence.
    fn describe(&self) -> String;

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    fn check(&self) -> Result<(), String>;

    /// `[C, H, W]` of the images (or latents) that it works on, if it works on any.
    fn image_shape(&self) -> Option<[usize; 3]>;

    /// Makes it the same network for images of another size, unchecked.
    ///
    /// # Errors
    /// A sentence, for a network that is tied to its size.
    fn resize(&mut self, size: [usize; 2]) -> Result<(), String>;

    /// The bare network, with all its taps, as a graph of kind `network`; `with_labels` adds the inputs
    /// [`Network::labels`].
    ///
    /// # Errors
    /// When the configuration cannot be built.
    fn graph(&self, with_labels: bool) -> Result<Graph, GraphError>;

    /// The labels that [`Network::graph`] can take: `augment_label`, of how an image was augmented, and `label`, its
    /// class.
    fn labels(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The values of `x` in [`Network::graph`].
    fn pixels(&self) -> Pixels {
        Pixels::Signed
    }

    /// What it is for.
    fn role(&self) -> Role<'_>;
}

/// What a network is for, from which follow the graphs that can be made around it.
pub enum Role<'a> {
    /// Finds what is clean in what is noised.
    Denoiser(&'a dyn Denoiser),
    /// Gives features of images as they are.
    Extractor(&'a dyn Extractor),
    /// Encodes normalised images.
    Encoder(&'a dyn Encoder),
    /// Gives the latents that a latent diffusion model works on.
    LatentEncoder(&'a dyn LatentEncoder),
    /// Gives the logits of classes of noised images.
    Classifier(&'a dyn Classifier),
    /// Gives logits of features.
    Head,
}

/// A network that a diffusion process trains: with inputs `x` and `t`, it can be trained, sampled and probed.
pub trait Denoiser {
    /// Adds the network to a graph.
    ///
    /// # Shapes
    /// `x [B,C,H,W]`; `t` f32 `[B]` or `[1]`, what the process tells of the noise level. The result has `x`'s shape: the
    /// noise (DDPM) or `F` (EDM). Layers become taps.
    ///
    /// # Errors
    /// When shapes do not fit, with the layer's path, or a condition is missing or not known.
    fn predict(&self, g: &mut Graph, x: Value, t: Value, conditions: Conditions) -> Built;

    /// What it denoises.
    fn domain(&self) -> Domain {
        Domain::Images
    }

    /// Length of the augmentation label it takes; 0 for none.
    fn augment_dim(&self) -> usize {
        0
    }

    /// Number of classes of which it can be told one ([`Conditions::class`]); 0 for none.
    fn classes(&self) -> usize {
        0
    }

    /// The latent that guides it, if one must.
    fn guidance(&self) -> Option<Guidance> {
        None
    }

    /// Adds what the loss learns besides the network: the logarithm of its uncertainty `[B]` at what the process tells of
    /// the noise level, `t [B]` (arXiv 2312.02696, eq. 22).
    ///
    /// # Errors
    /// Like [`Denoiser::predict`].
    fn uncertainty(&self, _g: &mut Graph, _t: Value) -> Result<Option<Value>, GraphError> {
        Ok(None)
    }

    /// The joint norm that the published code clips its gradients to, unless a configuration says another.
    fn grad_clip_norm(&self) -> f64 {
        1.0
    }

    /// Why a training run cannot have it, if it cannot.
    fn untrainable(&self) -> Option<String> {
        None
    }
}

/// A network that tells the classes of noised images.
pub trait Classifier {
    /// Adds the network to a graph.
    ///
    /// # Shapes
    /// `x [B,C,H,W]`, noised images in [-1, 1] before the noise; `t` f32 `[B]` or `[1]`, what it is told of the noise level.
    /// The result are logits `[B, classes]`.
    ///
    /// # Errors
    /// When shapes do not fit, with the layer's path.
    fn classify(&self, g: &mut Graph, x: Value, t: Value) -> Built;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Whether it sees what the process's denoiser sees (of an EDM `c_in x`, told `c_noise`) rather than the noised images
    /// as they are (of an EDM told `ln sigma`). Of a DDPM both are the same.
    fn is_preconditioned(&self) -> bool;

    /// The only timestep at which it sees images; none where it is for all of a process.
    fn timestep(&self) -> Option<i64> {
        None
    }

    /// Why images of this process are not for it, if they are not.
    fn refuses(&self, process: &ProcessConfig) -> Option<String>;
}

/// What a denoiser denoises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Images in [-1, 1].
    Images,
    /// Latents of an autoencoder, scaled.
    Latents,
}

/// What a denoiser is told beside the noise level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// `[B, augment_dim]`.
    pub augment_label: Option<Value>,
    /// i64 `[B]`: a class, or the number of classes for none, which is what a network without this is told.
    pub class: Option<Value>,
    /// The latent of another view.
    pub latent: Option<Latent>,
}

impl Conditions {
    /// Refuses all that there are, for a network that takes none.
    pub(super) fn none(self, network: &str) -> Result<(), GraphError> {
        let refused = |what: &str| {
            let message = format!("{network} takes no {what} here");
            Err(GraphError::Shape { path: "network".to_string(), message })
        };
        match self {
            Conditions { augment_label: Some(_), .. } => refused("augmentation label"),
            Conditions { class: Some(_), .. } => refused("class"),
            Conditions { latent: Some(_), .. } => refused("latent"),
            Conditions { augment_label: None, class: None, latent: None } => Ok(()),
        }
    }
}

/// A latent and what of it is hidden.
#[derive(Clone, Copy, Debug)]
pub struct Latent {
    /// `[B, channels]`.
    pub z: Value,
    /// `[B]`, or `[B, parts]` where the latent has several parts: 1 hides it, 0 shows it.
    pub mask: Value,
}

/// The shape of the latent that guides a denoiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guidance {
    /// Its length.
    pub channels: usize,
    /// Equal parts that can be hidden on their own.
    pub parts: usize,
}

/// A network whose features are of images as they are, without a process.
pub trait Extractor {
    /// Adds the network to a graph: `image [B,C,H,W]` in [0, 1] to the features `[B, D]`. Layers become taps, and the
    /// features one of the name [`Extractor::features`].
    ///
    /// # Errors
    /// When shapes do not fit, with the layer's path.
    fn extract(&self, g: &mut Graph, image: Value) -> Built;

    /// The name of the features.
    fn features(&self) -> &'static str;
}

/// A network that encodes images.
pub trait Encoder {
    /// Adds the network to a graph: `x [B,C,H,W]`, normalised as in training, to the code `[B, Z]`.
    ///
    /// # Errors
    /// When shapes do not fit, with the layer's path.
    fn encode(&self, g: &mut Graph, x: Value) -> Built;

    /// Length of the code.
    fn width(&self) -> usize;
}

/// The encoder of a latent autoencoder.
pub trait LatentEncoder {
    /// Adds the network and a sample of its posterior to a graph: `x [B,C,H,W]` in [-1, 1] and `noise [B,Z,h,w]`, standard
    /// normal, to scaled latents like `noise`.
    ///
    /// # Errors
    /// When shapes do not fit, with the layer's path.
    fn sample(&self, g: &mut Graph, x: Value, noise: Value) -> Built;

    /// `[C, H, W]` of the latents.
    fn latent_shape(&self) -> [usize; 3];
}

impl Role<'_> {
    /// The kinds of graphs that can be made around such a network.
    pub fn kinds(&self) -> &'static [GraphKind] {
        use GraphKind::{Classifier, Encoder, Features, Latent, Network, Sampler};
        match self {
            Role::Denoiser(network) if network.guidance().is_some() => &[Network, Sampler],
            Role::Denoiser(network) => match network.domain() {
                Domain::Images => &[Network, Features, Sampler],
                // Nothing here makes images of latents.
                Domain::Latents => &[Network, Features],
            },
            Role::Extractor(_) => &[Network, Features],
            Role::Encoder(_) => &[Network, Encoder],
            Role::LatentEncoder(_) => &[Network, Latent],
            Role::Classifier(_) => &[Network, Classifier],
            Role::Head => &[Network],
        }
    }
}

/// What weights alone do not tell of the attention of a network, and the option that tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadsGiven {
    /// Nothing need be told.
    Nothing,
    /// The number of heads, `--heads`.
    Number,
    /// The channels of a head, `--head-channels`.
    Channels,
}

/// The diffusion process of a family's published weights.
#[derive(Clone, Copy)]
pub enum PublishedProcess {
    /// It has none.
    None,
    /// There are several, and weights do not tell which.
    Several,
    /// This one.
    One(fn() -> ProcessConfig),
}
