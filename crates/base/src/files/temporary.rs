//! Names that nobody can foretell, for what is not whole yet, and what ended processes left under such names.
//!
//! Until it is whole, the output `NAME` is called `NAME.0123456789abcdef.partial`, with random digits. It is made under
//! that name or not at all: whatever has the name already, a link too, is left alone, and another name is tried.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{FileError, folder, with_suffix};
use crate::lock::Lock;

const END: &str = ".partial";
const DIGITS: usize = 16;

/// Something under a temporary name. Dropped before it has got its final name, it is removed.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    is_kept: bool,
}

impl Temporary {
    /// Has `make` make something that will be called `target`. It is asked again where the name is taken.
    pub(super) fn make<T>(
        target: &Path,
        mut make: impl FnMut(&Path) -> io::Result<T>,
    ) -> io::Result<(Temporary, T)> {
        loop {
            // The system's random numbers key the hasher.
            let digits = RandomState::new().build_hasher().finish();
            let path = with_suffix(target, &format!(".{digits:0DIGITS$x}{END}"));
            match make(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(made) => return Ok((Temporary { path, is_kept: false }, made)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// It has got another name.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            // Whatever the failure was, it is the one to report.
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// The output that `name` is a temporary name of.
fn output_of(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_suffix(END.as_bytes())?;
    let (output, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let is_hexadecimal = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let output = output.strip_suffix(b".").filter(|output| is_hexadecimal && !output.is_empty())?;
    Some(OsStr::from_bytes(output))
}

/// Removes what processes left of `target` that were ended by force. Only for the one that holds the lock on it: every
/// writer does, so none of this is in work.
pub(crate) fn clear(target: &Path) {
    let Ok(entries) = fs::read_dir(folder(target)) else { return };
    for entry in entries.flatten() {
        if output_of(&entry.file_name()).is_some_and(|output| Some(output) == target.file_name()) {
            remove(&entry.path());
        }
    }
}

/// Removes from `folder` what processes left that were ended by force while they wrote outputs there that are `made` by
/// the caller's job: locks, and files that are not whole. What a living process is at work on stays. For who holds the
/// folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn clear_leftovers(folder: &Path, made: impl Fn(&str) -> bool) -> Result<(), FileError> {
    let mut outputs = BTreeSet::<OsString>::new();
    for entry in fs::read_dir(folder).map_err(FileError::of("list", folder))? {
        let name = entry.map_err(FileError::of("list", folder))?.file_name();
        let output = output_left(&name).filter(|output| output.to_str().is_some_and(&made));
        outputs.extend(output.map(OsStr::to_os_string));
    }
    for output in outputs {
        let path = folder.join(output);
        // One that is held is in work; the lock of one that is not goes when it is let go.
        if let Ok(lock) = Lock::name(&path)
            && lock.is_sure()
        {
            clear(&path);
            let without_digits = with_suffix(&path, END);
            if fs::symlink_metadata(&without_digits).is_ok_and(|found| found.is_file()) {
                remove(&without_digits);
            }
        }
    }
    Ok(())
}

/// The output of which `name` may be left: its lock, or it itself while it is not whole, also by the name `NAME.partial`
/// that earlier versions used.
pub fn output_left(name: &OsStr) -> Option<&OsStr> {
    let without = |end: &str| name.as_bytes().strip_suffix(end.as_bytes()).map(OsStr::from_bytes);
    output_of(name).or_else(|| without(".lock")).or_else(|| without(END))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::names;
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("a");
        let mut tried = Vec::new();
        let made = Temporary::make(&target, |path| {
            tried.push(path.to_path_buf());
            match tried.len() {
                1..4 => Err(ErrorKind::AlreadyExists.into()),
                _ => fs::write(path, ""),
            }
        });
        let (temporary, ()) = made.expect("made");
        assert_eq!(temporary.path(), tried[3]);
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 4, "never the same name: {tried:?}");
        drop(temporary);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn temporary_names_are_told_from_others() {
        for (name, output) in [
            ("a.0123456789abcdef.partial", Some("a")),
            ("a.h5.0123456789abcdef.partial", Some("a.h5")),
            ("a.0123456789abcdeg.partial", None),
            ("a.123456789abcdef.partial", None),
            ("a0123456789abcdef.partial", None),
            (".0123456789abcdef.partial", None),
            ("a.partial", None),
            ("0.partial", None),
            ("a.0123456789abcdef", None),
        ] {
            assert_eq!(output_of(name.as_ref()), output.map(OsStr::new), "{name}");
        }
    }

    #[test]
    fn leftovers_of_the_job_go_and_all_else_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        fs::write(path("kept"), "kept").expect("written");
        symlink("kept", path("e.0123456789abcdef.partial")).expect("a link");
        fs::create_dir_all(path("d.0123456789abcdef.partial/inner")).expect("created");
        let lock_of_others = ["mine.lock", "mine.0123456789abcdef.partial", "mine.partial", "mine"];
        for name in ["a.0123456789abcdef.partial", "a.partial", "b.lock", "b"].iter().chain(&lock_of_others) {
            fs::write(path(name), "").expect("written");
        }
        fs::write(path("c.lock"), "notes of the user").expect("written");
        let held = Lock::output(&path("f")).expect("free");
        fs::write(path("f.0123456789abcdef.partial"), "in work").expect("written");
        clear_leftovers(root.path(), |name| name != "mine").expect("cleared");
        let left = [
            "b",
            "c.lock",
            "f.0123456789abcdef.partial",
            "f.lock",
            "kept",
            "mine",
            "mine.0123456789abcdef.partial",
            "mine.lock",
            "mine.partial",
        ];
        assert_eq!(names(root.path()), left);
        assert_eq!(fs::read_to_string(path("kept")).expect("the file"), "kept");
        drop(held);
    }
}
