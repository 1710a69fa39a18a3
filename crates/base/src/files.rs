//! Files that appear under their names when they are whole, or not at all.
//!
//! Until then a file is called `NAME.partial`. It is synced before it gets its name and its folder after that, so that
//! neither an error nor the end of the process or the machine leaves half a file under a final name. After an error
//! the partial file is removed; what a process left that was ended by force is overwritten by the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::lock;

/// What the system says about a file: always with its final name.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was being done: `read`, `write`, …
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err` on the system's errors about `path`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_path_buf();
        move |source| FileError { action, path, source }
    }
}

/// Writes a file, in place of what is there.
///
/// ```
/// use std::io::Write;
/// let folder = tempfile::tempdir()?;
/// ddae_base::files::write_whole(&folder.path().join("a.txt"), |out| writeln!(out, "all or nothing"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of `write` and of the system.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let partial = PartialFile::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 16, partial.file());
    let written = write(&mut out).and_then(|()| out.flush());
    // What is left in the buffer after an error must not be written by dropping it.
    let _ = out.into_parts();
    written.map_err(FileError::of("write", path))?;
    partial.finish()
}

/// A file that is written bit by bit. Dropped before [`PartialFile::finish`], it disappears.
///
/// Several may be written for one name at a time, by whichever processes; the last to finish stays.
#[derive(Debug)]
pub struct PartialFile {
    // Removed before the file, and with it the lock, is let go.
    place: PartialPath,
    file: File,
}

impl PartialFile {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(path: &Path) -> Result<PartialFile, FileError> {
        let error = |source| FileError { action: "write", path: path.to_path_buf(), source };
        let mut writers = 0;
        loop {
            let partial = match writers {
                0 => partial_path(path),
                _ => with_suffix(path, &format!(".{writers}.partial")),
            };
            if let Some(file) = lock::open_alone(&partial).map_err(error)? {
                let place = PartialPath { path: path.to_path_buf(), partial, is_finished: false };
                file.set_len(0).map_err(error)?;
                return Ok(PartialFile { place, file });
            }
            writers += 1;
        }
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(mut self) -> Result<(), FileError> {
        let synced = self.file.sync_all().and_then(|()| self.place.publish());
        synced.map_err(FileError::of("write", &self.place.path))
    }
}

/// The name of a file that a library opens by itself. Dropped before [`PartialPath::finish`], the file disappears.
///
/// Nothing is made and nothing locked: two at a time for one name are up to the caller.
#[derive(Debug)]
pub struct PartialPath {
    path: PathBuf,
    partial: PathBuf,
    is_finished: bool,
}

impl PartialPath {
    /// For a file that will be called `path`.
    pub fn new(path: &Path) -> PartialPath {
        PartialPath { path: path.to_path_buf(), partial: partial_path(path), is_finished: false }
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name until then, `path.partial`.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Gives up what the file takes on the disk, for a library that keeps it open: removing it would not. Does nothing once
    /// it has got its name.
    pub fn empty(&self) {
        if !self.is_finished {
            // It is given up anyway; there may be none.
            let _ = OpenOptions::new().write(true).truncate(true).open(&self.partial);
        }
    }

    /// Syncs the file, which is closed, and gives it its name.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let synced = File::open(&self.partial).and_then(|file| file.sync_all());
        synced.and_then(|()| self.publish()).map_err(FileError::of("write", &self.path))
    }

    fn publish(&mut self) -> io::Result<()> {
        fs::rename(&self.partial, &self.path)?;
        self.is_finished = true;
        sync_folder(folder(&self.path))
    }
}

impl Drop for PartialPath {
    fn drop(&mut self) {
        if !self.is_finished {
            // Whatever the failure was, it is the one to report; and there may be no file yet.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Gives the finished file `from` a second name, in place of what is there, without a copy where the file system can.
///
/// # Errors
/// When the system refuses.
pub fn name_again(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut place = PartialPath::new(to);
    // What a process left that was ended by force would be in the way of the link.
    let _ = fs::remove_file(&place.partial);
    let named = fs::hard_link(from, &place.partial)
        .or_else(|_| fs::copy(from, &place.partial).and_then(|_| File::open(&place.partial)?.sync_all()));
    named.and_then(|()| place.publish()).map_err(FileError::of("write", to))
}

/// Fills a new folder, which is called `path.partial` until `fill` has ended. What an earlier attempt left is removed.
/// The files in it are `fill`'s to sync.
///
/// # Errors
/// Those of `fill` and of the system; the folder is removed.
pub fn fill_whole<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let partial = partial_path(path);
    remove_folder(&partial)?;
    let rename = || fs::rename(&partial, path).and_then(|()| sync_folder(folder(path)));
    let filled = fill(&partial).and_then(|()| Ok(rename().map_err(FileError::of("create", path))?));
    if filled.is_err() {
        remove_folder(&partial)?;
    }
    filled
}

fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The name of a file while it is being written: `path.partial`.
pub fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of `path`, for a bare name the current one.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// When the system refuses, unless because the file system cannot sync folders.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(path: &Path, text: &str) -> Result<(), FileError> {
        write_whole(path, |out| out.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("config.yaml");
        text(&file, "old, and longer").expect("written");
        text(&file, "new").expect("replaced");
        let failed = write_whole(&file, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let message = failed.expect_err("refused").to_string();
        assert_eq!(message, format!("cannot write {}: no storage space", file.display()));
        assert_eq!(fs::read_to_string(&file).expect("the file"), "new");
        assert_eq!(names(root.path()), ["config.yaml"]);
    }

    #[test]
    fn what_is_refused_leaves_nothing_and_names_the_file() {
        let root = tempfile::tempdir().expect("a folder");
        // A folder in the file's place refuses the renaming.
        let taken = root.path().join("taken");
        fs::create_dir_all(taken.join("full")).expect("created");
        let nowhere = root.path().join("none/a");
        for path in [&taken, &nowhere] {
            let message = text(path, "text").expect_err("refused").to_string();
            assert!(message.starts_with(&format!("cannot write {}: ", path.display())), "{message}");
        }
        assert_eq!(names(root.path()), ["taken"]);
    }

    #[test]
    fn what_was_left_is_overwritten() {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("a.partial"), "a longer text that was left").expect("written");
        text(&root.path().join("a"), "short").expect("written");
        assert_eq!(fs::read_to_string(root.path().join("a")).expect("the file"), "short");
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn two_writers_do_not_meet() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a");
        let [first, second, third] = [(); 3].map(|()| PartialFile::create(&path).expect("begun"));
        for (file, text) in [(&first, "first"), (&second, "second"), (&third, "third")] {
            file.file().write_all(text.as_bytes()).expect("written");
        }
        assert_eq!(names(root.path()), ["a.1.partial", "a.2.partial", "a.partial"]);
        first.finish().expect("whole");
        drop(third);
        assert_eq!(fs::read_to_string(&path).expect("the file"), "first");
        text(&path, "fourth").expect("written");
        second.finish().expect("whole");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "second");
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn many_writers_leave_one_whole_file() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a");
        std::thread::scope(|scope| {
            for letter in "abcd".chars() {
                let path = &path;
                let content = letter.to_string().repeat(100_000);
                scope.spawn(move || (0..25).for_each(|_| text(path, &content).expect("written")));
            }
        });
        let found = fs::read_to_string(&path).expect("the file");
        let first = found.chars().next().expect("a letter").to_string();
        assert!(found.len() == 100_000 && found == first.repeat(100_000));
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn files_have_the_permissions_of_any_new_file() {
        let root = tempfile::tempdir().expect("a folder");
        let [plain, whole] = ["plain", "whole"].map(|name| root.path().join(name));
        fs::write(&plain, "").expect("written");
        text(&whole, "").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode(&plain), mode(&whole));
    }

    #[test]
    fn a_library_writes_under_the_partial_name() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a.h5");
        let mut place = PartialPath::new(&path);
        fs::write(place.partial(), "none").expect("written");
        place.empty();
        assert_eq!(fs::read(place.partial()).expect("the file"), b"");
        fs::write(place.partial(), "one").expect("written");
        place.finish().expect("whole");
        // The name belongs to the next writer now.
        fs::write(place.partial(), "two").expect("written");
        place.empty();
        drop(place);
        assert_eq!(fs::read(root.path().join("a.h5.partial")).expect("the file"), b"two");
        assert_eq!(names(root.path()), ["a.h5", "a.h5.partial"]);
        drop(PartialPath::new(&path));
        assert_eq!(names(root.path()), ["a.h5"]);
        let message = PartialPath::new(&path).finish().expect_err("no file").to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", path.display())), "{message}");
    }

    #[test]
    fn a_second_name_replaces_an_older_one() {
        let root = tempfile::tempdir().expect("a folder");
        let [first, second, latest] = ["1", "2", "latest"].map(|name| root.path().join(name));
        fs::write(root.path().join("latest.partial"), "left").expect("written");
        for path in [&first, &second] {
            text(path, &path.display().to_string()).expect("written");
            name_again(path, &latest).expect("named");
            assert_eq!(fs::read_to_string(&latest).expect("the file"), path.display().to_string());
        }
        assert_eq!(fs::read_to_string(&first).expect("the file"), first.display().to_string());
        assert!(name_again(&root.path().join("none"), &latest).is_err());
        assert_eq!(names(root.path()), ["1", "2", "latest"]);
    }

    #[test]
    fn a_folder_appears_when_it_is_filled() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("set");
        fs::create_dir_all(root.path().join("set.partial/old")).expect("created");
        let fill = |partial: &Path| {
            fs::create_dir(partial).expect("nothing was left");
            fs::write(partial.join("a"), "").expect("written");
        };
        let failed = fill_whole(&path, |partial| {
            fill(partial);
            Err(FileError::of("read", Path::new("set.zip"))(io::ErrorKind::UnexpectedEof.into()))
        });
        assert_eq!(failed.expect_err("refused").to_string(), "cannot read set.zip: unexpected end of file");
        assert!(names(root.path()).is_empty());
        fill_whole(&path, |partial| -> Result<(), FileError> {
            fill(partial);
            Ok(())
        })
        .expect("filled");
        assert_eq!((names(root.path()), names(&path)), (vec!["set".to_string()], vec!["a".to_string()]));
    }
}
