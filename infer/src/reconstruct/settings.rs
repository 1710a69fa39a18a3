//! What decides how a reconstruction looks.

use ddae_data::split::Split;
use ddae_onnx::metadata::Calibration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Way;
use crate::error::InferError;

/// Everything that decides what the images of a run look like, and which of them is which. What differs first between
/// two runs is named in messages, so the short entries come first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReconstructSettings {
    /// The decoder's steps.
    pub steps: usize,
    /// Their noise.
    pub eta: f64,
    /// How much further than by itself a latent leads.
    pub guidance: f64,
    /// Seed of the first variation.
    pub seed: u64,
    /// Images from each latent, each with noise of its own.
    pub variations: usize,
    /// Latents on the way from the first image to the second, where that is what is drawn.
    pub interpolate: Option<usize>,
    /// That way.
    pub way: Option<Way>,
    /// The execution provider.
    pub provider: String,
    /// How products are computed: `f32` or `tf32`.
    pub precision: String,
    /// The program and its version.
    pub tool: String,
    /// The encoder's checkpoint (SHA-256), which of its weights, and the precision of the ONNX file.
    pub encoder: String,
    /// The same of the sampler.
    pub sampler: String,
    /// What the ranges of an encoder of integers were chosen from.
    pub encoder_calibration: Option<Calibration>,
    /// The encoder's configuration (YAML), with the normalisation of its images.
    pub encoder_config: String,
    /// The sampler's configuration (YAML), with the process.
    pub sampler_config: String,
    /// SHA-256 of the levels of each source.
    pub sources: Vec<String>,
    /// SHA-256 of the encoder's graph and its weights; earlier versions did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_graph: Option<String>,
    /// The same of the sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_graph: Option<String>,
}

/// SHA-256 of the levels of each image.
///
/// # Errors
/// When one cannot be read.
pub fn digests(split: &Split) -> Result<Vec<String>, InferError> {
    let mut levels = vec![0; split.image_len()];
    let digest = |index: usize| {
        split.read(index, &mut levels)?;
        Ok(Sha256::digest(&levels).iter().map(|byte| format!("{byte:02x}")).collect())
    };
    (0..split.len()).map(digest).collect()
}
