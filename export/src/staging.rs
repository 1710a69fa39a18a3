//! A folder beside the wanted file in which it is made, so that the final name never holds half a file.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::ExportError;
use ddae_onnx::write::data_file;

/// The folder in use, for [`remove_on_interrupt`].
static CURRENT: Mutex<Option<PathBuf>> = Mutex::new(None);

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
        let parent =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            let message =
                "this folder does not exist; make it first (mkdir -p), or choose another with -o".to_string();
            return Err(ExportError::File { path: parent.to_path_buf(), message });
        }
        let folder = tempfile::Builder::new()
            .prefix(".ddae-export-")
            .tempdir_in(parent)
            .map_err(|source| ExportError::Write { path: target.to_path_buf(), source })?;
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.path().to_path_buf());
        Ok(Staging { folder, target: target.to_path_buf() })
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
            let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        publish().map_err(|source| ExportError::Write { path: self.target.clone(), source })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// On Ctrl-C or a request to end, removes the folder in use and ends the process with 1, as all programs here end then.
pub fn remove_on_interrupt() {
    let handler = || {
        if let Some(folder) = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The process ends either way; a folder that cannot be removed has a name that says whose it is.
            let _ = fs::remove_dir_all(folder);
        }
        // A terminal that was closed cannot be written to, which must not keep the process alive.
        let message = "error: interrupted; no file was written, and the same command begins again";
        let _ = writeln!(std::io::stderr(), "{message}");
        std::process::exit(1);
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        let message = format!("warning: Ctrl-C will leave a folder .ddae-export-… behind ({error})");
        let _ = writeln!(std::io::stderr(), "{message}");
    }
}
