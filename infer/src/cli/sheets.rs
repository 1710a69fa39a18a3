//! Sheets of images: how large they become, and whether they can be written.

use std::path::Path;

use ddae_base::files;
use ddae_data::sheet::Sheet;
use ddae_infer::InferError;

/// Side of an image on the sheet in pixels, about.
const SHOWN_SIDE: usize = 56;
/// Pixels between the images of a sheet.
const GAP: usize = 2;
/// Longest side of a sheet in pixels.
const LONGEST_SIDE: usize = 65_535;

/// An empty sheet for images of `shape`, small ones magnified.
pub fn sheet(columns: usize, shape: [usize; 3]) -> Result<Sheet, InferError> {
    Ok(Sheet::new(columns, shape)?.gap(GAP).scale(scale(shape)))
}

/// Finds what would fail only at the end, after hours of drawing. Changes nothing. `instead` is what to do about too
/// large a sheet.
pub fn check(
    option: &str,
    path: &Path,
    columns: usize,
    images: usize,
    shape: [usize; 3],
    instead: &str,
) -> Result<(), InferError> {
    check_target(path)?;
    let side = |images: usize, side: usize| images * (side * scale(shape) + GAP) + GAP;
    let (width, height) =
        (side(columns.min(images), shape[2]), side(images.div_ceil(columns.max(1)), shape[1]));
    if width.max(height) > LONGEST_SIDE {
        return Err(InferError::Argument(format!(
            "{option}: {images} images in {columns} columns are {width} x {height} pixels, and {LONGEST_SIDE} \
             is the most on a side; {instead}"
        )));
    }
    Ok(())
}

/// Refuses a file that cannot be written at the end: what is there is none, or there is no folder for it.
pub fn check_target(path: &Path) -> Result<(), InferError> {
    let refuse = |path: &Path, message: &str| {
        Err(InferError::Output { path: path.to_path_buf(), message: message.to_string() })
    };
    if path.is_dir() {
        return refuse(path, "it is a folder; give the name of a file");
    }
    let folder = files::folder(path);
    if !folder.is_dir() {
        return refuse(folder, "this folder does not exist; make it first (mkdir -p)");
    }
    files::target(path)?;
    Ok(())
}

/// Pixels of the sheet for each of an image's.
fn scale(shape: [usize; 3]) -> usize {
    (SHOWN_SIDE / shape[1].max(shape[2])).max(1)
}
