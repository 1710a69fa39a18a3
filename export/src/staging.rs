//! A folder beside the wanted file in which it is made, so that the final name never holds half a file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ddae_base::files::{self, FileError};
use tempfile::TempDir;

use crate::ExportError;
use ddae_onnx::write::data_file;

/// Files on their way to a final place. Dropped before [`Staging::publish`], it leaves nothing.
pub struct Staging {
    folder: TempDir,
    target: PathBuf,
}

impl Staging {
    /// Makes the folder beside `target`.
    ///
    /// # Errors
    /// When the target's folder does not exist or cannot be written to.
    pub fn beside(target: &Path) -> Result<Staging, ExportError> {
        let parent = files::folder(target);
        if !parent.is_dir() {
            let message = "this folder does not exist; make it first (mkdir -p), or choose another with -o";
            return Err(ExportError::unusable(parent, message));
        }
        let folder = tempfile::Builder::new()
            .prefix(".ddae-export-")
            .tempdir_in(parent)
            .map_err(FileError::of("write", target))?;
        Ok(Staging { folder, target: target.to_path_buf() })
    }

    /// The folder, for whoever ends the process without dropping this.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file's final name.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where to write the file for now: under its final name, in the folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.target.file_name().unwrap_or_default())
    }

    /// Where to write a file that is needed only meanwhile.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("scratch-{name}.onnx"))
    }

    /// Appends `suffix` to the file, syncs it, and moves `files` to their final place, the file itself last.
    ///
    /// A file is replaced in one step. A file and its data cannot be: the old ones are removed first, so that at no
    /// time a file lies beside the data of another.
    ///
    /// # Errors
    /// What the file system says; nothing is left.
    pub fn publish(self, files: &[PathBuf], suffix: &[u8]) -> Result<(), ExportError> {
        let staged = self.path();
        let publish = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(&staged)?;
            file.write_all(suffix)?;
            file.sync_all()?;
            let others: Vec<&PathBuf> = files.iter().filter(|path| **path != staged).collect();
            let old_data = data_file(&self.target);
            if !others.is_empty() || old_data.exists() {
                for old in [&self.target, &old_data].into_iter().filter(|path| path.exists()) {
                    fs::remove_file(old)?;
                }
            }
            for path in others.into_iter().chain([&staged]) {
                fs::rename(path, self.target.with_file_name(path.file_name().unwrap_or_default()))?;
            }
            files::sync_folder(files::folder(&self.target))
        };
        Ok(publish().map_err(FileError::of("write", &self.target))?)
    }
}
