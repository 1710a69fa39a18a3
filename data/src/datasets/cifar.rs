//! CIFAR-10 and CIFAR-100, binary and python version, read where they lie.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::cifar_batch::{self, Levels};
use super::source::{RecordFile, Records};
use super::{DataError, DataSet, Kind, archive, check_counts, cifar_classes};
use crate::split::Split;

const SHAPE: [usize; 3] = [3, 32, 32];
const IMAGE: usize = 3 * 32 * 32;

/// How one of the two data sets is laid out in files.
pub(crate) struct Cifar {
    kind: Kind,
    classes: &'static [&'static str],
    /// Files without their ending, and the images that each was published with.
    train: &'static [&'static str],
    train_count: usize,
    test: &'static str,
    /// Label bytes before each image of the binary version; the last of them is the fine label.
    label_bytes: usize,
    /// Key of the labels in the python version.
    labels_key: &'static str,
}

pub(crate) const CIFAR10: Cifar = Cifar {
    kind: Kind::Cifar10,
    classes: &cifar_classes::CIFAR10,
    train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    train_count: 10_000,
    test: "test_batch",
    label_bytes: 1,
    labels_key: "labels",
};

pub(crate) const CIFAR100: Cifar = Cifar {
    kind: Kind::Cifar100,
    classes: &cifar_classes::CIFAR100,
    train: &["train"],
    train_count: 50_000,
    test: "test",
    label_bytes: 2,
    labels_key: "fine_labels",
};

const TEST_COUNT: usize = 10_000;

pub(crate) fn open(cifar: &Cifar, root: &Path) -> Result<DataSet, DataError> {
    let (folder, archive) = archive::locate(cifar.kind, root)?;
    let binary = archive.file.contains("binary");
    let read = |name: &str| {
        let path = folder.join(if binary { format!("{name}.bin") } else { name.into() });
        let batch = if binary { read_binary(&path, cifar) } else { read_python(&path, cifar) };
        batch.map(|(file, labels)| (path, file, labels))
    };
    let train = cifar.train.iter().map(|name| read(name)).collect::<Result<Vec<_>, _>>()?;
    let test = vec![read(cifar.test)?];
    let counts = |batches: &[(PathBuf, RecordFile, Vec<u32>)], published| {
        let count = move |(path, _, labels): &(PathBuf, RecordFile, Vec<u32>)| {
            (path.clone(), labels.len(), published)
        };
        batches.iter().map(count).collect::<Vec<_>>()
    };
    check_counts(&[counts(&train, cifar.train_count), counts(&test, TEST_COUNT)].concat())?;

    let name = cifar.kind.name();
    let classes: Vec<String> = cifar.classes.iter().map(|&class| class.into()).collect();
    let split = |part: &str, batches: Vec<(PathBuf, RecordFile, Vec<u32>)>| {
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        for (_, file, of_file) in batches {
            files.push(file);
            labels.extend(of_file);
        }
        let source = Records { shape: SHAPE, files };
        Split::new(format!("{name}/{part}"), classes.clone(), labels, source)
    };
    let origin = format!("{} in {}", archive.title, folder.display());
    Ok(DataSet::published(name, origin, split("train", train), split("test", test)))
}

/// A file of records: the label bytes, then the planes.
fn read_binary(path: &Path, cifar: &Cifar) -> Result<(RecordFile, Vec<u32>), DataError> {
    let record = cifar.label_bytes + IMAGE;
    let expected = || format!("whole records of {record} bytes, {} of them labels", cifar.label_bytes);
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let info = file.metadata().map_err(DataError::io("read", path))?;
    if info.is_dir() {
        return Err(DataError::format(path, "it is a folder", expected()));
    }
    let length = info.len();
    if length == 0 || length % record as u64 != 0 {
        let found = match length {
            0 => "the file is empty".to_string(),
            _ => format!("it has {length} bytes, which is not a whole number of records"),
        };
        return Err(DataError::format(path, found, expected()));
    }
    let count = (length / record as u64) as usize;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut labels = Vec::with_capacity(count);
    let mut bytes = vec![0; record];
    for index in 0..count {
        reader.read_exact(&mut bytes).map_err(DataError::io("read", path))?;
        let label = u32::from(bytes[cifar.label_bytes - 1]);
        labels.push(check_label(path, index, label.into(), cifar)?);
    }
    let offset = cifar.label_bytes as u64;
    let records = RecordFile::open(path, offset, record as u64, count)?;
    Ok((records, labels))
}

/// A pickled batch; its images lie in one piece, so they too are read in place. Only those that Python 3 wrote as text, in
/// protocol 2, are held in memory.
fn read_python(path: &Path, cifar: &Cifar) -> Result<(RecordFile, Vec<u32>), DataError> {
    let expected = || {
        format!(
            "a batch of the python version of {}: a pickled dictionary with 'data' and '{}'",
            cifar.kind.name(),
            cifar.labels_key
        )
    };
    let file = File::open(path).map_err(DataError::io("open", path))?;
    if file.metadata().map_err(DataError::io("read", path))?.is_dir() {
        return Err(DataError::format(path, "it is a folder", expected()));
    }
    // SAFETY: the map is only read, and gone when this function ends. A file that another process shortens meanwhile
    // would end this process with a signal; data sets are not written to once they are in their place.
    let file = unsafe { Mmap::map(&file) }.map_err(DataError::io("read", path))?;
    let batch = cifar_batch::read(&file, cifar.labels_key)
        .map_err(|found| DataError::format(path, found, expected()))?;
    if batch.columns != IMAGE {
        let found = format!("its images have {} levels", batch.columns);
        return Err(DataError::format(path, found, format!("{IMAGE} (3x32x32)")));
    }
    let labels = batch
        .labels
        .iter()
        .enumerate()
        .map(|(index, &label)| check_label(path, index, label, cifar))
        .collect::<Result<_, _>>()?;
    let records = match batch.levels {
        Levels::InPlace(offset) => RecordFile::open(path, offset, IMAGE as u64, batch.rows)?,
        Levels::Decoded(levels) => RecordFile::in_memory(path, levels, IMAGE as u64, batch.rows),
    };
    Ok((records, labels))
}

fn check_label(path: &Path, index: usize, label: i64, cifar: &Cifar) -> Result<u32, DataError> {
    match usize::try_from(label) {
        Ok(known) if known < cifar.classes.len() => Ok(known as u32),
        _ => Err(DataError::format(
            path,
            format!("image {index} has the label {label}"),
            format!("labels 0 to {}", cifar.classes.len() - 1),
        )),
    }
}
