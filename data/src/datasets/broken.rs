//! Images that cannot be read, found before the work on the others.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::DataError;
use crate::split::Split;

/// An image that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its position in the split that was looked through.
    pub index: usize,
    /// What it is called there ([`Split::key`]).
    pub key: String,
    /// Why, in one line.
    pub reason: String,
}

impl Split {
    /// Reads every image, on all cores, and says which cannot be: their files are missing or damaged, or they are images that
    /// are refused (of another size, with `--resize none`; in colour, where all must be grey). `advance` is told the
    /// images done; where it returns false, the search ends ([`DataError::Interrupted`]).
    ///
    /// # Errors
    /// When it was stopped, or where the fault is no image's.
    pub fn broken(&self, advance: impl Fn(u64) -> bool + Sync) -> Result<Vec<Broken>, DataError> {
        const CHUNK: usize = 64;
        let stopped = AtomicBool::new(false);
        let one = |index: usize, levels: &mut [u8]| match self.read(index, levels) {
            Ok(()) => Ok(None),
            Err(error @ (DataError::Format { .. } | DataError::File(_))) => {
                let reason = match &error {
                    DataError::Format { found, expected, .. } => format!("{found}; expected {expected}"),
                    other => other.to_string(),
                };
                Ok(Some(Broken { index, key: self.key(index), reason }))
            }
            Err(other) => Err(other),
        };
        let chunk = |chunk: usize| -> Result<Vec<Broken>, DataError> {
            let mut levels = vec![0; self.image_len()];
            let mut found = Vec::new();
            let range = chunk * CHUNK..self.len().min((chunk + 1) * CHUNK);
            let count = range.len() as u64;
            for index in range {
                if stopped.load(Ordering::Relaxed) {
                    return Err(DataError::Interrupted);
                }
                found.extend(one(index, &mut levels)?);
            }
            if !advance(count) {
                stopped.store(true, Ordering::Relaxed);
                return Err(DataError::Interrupted);
            }
            Ok(found)
        };
        let chunks: Result<Vec<Vec<Broken>>, DataError> =
            (0..self.len().div_ceil(CHUNK)).into_par_iter().map(chunk).collect();
        Ok(chunks?.concat())
    }

    /// The images without those.
    ///
    /// # Errors
    /// When none is left.
    pub fn without(&self, broken: &[Broken]) -> Result<Split, DataError> {
        let Some(first) = broken.first() else {
            return Ok(self.clone());
        };
        // Both are in the order of positions.
        let mut left_out = broken.iter().map(|broken| broken.index).peekable();
        let kept = |index: &usize| left_out.next_if_eq(index).is_none();
        let positions: Vec<usize> = (0..self.len()).filter(kept).collect();
        if positions.is_empty() {
            return Err(DataError::Argument(format!(
                "{}: none of its {} images can be read; the first is {}: {}",
                self.name(),
                self.len(),
                first.key,
                first.reason
            )));
        }
        self.subset(&positions)
    }
}

/// The list as it is kept in a file: a line for each, with key, tab and reason. Characters that would break a line are
/// written as Rust escapes them.
pub fn list_of(broken: &[Broken]) -> String {
    let plain = |text: &str| -> String {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    };
    broken.iter().map(|image| format!("{}\t{}\n", plain(&image.key), plain(&image.reason))).collect()
}

/// What is said of them: how many, and the first few.
pub fn note_of(broken: &[Broken], of: usize) -> Option<String> {
    const NAMED: usize = 3;
    if broken.is_empty() {
        return None;
    }
    let named: Vec<String> =
        broken.iter().take(NAMED).map(|image| format!("{}: {}", image.key, image.reason)).collect();
    let more = match broken.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!(
        "{} of {of} images cannot be read and are left out ({}{more})",
        broken.len(),
        named.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets;

    #[test]
    fn what_cannot_be_read_is_left_out_and_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for (name, level) in [("a.png", 1), ("c.png", 3), ("f.png", 6)] {
            image::GrayImage::from_pixel(2, 2, image::Luma([level])).save(path(name)).expect("an image");
        }
        std::fs::write(path("b.png"), "hello").expect("a file");
        std::fs::write(path("e.png"), &std::fs::read(path("a.png")).expect("an image")[..40])
            .expect("a file");
        let names = ["a.png", "b.png", "c.png", "d\n.png", "e.png", "f.png"];
        let split = datasets::of_files(names.map(path).to_vec(), [1, 2, 2]);
        let broken = split.broken(|_| true).expect("looked through");
        assert_eq!(broken.iter().map(|broken| broken.index).collect::<Vec<_>>(), [1, 3, 4]);
        let list = list_of(&broken);
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0].contains("b.png\tit is text, which is not read; expected a whole image"), "{list}");
        assert!(lines[1].contains("d\\n.png\t") && lines[1].contains("No such file"), "{list}");
        assert_eq!(lines.len(), 3);
        let note = note_of(&broken, 6).expect("there are some");
        assert!(note.starts_with("3 of 6 images cannot be read and are left out ("), "{note}");
        assert_eq!(note_of(&[], 6), None);
        let whole = split.without(&broken).expect("some are left");
        let mut levels = [0; 4];
        let read = |position: usize, levels: &mut [u8]| whole.read(position, levels).map(|()| levels[0]);
        assert_eq!(
            (whole.len(), read(1, &mut levels).ok(), read(2, &mut levels).ok()),
            (3, Some(3), Some(6))
        );
        assert_eq!(whole.id(1), 2, "images keep their numbers");
        assert_eq!(whole.broken(|_| true).expect("looked through"), []);
        assert!(matches!(split.broken(|_| false), Err(DataError::Interrupted)));
        let none = split.subset(&[1, 3]).expect("images");
        let error = none.without(&none.broken(|_| true).expect("looked through")).expect_err("none is left");
        assert!(error.to_string().contains("none of its 2 images can be read; the first is"), "{error}");
    }
}
