//! What is in a tar file, from one pass over its headers.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::Names;
use crate::datasets::DataError;
use crate::datasets::forms::classes::Words;
use crate::datasets::forms::walk::is_image_ending;
use crate::decode::MOST_BYTES;

const EXPECTED: &str = "a whole tar file";
/// What headers may take for one file: names and attributes.
const MOST_HEADER: u64 = 1 << 20;
/// Bytes of a label's file.
const MOST_LABEL: u64 = 1 << 20;
/// Where a `.json` says the class, the first of these that there is.
const JSON_LABELS: [&str; 8] =
    ["label", "cls", "class", "target", "class_name", "classname", "category", "label_name"];

/// Where an image lies in a tar file.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub offset: u64,
    pub length: u32,
}

/// The images of a tar file.
pub(super) struct Shard {
    pub path: PathBuf,
    pub places: Vec<Place>,
    /// Names of the images in the file.
    pub names: Names,
    /// What is said of each image's class; nothing is an empty text.
    pub labels: Words,
    /// Files that are neither image nor label.
    pub left_out: usize,
    pub example: Option<String>,
    /// How many `.json` are no JSON, and the first of them.
    pub no_json: (usize, Option<String>),
    /// Names of samples that have a label and, where it lies, no image.
    alone: HashSet<String>,
    /// Whether the file's end is marked, as it should be.
    pub has_end: bool,
}

/// The files of one sample that were seen so far.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<(String, Place)>,
    class: Option<String>,
    json: Option<String>,
}

impl Shard {
    /// Reads the headers of the file at `path`, and the labels in it.
    pub fn read(path: &Path) -> Result<Shard, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let length = file.metadata().map_err(DataError::io("read", path))?.len();
        let wrong = |found: String| DataError::format(path, found, EXPECTED);
        if length == 0 {
            return Err(wrong("the file is empty".into()));
        }
        let left = Rc::new(Cell::new(MOST_HEADER));
        let reader =
            Headers { file: file.try_clone().map_err(DataError::io("read", path))?, left: Rc::clone(&left) };
        let mut archive = tar::Archive::new(reader);
        let mut shard = Shard {
            path: path.to_path_buf(),
            places: Vec::new(),
            names: Names::default(),
            labels: Words::default(),
            left_out: 0,
            example: None,
            no_json: (0, None),
            alone: HashSet::new(),
            has_end: false,
        };
        let mut sample = Sample::default();
        let mut seen = HashSet::new();
        let mut end = 0;
        let broken = |error: io::Error| {
            wrong(format!("its headers cannot be read ({})", ddae_base::text::joined(error)))
        };
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            left.set(MOST_HEADER);
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(|error| {
                wrong(format!(
                    "it names a file '{}'",
                    ddae_base::text::excerpt(String::from_utf8_lossy(error.as_bytes()), 80)
                ))
            })?;
            let kind = entry.header().entry_type();
            if !kind.is_file() && !kind.is_contiguous() {
                if !kind.is_dir() && !kind.is_pax_global_extensions() {
                    shard.leave_out(&name);
                }
                end = end.max(offset.saturating_add(size));
                continue;
            }
            let after = offset.checked_add(size).filter(|&after| after <= length);
            end = after.ok_or_else(|| wrong(format!("it ends within {name}")))?;
            let place = Place { offset, length: u32::try_from(size).unwrap_or(u32::MAX) };
            shard.add(&file, &mut sample, &mut seen, name.trim_start_matches("./"), place, size)?;
        }
        shard.finish(sample)?;
        shard.check_together()?;
        let mut mark = [1; 512];
        let at = end.div_ceil(512) * 512;
        shard.has_end = file.read_exact_at(&mut mark, at).is_ok() && mark.iter().all(|&byte| byte == 0);
        if shard.has_end {
            shard.check_nothing_after(&file, at, length)?;
        }
        Ok(shard)
    }

    /// Refuses labels whose images lie elsewhere in the file: they would be lost.
    fn check_together(&self) -> Result<(), DataError> {
        if self.alone.is_empty() {
            return Ok(());
        }
        let keys = (0..self.places.len()).map(|index| {
            let name = self.names.get(index);
            let base = name.rfind('/').map_or(0, |at| at + 1);
            &name[..name[base..].find('.').map_or(name.len(), |dot| base + dot)]
        });
        match keys.into_iter().find(|key| self.alone.contains(*key)) {
            Some(key) => Err(self.wrong(
                format!("the files of sample {key} do not lie together"),
                "the files of each sample one after the other, as 'tar --sort=name' writes them",
            )),
            None => Ok(()),
        }
    }

    /// Refuses what follows the mark of the end, from byte `at` to the file's end: another archive, say, which no reader
    /// finds.
    fn check_nothing_after(&self, file: &File, at: u64, length: u64) -> Result<(), DataError> {
        let mut buffer = vec![0; 1 << 20];
        let mut at = at;
        while at < length {
            let count = file.read_at(&mut buffer, at).map_err(DataError::io("read", &self.path))?;
            if count == 0 {
                return Ok(());
            }
            if let Some(place) = buffer[..count].iter().position(|&byte| byte != 0) {
                return Err(self.wrong(
                    format!("after the mark of its end there is more, at byte {}", at + place as u64),
                    "one archive in a file (cat does not join them; tar --concatenate does)",
                ));
            }
            at += count as u64;
        }
        Ok(())
    }

    fn leave_out(&mut self, name: &str) {
        self.left_out += 1;
        self.example.get_or_insert_with(|| format!("{}/{name}", self.path.display()));
    }

    fn wrong(&self, found: String, expected: &str) -> DataError {
        DataError::format(&self.path, found, expected)
    }

    /// A file of the archive.
    fn add(
        &mut self,
        file: &File,
        sample: &mut Sample,
        seen: &mut HashSet<String>,
        name: &str,
        place: Place,
        size: u64,
    ) -> Result<(), DataError> {
        let base = name.rsplit('/').next().unwrap_or(name);
        let Some((_, ending)) = base.split_once('.').filter(|(stem, _)| !stem.is_empty()) else {
            self.leave_out(name);
            return Ok(());
        };
        let ending = ending.to_ascii_lowercase();
        let key = &name[..name.len() - ending.len() - 1];
        if sample.key != key {
            let before = std::mem::replace(sample, Sample { key: key.to_string(), ..Sample::default() });
            self.finish(before)?;
        }
        if is_image_ending(ending.rsplit('.').next().unwrap_or(&ending)) {
            if let Some((other, _)) = &sample.image {
                let found = format!("sample {key} has two images, {other} and {name}");
                return Err(self.wrong(found, "one image in a sample"));
            }
            if size > MOST_BYTES {
                return Err(self.wrong(format!("{name} has {size} bytes"), "images of at most 256 MiB"));
            }
            if !seen.insert(name.to_string()) {
                return Err(self.wrong(format!("it holds {name} twice"), "a name for each image"));
            }
            sample.image = Some((name.to_string(), place));
            return Ok(());
        }
        match ending.as_str() {
            "cls" => sample.class = Some(self.text(file, name, place, size)?.trim().to_string()),
            "json" => match serde_json::from_str(&self.text(file, name, place, size)?) {
                Ok(value) => sample.json = json_label(value),
                Err(_) => {
                    self.no_json.0 += 1;
                    self.no_json.1.get_or_insert_with(|| format!("{}/{name}", self.path.display()));
                }
            },
            _ => self.leave_out(name),
        }
        Ok(())
    }

    /// The text of a file of the archive.
    fn text(&self, file: &File, name: &str, place: Place, size: u64) -> Result<String, DataError> {
        const EXPECTED: &str = "the class as text";
        if size > MOST_LABEL {
            return Err(self.wrong(format!("{name} has {size} bytes"), EXPECTED));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, place.offset).map_err(DataError::io("read", &self.path))?;
        String::from_utf8(bytes).map_err(|_| self.wrong(format!("{name} is no text"), EXPECTED))
    }

    /// A sample whose files were all seen.
    fn finish(&mut self, sample: Sample) -> Result<(), DataError> {
        let Some((name, place)) = sample.image else {
            if sample.class.or(sample.json).is_some() {
                self.leave_out(&format!("{}.*, a sample without an image", sample.key));
                self.alone.insert(sample.key);
            }
            return Ok(());
        };
        if let (Some(class), Some(json)) = (&sample.class, &sample.json) {
            let is_number = |text: &str| text.parse::<i64>().is_ok();
            // A number beside a name is not its opposite.
            if class != json && is_number(class) == is_number(json) {
                let found =
                    format!("the label of sample {} is {class} in .cls and {json} in .json", sample.key);
                return Err(self.wrong(found, "one label for each sample"));
            }
        }
        self.places.push(place);
        self.names.push(&name);
        self.labels.push(&sample.class.or(sample.json).unwrap_or_default());
        Ok(())
    }
}

/// The class that a JSON value names: that of an object, or a number or name by itself.
fn json_label(value: Value) -> Option<String> {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Object(fields) => JSON_LABELS.iter().find_map(|name| fields.get(*name).and_then(word)),
        value => word(&value),
    }
}

/// A tar file of which only headers are read, and of those not more than [`MOST_HEADER`] bytes at a time.
struct Headers {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("the names of a file take more than 1 MiB"))?);
        Ok(count)
    }
}

impl Seek for Headers {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
