//! A folder of images per class.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encoded::{Encoded, Files, read};
use super::{DataError, DataSet, Kind};
use crate::decode::{ENDINGS, Reading, native_shape};
use crate::split::Split;

const EXPECTED: &str = "train/CLASS/*.png (or .jpg, .webp, .bmp, .gif, .tif, .ppm …) and, if there is a test set, test/ or val/ likewise";

/// Opens `root/train` and `root/test` (or `root/val`).
///
/// Images take the shape of the first training image: larger and smaller ones are scaled to cover it and cropped
/// to its centre. They have three channels if the first image of any class has colour.
pub(crate) fn open(root: &Path) -> Result<DataSet, DataError> {
    let name = Kind::Folder.name();
    let train = root.join("train");
    if !train.is_dir() {
        return Err(DataError::Missing {
            name: "a data set of folders".into(),
            root: root.to_path_buf(),
            expected: EXPECTED.into(),
        });
    }
    let folders = subfolders(&train)?;
    if folders.is_empty() {
        return Err(DataError::format(&train, "it has no folders", EXPECTED));
    }
    let classes: Vec<String> = folders.iter().map(|folder| file_name(folder)).collect();
    let mut files = Vec::new();
    let mut labels = Vec::new();
    let mut shape = None;
    for (label, folder) in folders.iter().enumerate() {
        let of_class = images(folder)?;
        let [channels, height, width] = first_shape(&of_class)?;
        let [most_channels, ..] = *shape.get_or_insert([channels, height, width]);
        shape = shape.map(|[_, h, w]| [most_channels.max(channels), h, w]);
        labels.resize(labels.len() + of_class.len(), label as u32);
        files.extend(of_class);
    }
    let shape = shape.unwrap_or_default();
    let split = |part: &str, files: Vec<PathBuf>, labels| {
        let items = Files { root: Some(root.to_path_buf()), paths: files };
        let source = Encoded { items: Arc::new(items), shape, reading: Reading::default() };
        Split::new(format!("{name}/{part}"), classes.clone(), labels, source)
    };
    let test_folder = ["test", "val"].iter().map(|part| root.join(part)).find(|folder| folder.is_dir());
    let (test_files, test_labels) = match test_folder {
        Some(folder) => test_images(&folder, &classes)?,
        None => (Vec::new(), Vec::new()),
    };
    Ok(DataSet {
        name,
        train: split("train", files, labels),
        test: split("test", test_files, test_labels),
        origin: format!("images in {}", root.display()),
    })
}

/// The shape of the first image whose header can be read; what is wrong with the others is said when they are read.
fn first_shape(files: &[PathBuf]) -> Result<[usize; 3], DataError> {
    let shape = |path: &PathBuf| native_shape(&read(path)?, path, &Reading::default());
    let mut shapes = files.iter().map(shape);
    let first = shapes.next().unwrap_or(Ok([0; 3]));
    first.or_else(|error| shapes.find_map(Result::ok).ok_or(error))
}

fn test_images(folder: &Path, classes: &[String]) -> Result<(Vec<PathBuf>, Vec<u32>), DataError> {
    let numbers: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    let of_classes = subfolders(folder)?;
    if of_classes.is_empty() {
        return Err(DataError::format(folder, "it has no folders", EXPECTED));
    }
    for of_class in of_classes {
        let Some(&label) = numbers.get(file_name(&of_class).as_str()) else {
            return Err(DataError::format(
                &of_class,
                "there is no such class in train/",
                format!("one of its {} classes", classes.len()),
            ));
        };
        let found = images(&of_class)?;
        labels.resize(labels.len() + found.len(), label);
        files.extend(found);
    }
    Ok((files, labels))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is directly in a folder, in the order of names, without hidden entries.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
        .map_err(DataError::io("list", folder))?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// The folders in a folder, in the order of their names.
pub(crate) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.is_dir());
    Ok(paths)
}

/// The image files in a folder, by their endings, in the order of their names; at least one.
pub(crate) fn images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = entries(folder)?;
    paths.retain(|path| {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        ENDINGS.iter().any(|known| ending == *known)
    });
    if paths.is_empty() {
        return Err(DataError::format(
            folder,
            "it has no images",
            "at least one image file (.png, .jpg, .webp, .bmp, .gif, .tif, .ppm and the like)",
        ));
    }
    Ok(paths)
}
