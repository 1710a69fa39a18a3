//! `.cargo/native.toml`: tells cargo where the native libraries are. `.cargo/config.toml` includes it if it exists.
//!
//! The entries stand in `[env]` without `force`, so a variable that the user sets wins.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const HEADER: &str = "\
# Written by `cargo xtask setup`: where the native libraries are. A variable set in the environment wins.
# Each machine has its own; git ignores it.
[env]
";

/// The variables of the file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeToml {
    path: PathBuf,
    entries: Vec<(String, String)>,
}

impl NativeToml {
    /// Reads the file of a checkout; a missing one has no entries. Lines that set-up would not write are dropped.
    ///
    /// # Errors
    /// Fails when the file exists and cannot be read.
    pub fn read(repository: &Path) -> Result<Self> {
        let path = repository.join(".cargo/native.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let entries = text.lines().filter_map(parse_line).collect();
        Ok(Self { path, entries })
    }

    /// The value of a variable.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file with these entries, through a temporary name; returns whether anything changed.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn replace(&mut self, entries: Vec<(String, String)>) -> Result<bool> {
        if entries == self.entries && self.path.exists() {
            return Ok(false);
        }
        let mut text = HEADER.to_owned();
        for (key, value) in &entries {
            // A JSON string is also a TOML basic string.
            text.push_str(&format!("{key} = {}\n", serde_json::to_string(value)?));
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let written = (|| {
            let mut temporary = tempfile::Builder::new().prefix(".native-").tempfile_in(folder)?;
            temporary.write_all(text.as_bytes())?;
            // Temporary files are private; this one is as readable as any other of the checkout.
            temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            temporary.persist(&self.path)?;
            std::io::Result::Ok(())
        })();
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.entries = entries;
        Ok(true)
    }
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let value = serde_json::from_str(value.trim()).ok()?;
    Some((key.trim().to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_an_unchanged_file_is_left_alone() -> Result<()> {
        let checkout = tempfile::tempdir()?;
        fs::create_dir(checkout.path().join(".cargo"))?;
        let entries = vec![
            ("LIBTORCH".to_owned(), "/a folder/ü/\"quoted\"\\torch".to_owned()),
            ("CMAKE".to_owned(), "/b".to_owned()),
        ];
        let mut file = NativeToml::read(checkout.path())?;
        assert_eq!(file.get("LIBTORCH"), None);
        assert!(file.replace(entries.clone())?);
        assert!(!file.replace(entries.clone())?);
        let mut again = NativeToml::read(checkout.path())?;
        assert_eq!(again, file);
        assert_eq!(again.get("LIBTORCH"), Some("/a folder/ü/\"quoted\"\\torch"));
        assert!(!again.replace(entries)?);
        Ok(())
    }

    #[test]
    fn comments_and_tables_are_no_entries() {
        assert_eq!(parse_line("[env]"), None);
        assert_eq!(parse_line("# a = b"), None);
        assert_eq!(parse_line("A = \"x\""), Some(("A".into(), "x".into())));
    }
}
