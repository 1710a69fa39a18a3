//! The per-user cache folder: where it is, its lock, and the stamps that tell finished parts from unfinished ones.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::parts::Part;

/// Environment variable that chooses the cache folder.
pub const CACHE_VARIABLE: &str = "DDAE_CACHE";

/// The last file of a finished part.
pub const STAMP: &str = "complete.json";

/// The cache folder, `~/.cache/ddae` unless chosen otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    pub root: PathBuf,
    /// Whether the user chose no other folder.
    pub is_default: bool,
}

impl Cache {
    /// `explicit`, else `DDAE_CACHE`, else `XDG_CACHE_HOME/ddae`, else `HOME/.cache/ddae`; `variable` reads the
    /// environment.
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
        if root.to_str().is_none_or(|text| text.contains([':', '\n'])) {
            bail!(
                "the cache folder {} must be UTF-8 without colons (it becomes part of library search paths): choose \
                 another with --cache DIR",
                root.display()
            );
        }
        let is_default = Some(&root) == default.as_ref();
        Ok(Self { root, is_default })
    }

    /// The folder that holds one subfolder per native library.
    pub fn native(&self) -> PathBuf {
        self.root.join("native")
    }

    /// The final folder of a part.
    pub fn folder(&self, part: &Part) -> PathBuf {
        self.native().join(part.folder_name())
    }

    /// Whether the part is finished, from these very wheels, and still has its key files.
    pub fn is_complete(&self, part: &Part) -> bool {
        let folder = self.folder(part);
        let stamp = fs::read(folder.join(part.own).join(STAMP)).unwrap_or_default();
        serde_json::from_slice::<Value>(&stamp).is_ok_and(|stamp| stamp == part.stamp())
            && part.key_files.iter().all(|file| folder.join(file).exists())
    }

    /// Waits until no other set-up works in this cache. Dropping the file, or the end of the process, lets the next
    /// one in.
    pub fn lock(&self) -> Result<File> {
        let advice = format!("choose another folder with --cache DIR or {CACHE_VARIABLE}");
        let native = self.native();
        fs::create_dir_all(&native)
            .with_context(|| format!("cannot create {}: {advice}", native.display()))?;
        let path = native.join(".lock");
        let file = File::options().append(true).create(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let locked = file.try_lock().or_else(|error| match error {
            TryLockError::WouldBlock => {
                eprintln!("another set-up is at work in {}: waiting for it", native.display());
                file.lock()
            }
            TryLockError::Error(error) => Err(error),
        });
        locked.with_context(|| format!("cannot lock {}: {advice}", path.display()))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{ONNXRUNTIME, ORT_LIBRARY};
    use crate::testing::message_of;

    fn root(explicit: Option<&str>, variables: &[(&str, &str)]) -> Result<(PathBuf, bool)> {
        let variable =
            |key: &str| variables.iter().find(|(name, _)| *name == key).map(|(_, value)| value.into());
        Cache::locate(explicit.map(Path::new), variable).map(|cache| (cache.root, cache.is_default))
    }

    #[test]
    fn the_folder_follows_option_then_variable_then_convention() -> Result<()> {
        let all = [("DDAE_CACHE", "/d"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(root(Some("/o"), &all)?, ("/o".into(), false));
        assert_eq!(root(None, &all)?, ("/d".into(), false));
        assert_eq!(root(None, &all[1..])?, ("/x/ddae".into(), true));
        assert_eq!(root(None, &all[2..])?, ("/h/.cache/ddae".into(), true));
        assert_eq!(root(None, &[("DDAE_CACHE", ""), ("HOME", "/h")])?, ("/h/.cache/ddae".into(), true));
        assert!(message_of(root(None, &[])).contains("say where with --cache DIR"));
        assert!(message_of(root(Some("/a:b"), &[])).contains("without colons"));
        Ok(())
    }

    #[test]
    fn a_part_is_complete_with_its_own_stamp_and_its_key_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Cache::locate(Some(folder.path()), |_| None)?;
        let place = folder.path().join("native/onnxruntime-1.31.1");
        assert!(!cache.is_complete(&ONNXRUNTIME));
        fs::create_dir_all(&place)?;
        // As every version so far has written it.
        let stamp = r#"{"layout": 1, "wheels": [{"name": "onnxruntime", "version": "1.31.1",
            "sha256": "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f"}]}"#;
        fs::write(place.join(STAMP), stamp)?;
        assert!(!cache.is_complete(&ONNXRUNTIME), "the library is missing");
        fs::write(place.join(ORT_LIBRARY), "")?;
        assert!(cache.is_complete(&ONNXRUNTIME));
        for other in [stamp.replace("5752", "5753"), stamp.replace(": 1,", ": 2,"), "{".to_owned()] {
            fs::write(place.join(STAMP), other)?;
            assert!(!cache.is_complete(&ONNXRUNTIME));
        }
        Ok(())
    }
}
