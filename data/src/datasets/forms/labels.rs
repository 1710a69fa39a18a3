//! Labels from a table of their own: `--labels`, and `metadata.csv` or `metadata.jsonl` beside images.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::classes::{Given, Words};
use super::found::{Found, Part};
use super::names::composed;
use super::table::{self, Table};
use super::walk::{LeftOut, counted, file_name, images_below};
use crate::datasets::DataError;
use crate::datasets::encoded::Files;

/// What Hugging Face calls the table beside images.
pub(super) const METADATA: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// Gives the images of `found` the labels of the table at `path`. Images that it does not name are left out.
pub(super) fn apply(path: &Path, found: &mut Found) -> Result<(), DataError> {
    let has_labels = found.parts.iter().any(|part| !matches!(part.labels, Given::None));
    if has_labels && !found.by_folder {
        return Err(DataError::Argument(format!(
            "--labels {}: {} has labels already",
            path.display(),
            found.root.display()
        )));
    }
    let table = table::read(path, &|name| looks_like_a_path(name))?;
    let Some(labels) = &table.labels else {
        return Err(DataError::format(path, "it has no labels", "a path and a label in every row"));
    };
    if table.splits.is_some() {
        return Err(DataError::format(
            path,
            "it has a column of splits, which is not read of a table of labels",
            format!(
                "a path and a label in every row; for its splits, give the table itself as the source, not {}",
                found.root.display()
            ),
        ));
    }
    if let Some(taken) = &table.taken {
        found.notes.push(format!("of {} are taken {taken}", path.display()));
    }
    let rows = Rows::new(path, &table)?;
    let mut used = vec![None; table.paths.len()];
    let (mut left_out, mut unnamed) = (0, None);
    for part in &mut found.parts {
        let (mut kept, mut words) = (Vec::new(), Words::default());
        let mut missing = None;
        for index in 0..part.count {
            let key = part.items.key(index);
            match rows.find(&key, &part.name) {
                Some(row) => {
                    if let Some(other) = used[row].replace(key.clone()) {
                        let what = format!("line {} names both {other} and {key}", table.lines[row]);
                        return Err(DataError::format(path, what, "paths that tell the images apart"));
                    }
                    words.push(&labels[row]);
                    kept.push(index as u32);
                }
                None => missing = missing.or(Some(key)),
            }
        }
        if kept.is_empty() {
            // Test images, say, of which the table is silent: they stay, without labels.
            unnamed = unnamed.or(missing);
            part.labels = Given::None;
            continue;
        }
        if kept.len() < part.count {
            left_out += part.count - kept.len();
            unnamed = unnamed.or(missing);
            part.labels = Given::None;
            part.keep(kept);
        }
        part.labels = Given::Text(words);
    }
    let named = used.iter().filter(|key| key.is_some()).count();
    if named == 0 {
        let example = unnamed.unwrap_or_default();
        let what = format!("none of its rows names an image (line {}: {})", table.lines[0], table.paths[0]);
        return Err(DataError::format(path, what, format!("keys such as {example}")));
    }
    if has_labels {
        found.notes.push(format!("labels are those of {}, not the folders' names", path.display()));
    }
    if left_out > 0 {
        let example = unnamed.unwrap_or_default();
        let (images, path) = (counted(left_out, "image is", "images are"), path.display());
        found.notes.push(format!("{images} left out, which {path} does not name, such as {example}"));
    }
    let idle = used.len() - named;
    if idle > 0 {
        let row = used.iter().position(Option::is_none).unwrap_or(0);
        let (line, name) = (table.lines[row], &table.paths[row]);
        let (rows, path) = (counted(idle, "row", "rows"), path.display());
        found.notes.push(format!("{rows} of {path} without an image, such as line {line}: {name}"));
    }
    found.classes = None;
    Ok(())
}

/// Whether a field looks like a path or a key, rather than the title of a column or a path with its label.
fn looks_like_a_path(name: &str) -> bool {
    let is_one = !name.contains([' ', '\t']);
    is_one && (name.contains(['/', '.']) || name.bytes().any(|byte| byte.is_ascii_digit()))
}

/// The rows of a table by what they name.
struct Rows {
    of: HashMap<String, usize>,
}

impl Rows {
    fn new(path: &Path, table: &Table) -> Result<Rows, DataError> {
        let mut of = HashMap::with_capacity(table.paths.len());
        for (row, name) in table.paths.iter().enumerate() {
            let name = composed(name.strip_prefix("./").unwrap_or(name)).into_owned();
            if let Some(before) = of.insert(name, row) {
                let lines = &table.lines;
                let what =
                    format!("lines {} and {} both name {}", lines[before], lines[row], table.paths[row]);
                return Err(DataError::format(path, what, "a row for each image"));
            }
        }
        Ok(Rows { of })
    }

    /// The row of the image with this key in the split called `part`: by the whole key, by the key without the split's
    /// folder or the archive, by the name alone; each with and without what stands after its first dot.
    fn find(&self, key: &str, part: &str) -> Option<usize> {
        let key = composed(key);
        let below = key.strip_prefix(part).and_then(|key| key.strip_prefix('/'));
        let inside = key.find(".tar/").map(|at| &key[at + ".tar/".len()..]);
        let name = key.rsplit('/').next();
        let forms = || [Some(key.as_ref()), below, inside, name].into_iter().flatten();
        // A whole key, wherever it is written, comes before what a name without its ending may mean.
        if let Some(&row) = forms().find_map(|form| self.of.get(form)) {
            return Some(row);
        }
        forms().find_map(|form| {
            let (folder, name) = form.rsplit_once('/').map_or(("", form), |(folder, name)| (folder, name));
            let bare = |name: &str| {
                let text = if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") };
                self.of.get(&text)
            };
            let last = name.rsplit_once('.').and_then(|(stem, _)| bare(stem));
            last.or_else(|| name.split_once('.').and_then(|(stem, _)| bare(stem))).copied()
        })
    }
}

/// What a table beside images gives.
pub(super) enum Beside {
    /// The images that it names, with their labels.
    Labels(Box<Part>),
    /// Paths without labels.
    NoLabels,
    /// Columns of something else.
    NoPaths,
}

/// Whether the table at `path`, in `folder`, has labels of images.
pub(super) fn has_labels(folder: &Path, path: &Path) -> Result<bool, DataError> {
    let table = table::read_any(path, &|name| folder.join(name).is_file())?;
    Ok(table.is_some_and(|table| table.labels.is_some()))
}

/// The images of `folder` that its table of labels names, where it has labels.
pub(super) fn beside(
    root: &Path,
    folder: &Path,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Beside, DataError> {
    let Some(table) = table::read_any(path, &|name| folder.join(name).is_file())? else {
        return Ok(Beside::NoPaths);
    };
    if table.labels.is_none() {
        return Ok(Beside::NoLabels);
    }
    let mut left_out = LeftOut::default();
    let images = images_below(folder, &mut left_out)?;
    let count = images.len();
    let name = if folder == root { "train".to_string() } else { file_name(folder) };
    let items = Files { root: Some(folder.to_path_buf()), paths: images.clone() };
    let mut found = Found::of(vec![Part::unlabelled(&name, Arc::new(items), count)], folder);
    apply(path, &mut found)?;
    notes.append(&mut found.notes);
    let Some(mut part) = found.parts.pop() else { return Ok(Beside::NoLabels) };
    // Keys begin below the source, not below the split.
    if folder != root {
        let kept: Vec<_> = (0..part.count).map(|index| part.items.path(index)).collect();
        part.items = Arc::new(Files { root: Some(root.to_path_buf()), paths: kept });
    }
    Ok(Beside::Labels(Box::new(part)))
}
