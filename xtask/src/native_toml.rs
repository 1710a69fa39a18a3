//! `.cargo/native.toml`: tells cargo where the native libraries are. `.cargo/config.toml` includes it if it exists.
//!
//! The entries stand in `[env]` without `force`, so a variable that the user sets wins.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const HEADER: &str = "\
# Written by `cargo xtask setup`: where the native libraries are. A variable set in the environment wins.
# Each machine has its own; git ignores it.
[env]
";

/// The variables of the file, in order.
#[derive(Debug, PartialEq)]
pub struct NativeToml {
    pub path: PathBuf,
    entries: Vec<(String, String)>,
}

impl NativeToml {
    /// Reads the file of a checkout; a missing one has no entries. Lines that set-up would not write are dropped.
    pub fn read(repository: &Path) -> Result<Self> {
        let path = repository.join(".cargo/native.toml");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // A JSON string is also a TOML basic string.
        let parse = |line: &str| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().to_owned(), serde_json::from_str(value).ok()?))
        };
        Ok(Self { path, entries: text.lines().filter_map(parse).collect() })
    }

    /// The value of a variable.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Writes the file with these entries; returns whether anything changed.
    pub fn replace(&mut self, entries: Vec<(String, String)>) -> Result<bool> {
        if entries == self.entries && self.path.exists() {
            return Ok(false);
        }
        let mut text = HEADER.to_owned();
        for (key, value) in &entries {
            text += &format!("{key} = {}\n", serde_json::to_string(value)?);
        }
        let write = || -> io::Result<()> {
            let mut temporary = tempfile::Builder::new();
            // As readable as any other file of the checkout.
            let temporary = temporary.prefix(".native-").permissions(Permissions::from_mode(0o644));
            let mut file = temporary.tempfile_in(self.path.parent().unwrap_or(Path::new(".")))?;
            file.write_all(text.as_bytes())?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.entries = entries;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_an_unchanged_file_is_left_alone() -> Result<()> {
        let checkout = tempfile::tempdir()?;
        fs::create_dir(checkout.path().join(".cargo"))?;
        let torch = "/a folder/ü/\"quoted\"\\torch";
        let entries = vec![("LIBTORCH".to_owned(), torch.to_owned()), ("CMAKE".to_owned(), "/b".to_owned())];
        let mut file = NativeToml::read(checkout.path())?;
        assert_eq!(file.get("LIBTORCH"), None);
        assert!(file.replace(entries.clone())?);
        let mut again = NativeToml::read(checkout.path())?;
        assert_eq!(again, file);
        assert_eq!(again.get("LIBTORCH"), Some(torch));
        assert!(!again.replace(entries)?);
        let text = fs::read_to_string(&again.path)?;
        assert_eq!(text.strip_prefix(HEADER).map(|entries| entries.lines().count()), Some(2));
        Ok(())
    }
}
