//! Tiny-ImageNet: JPEG files of 64x64, training images in a folder per class, validation images in one folder with
//! a table of their classes, or sorted into folders too. The published test images have no labels, so the validation set serves as test set.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ddae_base::read_bounded;

use super::encoded::{Encoded, Files};
use super::forms::{images, subfolders};
use super::{DataError, DataSet, Kind, archive, check_counts};
use crate::decode::Reading;
use crate::split::Split;

/// Some images are grey; they are read as RGB like the others.
const SHAPE: [usize; 3] = [3, 64, 64];
const PUBLISHED_PER_CLASS: usize = 500;
/// Bytes of the table of classes; the published one has 400,000.
const MOST_ANNOTATIONS: usize = 64 << 20;
const PUBLISHED_VALIDATION: usize = 10_000;

pub(crate) fn open(root: &Path, reading: &Reading) -> Result<DataSet, DataError> {
    let (folder, archive) = archive::locate(Kind::TinyImageNet, root)?;
    let Training { classes, files, labels, mut counts } = training(&folder.join("train"))?;
    let annotations = folder.join("val/val_annotations.txt");
    // Some scripts that sort leave the table behind; then nothing is where it says.
    let (listed, (test_files, test_labels)) = match sorted_validation(&folder.join("val"), &classes)? {
        Some(sorted) => (folder.join("val"), sorted),
        None => (annotations.clone(), validation(&annotations, &classes)?),
    };
    counts.push((listed, test_files.len(), PUBLISHED_VALIDATION));
    check_counts(&counts)?;
    let name = Kind::TinyImageNet.name();
    let split = |part: &str, files: Vec<PathBuf>, labels| {
        let count = files.len();
        let items = Files { root: Some(folder.clone()), paths: files };
        let source = Encoded { items: Arc::new(items), count, shape: SHAPE, reading: reading.clone() };
        Split::new(format!("{name}/{part}"), classes.clone(), labels, source)
    };
    let origin = format!("{} in {}", archive.title, folder.display());
    let (train, test) = (split("train", files, labels), split("test", test_files, test_labels));
    // What the publication calls val is reported on as test.
    Ok(DataSet::new(name, origin, vec![("train".into(), train), ("val".into(), test)]))
}

struct Training {
    /// Sorted WordNet ids.
    classes: Vec<String>,
    files: Vec<PathBuf>,
    labels: Vec<u32>,
    /// For each class: its folder, the images found, the images published.
    counts: Vec<(PathBuf, usize, usize)>,
}

fn training(folder: &Path) -> Result<Training, DataError> {
    let folders = subfolders(folder)?;
    if folders.is_empty() {
        return Err(DataError::format(folder, "it has no folders", "train/WNID/images/*.JPEG"));
    }
    let (mut classes, mut files, mut labels, mut counts) = (vec![], vec![], vec![], vec![]);
    for (label, of_class) in folders.into_iter().enumerate() {
        let found = images(&of_class.join("images"))?;
        let wnid = of_class.file_name().unwrap_or_default();
        classes.push(wnid.to_string_lossy().into_owned());
        labels.resize(labels.len() + found.len(), label as u32);
        counts.push((of_class, found.len(), PUBLISHED_PER_CLASS));
        files.extend(found);
    }
    Ok(Training { classes, files, labels, counts })
}

/// Files and the label of each.
type Labelled = (Vec<PathBuf>, Vec<u32>);

/// Validation files and labels where somebody sorted them into a folder for each class, `val/WNID/*.JPEG` or
/// `val/WNID/images/*.JPEG`, as PyTorch's ImageFolder wants them; none where they lie as published.
fn sorted_validation(folder: &Path, classes: &[String]) -> Result<Option<Labelled>, DataError> {
    let below = |class: &String| folder.join(class);
    if !folder.is_dir() || !classes.iter().map(below).any(|of_class| of_class.is_dir()) {
        return Ok(None);
    }
    let left = folder.join("images");
    if left.is_dir() && images(&left).is_ok() {
        return Err(DataError::format(
            &left,
            "it has images beside those that are sorted into folders of classes",
            "all of them here, with val_annotations.txt, or all in val/WNID/",
        ));
    }
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (class, label) in classes.iter().zip(0..) {
        let of_class = below(class);
        let inner = of_class.join("images");
        let found = images(if inner.is_dir() { &inner } else { &of_class })?;
        labels.resize(labels.len() + found.len(), label);
        files.extend(found);
    }
    Ok(Some((files, labels)))
}

/// Validation files and labels: a line per image, its name and its class first, separated by tabs.
fn validation(annotations: &Path, classes: &[String]) -> Result<(Vec<PathBuf>, Vec<u32>), DataError> {
    const EXPECTED: &str =
        "lines of an image's name, a tab and its class (tiny-imagenet-200/val/val_annotations.txt)";
    let wrong = |found: String| DataError::format(annotations, found, EXPECTED);
    let text = read_bounded(annotations, MOST_ANNOTATIONS).map_err(DataError::io("read", annotations))?;
    let text = String::from_utf8(text).map_err(|_| wrong("it is not text".into()))?;
    let numbers: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let images = annotations.with_file_name("images");
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let mut fields = line.split('\t');
        let (Some(name), Some(class)) = (fields.next(), fields.next()) else {
            return Err(wrong(format!("line {} has no tab", number + 1)));
        };
        let Some(&label) = numbers.get(class) else {
            return Err(wrong(format!("line {} has the class '{class}', which train/ has not", number + 1)));
        };
        if name.is_empty() || name.contains(['/', '\\']) {
            return Err(wrong(format!("line {} names the image '{name}'", number + 1)));
        }
        files.push(images.join(name));
        labels.push(label);
    }
    if files.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    Ok((files, labels))
}
