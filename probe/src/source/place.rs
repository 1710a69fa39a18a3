//! Where features are: a file, and which of its arrays.

use std::fmt;
use std::path::{Path, PathBuf};

/// `FILE`, `FILE:NAME` or `FILE:NAME,LABELS`: a file with the names of its features and labels, where they are given.
///
/// A file whose own name has a colon is taken as it is, if there is one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// What is called the features in it.
    pub features: Option<String>,
    /// What is called the labels in it.
    pub labels: Option<String>,
    /// All of it, as it was typed.
    typed: PathBuf,
}

impl Place {
    /// Reads what was typed. Where neither the whole nor a part before a colon is a file, the whole is taken for one,
    /// which then does not exist.
    pub fn parse(typed: &Path) -> Self {
        let whole = |file: PathBuf| Self { file, features: None, labels: None, typed: typed.to_path_buf() };
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        let Some(text) = typed.to_str().filter(|_| !is_there(typed)) else {
            return whole(typed.to_path_buf());
        };
        let colons = text.match_indices(':').map(|(place, _)| place);
        let Some(colon) = colons.rev().find(|&place| is_there(Path::new(&text[..place]))) else {
            return whole(typed.to_path_buf());
        };
        let names = &text[colon + 1..];
        let (features, labels) = names.split_once(',').unwrap_or((names, ""));
        let named = |name: &str| (!name.trim().is_empty()).then(|| name.trim().to_string());
        Self { features: named(features), labels: named(labels), ..whole(PathBuf::from(&text[..colon])) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.typed.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_a_file_that_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.npz"), "").expect("written");
        std::fs::write(path("b:c.npz"), "").expect("written");
        for (typed, file, features, labels) in [
            ("a.npz", "a.npz", None, None),
            ("a.npz:x", "a.npz", Some("x"), None),
            ("a.npz:/train/x, /train/y", "a.npz", Some("/train/x"), Some("/train/y")),
            ("a.npz:,y", "a.npz", None, Some("y")),
            ("b:c.npz", "b:c.npz", None, None),
            ("b:c.npz:x", "b:c.npz", Some("x"), None),
            ("none.npz:x", "none.npz:x", None, None),
        ] {
            let place = Place::parse(&path(typed));
            assert_eq!(
                (place.file.as_path(), place.to_string()),
                (&*path(file), path(typed).display().to_string())
            );
            assert_eq!((place.features.as_deref(), place.labels.as_deref()), (features, labels), "{typed}");
        }
    }
}
