//! What lies in a folder, and which files are images.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::datasets::DataError;
use crate::decode::{BYTES_TO_TELL, ENDINGS, kind_of};

/// Endings of files that are something else for certain, and are not looked into.
const OTHERS: [&str; 30] = [
    "txt",
    "csv",
    "tsv",
    "json",
    "jsonl",
    "xml",
    "yaml",
    "yml",
    "md",
    "html",
    "pdf",
    "py",
    "ipynb",
    "log",
    "lock",
    "partial",
    "npy",
    "npz",
    "mat",
    "h5",
    "hdf5",
    "pkl",
    "pt",
    "pth",
    "safetensors",
    "onnx",
    "tar",
    "parquet",
    "zip",
    "gz",
];
/// Folders within each other that are followed.
const DEPTH: usize = 32;

/// The ending of a file's name in small letters, without its dot.
pub(super) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Whether an ending is that of an image file.
pub(super) fn is_image_ending(ending: &str) -> bool {
    ENDINGS.contains(&ending)
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is directly in a folder, each in the order of names; what begins with a dot, and macOS' folders beside, are not
/// looked at.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub folders: Vec<PathBuf>,
    pub images: Vec<PathBuf>,
    pub others: Vec<PathBuf>,
}

/// What is directly in a folder.
pub(super) fn list(folder: &Path) -> Result<Listing, DataError> {
    let mut listing = Listing::default();
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(here).map_err(DataError::io("list", folder))? {
        let entry = entry.map_err(DataError::io("list", folder))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX" {
            continue;
        }
        let path = folder.join(&name);
        let mut kind = entry.file_type().map_err(DataError::io("list", folder))?;
        if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(info) => kind = info.file_type(),
                // Where it leads to is gone: reading the image says so, in its place.
                Err(_) if is_image_ending(&ending(&path)) => {
                    listing.images.push(path);
                    continue;
                }
                Err(_) => {}
            }
        }
        if kind.is_dir() {
            listing.folders.push(path);
        } else if kind.is_file() && is_image(&path) {
            listing.images.push(path);
        } else {
            listing.others.push(path);
        }
    }
    listing.folders.sort();
    listing.images.sort();
    listing.others.sort();
    Ok(listing)
}

/// Whether a file is an image: by a usual ending, or else by its first bytes.
fn is_image(path: &Path) -> bool {
    let ending = ending(path);
    if is_image_ending(&ending) || OTHERS.contains(&ending.as_str()) {
        return is_image_ending(&ending);
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_TO_TELL as u64).read_to_end(&mut head));
    read.is_ok_and(|_| kind_of(&head).is_read())
}

/// What was not taken.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    count: usize,
    example: Option<PathBuf>,
}

impl LeftOut {
    pub fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            self.count += 1;
            self.example.get_or_insert(path);
        }
    }

    /// A sentence, where something was left out; `what` is `files that are no images`.
    pub fn note(self, root: &Path, one: &str, many: &str) -> Option<String> {
        let example = self.example?;
        let below = example.strip_prefix(root).unwrap_or(&example).display();
        Some(match self.count {
            1 => format!("1 {one} is left out: {below}"),
            count => format!("{count} {many} are left out, such as {below}"),
        })
    }
}

/// A number with what it counts.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The images at any depth below a folder: of each folder its own in the order of names, then those of its folders.
pub(super) fn images_below(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    descend(folder, &mut Vec::new(), left_out, &mut images)?;
    Ok(images)
}

fn descend(
    folder: &Path,
    above: &mut Vec<(u64, u64)>,
    left_out: &mut LeftOut,
    images: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    let info = fs::metadata(folder).map_err(DataError::io("list", folder))?;
    let id = (info.dev(), info.ino());
    if above.contains(&id) {
        return Err(DataError::format(
            folder,
            "it leads back to a folder that it is in",
            "folders without such links",
        ));
    }
    if above.len() == DEPTH {
        return Err(DataError::format(
            folder,
            format!("it is {DEPTH} folders deep"),
            "images in fewer folders",
        ));
    }
    let listing = list(folder)?;
    images.extend(listing.images);
    left_out.add(listing.others);
    above.push(id);
    for below in listing.folders {
        descend(&below, above, left_out, images)?;
    }
    above.pop();
    Ok(())
}

/// The files that are no images in a folder and, down to `depth`, in its folders, in the order of their paths; of folders
/// with images none.
pub(super) fn others_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, DataError> {
    let listing = list(folder)?;
    if !listing.images.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = listing.others;
    if depth > 0 {
        for below in listing.folders {
            files.extend(others_below(&below, depth - 1)?);
        }
    }
    Ok(files)
}

/// An image in a folder or, down to `depth`, in its folders; none where there is none.
pub(super) fn first_image_below(folder: &Path, depth: usize) -> Result<Option<PathBuf>, DataError> {
    let listing = list(folder)?;
    if let Some(image) = listing.images.into_iter().next() {
        return Ok(Some(image));
    }
    for below in if depth > 0 { listing.folders } else { Vec::new() } {
        if let Some(image) = first_image_below(&below, depth - 1)? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

/// The folders in a folder, in the order of their names.
pub(in crate::datasets) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(list(folder)?.folders)
}

/// The image files in a folder, in the order of their names; at least one.
pub(in crate::datasets) fn images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let images = list(folder)?.images;
    if images.is_empty() {
        return Err(no_images(folder));
    }
    Ok(images)
}

/// That a folder has no images.
pub(super) fn no_images(folder: &Path) -> DataError {
    DataError::format(folder, "it has no images", "at least one image file, such as .png or .jpg")
}
