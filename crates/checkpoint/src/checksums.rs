//! Checksums of what a training checkpoint of ours holds, so that a damaged one is not gone on with.
//!
//! CRC-32 (of zlib and PNG) finds any damage within 32 neighbouring bits, and other damage but for one in 4 billion. A
//! tensor's is of its type, its shape and its bytes; the other entries of the metadata have theirs too. They are one entry
//! of the file's metadata, `ddae.checksums`: a JSON object of names and eight hexadecimal digits each.

use std::collections::{BTreeMap, HashMap};

use crc32fast::Hasher;

use super::stored::StoredTensor;

/// The entry of the metadata that holds them.
const KEY: &str = "ddae.checksums";

/// What to do about a damaged file.
const ADVICE: &str = "copy it here again, or take another checkpoint";

/// The checksums of a file, by what they are of: names of tensors, and of entries of the metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Checksums(BTreeMap<String, String>);

impl Checksums {
    /// Adds that of an entry of the metadata.
    pub fn add_text(&mut self, key: &str, text: &str) {
        self.0.insert(key.to_string(), shown(crc32fast::hash(text.as_bytes())));
    }

    /// Adds that of a tensor, whose bytes `feed` gives in order.
    pub fn add_tensor(
        &mut self,
        name: &str,
        element: &str,
        shape: &[usize],
        feed: impl FnOnce(&mut dyn FnMut(&[u8])),
    ) {
        let mut hash = begun(element, shape);
        feed(&mut |bytes| hash.update(bytes));
        self.0.insert(name.to_string(), shown(hash.finalize()));
    }

    /// The entry of the metadata.
    pub fn into_entry(self) -> Result<(String, String), String> {
        let text = serde_json::to_string(&self.0).map_err(|error| error.to_string())?;
        Ok((KEY.to_string(), text))
    }

    /// Those that a file's metadata holds; none where an earlier version or another program wrote it. Entries of the
    /// metadata are compared, and there must be a checksum for each of `tensors` and no other.
    ///
    /// # Errors
    /// What is damaged.
    pub fn read(
        metadata: &HashMap<String, String>,
        tensors: &[StoredTensor],
    ) -> Result<Option<Checksums>, String> {
        let Some(text) = metadata.get(KEY) else { return Ok(None) };
        let read = |error| format!("is damaged: its '{KEY}' cannot be read ({error}); {ADVICE}");
        let checksums = Checksums(serde_json::from_str(text).map_err(read)?);
        for (key, text) in metadata.iter().filter(|(key, _)| *key != KEY && checksums.0.contains_key(*key)) {
            checksums.compare(key, crc32fast::hash(text.as_bytes()))?;
        }
        let is_known = |name: &str| checksums.0.contains_key(name);
        if let Some(tensor) = tensors.iter().find(|tensor| !is_known(tensor.name())) {
            return Err(format!("is damaged: it has no checksum of '{}'; {ADVICE}", tensor.name()));
        }
        let is_there = |name: &str| {
            let found = tensors.binary_search_by(|tensor| tensor.name().cmp(name));
            found.is_ok() || metadata.contains_key(name)
        };
        match checksums.0.keys().find(|name| !is_there(name)) {
            Some(missing) => Err(format!("is damaged: '{missing}' is missing from it; {ADVICE}")),
            None => Ok(Some(checksums)),
        }
    }

    /// Compares that of a tensor with its bytes.
    ///
    /// # Errors
    /// When they differ.
    pub fn check(&self, tensor: &StoredTensor, bytes: &[u8]) -> Result<(), String> {
        let mut hash = begun(&tensor.element().to_string(), tensor.shape());
        hash.update(bytes);
        self.compare(tensor.name(), hash.finalize())
    }

    fn compare(&self, name: &str, found: u32) -> Result<(), String> {
        let (found, written) = (shown(found), self.0.get(name));
        if written == Some(&found) {
            return Ok(());
        }
        let written = written.map_or("none", String::as_str);
        Err(format!("is damaged: '{name}' has the checksum {found}, and {written} was written; {ADVICE}"))
    }
}

/// The checksum of a tensor before its bytes.
fn begun(element: &str, shape: &[usize]) -> Hasher {
    let mut hash = Hasher::new();
    hash.update(format!("{element} {shape:?}").as_bytes());
    hash
}

fn shown(checksum: u32) -> String {
    format!("{checksum:08x}")
}
