//! A folder of numpy's arrays: `t11/out_6.npy` `[views, N, D]`, `labels.npy`, `indices.npy`, `paths.txt` and `classes.txt`
//! with a line for each row and class, and `provenance.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ddae_base::files;
use ddae_store::{FeatureFile, FeatureKey, FeatureType};
use half::f16;
use serde_json::Value;

use super::out::{Out, write_new};
use super::{PATH_ROWS, Source};
use crate::error::InferError;
use crate::npy::header;

/// The file that says what the others are.
const DESCRIPTION: &str = "provenance.json";
/// The files beside the features.
const OTHERS: [&str; 5] = [DESCRIPTION, "labels.npy", "indices.npy", "paths.txt", "classes.txt"];
/// The longest description that is read.
const LONGEST: u64 = 64 << 20;

pub(super) fn write(source: &Source<'_>, out: &Path) -> Result<(), InferError> {
    let file = source.file;
    check_lines(source)?;
    let parent = files::folder(out);
    fs::create_dir_all(parent).map_err(InferError::io("create", parent))?;
    files::fill_whole(out, |folder| -> Result<(), InferError> {
        let named = |name: &str| folder.join(name);
        for key in file.keys() {
            let path = named(&format!("{key}.npy"));
            let parent = files::folder(&path);
            fs::create_dir_all(parent).map_err(InferError::io("create", parent))?;
            write_new(&path, |out| features(source, key, out))?;
        }
        write_new(&named("labels.npy"), |out| {
            out.write(&header("<i8", &[file.len()]))?;
            file.labels()?.iter().try_for_each(|label| out.write(&label.to_le_bytes()))
        })?;
        write_new(&named("indices.npy"), |out| {
            out.write(&header("<u8", &[file.len()]))?;
            file.indices()?.iter().try_for_each(|index| out.write(&index.to_le_bytes()))
        })?;
        if file.has_paths() {
            write_new(&named("paths.txt"), |out| {
                for rows in source.blocks(PATH_ROWS) {
                    file.paths(rows?)?.iter().try_for_each(|path| out.line(path))?;
                }
                Ok(())
            })?;
        }
        if !source.classes().is_empty() {
            write_new(&named("classes.txt"), |out| {
                source.classes().iter().try_for_each(|class| out.line(class))
            })?;
        }
        write_new(&named(DESCRIPTION), |out| out.line(&format!("{:#}", source.description)))?;
        // Names are on the disk before the folder gets its own.
        for key in file.keys() {
            let path = named(&format!("{key}.npy"));
            files::sync_folder(files::folder(&path)).map_err(InferError::io("write", &path))?;
        }
        files::sync_folder(folder).map_err(InferError::io("write", folder))?;
        remove_old(out, file)
    })
}

/// Refuses texts that cannot be a line each.
fn check_lines(source: &Source<'_>) -> Result<(), InferError> {
    let is_line = |text: &String| !text.contains(['\n', '\r']);
    let refuse = |what: &str, number: usize| {
        let message = format!(
            "{what} {number} has a line break, which a list of lines cannot hold: take another --format"
        );
        Err(InferError::Output { path: source.file.path().to_path_buf(), message })
    };
    if let Some(number) = source.classes().iter().position(|class| !is_line(class)) {
        return refuse("the name of class", number);
    }
    for rows in source.blocks(PATH_ROWS) {
        let rows = rows?;
        let paths = source.paths(rows.clone())?.unwrap_or_default();
        if let Some(number) = paths.iter().position(|path| !is_line(path)) {
            return refuse("the path of row", rows.start + number);
        }
    }
    Ok(())
}

fn features(source: &Source<'_>, key: &FeatureKey, out: &mut Out<'_>) -> Result<(), InferError> {
    let (file, width) = (source.file, source.file.dim(key)?);
    let kind = match file.dtype() {
        FeatureType::F32 => "<f4",
        FeatureType::F16 => "<f2",
    };
    out.write(&header(kind, &[file.views(), file.len(), width]))?;
    for view in 0..file.views() {
        for rows in source.blocks(source.block_rows(width)) {
            let features = file.read(key, view, rows?)?;
            out.write(&bytes(features.iter(), file.dtype()))?;
        }
    }
    Ok(())
}

/// Features as they are stored. What was stored as f16 is exact in f16.
pub(super) fn bytes<'f>(features: impl Iterator<Item = &'f f32>, dtype: FeatureType) -> Vec<u8> {
    match dtype {
        FeatureType::F32 => features.flat_map(|value| value.to_le_bytes()).collect(),
        FeatureType::F16 => features.flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
    }
}

/// What the folder `path` was made of, if it is one of these.
pub(super) fn made_of(path: &Path) -> Option<Value> {
    let file = path.join(DESCRIPTION);
    let is_small = fs::metadata(&file).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    if !is_small {
        return None;
    }
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Removes a folder of features at `out`, for the new one to take its place; nothing else is removed.
fn remove_old(out: &Path, file: &FeatureFile) -> Result<(), InferError> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    let refuse = |message: &str| InferError::Output { path: out.to_path_buf(), message: message.to_string() };
    let Some(old) = made_of(out).filter(|_| !out.is_symlink()) else {
        return Err(refuse("is something else than a folder of features: choose another output"));
    };
    let names = old["datasets"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    // Only what is named like a dataset is taken for one.
    let keys = names.filter_map(|name| name.parse::<FeatureKey>().ok()).chain(file.keys().iter().cloned());
    let datasets: Vec<PathBuf> = keys.map(|key| out.join(format!("{key}.npy"))).collect();
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(InferError::io("remove", path)(error)),
        _ => Ok(()),
    };
    datasets.iter().try_for_each(|path| remove(path))?;
    // A folder that others have put something into stays.
    datasets.iter().for_each(|path| drop(fs::remove_dir(files::folder(path))));
    OTHERS.iter().try_for_each(|name| remove(&out.join(name)))?;
    fs::remove_dir(out).map_err(|_| refuse("holds other files too: choose another output"))
}
