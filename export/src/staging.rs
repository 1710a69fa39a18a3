//! A folder beside the wanted file in which it is made, so that the final name never holds half a file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ddae_base::files::{self, FileError, ScratchFolder};
use ddae_base::lock::{Lock, LockError};

use crate::ExportError;
use ddae_onnx::write::data_file;

/// Files on their way to a final place, which is locked. Dropped before [`Staging::publish`], it leaves nothing.
pub struct Staging {
    folder: ScratchFolder,
}

/// What is there of the file `target` and would be replaced: the file, or its data, unless an export that was ended by
/// force left that.
pub fn in_the_way(target: &Path) -> Option<PathBuf> {
    let data = data_file(target);
    if target.exists() {
        return Some(target.to_path_buf());
    }
    // The data are locked while file and data are put in their place, and only then.
    Some(data).filter(|data| data.exists() && !Lock::is_there(data))
}

impl Staging {
    /// Makes the folder beside `target`, and removes what an export left there that was ended by force.
    ///
    /// # Errors
    /// When the target's folder does not exist or cannot be written to; when the target is there and no regular file,
    /// or another process writes it.
    pub fn beside(target: &Path) -> Result<Staging, ExportError> {
        let parent = files::folder(target);
        if !parent.is_dir() {
            let message = "this folder does not exist; make it first (mkdir -p), or choose another with -o";
            return Err(ExportError::unusable(parent, message));
        }
        let folder = ScratchFolder::beside(target)?;
        let data = data_file(folder.lock().target());
        if Lock::is_there(&data) {
            let _left = Lock::output(&data).map_err(LockError::into_file_error)?;
            if !target.exists() && data.exists() {
                fs::remove_file(&data).map_err(FileError::of("remove", &data))?;
            }
        }
        Ok(Staging { folder })
    }

    /// A folder and a file that are there until the work is done, for whoever ends the process without dropping this.
    pub fn leftovers(&self) -> [PathBuf; 2] {
        self.folder.leftovers()
    }

    /// The file's final name, as it was given.
    pub(crate) fn target(&self) -> &Path {
        self.folder.lock().path()
    }

    /// The file that is replaced: the target, or what it is a link to.
    fn replaced(&self) -> &Path {
        self.folder.lock().target()
    }

    /// Where to write the file for now: under its final name, in the folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.replaced().file_name().unwrap_or_default())
    }

    /// Where to write a file that is needed only meanwhile.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("scratch-{name}.onnx"))
    }

    /// Appends `suffix` to the file, syncs it, and moves `files` to their final place, the file itself last.
    ///
    /// A file is replaced in one step. A file and its data cannot be: the old ones are removed first, so that at no
    /// time a file lies beside the data of another, and the data are locked meanwhile: of data alone, a lock that nobody
    /// holds says that they were left.
    ///
    /// # Errors
    /// What the file system says; when the target is a link and a file and its data are to be read by two names. Nothing
    /// is left then.
    pub fn publish(self, files: &[PathBuf], suffix: &[u8]) -> Result<(), ExportError> {
        let (staged, target) = (self.path(), self.replaced());
        if files.len() > 1 && self.target().is_symlink() {
            let message = "it is a link, beside which a runtime would look for the file of the weights: give the name of \
                           the file itself";
            return Err(ExportError::unusable(self.target(), message));
        }
        let old_data = data_file(target);
        // What came meanwhile: only regular files are replaced.
        files::target(self.target())?;
        files::target(&old_data)?;
        let others: Vec<&PathBuf> = files.iter().filter(|path| **path != staged).collect();
        let is_alone = others.is_empty() && !old_data.exists();
        let data_lock = (!is_alone).then(|| Lock::output(&old_data)).transpose();
        let _data_lock = data_lock.map_err(LockError::into_file_error)?;
        let mut moved = Vec::new();
        let mut publish = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(&staged)?;
            file.write_all(suffix)?;
            file.sync_all()?;
            if !is_alone {
                for old in [target, &*old_data].into_iter().filter(|path| path.exists()) {
                    fs::remove_file(old)?;
                }
            }
            for path in others.iter().copied().chain([&staged]) {
                let place = target.with_file_name(path.file_name().unwrap_or_default());
                fs::rename(path, &place)?;
                moved.push(place);
            }
            Ok(())
        };
        if let Err(error) = publish() {
            // The data alone is of no use.
            moved.iter().for_each(|place| _ = fs::remove_file(place));
            return Err(FileError::of("write", self.target())(error).into());
        }
        let synced = files::sync_folder(files::folder(target));
        Ok(synced.map_err(FileError::of("write", self.target()))?)
    }
}
