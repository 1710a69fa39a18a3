//! The data sets by name, and the readers of their published forms.
//!
//! | name | images | taken from |
//! | --- | --- | --- |
//! | `fashion-sample` | 1x28x28, 10 classes, 6,000 + 1,000 | built in |
//! | `fashion-mnist`, `mnist` | 1x28x28, 10 classes, 60,000 + 10,000 | idx files, gzip-compressed or not |
//! | `cifar10` (published configurations say `cifar`) | 3x32x32, 10 classes, 50,000 + 10,000 | binary or python version |
//! | `cifar100` | 3x32x32, 100 fine classes, 50,000 + 10,000 | binary or python version |
//! | `tiny` | 3x64x64, 200 classes, 100,000 + 10,000 | `tiny-imagenet-200` |
//! | `folder` | as the files are | `train/CLASS/*.png`, `test/` or `val/` likewise |
//!
//! [`open`] reads what is unpacked and unpacks an archive that lies in the root folder; [`prepare`] does the latter
//! on its own and says what it found.

mod archive;
mod broken;
mod cifar;
mod cifar_batch;
mod cifar_classes;
pub(crate) mod encoded;
mod error;
mod files;
mod folder;
mod idx;
mod mnist;
mod prepare;
mod sample;
pub(crate) mod source;
mod tiny;

use std::path::{Path, PathBuf};

pub use archive::{Progress, Stage};
pub use broken::{Broken, list_of as list_of_broken, note_of as note_of_broken};
pub use error::DataError;
pub(crate) use error::Shape;
pub use files::of_files;
pub use prepare::{Prepared, prepare};

use ddae_model::config::ChannelStatistics;

use crate::decode::Reading;
use crate::split::Split;

/// A data set: two splits with the same classes and shape.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Canonical name (`cifar10` for `cifar`).
    pub name: &'static str,
    /// Images to train on.
    pub train: Split,
    /// Images to report results on; empty for a `folder` that has neither `test/` nor `val/`.
    pub test: Split,
    /// Where the images were found.
    pub origin: String,
}

impl DataSet {
    /// The same images, read by other choices ([`Split::read_as`]).
    ///
    /// # Errors
    /// As [`Split::read_as`].
    pub fn read_as(&self, reading: &Reading) -> Result<DataSet, DataError> {
        let train = self.train.read_as(reading)?;
        // Images to test with take the shape of those to train on, which turning may have changed.
        let test = match self.test.is_empty() {
            true => self.test.from_where(&train),
            false => self.test.read_as(reading)?.fit(train.shape())?,
        };
        Ok(DataSet { train, test, ..self.clone() })
    }

    /// The published means and deviations, where there are any.
    pub fn normalisation(&self) -> Option<ChannelStatistics> {
        ChannelStatistics::published(self.name)
    }
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
                return Err(DataError::UnknownName { name: name.into(), known: NAMES.join(", ") });
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

/// Opens the data set `name`, looked for in `root` (default: [`default_root`]).
///
/// `root` may be the folder of the data set itself or the one above it. If it holds only the published archive, that
/// is checked and unpacked beside itself first, as [`prepare`] does.
///
/// # Errors
/// When there is no such data set, its files are missing, or one of them is not what it should be; the message names
/// it. Labels and headers are checked here; image files are decoded only when they are read.
pub fn open(name: &str, root: Option<&Path>) -> Result<DataSet, DataError> {
    open_kind(Kind::from_name(name)?, root)
}

fn open_kind(kind: Kind, root: Option<&Path>) -> Result<DataSet, DataError> {
    let given = root;
    let root = root.map_or_else(default_root, Path::to_path_buf);
    match kind {
        Kind::FashionSample => sample::open(),
        Kind::FashionMnist => mnist::open(&mnist::FASHION_MNIST, given),
        Kind::Mnist => mnist::open(&mnist::MNIST, given),
        Kind::Cifar10 => cifar::open(&cifar::CIFAR10, &root),
        Kind::Cifar100 => cifar::open(&cifar::CIFAR100, &root),
        Kind::TinyImageNet => tiny::open(&root),
        Kind::Folder => match given {
            Some(root) => folder::open(root),
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
