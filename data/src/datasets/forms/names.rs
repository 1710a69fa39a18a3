//! Names in composed and decomposed Unicode: `é` as one character or as two, which look alike. Linux keeps what was
//! written; macOS and tools of others write either.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// `text` in composed form (NFC), in which names are compared.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    }
}

/// What lies in folders, by composed names, as far as it was asked for.
#[derive(Default)]
pub(super) struct Folders {
    listed: HashMap<PathBuf, HashMap<String, OsString>>,
}

impl Folders {
    /// The path of a file that is there under a name that is composed otherwise.
    pub fn find(&mut self, path: &Path) -> Option<PathBuf> {
        if path.to_str().is_none_or(str::is_ascii) {
            return None;
        }
        let mut found = PathBuf::new();
        for component in path.components() {
            let next = found.join(component);
            if next.symlink_metadata().is_ok() || !matches!(component, Component::Normal(_)) {
                found = next;
                continue;
            }
            let name = component.as_os_str().to_str()?;
            let entry = self.listing(&found).get(composed(name).as_ref())?;
            found.push(entry);
        }
        found.exists().then_some(found)
    }

    fn listing(&mut self, folder: &Path) -> &HashMap<String, OsString> {
        self.listed.entry(folder.to_path_buf()).or_insert_with(|| {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let entries = fs::read_dir(here).into_iter().flatten().flatten();
            let named = |name: OsString| Some((composed(name.to_str()?).into_owned(), name));
            entries.filter_map(|entry| named(entry.file_name())).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_composed() {
        let root = tempfile::tempdir().expect("a folder");
        let (one, two) = ("caf\u{e9}", "cafe\u{301}");
        assert_eq!(composed(two), one);
        let folder = root.path().join(two);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("\u{e9}.png"), "x").expect("a file");
        let mut folders = Folders::default();
        let found = folders.find(&root.path().join(one).join("e\u{301}.png"));
        assert_eq!(found, Some(folder.join("\u{e9}.png")));
        assert_eq!(folders.find(&root.path().join(one).join("none.png")), None);
        assert_eq!(folders.find(&root.path().join("none.png")), None);
    }
}
