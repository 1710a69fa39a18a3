//! Tar shards in webdataset's naming: the files of a sample lie one after the other and share their name up to its first
//! dot; `.jpg` and the like is the image, `.cls` its class, `.json` may name it.
//!
//! One pass over the headers finds where every image lies; images are then read in place, in any order.

mod index;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::classes::{Given, Words};
use super::folder::of_names;
use super::found::{Found, Part};
use crate::datasets::DataError;
use crate::datasets::encoded::Items;
use index::{Place, Shard};

/// Files that are kept open.
const MOST_OPEN: usize = 64;

/// The images of tar files below `root`.
pub(super) fn read(root: &Path, files: Vec<PathBuf>) -> Result<Found, DataError> {
    let (mut parts, mut notes) = (Vec::new(), Vec::new());
    let (mut count, mut left_out, mut example, mut open_ended) = (0, 0, None, Vec::new());
    let (mut no_json, mut first_json) = (0, None);
    for (name, paths) in of_names(root, files)? {
        count += paths.len();
        let shards: Vec<Shard> = paths.par_iter().map(|path| Shard::read(path)).collect::<Result<_, _>>()?;
        for shard in &shards {
            left_out += shard.left_out;
            example = example.or_else(|| shard.example.clone());
            no_json += shard.no_json.0;
            first_json = first_json.or_else(|| shard.no_json.1.clone());
            open_ended.extend((!shard.has_end).then(|| shard.path.display().to_string()));
        }
        parts.push(part(root, &name, shards)?);
    }
    if let Some(example) = example {
        notes.push(match left_out {
            1 => format!("1 file that is neither image nor label is left out: {example}"),
            count => {
                format!("{count} files that are neither images nor labels are left out, such as {example}")
            }
        });
    }
    if let Some(first) = first_json {
        notes.push(format!("{no_json} .json files are no JSON and give no label, {first} first"));
    }
    if let Some(first) = open_ended.first() {
        let others = match open_ended.len() {
            1 => String::new(),
            count => format!(" and {} others", count - 1),
        };
        notes.push(format!("{first}{others}: the mark of its end is missing; it may be cut short"));
    }
    let what = if count == 1 { "a tar file".to_string() } else { format!("{count} tar files") };
    Ok(Found { what, notes, ..Found::of(parts, root) })
}

/// A split of shards.
fn part(root: &Path, name: &str, shards: Vec<Shard>) -> Result<Part, DataError> {
    let mut samples = Samples {
        open: OpenFiles::default(),
        files: Vec::new(),
        places: Vec::new(),
        names: Names::default(),
    };
    let mut words = Words::default();
    let mut is_labelled = false;
    for (number, shard) in shards.into_iter().enumerate() {
        is_labelled |= shard.labels.all.iter().any(|word| !word.is_empty());
        for (place, &word) in shard.places.iter().zip(&shard.labels.of) {
            samples.places.push((number as u32, *place));
            words.push(&shard.labels.all[word as usize]);
        }
        samples.names.append(&shard.names);
        let below = shard.path.strip_prefix(root).unwrap_or(&shard.path).to_string_lossy().into_owned();
        samples.files.push((shard.path, below));
    }
    let count = samples.places.len();
    if count == 0 {
        let path = samples.files.first().map_or(root, |(path, _)| path);
        return Err(DataError::format(
            path,
            "it has no images",
            "a tar file of samples such as 0001.jpg with 0001.cls",
        ));
    }
    let labels = if is_labelled { Given::Text(words) } else { Given::None };
    Ok(Part { name: name.to_string(), items: Arc::new(samples), count, labels })
}

/// Names one after the other in one text.
#[derive(Default)]
pub(super) struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    pub fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    pub fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[index]]
    }

    fn append(&mut self, others: &Names) {
        let before = self.text.len();
        self.text.push_str(&others.text);
        self.ends.extend(others.ends.iter().map(|end| before + end));
    }
}

/// Images in tar files.
struct Samples {
    open: OpenFiles,
    /// The files, each with its path below the source.
    files: Vec<(PathBuf, String)>,
    /// Of each image, its file and where it lies there.
    places: Vec<(u32, Place)>,
    names: Names,
}

impl Items for Samples {
    fn path(&self, index: usize) -> PathBuf {
        let (file, _) = self.places[index];
        self.files[file as usize].0.join(self.names.get(index))
    }

    fn key(&self, index: usize) -> String {
        let (file, _) = self.places[index];
        format!("{}/{}", self.files[file as usize].1, self.names.get(index))
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let (number, place) = self.places[index];
        let path = &self.files[number as usize].0;
        let file = self.open.get(number, path)?;
        // The length was compared with the file's when it was indexed.
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(&mut bytes, place.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                let found = format!("it ends within {}", self.names.get(index));
                DataError::format(path, found, "it not to change while it is in use")
            }
            _ => DataError::io("read", path)(error),
        })?;
        Ok(bytes)
    }

    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let mut stamp = self.key(index).into_bytes();
        stamp.extend(u64::from(self.places[index].1.length).to_le_bytes());
        Ok(stamp)
    }
}

/// The files that were read last, open.
#[derive(Default)]
pub(super) struct OpenFiles {
    files: Mutex<LastUsed>,
}

/// How often a file was asked for, and the open files by number, each with the asking that was the last for it.
#[derive(Default)]
struct LastUsed {
    clock: u64,
    files: HashMap<u32, (u64, Arc<File>)>,
}

impl OpenFiles {
    /// The file of a number, which is at `path`.
    pub fn get(&self, number: u32, path: &Path) -> Result<Arc<File>, DataError> {
        let mut state = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let LastUsed { clock, files } = &mut *state;
        *clock += 1;
        if let Some((used, file)) = files.get_mut(&number) {
            *used = *clock;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path).map_err(DataError::io("open", path))?);
        if files.len() == MOST_OPEN
            && let Some(oldest) = files.iter().min_by_key(|(_, (used, _))| *used).map(|(&number, _)| number)
        {
            files.remove(&oldest);
        }
        files.insert(number, (*clock, Arc::clone(&file)));
        Ok(file)
    }
}
