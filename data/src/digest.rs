//! What tells the images of a split from those of any other.

use std::str::FromStr;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::datasets::DataError;
use crate::split::Split;

/// How images are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestOf {
    /// By what they hold: every one is read once.
    #[default]
    Content,
    /// By the names and sizes of their files, which takes a moment only. Images that do not lie in files of their own are
    /// told apart by content.
    Files,
}

impl FromStr for DigestOf {
    type Err = String;

    fn from_str(text: &str) -> Result<DigestOf, String> {
        match text {
            "content" => Ok(DigestOf::Content),
            "files" => Ok(DigestOf::Files),
            _ => Err("wanted is content or files".to_string()),
        }
    }
}

/// Images that are hashed together, by one thread.
const CHUNK: usize = 256;

impl Split {
    /// SHA-256 of the images with their numbers, labels, class names and shape, hexadecimal; of files that are decoded,
    /// their bytes stand for the images. The first word says what was hashed: `content:` or `files:`.
    ///
    /// # Errors
    /// When an image cannot be read; the message names it.
    pub fn digest(&self, of: DigestOf) -> Result<String, DataError> {
        let by_files = of == DigestOf::Files && self.file_of(0).is_some();
        let mut hash = Sha256::new();
        for size in self.shape().into_iter().chain([self.classes().len(), self.len()]) {
            hash.update((size as u64).to_le_bytes());
        }
        for class in self.classes() {
            hash.update((class.len() as u64).to_le_bytes());
            hash.update(class.as_bytes());
        }
        // Files of earlier versions know no choices.
        hash.update(self.reading());
        for images in self.hashes(by_files)? {
            hash.update(images);
        }
        let what = if by_files { "files" } else { "content" };
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{what}:{digits}"))
    }

    /// A hash of each chunk of images, in order.
    fn hashes(&self, by_files: bool) -> Result<Vec<[u8; 32]>, DataError> {
        let one = |chunk: usize| -> Result<[u8; 32], DataError> {
            let mut hash = Sha256::new();
            for index in chunk * CHUNK..self.len().min((chunk + 1) * CHUNK) {
                hash.update(self.id(index).to_le_bytes());
                hash.update((self.label(index) as u64).to_le_bytes());
                let bytes = match self.file_of(index).filter(|_| by_files) {
                    Some(entry) => entry?,
                    None => self.stored(index)?,
                };
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
            Ok(hash.finalize().into())
        };
        (0..self.len().div_ceil(CHUNK)).into_par_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(levels: Vec<u8>, labels: Vec<u32>, classes: [&str; 2]) -> Split {
        let classes = classes.map(str::to_string).to_vec();
        Split::in_memory("grey", classes, labels, [1, 2, 2], levels).expect("a split")
    }

    #[test]
    fn every_image_label_and_name_counts() {
        let count = 3 * CHUNK + 5;
        let (levels, labels) = (vec![7; 4 * count], vec![0; count]);
        let digest = |levels: &[u8], labels: &[u32], classes| {
            split(levels.to_vec(), labels.to_vec(), classes).digest(DigestOf::Content).expect("a digest")
        };
        let base = digest(&levels, &labels, ["a", "b"]);
        assert_eq!(base, digest(&levels, &labels, ["a", "b"]));
        assert!(base.starts_with("content:") && base.len() == 8 + 64, "{base}");
        let mut found = vec![base];
        for at in (0..4 * count).step_by(601).chain([4 * count - 1]) {
            let mut other = levels.clone();
            other[at] ^= 1;
            found.push(digest(&other, &labels, ["a", "b"]));
        }
        for at in [0, count - 1] {
            let mut other = labels.clone();
            other[at] = 1;
            found.push(digest(&levels, &other, ["a", "b"]));
        }
        found.push(digest(&levels, &labels, ["a", "c"]));
        found.push(digest(&levels[4..], &labels[1..], ["a", "b"]));
        let all = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), all);
        let whole = split(levels, labels, ["a", "b"]);
        let parts = [[0, 1], [1, 2]].map(|positions| whole.subset(&positions).expect("images"));
        let [first, second] = parts.map(|part| part.digest(DigestOf::Files).expect("a digest"));
        assert_ne!(first, second, "the same levels under other numbers");
    }
}
