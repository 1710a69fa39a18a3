//! Anyone's images: what a path is, and what is in it.
//!
//! | module | subject |
//! | --- | --- |
//! | `found` | what was found before labels are numbers, and the data set made of it |
//! | `classes` | class names and numbers from what sources say of their images |
//! | `walk` | what lies in a folder, which files are images, what is left out |
//! | `folder` | folders: splits, classes, `metadata.csv`, streams in it |
//! | `table` | tables of paths, labels and splits: text, CSV, JSON lines |
//! | `list` | a table that names image files |
//! | `labels` | the labels of `--labels` and of `metadata.csv` |
//! | `tar` | tar shards in webdataset's naming, indexed and read in place |
//! | `braces` | names of shards as `train-{000..009}.tar` |
//! | `parquet` | parquet files as Hugging Face's hub keeps images |
//! | `names` | names in composed and decomposed Unicode |

mod braces;
mod classes;
mod folder;
mod found;
mod labels;
mod list;
mod names;
mod parquet;
mod table;
mod tar;
mod walk;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ddae_base::kind_of;

use super::encoded::Files;
use super::{DataError, DataSet, OpenOptions};
use found::{Found, Naming, Part};

pub(super) use walk::{images, subfolders};

/// What can be given, in the words of messages.
pub(super) const WANTED: &str =
    "a folder of images, an image, a list of paths (.txt, .csv, .jsonl), .tar or .parquet";

/// Bytes by which files are told apart.
const HEAD: usize = 512;

/// The path that `text` is: as it is, or below `root`; none where there is nothing.
pub(super) fn locate(text: &str, root: Option<&Path>) -> Option<PathBuf> {
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let below = || root.map(|root| root.join(text));
    Some(PathBuf::from(text)).filter(there).or_else(|| below().filter(there))
}

/// Whether `text` is meant as a path rather than a name, whether it is there or not.
pub(super) fn is_path(text: &str) -> bool {
    text.contains(['/', '{']) || Path::new(text).extension().is_some() || text == "." || text == ".."
}

/// Opens what `text` leads to.
pub(super) fn open(text: &str, root: Option<&Path>, options: &OpenOptions) -> Result<DataSet, DataError> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(DataError::Argument(format!(
            "{text}: images are read from files, not from the network ({scheme}); fetch them first"
        )));
    }
    if let Some(path) = locate(text, root) {
        let naming = Naming { name: text.to_string(), short: short_name(&path), is_folder: false };
        return found::data_set(read(&path)?, naming, options);
    }
    let Some(shards) = braces::expand(text)? else {
        let beside = root.map_or_else(String::new, |root| format!(", nor below {}", root.display()));
        return Err(DataError::Argument(format!(
            "{text}: there is no such file or folder{beside}; wanted is {WANTED}"
        )));
    };
    let paths = braces::locate(text, &shards, root)?;
    let short = text.rsplit('/').next().unwrap_or(text).to_string();
    let naming = Naming { name: text.to_string(), short, is_folder: false };
    found::data_set(of_shards(text, paths)?, naming, options)
}

/// Opens `root` as the data set `folder`, which has a folder for each split.
pub(super) fn open_folder(root: &Path, options: &OpenOptions) -> Result<DataSet, DataError> {
    let naming = Naming { name: "folder".to_string(), short: "folder".to_string(), is_folder: true };
    found::data_set(folder::of_splits(root)?, naming, options)
}

/// What a path is called in names of splits: its last part, so that the same images have the same name on every machine.
fn short_name(path: &Path) -> String {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    last(path)
        .or_else(|| path.canonicalize().ok().and_then(|path| last(&path)))
        .unwrap_or_else(|| "files".into())
}

/// What lies at `path`.
fn read(path: &Path) -> Result<Found, DataError> {
    let info = fs::metadata(path).map_err(DataError::io("open", path))?;
    if info.is_dir() {
        return folder::read(path);
    }
    if info.file_type().is_fifo() {
        return list::read(path);
    }
    if !info.is_file() {
        return Err(DataError::format(path, "it is a device or a socket", WANTED));
    }
    match kind(path)? {
        FileKind::Tar => tar::read(path.parent().unwrap_or(Path::new("")), vec![path.to_path_buf()]),
        FileKind::Parquet => parquet::read(path.parent().unwrap_or(Path::new("")), vec![path.to_path_buf()]),
        FileKind::List => list::read(path),
        FileKind::Image => {
            let items = Files { root: path.parent().map(Path::to_path_buf), paths: vec![path.to_path_buf()] };
            let part = Part::unlabelled("train", Arc::new(items), 1);
            Ok(Found { what: "one image".into(), ..Found::of(vec![part], path) })
        }
    }
}

/// What several files are, which must be of one kind.
fn of_shards(text: &str, paths: Vec<PathBuf>) -> Result<Found, DataError> {
    let Some(first) = paths.first() else {
        return Err(DataError::Argument(format!("{text}: it names no file")));
    };
    let root = first.parent().unwrap_or(Path::new("")).to_path_buf();
    match kind(first)? {
        FileKind::Tar => tar::read(&root, paths),
        FileKind::Parquet => parquet::read(&root, paths),
        _ => Err(DataError::format(
            first,
            "it is one of several files",
            "tar or parquet files, where there are several",
        )),
    }
}

/// What can be in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    Image,
    Tar,
    Parquet,
    List,
}

/// What a file is, by its first bytes rather than its name.
fn kind(path: &Path) -> Result<FileKind, DataError> {
    let mut head = Vec::with_capacity(HEAD);
    let file = File::open(path).map_err(DataError::io("open", path))?;
    file.take(HEAD as u64).read_to_end(&mut head).map_err(DataError::io("read", path))?;
    let ending = walk::ending(path);
    if head.starts_with(b"PAR1") {
        return Ok(FileKind::Parquet);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(FileKind::Tar);
    }
    let told = crate::decode::kind_of(&head);
    if told.is_read() {
        return Ok(FileKind::Image);
    }
    let is = |start: &[u8]| head.starts_with(start);
    let compressed =
        [(&b"\x1f\x8b"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz")];
    if let Some((_, how)) = compressed.iter().find(|(start, _)| is(start)) {
        let found = format!("it is compressed with {how}, and cannot be read by position");
        return Err(DataError::format(path, found, format!("the unpacked file ({how} -dk unpacks it)")));
    }
    if matches!(ending.as_str(), "jsonl" | "ndjson") {
        return Ok(FileKind::List);
    }
    // Of a text, two letters say nothing.
    if told != crate::decode::Kind::Text
        && let Some(kind) = kind_of(&head)
    {
        return Err(DataError::format(path, format!("it is {kind}"), WANTED));
    }
    if let crate::decode::Kind::Other(name) = told {
        return Err(DataError::format(path, format!("it is {name}, which is not read"), WANTED));
    }
    match ending.as_str() {
        // Tar files of the seventies say nothing of themselves at their beginning.
        "tar" => Ok(FileKind::Tar),
        "csv" | "tsv" | "txt" | "lst" | "list" => Ok(FileKind::List),
        _ if walk::is_image_ending(&ending) => Ok(FileKind::Image),
        _ if head.is_empty() => Err(DataError::format(path, "the file is empty", WANTED)),
        _ if ending.is_empty() && is_text(&head) => Ok(FileKind::List),
        _ => Err(DataError::format(path, "it is nothing that images are read from", WANTED)),
    }
}

/// Whether bytes are the beginning of a text.
fn is_text(head: &[u8]) -> bool {
    let whole = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character may be cut at the end.
        Err(error) => error.error_len().is_none(),
    };
    whole && !head.contains(&0)
}
