//! Fashion-MNIST and MNIST: two idx files per split.

use std::path::{Path, PathBuf};

use super::{DataError, DataSet, Kind, default_root, idx};
use crate::split::Split;

/// One of the two data sets.
pub(crate) struct Mnist {
    kind: Kind,
    classes: &'static [&'static str],
    /// Folders below the root in which other tools keep the files.
    folders: &'static [&'static str],
    /// Where a system package puts the files.
    system: Option<&'static str>,
    page: &'static str,
}

pub(crate) const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

pub(crate) const FASHION_MNIST: Mnist = Mnist {
    kind: Kind::FashionMnist,
    classes: &FASHION_CLASSES,
    folders: &["", "raw", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"],
    system: Some("/usr/share/datasets/fashion-mnist"),
    page: "https://github.com/zalandoresearch/fashion-mnist (or the Debian package dataset-fashion-mnist)",
};

pub(crate) const MNIST: Mnist = Mnist {
    kind: Kind::Mnist,
    classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    folders: &["", "raw", "mnist", "MNIST", "MNIST/raw"],
    system: None,
    page: "https://ossci-datasets.s3.amazonaws.com/mnist/",
};

pub(crate) fn open(mnist: &Mnist, given: Option<&Path>) -> Result<DataSet, DataError> {
    let root = given.map_or_else(default_root, Path::to_path_buf);
    let mut folders: Vec<_> = mnist.folders.iter().map(|folder| root.join(folder)).collect();
    if given.is_none() {
        folders.extend(mnist.system.map(PathBuf::from));
    }
    let name = mnist.kind.name();
    let Some(folder) = folders.into_iter().find(|folder| file(folder, "train-images", "idx3").is_some())
    else {
        return Err(DataError::Missing {
            name: name.into(),
            root,
            expected: format!(
                "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                 t10k-labels-idx1-ubyte, each with .gz or without; download them from {} or say with --data-root \
                 where they are",
                mnist.page
            ),
        });
    };
    let classes: Vec<String> = mnist.classes.iter().map(|&class| class.into()).collect();
    let train = split(name, "train", "train", &folder, classes.clone())?;
    let test = split(name, "test", "t10k", &folder, classes)?;
    Ok(DataSet::published(name, format!("idx files in {}", folder.display()), train, test))
}

/// A file under its published name or one that it gets elsewhere (`train-images.idx3-ubyte` and the like), compressed or not.
fn file(folder: &Path, stem: &str, kind: &str) -> Option<PathBuf> {
    let underscored = stem.replace('-', "_");
    let stems = [stem, &underscored];
    let names = stems.into_iter().flat_map(|stem| {
        [format!("{stem}-{kind}-ubyte"), format!("{stem}.{kind}-ubyte"), format!("{stem}_{kind}_ubyte")]
            .into_iter()
            .chain([format!("{stem}-{kind}.ubyte"), format!("{stem}.{kind}.ubyte"), format!("{stem}.{kind}")])
    });
    names.flat_map(|name| [folder.join(&name), folder.join(format!("{name}.gz"))]).find(|path| path.is_file())
}

fn split(
    name: &str,
    part: &str,
    prefix: &str,
    folder: &Path,
    classes: Vec<String>,
) -> Result<Split, DataError> {
    let find = |stem: String, kind: &str| {
        file(folder, &stem, kind).ok_or_else(|| DataError::Missing {
            name: name.into(),
            root: folder.to_path_buf(),
            expected: format!("{stem}-{kind}-ubyte, with .gz or without"),
        })
    };
    let images = find(format!("{prefix}-images"), "idx3")?;
    let labels_path = find(format!("{prefix}-labels"), "idx1")?;
    let (source, count) = idx::open_images(&images)?;
    let labels = idx::read_labels(&labels_path)?;
    if labels.len() != count {
        return Err(DataError::format(
            &labels_path,
            format!("it has {} labels", labels.len()),
            format!("{count}, one for each image of {}", images.display()),
        ));
    }
    if let Some(index) = labels.iter().position(|&l| usize::from(l) >= classes.len()) {
        return Err(DataError::format(
            &labels_path,
            format!("image {index} has the label {}", labels[index]),
            format!("labels 0 to {}", classes.len() - 1),
        ));
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Split::from_source(format!("{name}/{part}"), classes, labels, source))
}
