//! `--latents`: the graph that makes latents of images, or a file of those that an earlier job made.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ddae_data::digest::DigestOf;
use ddae_infer::InferError;
use ddae_infer::features::{Extraction, Source, StoredLatents, Views};
use ddae_infer::model_file::ModelFile;
use ddae_model::networks::Role;
use ddae_onnx::metadata::{GraphKind, Pixels};
use ddae_store::Provenance;

use super::Arguments;

/// The first bytes of an HDF5 file.
const HDF5: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Where the latents come from that a graph takes.
pub(super) enum Latents {
    /// Another graph makes them of images.
    Graph(Box<ModelFile>),
    /// They were made before.
    File(PathBuf, Arc<StoredLatents>),
}

impl Latents {
    /// Opens what `--latents` names, by its content.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub(super) fn open(path: &Path, arguments: &Arguments) -> Result<Latents, InferError> {
        let mut start = Vec::new();
        // What cannot be opened is told of by the reader of graphs.
        let is_hdf5 = File::open(path)
            .and_then(|file| file.take(HDF5.len() as u64).read_to_end(&mut start))
            .is_ok_and(|_| start == HDF5);
        if is_hdf5 {
            return Ok(Latents::File(path.to_path_buf(), Arc::new(StoredLatents::open(path)?)));
        }
        let graph = arguments.running.open(path, &[GraphKind::Latent], "features --latents")?;
        Ok(Latents::Graph(Box::new(graph)))
    }

    /// The graph, where it is one.
    pub(super) fn graph(&self) -> Option<&ModelFile> {
        match self {
            Latents::Graph(graph) => Some(graph),
            Latents::File(..) => None,
        }
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
fn made_by(graph: &ModelFile) -> Option<[usize; 3]> {
    match graph.model.architecture.network().role() {
        Role::LatentEncoder(encoder) => Some(encoder.latent_shape()),
        _ => None,
    }
}

/// The shape of the latents that `model` takes or gives; none where it knows nothing of latents.
///
/// # Errors
/// When `latents` does not fit it.
pub(super) fn latent_shape(
    model: &ModelFile,
    latents: Option<&Latents>,
) -> Result<Option<[usize; 3]>, InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    let wanted = model.model.architecture.image_shape();
    match (model.description.pixels == Pixels::Latent, latents) {
        (false, None) if model.description.kind == GraphKind::Latent => Ok(made_by(model)),
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

/// Refuses options about images where the rows are latents that were made of them before.
///
/// # Errors
/// The first of the options.
pub(super) fn refuse_image_options(
    arguments: &Arguments,
    path: &Path,
    latents: &StoredLatents,
) -> Result<(), InferError> {
    let views = latents.views();
    if let Some(asked) = arguments.views.filter(|&asked| usize::from(asked) != views) {
        return Err(InferError::Argument(format!(
            "--views {asked}: {} holds {views} cop{} of each image, and each is a view",
            path.display(),
            if views == 1 { "y" } else { "ies" }
        )));
    }
    let given = [
        ("--data", arguments.data.is_some()),
        ("--data-root", arguments.data_root.is_some()),
        ("--labels", arguments.labels.is_some()),
        ("--split", arguments.split.is_some()),
        ("--limit", arguments.limit.is_some()),
        ("--crop", arguments.crop),
        ("--flip", arguments.flip),
        ("--resized-crop", arguments.resized_crop),
        ("--before-resize", arguments.before_resize),
        ("--images-by", arguments.images_by.is_some()),
        ("--skip-broken", arguments.skip.skip_broken),
    ];
    let reading = arguments.reading.reading().to_string();
    let read = reading.split(' ').next().filter(|option| !option.is_empty());
    let given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option).chain(read);
    match given.into_iter().next() {
        None => Ok(()),
        Some(option) => Err(InferError::Argument(format!(
            "{option} is about images, and {} holds latents that were made of them: give it where they are made",
            path.display()
        ))),
    }
}

/// How images are told from others unless it is said.
pub(super) fn images_by(arguments: &Arguments) -> DigestOf {
    arguments.images_by.unwrap_or_default()
}

/// The views of stored latents, as they were made.
pub(super) fn views(latents: &StoredLatents) -> Views {
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
pub(super) fn sides(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// Whether a source is latents of a file.
pub(super) fn stored(source: &Source) -> Option<&StoredLatents> {
    match source {
        Source::Images(_) => None,
        Source::Latents(latents) => Some(latents),
    }
}
