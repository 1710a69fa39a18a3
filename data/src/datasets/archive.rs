//! The published archives: finding, checking and unpacking them.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ddae_base::files::fill_whole;
use ddae_base::lock;
use flate2::read::MultiGzDecoder;
use md5::{Digest, Md5};

use super::{DataError, Kind};

/// A published archive and the folder it unpacks to.
#[derive(Debug)]
pub(crate) struct Archive {
    pub kind: Kind,
    /// File name of the archive.
    pub file: &'static str,
    md5: &'static str,
    /// The one folder at its top.
    pub folder: &'static str,
    /// A file inside the folder by which the folder is recognised under another name.
    marker: &'static str,
    /// What it is, for messages.
    pub title: &'static str,
}

/// Every archive that is known. Of several for one data set, the first that is there is taken.
pub(crate) const ARCHIVES: [Archive; 5] = [
    Archive {
        kind: Kind::Cifar10,
        file: "cifar-10-binary.tar.gz",
        md5: "c32a1d4ab5d03f1284b67883e8d87530",
        folder: "cifar-10-batches-bin",
        marker: "data_batch_1.bin",
        title: "CIFAR-10, binary version",
    },
    Archive {
        kind: Kind::Cifar10,
        file: "cifar-10-python.tar.gz",
        md5: "c58f30108f718f92721af3b95e74349a",
        folder: "cifar-10-batches-py",
        marker: "data_batch_1",
        title: "CIFAR-10, python version",
    },
    Archive {
        kind: Kind::Cifar100,
        file: "cifar-100-binary.tar.gz",
        md5: "03b5dce01913d631647c71ecec9e9cb8",
        folder: "cifar-100-binary",
        marker: "train.bin",
        title: "CIFAR-100, binary version",
    },
    Archive {
        kind: Kind::Cifar100,
        file: "cifar-100-python.tar.gz",
        md5: "eb9058c3a382ffc7106e4002c42a8d85",
        folder: "cifar-100-python",
        marker: "train",
        title: "CIFAR-100, python version",
    },
    Archive {
        kind: Kind::TinyImageNet,
        file: "tiny-imagenet-200.zip",
        md5: "90528d7ca1a48142e341f4ef8d21d0de",
        folder: "tiny-imagenet-200",
        marker: "wnids.txt",
        title: "Tiny-ImageNet",
    },
];

/// Bytes that an archive may unpack to; published ones have some hundred million.
const MOST_UNPACKED: u64 = 4 << 30;

/// What is being done to an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Computing its md5.
    Checking,
    /// Writing its files.
    Unpacking,
}

/// Called with the stage, the bytes of the archive done and its length; `Break` stops and takes back what was
/// written.
pub type Progress<'a> = &'a mut dyn FnMut(Stage, u64, u64) -> ControlFlow<()>;

/// How a folder came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    Before,
    Now,
}

/// The folder of a data set under `root`: unpacked already, under its published name or being `root` itself, or else
/// unpacked now from an archive in `root`.
pub(crate) fn locate(kind: Kind, root: &Path) -> Result<(PathBuf, &'static Archive), DataError> {
    if let Some(found) = unpacked(kind, root) {
        return Ok(found);
    }
    if let Some((path, archive)) = packed(kind, root) {
        let mut quiet = |_, _, _| ControlFlow::Continue(());
        let (folder, _) = unpack(&path, archive, true, &mut quiet)?;
        return Ok((folder, archive));
    }
    Err(missing(kind, root))
}

fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Archive> {
    static ALL: &[Archive] = &ARCHIVES;
    ALL.iter().filter(move |archive| archive.kind == kind)
}

/// A folder that is unpacked already.
pub(crate) fn unpacked(kind: Kind, root: &Path) -> Option<(PathBuf, &'static Archive)> {
    of_kind(kind).find_map(|archive| {
        let below = root.join(archive.folder);
        if below.is_dir() {
            return Some((below, archive));
        }
        let is_folder = root.join(archive.marker).is_file();
        let has_name = root.file_name().is_some_and(|name| name == archive.folder) && root.is_dir();
        (is_folder || has_name).then(|| (root.to_path_buf(), archive))
    })
}

/// Whether `folder` itself is what an archive unpacks to, by the file that each has.
pub(crate) fn is_unpacked(kind: Kind, folder: &Path) -> bool {
    of_kind(kind).any(|archive| match kind {
        // Class folders called 'train' are many; the published file is one.
        Kind::Cifar100 => folder.join(archive.marker).is_file() && folder.join("meta").is_file(),
        _ => folder.join(archive.marker).is_file(),
    })
}

/// An archive that lies in `root`.
pub(crate) fn packed(kind: Kind, root: &Path) -> Option<(PathBuf, &'static Archive)> {
    of_kind(kind).map(|archive| (root.join(archive.file), archive)).find(|(path, _)| path.is_file())
}

/// Whether the file at `path` may be one of the archives: by its name, or being compressed.
pub(crate) fn may_be(path: &Path) -> bool {
    let is_named = ARCHIVES.iter().any(|archive| path.file_name().is_some_and(|name| name == archive.file));
    let mut head = [0; 4];
    let is_read = path.is_file() && File::open(path).is_ok_and(|mut file| file.read(&mut head).is_ok());
    is_named || (is_read && (head.starts_with(b"\x1f\x8b") || head == *b"PK\x03\x04"))
}

/// The archive that a file is, by its name or by its md5.
pub(crate) fn recognise(path: &Path, progress: Progress) -> Result<&'static Archive, DataError> {
    static ALL: &[Archive] = &ARCHIVES;
    let named = |archive: &&Archive| path.file_name().is_some_and(|name| name == archive.file);
    if let Some(archive) = ALL.iter().find(named) {
        return Ok(archive);
    }
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let sum = md5_of(path, &file, progress)?;
    ALL.iter().find(|archive| archive.md5 == sum).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|archive| archive.file).collect();
        DataError::format(
            path,
            format!("neither its name nor its md5 ({sum}) is known"),
            format!("one of {}", known.join(", ")),
        )
    })
}

/// That a data set is not in `root`, and what to do about it.
pub(crate) fn missing(kind: Kind, root: &Path) -> DataError {
    let folders: Vec<_> = of_kind(kind).map(|a| format!("{}/", a.folder)).collect();
    let files: Vec<_> = of_kind(kind).map(|a| a.file).collect();
    let page = match kind {
        Kind::TinyImageNet => "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        _ => "https://www.cs.toronto.edu/~kriz/cifar.html",
    };
    DataError::Missing {
        name: kind.name().into(),
        root: root.to_path_buf(),
        expected: format!(
            "the folder {} or the archive {}; download it from {page} or say with --data-root where it is",
            folders.join(" or "),
            files.join(" or "),
        ),
    }
}

/// Checks `path` against the published md5 (if `verify`) and unpacks it beside itself. Returns the folder.
///
/// The files are written under a temporary name that is renamed when all are there; what an interrupted run left
/// behind is removed first. A lock on the archive makes several processes that start together wait for the first.
pub(crate) fn unpack(
    path: &Path,
    archive: &Archive,
    verify: bool,
    progress: Progress,
) -> Result<(PathBuf, Unpacked), DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    lock::acquire(&file).map_err(DataError::io("lock", path))?;
    let parent = path.parent().unwrap_or(Path::new(""));
    let target = parent.join(archive.folder);
    if target.is_dir() {
        return Ok((target, Unpacked::Before));
    }
    if verify {
        let found = md5_of(path, &file, progress)?;
        if found != archive.md5 {
            return Err(DataError::Checksum { path: path.to_path_buf(), found, expected: archive.md5 });
        }
    }
    fill_whole(&target, |partial| match archive.file.ends_with(".zip") {
        true => unpack_zip(path, archive, partial, progress),
        false => unpack_tar(path, archive, partial, progress),
    })?;
    Ok((target, Unpacked::Now))
}

fn md5_of(path: &Path, mut file: &File, progress: Progress) -> Result<String, DataError> {
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let mut sum = Md5::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let count = file.read(&mut buffer).map_err(DataError::io("read", path))?;
        if count == 0 {
            break;
        }
        sum.update(&buffer[..count]);
        done += count as u64;
        report(progress, Stage::Checking, done, length)?;
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn report(progress: Progress, stage: Stage, done: u64, length: u64) -> Result<(), DataError> {
    match progress(stage, done, length) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DataError::Interrupted),
    }
}

/// Counts the bytes that pass, for progress.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn unpack_tar(path: &Path, archive: &Archive, into: &Path, progress: Progress) -> Result<(), DataError> {
    let wrong = |error: io::Error| {
        let expected = format!("the gzip-compressed tar archive {}", archive.file);
        DataError::format(path, format!("it cannot be unpacked ({error})"), expected)
    };
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: BufReader::new(file), count: Arc::clone(&count) };
    let mut room = MOST_UNPACKED;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(counted));
    let mut files = 0;
    for entry in tar.entries().map_err(wrong)? {
        let mut entry = entry.map_err(wrong)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(wrong)?.into_owned();
        let Some(inner) = below(&name, archive.folder) else {
            return Err(outside(path, archive, &name));
        };
        write(&into.join(inner), &mut entry, &mut room, wrong, &mut || {
            report(progress, Stage::Unpacking, count.load(Ordering::Relaxed), length)
        })?;
        files += 1;
    }
    some_files(path, archive, files)
}

fn unpack_zip(path: &Path, archive: &Archive, into: &Path, progress: Progress) -> Result<(), DataError> {
    let wrong = |error: io::Error| {
        let expected = format!("the zip archive {}", archive.file);
        DataError::format(path, format!("it cannot be unpacked ({error})"), expected)
    };
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| wrong(error.into()))?;
    let mut room = MOST_UNPACKED;
    let mut done = 0;
    let mut files = 0;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|error| wrong(error.into()))?;
        done += entry.compressed_size();
        if !entry.is_file() {
            continue;
        }
        let name = entry.name().map_err(|error| wrong(error.into()))?;
        let name = PathBuf::from(name.into_owned());
        let Some(inner) = below(&name, archive.folder) else {
            return Err(outside(path, archive, &name));
        };
        write(&into.join(inner), &mut entry, &mut room, wrong, &mut || {
            report(progress, Stage::Unpacking, done.min(length), length)
        })?;
        files += 1;
    }
    some_files(path, archive, files)
}

fn some_files(path: &Path, archive: &Archive, files: usize) -> Result<(), DataError> {
    if files == 0 {
        let expected = format!("the archive {}", archive.file);
        return Err(DataError::format(path, "it holds no files", expected));
    }
    Ok(())
}

/// The path of an entry below the archive's top folder; none if it would be written anywhere else.
fn below(name: &Path, folder: &str) -> Option<PathBuf> {
    let mut parts = name.components().filter(|part| !matches!(part, Component::CurDir));
    if parts.next()? != Component::Normal(folder.as_ref()) {
        return None;
    }
    let inner = parts
        .map(|part| match part {
            Component::Normal(part) => Some(part),
            _ => None,
        })
        .collect::<Option<PathBuf>>()?;
    (inner != Path::new("")).then_some(inner)
}

fn outside(path: &Path, archive: &Archive, name: &Path) -> DataError {
    DataError::format(
        path,
        format!("it holds '{}'", name.display()),
        format!("only files in {}/", archive.folder),
    )
}

/// Copies an entry to a new file, telling a damaged archive from a disk that cannot take it. `room` is what all entries
/// still to come may have.
fn write(
    target: &Path,
    entry: &mut impl Read,
    room: &mut u64,
    wrong: impl Fn(io::Error) -> DataError,
    check: &mut dyn FnMut() -> Result<(), DataError>,
) -> Result<(), DataError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
    }
    let mut file = File::create_new(target).map_err(DataError::io("create", target))?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        check()?;
        let count = entry.read(&mut buffer).map_err(&wrong)?;
        if count == 0 {
            return Ok(());
        }
        let Some(left) = room.checked_sub(count as u64) else {
            let message =
                format!("it unpacks to more than {MOST_UNPACKED} bytes, which no published archive does");
            return Err(wrong(io::Error::other(message)));
        };
        *room = left;
        file.write_all(&buffer[..count]).map_err(DataError::io("write", target))?;
    }
}
