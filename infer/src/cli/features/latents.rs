//! `--latents`: the graph that makes latents of images, or a file of those that an earlier job made.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ddae_data::digest::DigestOf;
use ddae_infer::InferError;
use ddae_infer::features::{Latents, StoredLatents};
use ddae_onnx::metadata::GraphKind;

use super::Arguments;

/// The first bytes of an HDF5 file.
const HDF5: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

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
