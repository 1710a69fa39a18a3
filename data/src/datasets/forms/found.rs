//! What was found at a path, and the data set that is made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::{self, Classes, Given};
use super::labels;
use crate::datasets::encoded::{Encoded, Items, common_shape};
use crate::datasets::split_names::{Role, role};
use crate::datasets::{DataError, DataSet, OpenOptions};
use crate::split::Split;

/// Images that were found, with what is said of them.
pub(super) struct Found {
    /// What the path was taken for, `class folders`.
    pub what: String,
    /// Where it is.
    pub root: PathBuf,
    /// The splits, none of them empty.
    pub parts: Vec<Part>,
    /// Names of the classes by number, where the source says them.
    pub classes: Option<Vec<String>>,
    /// Whether labels are names of folders, which a table of labels may replace.
    pub by_folder: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A split.
pub(super) struct Part {
    /// What the source calls it.
    pub name: String,
    pub items: Arc<dyn Items>,
    pub count: usize,
    pub labels: Given,
}

impl Part {
    pub fn unlabelled(name: &str, items: Arc<dyn Items>, count: usize) -> Part {
        Part { name: name.to_string(), items, count, labels: Given::None }
    }

    /// Keeps the images at `positions`.
    pub fn keep(&mut self, positions: Vec<u32>) {
        self.labels.keep(&positions);
        self.count = positions.len();
        self.items = Arc::new(Picked { items: Arc::clone(&self.items), positions });
    }
}

impl Found {
    /// The parts, and nothing else said.
    pub fn of(parts: Vec<Part>, root: &Path) -> Found {
        Found {
            what: String::new(),
            root: root.to_path_buf(),
            parts,
            classes: None,
            by_folder: false,
            notes: Vec::new(),
        }
    }
}

/// What a data set and its splits are called.
pub(super) struct Naming {
    pub name: String,
    /// In the names of splits, `birds` of `birds/train`.
    pub short: String,
    /// Whether it is the data set `folder`, whose validation images count as test images where there are no others.
    pub is_folder: bool,
}

impl Naming {
    fn split(&self, part: &str, has_test: bool) -> String {
        let part = match role(part) {
            Some(Role::Train) if self.is_folder => "train",
            Some(Role::Test) if self.is_folder => "test",
            Some(Role::Validation) if self.is_folder && !has_test => "test",
            _ => part,
        };
        format!("{}/{part}", self.short)
    }
}

/// The data set of what was found.
pub(super) fn data_set(
    mut found: Found,
    naming: Naming,
    options: &OpenOptions,
) -> Result<DataSet, DataError> {
    if let Some(path) = &options.labels {
        labels::apply(path, &mut found)?;
    }
    let most = u32::MAX as usize;
    if let Some(part) = found.parts.iter().find(|part| part.count > most) {
        let count = part.count;
        return Err(DataError::format(
            &found.root,
            format!("it has {count} images"),
            format!("at most {most}"),
        ));
    }
    let Classes { names, of_parts, notes } = classes::resolve(&found)?;
    found.notes.extend(notes);
    let chief = found.parts.iter().position(|part| role(&part.name) == Some(Role::Train)).unwrap_or(0);
    let Some(part) = found.parts.get(chief) else {
        return Err(DataError::format(&found.root, "it has no images", super::WANTED));
    };
    let firsts = first_of_each(of_parts[chief].as_deref(), names.len());
    let shape = common_shape(part.items.as_ref(), part.count, &firsts, &options.reading)?;
    let has_test = found.parts.iter().any(|part| role(&part.name) == Some(Role::Test));
    let mut without = Vec::new();
    let mut splits = Vec::with_capacity(found.parts.len());
    for (part, labels) in found.parts.into_iter().zip(of_parts) {
        let (items, count, reading) = (part.items, part.count, options.reading.clone());
        let source = Arc::new(Encoded { items, count, shape, reading });
        let name = naming.split(&part.name, has_test);
        let split = match labels {
            Some(labels) => Split::from_source(name, names.clone(), labels, source),
            None => {
                without.push(part.name.clone());
                Split::unlabelled(name, part.count, source)
            }
        };
        splits.push((part.name, split));
    }
    if without.len() == splits.len() {
        found.notes.push(format!("{} has no labels: its images count as one class", naming.name));
    } else if !without.is_empty() {
        found.notes.push(format!("{} has no labels in {}", naming.name, without.join(", ")));
    }
    // The oldest kind of source says what it always said.
    let origin = match naming.is_folder {
        true => format!("images in {}", found.root.display()),
        false => format!("{} in {}", found.what, found.root.display()),
    };
    let mut set = DataSet::new(&naming.name, origin, splits);
    set.notes.extend(found.notes);
    Ok(set)
}

/// The first image of each class; without labels, the first.
fn first_of_each(labels: Option<&[u32]>, classes: usize) -> Vec<usize> {
    let Some(labels) = labels else { return vec![0] };
    let mut seen = vec![false; classes];
    let mut firsts = Vec::new();
    for (index, &label) in labels.iter().enumerate() {
        if !std::mem::replace(&mut seen[label as usize], true) {
            firsts.push(index);
        }
    }
    // What decides on height and width is the first image of all.
    firsts
}

/// Some of the images of others.
struct Picked {
    items: Arc<dyn Items>,
    positions: Vec<u32>,
}

impl Picked {
    fn at(&self, index: usize) -> usize {
        self.positions[index] as usize
    }
}

impl Items for Picked {
    fn path(&self, index: usize) -> PathBuf {
        self.items.path(self.at(index))
    }

    fn key(&self, index: usize) -> String {
        self.items.key(self.at(index))
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.items.bytes(self.at(index))
    }

    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.items.stamp(self.at(index))
    }
}
