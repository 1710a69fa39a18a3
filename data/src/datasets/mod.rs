//! The data sets by name with the readers of their published forms, and anyone's images by path.
//!
//! | name | images | taken from |
//! | --- | --- | --- |
//! | `fashion-sample` | 1x28x28, 10 classes, 6,000 + 10,000 | built in |
//! | `fashion-mnist`, `mnist` | 1x28x28, 10 classes, 60,000 + 10,000 | idx files, gzip-compressed or not |
//! | `cifar10` (published configurations say `cifar`) | 3x32x32, 10 classes, 50,000 + 10,000 | binary or python version |
//! | `cifar100` | 3x32x32, 100 fine classes, 50,000 + 10,000 | binary or python version |
//! | `tiny` | 3x64x64, 200 classes, 100,000 + 10,000 | `tiny-imagenet-200` |
//! | `folder` | as the files are | `train/CLASS/*.png`, `test/` or `val/` likewise |
//! | a path | as the files are | folders, images, lists, tar shards, parquet (`forms`) |
//!
//! [`open`] reads what is unpacked and unpacks an archive that lies in the root folder; [`prepare`] does the latter
//! on its own and says what it found.

mod archive;
mod broken;
mod cifar;
mod cifar_batch;
mod cifar_classes;
mod data_set;
pub(crate) mod encoded;
mod error;
mod files;
mod forms;
mod idx;
mod mnist;
mod prepare;
mod sample;
pub(crate) mod source;
mod split_names;
mod tiny;

use std::path::{Path, PathBuf};

pub use archive::{Progress, Stage};
pub use broken::{Broken, list_of as list_of_broken, note_of as note_of_broken};
pub use data_set::{Chosen, DataSet};
pub use error::DataError;
pub(crate) use error::Shape;
pub use files::of_files;
pub use prepare::{Prepared, prepare};

use crate::decode::Reading;

/// How a data set is opened, beside where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// A table of paths or keys and labels, for images that have none.
    pub labels: Option<PathBuf>,
    /// How image files become levels.
    pub reading: Reading,
}

/// The data sets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    FashionSample,
    FashionMnist,
    Mnist,
    Cifar10,
    Cifar100,
    TinyImageNet,
    Folder,
}

/// The name of the data set that is built in.
pub const DEFAULT_NAME: &str = "fashion-sample";

/// Canonical names of all data sets.
pub const NAMES: [&str; 7] =
    [DEFAULT_NAME, "fashion-mnist", "mnist", "cifar10", "cifar100", "tiny", "folder"];

impl Kind {
    fn from_name(name: &str) -> Result<Kind, DataError> {
        Ok(match name {
            "fashion-sample" => Kind::FashionSample,
            "fashion-mnist" => Kind::FashionMnist,
            "mnist" => Kind::Mnist,
            "cifar10" | "cifar" => Kind::Cifar10,
            "cifar100" => Kind::Cifar100,
            "tiny" => Kind::TinyImageNet,
            "folder" => Kind::Folder,
            _ => {
                let known = NAMES.join(", ");
                return Err(DataError::UnknownName { name: name.into(), known, wanted: forms::WANTED });
            }
        })
    }

    fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Where data sets are looked for when no root is given: `$DDAE_DATA`, or else `datasets` in the current folder.
pub fn default_root() -> PathBuf {
    std::env::var_os("DDAE_DATA")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("datasets"), PathBuf::from)
}

/// Opens the data set `source`: one of [`NAMES`], looked for in `root` (default: [`default_root`]), or else what lies at the
/// path `source`, which may be below `root`. A folder that is called like a data set is written with a path, `./cifar10`.
///
/// `root` may be the folder of the data set itself or the one above it. If it holds only the published archive, that
/// is checked and unpacked beside itself first, as [`prepare`] does.
///
/// # Errors
/// When there is no such data set, its files are missing, or one of them is not what it should be; the message names
/// it. Labels and headers are checked here; encoded images are decoded only when they are read.
pub fn open(source: &str, root: Option<&Path>) -> Result<DataSet, DataError> {
    open_with(source, root, &OpenOptions::default())
}

/// The same, with options.
///
/// # Errors
/// As [`open`], and when labels are given for what has some.
pub fn open_with(source: &str, root: Option<&Path>, options: &OpenOptions) -> Result<DataSet, DataError> {
    // Files are opened as they are read; what is stored as levels is converted here.
    open_source(source, root, options)?.read_as(&options.reading)
}

fn open_source(source: &str, root: Option<&Path>, options: &OpenOptions) -> Result<DataSet, DataError> {
    let unknown = match Kind::from_name(source) {
        Ok(kind) => {
            let mut set = open_kind(kind, root, options)?;
            if kind != Kind::Folder && Path::new(source).exists() {
                set.notes.insert(
                    0,
                    format!("'{source}' is taken for the data set of that name, not for ./{source}"),
                );
            }
            return Ok(set);
        }
        Err(unknown) => unknown,
    };
    if !forms::is_path(source) && forms::locate(source, root).is_none() {
        return Err(unknown);
    }
    match forms::locate(source, root).and_then(|path| published_at(&path)) {
        Some((kind, path)) => {
            let mut set = open_kind(kind, Some(&path), options)?;
            set.notes.push(format!("{source} is {}, as published", kind.name()));
            Ok(set)
        }
        None => forms::open(source, root, options),
    }
}

/// The published data set whose unpacked folder `path` is, where its files say which.
fn published_at(path: &Path) -> Option<(Kind, PathBuf)> {
    let kinds = [Kind::Cifar10, Kind::Cifar100, Kind::TinyImageNet];
    kinds.into_iter().find(|&kind| archive::is_unpacked(kind, path)).map(|kind| (kind, path.to_path_buf()))
}

fn open_kind(kind: Kind, root: Option<&Path>, options: &OpenOptions) -> Result<DataSet, DataError> {
    if let Some(labels) = options.labels.as_ref().filter(|_| kind != Kind::Folder) {
        let (labels, name) = (labels.display(), kind.name());
        return Err(DataError::Argument(format!("--labels {labels}: {name} has labels already")));
    }
    let given = root;
    let root = root.map_or_else(default_root, Path::to_path_buf);
    match kind {
        Kind::FashionSample => sample::open(),
        Kind::FashionMnist => mnist::open(&mnist::FASHION_MNIST, given),
        Kind::Mnist => mnist::open(&mnist::MNIST, given),
        Kind::Cifar10 => cifar::open(&cifar::CIFAR10, &root),
        Kind::Cifar100 => cifar::open(&cifar::CIFAR100, &root),
        Kind::TinyImageNet => tiny::open(&root, &options.reading),
        Kind::Folder => match given {
            Some(root) => forms::open_folder(root, options),
            None => Err(DataError::Argument(
                "the data set 'folder' needs its folder: give --data-root DIR with train/CLASS/*.png inside"
                    .into(),
            )),
        },
    }
}

/// Where a file with another number of entries than its published form is accepted: nowhere, if any of the files has
/// its published number (then the others were truncated); everywhere, if none has (then it is a smaller set in the
/// same layout).
fn check_counts(files: &[(PathBuf, usize, usize)]) -> Result<(), DataError> {
    let whole = |(_, found, published): &&(PathBuf, usize, usize)| found == published;
    let Some((path, found, published)) = files.iter().find(|file| !whole(file)) else {
        return Ok(());
    };
    if files.iter().any(|file| whole(&file)) {
        return Err(DataError::format(
            path,
            format!("it holds {found} images"),
            format!("{published}, as published; it seems to be truncated"),
        ));
    }
    Ok(())
}
