//! What a killed job left, and what the job made in the end, against the result of an undisturbed one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::tensors;

/// What is wrong with a file, in a sentence.
pub type Fault = String;

/// What a file is, which decides how it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// On its way to its name, or a lock.
    Temporary,
    /// Written line by line, with times.
    Log,
    /// `stats.jsonl`: written line by line; all but the times must be the same.
    Statistics,
    /// Whose tensors must be the same.
    Checkpoint,
    /// Whose bytes must be the same.
    Whole,
}

/// Keys of `stats.jsonl` that tell of time.
const TIMES: [&str; 3] = ["images_per_second", "seconds", "data_wait"];

impl Kind {
    /// Of the file of this name, relative to the job's folder.
    fn of(name: &str) -> Kind {
        let is_temporary = |part: &str| {
            part.ends_with(".partial")
                || part.ends_with(".lock")
                || part.starts_with(".tmp")
                || part.starts_with(".ddae-")
        };
        let mut parts = name.split('/');
        if name.split('/').any(is_temporary) {
            Kind::Temporary
        } else if parts.any(|part| part == "tensorboard" || part == "log.txt") {
            Kind::Log
        } else if name.ends_with("stats.jsonl") {
            Kind::Statistics
        } else if name.ends_with(".safetensors") {
            Kind::Checkpoint
        } else {
            Kind::Whole
        }
    }
}

/// Looks at what a killed job left in `work`: everything under a final name must be what the undisturbed job makes under
/// that name, in `result` or on the way in one of `others`.
///
/// # Errors
/// When something cannot be read.
pub fn left(work: &Path, result: &Path, others: &[PathBuf]) -> Result<Option<Fault>> {
    for name in names(work)? {
        let path = work.join(&name);
        let fault = match Kind::of(&name) {
            Kind::Temporary | Kind::Log => None,
            Kind::Statistics => broken_line(&fs::read_to_string(&path).with_context(|| name.clone())?),
            Kind::Checkpoint if name.ends_with("latest.safetensors") => {
                none_of(&path, result.join(&name).parent().unwrap_or(result))?
            }
            kind => {
                let known = [result].into_iter().chain(others.iter().map(PathBuf::as_path));
                match known.map(|folder| folder.join(&name)).find(|path| path.is_file()) {
                    None => Some("is nothing that the undisturbed job makes".to_string()),
                    Some(known) => difference(kind, &path, &known)?,
                }
            }
        };
        if let Some(fault) = fault {
            return Ok(Some(format!("{name} {fault}")));
        }
    }
    Ok(None)
}

/// Compares what a job made in `work` with the undisturbed `result`: the same names, nothing left over, the same content.
///
/// # Errors
/// When something cannot be read.
pub fn same(work: &Path, result: &Path) -> Result<Option<Fault>> {
    let compared = |name: &String| Kind::of(name) != Kind::Log;
    let names_of = |folder: &Path| -> Result<BTreeSet<String>> {
        Ok(names(folder)?.into_iter().filter(compared).collect())
    };
    let (ours, theirs) = (names_of(work)?, names_of(result)?);
    if let Some(missing) = theirs.difference(&ours).next() {
        return Ok(Some(format!("{missing} is missing")));
    }
    if let Some(left) = ours.difference(&theirs).next() {
        return Ok(Some(format!("{left} is left over")));
    }
    for name in ours {
        if let Some(fault) = difference(Kind::of(&name), &work.join(&name), &result.join(&name))? {
            return Ok(Some(format!("{name} {fault}")));
        }
    }
    Ok(None)
}

/// How a file differs from what it should be.
fn difference(kind: Kind, ours: &Path, theirs: &Path) -> Result<Option<Fault>> {
    if has_same_bytes(ours, theirs)? {
        return Ok(None);
    }
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    match kind {
        Kind::Temporary | Kind::Log => Ok(None),
        Kind::Whole => Ok(Some("is not what the undisturbed job makes".to_string())),
        Kind::Checkpoint => Ok(tensors::difference(&read(ours)?, &read(theirs)?)),
        Kind::Statistics => {
            let text =
                |path: &Path| Ok::<_, anyhow::Error>(String::from_utf8_lossy(&read(path)?).into_owned());
            Ok(other_line(&text(ours)?, &text(theirs)?))
        }
    }
}

/// `latest` may be any of the checkpoints of the undisturbed run.
fn none_of(latest: &Path, checkpoints: &Path) -> Result<Option<Fault>> {
    let mut fault = "is no checkpoint of the undisturbed run".to_string();
    for name in names(checkpoints)? {
        match difference(Kind::Checkpoint, latest, &checkpoints.join(name))? {
            None => return Ok(None),
            Some(tensors_differ) => fault = tensors_differ,
        }
    }
    Ok(Some(fault))
}

/// A whole line that is no JSON.
fn broken_line(text: &str) -> Option<Fault> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let broken = |line: &&str| serde_json::from_str::<Map<String, Value>>(line).is_err();
    (1..).zip(whole).find(|(_, line)| broken(line)).map(|(number, _)| format!("has a broken line {number}"))
}

/// The first line that tells something else, times aside.
fn other_line(ours: &str, theirs: &str) -> Option<Fault> {
    let timeless = |line: &str| {
        let mut object: Map<String, Value> = serde_json::from_str(line).ok()?;
        TIMES.iter().for_each(|time| _ = object.remove(*time));
        Some(object)
    };
    let (count, expected) = (ours.lines().count(), theirs.lines().count());
    if count != expected {
        return Some(format!("has {count} lines where {expected} are right"));
    }
    let mut lines = (1..).zip(ours.lines().zip(theirs.lines()));
    let other = lines.find(|(_, (ours, theirs))| {
        let ours = timeless(ours);
        ours.is_none() || ours != timeless(theirs)
    });
    other.map(|(number, (ours, theirs))| format!("has a line {number} {ours} where {theirs} is right"))
}

fn has_same_bytes(ours: &Path, theirs: &Path) -> Result<bool> {
    let open = |path: &Path| -> Result<(u64, BufReader<File>)> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok((file.metadata()?.len(), BufReader::with_capacity(1 << 16, file)))
    };
    let ((length, mut ours), (expected, mut theirs)) = (open(ours)?, open(theirs)?);
    if length != expected {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(a.len());
        ours.read_exact(&mut a[..part])?;
        theirs.read_exact(&mut b[..part])?;
        if a[..part] != b[..part] {
            return Ok(false);
        }
        left -= part as u64;
    }
    Ok(true)
}

/// Names of all files below a folder, relative to it; folders that are empty end with a slash.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    collect(folder, "", &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, before: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            let count = found.len();
            collect(&entry.path(), &format!("{name}/"), found)?;
            // Folders on the way to their names count, empty or not.
            if count == found.len() && Kind::of(&name) == Kind::Temporary {
                found.push(format!("{name}/"));
            }
        } else {
            found.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two folders with these files in them.
    fn folders(ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> [tempfile::TempDir; 2] {
        [ours, theirs].map(|files| {
            let root = tempfile::tempdir().expect("a folder");
            for (name, text) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().expect("a folder")).expect("created");
                fs::write(path, text).expect("written");
            }
            root
        })
    }

    #[test]
    fn what_a_killed_job_leaves_is_whole_or_has_no_name_yet() {
        let result: &[(&str, &str)] = &[("out.h5", "whole"), ("run/stats.jsonl", "{}\n{}\n")];
        for (left_over, fault) in [
            (&[("out.h5", "whole"), ("out.h5.1f.partial", "ha"), ("run/stats.jsonl", "{}\n{\"s")][..], ""),
            (&[(".ddae-export-1/out.h5", "ha"), ("run/log.txt", "any"), ("out.h5.lock", "")], ""),
            (&[("out.h5", "who")], "out.h5 is not what the undisturbed job makes"),
            (&[("out.h6", "whole")], "out.h6 is nothing that the undisturbed job makes"),
            (&[("run/stats.jsonl", "{}\n{\"s\n")], "run/stats.jsonl has a broken line 2"),
        ] {
            let [work, result] = folders(left_over, result);
            let found = left(work.path(), result.path(), &[]).expect("read").unwrap_or_default();
            assert_eq!(found, fault);
        }
        let [work, shards] = folders(&[("a.h5", "a")], &[("a.h5", "a")]);
        let result = tempfile::tempdir().expect("a folder");
        let found = left(work.path(), result.path(), &[shards.path().to_path_buf()]).expect("read");
        assert_eq!(found, None);
    }

    #[test]
    fn a_finished_job_leaves_what_an_undisturbed_one_leaves() {
        let line = r#"{"step":1,"loss":0.5,"seconds":1.5}"#;
        let later = r#"{"step":1,"loss":0.5,"seconds":2.5}"#;
        let other = r#"{"step":1,"loss":0.25,"seconds":1.5}"#;
        let result: &[(&str, &str)] = &[("a", "whole"), ("stats.jsonl", line), ("log.txt", "1 s")];
        for (made, fault) in [
            (&[("a", "whole"), ("stats.jsonl", later), ("log.txt", "2 s"), ("tensorboard/2", "")][..], ""),
            (&[("a", "hole!"), ("stats.jsonl", later)], "a is not what the undisturbed job makes"),
            (&[("stats.jsonl", later)], "a is missing"),
            (&[("a", "whole"), ("a.partial", ""), ("stats.jsonl", later)], "a.partial is left over"),
            (&[("a", "whole"), ("stats.jsonl", "")], "stats.jsonl has 0 lines where 1 are right"),
            (
                &[("a", "whole"), ("stats.jsonl", other)],
                &*format!("stats.jsonl has a line 1 {other} where {line} is right"),
            ),
        ] {
            let [work, result] = folders(made, result);
            assert_eq!(same(work.path(), result.path()).expect("read").unwrap_or_default(), fault);
        }
        let [work, result] = folders(&[("a", "")], &[("a", "")]);
        fs::create_dir(work.path().join(".ddae-export-1")).expect("created");
        let fault = same(work.path(), result.path()).expect("read");
        assert_eq!(fault.as_deref(), Some(".ddae-export-1/ is left over"));
    }
}
