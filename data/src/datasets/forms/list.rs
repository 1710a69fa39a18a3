//! A table that names image files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::classes::{Given, Words};
use super::found::{Found, Part};
use super::names::Folders;
use super::table::{self, Table};
use super::walk::{self, counted};
use crate::datasets::DataError;
use crate::datasets::encoded::Items;
use crate::datasets::split_names::{Role, role};

/// The images that the table at `path` names. Relative paths are below its folder or, where the first one is not there,
/// below the current folder.
pub(super) fn read(path: &Path) -> Result<Found, DataError> {
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let bases = [folder, PathBuf::new()];
    let base_of = |name: &str| bases.iter().find(|base| is_there(&base.join(name)));
    let table = table::read(path, &|name| base_of(name).is_some())?;
    let base = base_of(&table.paths[0]).unwrap_or(&bases[0]).clone();
    let mut notes = Vec::new();
    if base != bases[0] {
        notes.push(format!("the paths in {} are taken to be below the current folder", path.display()));
    }
    let taken = table.taken.clone();
    let has_labels = table.labels.is_some();
    let parts = parts(path, table, &base, &mut notes)?;
    let what = match (taken, has_labels) {
        (Some(taken), _) => format!("a table ({taken})"),
        (None, true) => "a list of paths with labels".to_string(),
        (None, false) => "a list of paths".to_string(),
    };
    Ok(Found { what, notes, ..Found::of(parts, path) })
}

/// The splits of a table whose relative paths are below `base`. Every file must be there.
fn parts(list: &Path, table: Table, base: &Path, notes: &mut Vec<String>) -> Result<Vec<Part>, DataError> {
    let paths = files(list, &table, base, notes)?;
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for row in 0..paths.len() {
        let split = table.splits.as_ref().map_or("train", |splits| splits[row].as_str());
        rows.entry(split).or_default().push(row);
    }
    if rows.contains_key("") {
        let line = table.lines[rows[""][0]];
        return Err(DataError::format(list, format!("line {line} has no split"), "a split in every line"));
    }
    let mut parts: Vec<Part> = Vec::with_capacity(rows.len());
    for (split, rows) in &rows {
        let mut lines = HashMap::with_capacity(rows.len());
        for &row in rows {
            if let Some(before) = lines.insert(&paths[row], table.lines[row]) {
                let (line, name) = (table.lines[row], &table.paths[row]);
                let found = format!("lines {before} and {line} both name {name}");
                return Err(DataError::format(list, found, "each image once in a split"));
            }
        }
        let items = Listed {
            names: rows.iter().map(|&row| table.paths[row].clone()).collect(),
            paths: rows.iter().map(|&row| paths[row].clone()).collect(),
        };
        let labels = table.labels.as_ref().map(|labels| {
            let mut words = Words::default();
            rows.iter().for_each(|&row| words.push(&labels[row]));
            words
        });
        let part = Part::unlabelled(split, Arc::new(items), rows.len());
        parts.push(Part { labels: labels.map_or(Given::None, Given::Text), ..part });
    }
    parts.sort_by_key(|part| role(&part.name) != Some(Role::Train));
    Ok(parts)
}

/// The files of all rows.
fn files(
    list: &Path,
    table: &Table,
    base: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<PathBuf>, DataError> {
    let wrong = |row: usize, what: String| {
        let found = format!("line {} {what}", table.lines[row]);
        Err(DataError::format(
            list,
            found,
            "paths of image files that are there, absolute or below the list's folder",
        ))
    };
    if let Some(row) = table.paths.iter().position(|name| name.contains("://")) {
        return wrong(row, format!("names an address, {}", table.paths[row]));
    }
    let mut paths: Vec<PathBuf> = table.paths.iter().map(|name| base.join(name)).collect();
    let missing: Vec<usize> =
        paths.par_iter().enumerate().filter(|(_, path)| !is_there(path)).map(|(row, _)| row).collect();
    let (mut folders, mut renamed) = (Folders::default(), 0);
    for &row in &missing {
        match folders.find(&paths[row]) {
            Some(found) => {
                paths[row] = found;
                renamed += 1;
            }
            None => {
                let others = match missing.len() - renamed {
                    1 => String::new(),
                    count => format!(", one of {count} at most"),
                };
                return wrong(row, format!("names {}, which is not there{others}", table.paths[row]));
            }
        }
    }
    if renamed > 0 {
        let (paths, list) = (counted(renamed, "path was", "paths were"), list.display());
        notes.push(format!("{paths} found under names whose accents are composed otherwise than in {list}"));
    }
    Ok(paths)
}

fn is_there(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|info| !info.is_dir()) && !walk::file_name(path).is_empty()
}

/// Files that a list names; their keys are what it says.
struct Listed {
    names: Vec<String>,
    paths: Vec<PathBuf>,
}

impl Items for Listed {
    fn path(&self, index: usize) -> PathBuf {
        self.paths[index].clone()
    }

    fn key(&self, index: usize) -> String {
        self.names[index].clone()
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        crate::datasets::encoded::read(&self.paths[index])
    }

    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError> {
        crate::datasets::encoded::stamp(&self.paths[index])
    }
}
