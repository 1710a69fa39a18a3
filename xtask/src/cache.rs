//! The per-user cache folder: where it is, its lock, and the stamps that tell finished parts from unfinished ones.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::interrupt;
use crate::pins::{LAYOUT, Part};

/// Environment variable that chooses the cache folder.
pub const CACHE_VARIABLE: &str = "DDAE_CACHE";

/// The cache folder, `~/.cache/ddae` unless chosen otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
    is_default: bool,
}

/// Held while a set-up changes the cache; released when dropped, or by the system when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// `explicit`, else `DDAE_CACHE`, else `XDG_CACHE_HOME/ddae`, else `HOME/.cache/ddae`; `variable` reads the
    /// environment.
    ///
    /// # Errors
    /// Fails when none is set, or when the path cannot be written into cargo's configuration.
    pub fn locate(explicit: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |key| variable(key).filter(|value| !value.is_empty()).map(PathBuf::from);
        let default = set("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("ddae"));
        let chosen = explicit.map(Path::to_path_buf).or_else(|| set(CACHE_VARIABLE));
        let Some(root) = chosen.or_else(|| default.clone()) else {
            bail!(
                "no place for the native libraries, HOME is not set: say where with --cache DIR or {CACHE_VARIABLE}"
            );
        };
        let root = std::path::absolute(&root).with_context(|| format!("not a path: {}", root.display()))?;
        match root.to_str() {
            Some(text) if !text.contains([':', '\n']) => {}
            _ => bail!(
                "the cache folder {} must be UTF-8 without colons (it becomes part of library search paths): choose \
                 another with --cache DIR",
                root.display()
            ),
        }
        let is_default = Some(&root) == default.as_ref();
        Ok(Self { root, is_default })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the user chose no other folder.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// The folder that holds one subfolder per native library.
    pub fn native(&self) -> PathBuf {
        self.root.join("native")
    }

    /// Where unfinished work lies; on the same file system as the final places, so that it moves there by renaming.
    pub fn staging(&self) -> PathBuf {
        self.native().join(".staging")
    }

    /// The final folder of a part.
    pub fn folder(&self, part: &Part) -> PathBuf {
        self.native().join(part.folder)
    }

    /// Whether the part is finished, from these very wheels, and still has its key files.
    pub fn is_complete(&self, part: &Part) -> bool {
        let folder = self.folder(part);
        let Ok(text) = fs::read_to_string(folder.join(part.stamp)) else { return false };
        serde_json::from_str::<Stamp>(&text).is_ok_and(|stamp| stamp == Stamp::of(part))
            && part.key_files.iter().all(|file| folder.join(file).exists())
    }

    /// Waits until no other set-up works in this cache.
    ///
    /// # Errors
    /// Fails when the folder cannot be created or locked, and on Ctrl-C.
    pub fn lock(&self) -> Result<Lock> {
        let native = self.native();
        fs::create_dir_all(&native).with_context(|| {
            format!(
                "cannot create {}: choose another folder with --cache DIR or {CACHE_VARIABLE}",
                native.display()
            )
        })?;
        let path = native.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        eprintln!("another set-up is at work in {}: waiting for it", native.display());
                        told = true;
                    }
                    interrupt::check()?;
                    sleep(Duration::from_millis(100));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot lock {}: choose a folder on a local disk with --cache DIR or {CACHE_VARIABLE}",
                            path.display()
                        )
                    });
                }
            }
        }
    }
}

/// What a finished part was made of; written as its last file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    layout: u32,
    wheels: Vec<StampedWheel>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StampedWheel {
    name: String,
    version: String,
    sha256: String,
}

impl Stamp {
    /// The stamp that a part as pinned now gets.
    pub fn of(part: &Part) -> Self {
        let wheels = part
            .wheels
            .iter()
            .map(|(wheel, _)| StampedWheel {
                name: wheel.name.to_owned(),
                version: wheel.version.to_owned(),
                sha256: wheel.sha256.to_owned(),
            })
            .collect();
        Self { layout: LAYOUT, wheels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins;
    use crate::testing::message_of;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_folder_follows_option_then_variable_then_convention() -> Result<()> {
        let all = [("DDAE_CACHE", "/d"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        let root = |explicit: Option<&str>, variables: &[(&str, &str)]| {
            Cache::locate(explicit.map(Path::new), environment(variables))
                .map(|cache| (cache.root, cache.is_default))
        };
        assert_eq!(root(Some("/o"), &all)?, ("/o".into(), false));
        assert_eq!(root(None, &all)?, ("/d".into(), false));
        assert_eq!(root(None, &all[1..])?, ("/x/ddae".into(), true));
        assert_eq!(root(None, &all[2..])?, ("/h/.cache/ddae".into(), true));
        assert_eq!(root(None, &[("DDAE_CACHE", ""), ("HOME", "/h")])?, ("/h/.cache/ddae".into(), true));
        Ok(())
    }

    #[test]
    fn without_any_folder_the_message_says_how_to_name_one() {
        assert!(message_of(Cache::locate(None, environment(&[]))).contains("--cache DIR"));
        assert!(
            message_of(Cache::locate(Some(Path::new("/a:b")), environment(&[]))).contains("without colons")
        );
    }

    #[test]
    fn a_stamp_of_other_wheels_or_without_the_key_files_does_not_count() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Cache::locate(Some(folder.path()), environment(&[]))?;
        let part = pins::onnxruntime();
        assert!(!cache.is_complete(&part));

        fs::create_dir_all(cache.folder(&part))?;
        let stamp = cache.folder(&part).join(part.stamp);
        fs::write(&stamp, serde_json::to_vec(&Stamp::of(&part))?)?;
        assert!(!cache.is_complete(&part), "the library is missing");
        fs::write(cache.folder(&part).join(pins::ORT_LIBRARY), "")?;
        assert!(cache.is_complete(&part));

        let mut newer = part.clone();
        newer.wheels[0].0.sha256 = "0";
        assert!(!cache.is_complete(&newer));
        fs::write(&stamp, "{")?;
        assert!(!cache.is_complete(&part));
        Ok(())
    }

    #[test]
    fn the_lock_lets_one_in_at_a_time() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Cache::locate(Some(folder.path()), environment(&[]))?;
        let first = cache.lock()?;
        let other = File::options().write(true).open(cache.native().join(".lock"))?;
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        assert!(other.try_lock().is_ok());
        Ok(())
    }
}
