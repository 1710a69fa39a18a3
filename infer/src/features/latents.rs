//! Where the latents come from that a graph takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ddae_model::networks::Role;
use ddae_onnx::metadata::Pixels;
use ddae_store::Provenance;

use super::extraction::{Extraction, Views};
use super::source::{Source, StoredLatents};
use crate::error::InferError;
use crate::model_file::ModelFile;

/// Where latents come from.
#[derive(Debug)]
pub enum Latents {
    /// Another graph makes them of images.
    Graph(Box<ModelFile>),
    /// They were made before, and are in this file.
    File(PathBuf, Arc<StoredLatents>),
}

impl Latents {
    /// The graph, where it is one.
    pub fn graph(&self) -> Option<&ModelFile> {
        match self {
            Latents::Graph(graph) => Some(graph),
            Latents::File(..) => None,
        }
    }

    /// The file of the graph, where it is one.
    pub fn graph_path(&self) -> Option<&Path> {
        self.graph().map(|graph| graph.path.as_path())
    }

    /// `[C, H, W]` of the latents, where it is known.
    fn shape(&self) -> Option<[usize; 3]> {
        match self {
            Latents::Graph(graph) => made_by(graph),
            Latents::File(_, latents) => Some(latents.shape()),
        }
    }
}

/// `[C, H, W]` of the latents that a graph makes.
pub(super) fn made_by(graph: &ModelFile) -> Option<[usize; 3]> {
    match graph.model.architecture.network().role() {
        Role::LatentEncoder(encoder) => Some(encoder.latent_shape()),
        _ => None,
    }
}

/// The shape of the latents that a graph takes which takes `pixels` of the shape `wanted`; none where that takes images.
///
/// # Errors
/// When latents are wanted and there are none, or others, or when none are wanted.
pub fn latent_shape(
    pixels: Pixels,
    wanted: Option<[usize; 3]>,
    latents: Option<&Latents>,
) -> Result<Option<[usize; 3]>, InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    match (pixels == Pixels::Latent, latents) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            argument("--latents is for graphs that take latents; this one takes images".to_string())
        }
        (true, None) => argument(
            "this graph takes latents of an autoencoder: give the graph that makes them with --latents FILE \
             (`ddae-export sd-vae --graph latent`), or the file of those that `ddae-infer features` made with it"
                .to_string(),
        ),
        (true, Some(latents)) => {
            let made = latents.shape();
            if made.is_none() || made != wanted {
                let shape = |shape: Option<[usize; 3]>| {
                    shape.map_or("none".to_string(), |[c, h, w]| format!("{c}x{h}x{w}"))
                };
                let (made, wanted) = (shape(made), shape(wanted));
                let message = match latents {
                    Latents::Graph(_) => format!(
                        "--latents: it makes latents of {made}, and the graph takes {wanted}; export it with another --image-size"
                    ),
                    Latents::File(path, _) => format!(
                        "--latents: {} holds latents of {made}, and the graph takes {wanted}",
                        path.display()
                    ),
                };
                return argument(message);
            }
            Ok(made)
        }
    }
}

/// The views of stored latents, as they were made.
pub fn views(latents: &StoredLatents) -> Views {
    let Provenance { crop_padding, flip, resized_crop, .. } = latents.provenance();
    Views {
        count: latents.views(),
        crop_padding: crop_padding.unwrap_or(0),
        flip: flip.unwrap_or(false),
        resized_crop: resized_crop.unwrap_or(false),
    }
}

/// What the file of latents says of the images, and what of its making is not as in a job that makes latents by the way:
/// `made` is what is known of this job.
pub(super) fn with_latents(made: Provenance, latents: &StoredLatents, extraction: &Extraction) -> Provenance {
    let from = latents.provenance().clone();
    let noise = from.noise.clone().flatten();
    let is_drawn = extraction.is_drawn() || noise.as_deref() != Some("none");
    let stream = made.noise_stream.clone().flatten().or(from.noise_stream.flatten()).filter(|_| is_drawn);
    Provenance {
        latents: Some(from.model),
        latents_digest: Some(from.graph_digest),
        latents_seed: Some(from.seed.filter(|_| from.seed != made.seed)),
        latents_noise: Some(noise.filter(|noise| Some(noise) != made.noise.clone().flatten().as_ref())),
        latents_dtype: Some(Some(latents.dtype()).filter(|dtype| dtype != "f32")),
        latents_precision: Some(from.precision.clone().filter(|_| from.precision != made.precision)),
        latents_provider: Some(from.provider.clone().filter(|_| from.provider != made.provider)),
        data_set: from.data_set,
        split: from.split,
        images_digest: from.images_digest,
        noise_stream: Some(stream),
        before_resize: from.before_resize,
        reading: from.reading,
        image_shape: from.image_shape,
        edited: Some(made.edited == Some(true) || from.edited == Some(true)),
        classes: from.classes,
        ..made
    }
}

/// `[D, H, W]` as an attribute has it: `256x16x16`.
pub fn sides(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// Whether a source is latents of a file.
pub(super) fn stored(source: &Source) -> Option<&StoredLatents> {
    match source {
        Source::Images(_) => None,
        Source::Latents(latents) => Some(latents),
    }
}
