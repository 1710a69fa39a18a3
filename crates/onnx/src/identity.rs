//! What tells an ONNX file from all others, and whether it is still what was written.
//!
//! The last entry of a file's metadata, [`ENTRY`], is the SHA-256 of everything before it and of the data beside it. It
//! stands at the very end of the file, so whoever writes the file anew, or changes a byte of it, breaks it.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use sha2::{Digest, Sha256};

use super::messages::ModelProto;
use super::write::metadata_suffix;

/// The key of the entry.
pub const ENTRY: &str = "ddae.content";

/// Fields of `ModelProto` that say who wrote it and what for, and nothing of what it computes: names and versions of the
/// producer, the model's own version and documentation, metadata.
const ABOUT: [u32; 6] = [2, 3, 4, 5, 6, 14];

/// Digits of a SHA-256 in hexadecimal.
const DIGITS: usize = 64;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256, hexadecimal, of the graph and its weights, those beside the file too: the same for files that compute the
    /// same thing with the same operations, whatever their metadata. Of weights beside the file, their file's name and
    /// the places in it count as well.
    pub graph: String,
    /// Whether the file is what was written.
    pub integrity: Integrity,
}

/// Whether a file is what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// To the byte.
    Intact,
    /// Graph, weights or metadata were changed since.
    Changed,
    /// It does not say: an earlier version wrote it, or another program.
    Unsaid,
}

/// Reads a file and the data beside it, and compares them with what the file says of itself.
///
/// # Errors
/// What the system says, with the file; or that a file is no ONNX file.
pub fn of(path: &Path) -> io::Result<Identity> {
    let bytes = map(path)?;
    let model = ModelProto::decode(&bytes[..]).map_err(invalid)?;
    let suffix = metadata_suffix(&[(ENTRY.to_string(), "0".repeat(DIGITS))]).len();
    let split = bytes.len().saturating_sub(suffix);
    let (body, end) = bytes.split_at(split);
    let said = std::str::from_utf8(&end[end.len().saturating_sub(DIGITS)..]).unwrap_or_default();
    // Only the entry itself, at the very end, is taken for it.
    let is_entry = end == metadata_suffix(&[(ENTRY.to_string(), said.to_string())]);
    let mut hashes = Hashes::default();
    hashes.message(if is_entry { body } else { &bytes })?;
    hashes.beside(path, &model)?;
    let integrity = if is_entry {
        if hashes.all() == said { Integrity::Intact } else { Integrity::Changed }
    } else if model.metadata_props.iter().any(|entry| entry.key == ENTRY) {
        Integrity::Changed
    } else {
        Integrity::Unsaid
    };
    Ok(Identity { graph: hashes.graph(), integrity })
}

/// The bytes to append to the file at `path`, so that it says what it is: `entries` as further metadata, then
/// [`ENTRY`].
///
/// # Errors
/// As [`of`].
pub fn suffix(path: &Path, entries: &[(String, String)]) -> io::Result<Vec<u8>> {
    let bytes = map(path)?;
    let model = ModelProto::decode(&bytes[..]).map_err(invalid)?;
    let mut suffix = metadata_suffix(entries);
    let mut hashes = Hashes::default();
    hashes.message(&bytes)?;
    hashes.message(&suffix)?;
    hashes.beside(path, &model)?;
    suffix.extend(metadata_suffix(&[(ENTRY.to_string(), hashes.all())]));
    Ok(suffix)
}

/// Hashes of the parts of a file.
#[derive(Default)]
struct Hashes {
    /// What is computed, the data beside the message included.
    graph: Sha256,
    /// What is said about it.
    about: Sha256,
}

impl Hashes {
    /// Takes the fields of a message, or of what is appended to one.
    fn message(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while rest.has_remaining() {
            let field = rest;
            let (tag, wire) = decode_key(&mut rest).map_err(invalid)?;
            if wire == WireType::LengthDelimited {
                let length = decode_varint(&mut rest).map_err(invalid)?;
                let length = usize::try_from(length).ok().filter(|&length| length <= rest.len());
                rest = &rest[length.ok_or_else(|| invalid("a field is longer than the file"))?..];
            } else {
                skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(invalid)?;
            }
            let field = &field[..field.len() - rest.len()];
            if ABOUT.contains(&tag) { self.about.update(field) } else { self.graph.update(field) }
        }
        Ok(())
    }

    /// Takes the files beside `path` that hold data of `model`, in the order in which it names them.
    fn beside(&mut self, path: &Path, model: &ModelProto) -> io::Result<()> {
        let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
        let mut seen: Vec<&str> = Vec::new();
        for entry in tensors.flat_map(|tensor| &tensor.external_data) {
            if entry.key == "location" && !seen.contains(&entry.value.as_str()) {
                seen.push(&entry.value);
                let data = map(&path.with_file_name(&entry.value)).map_err(|error| {
                    io::Error::new(error.kind(), format!("its data in {}: {error}", entry.value))
                })?;
                self.graph.update((data.len() as u64).to_le_bytes());
                self.graph.update(&data);
            }
        }
        Ok(())
    }

    fn graph(&self) -> String {
        hex(self.graph.clone())
    }

    fn all(&self) -> String {
        hex(Sha256::new_with_prefix(self.graph.clone().finalize())
            .chain_update(self.about.clone().finalize()))
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Maps a file that is not empty, without holding it in memory.
pub(crate) fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is read-only and private to its user. Should another program shorten the file meanwhile, the
    // process ends; reading would fail as well.
    unsafe { Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use ddae_model::tensor::Tensor;

    use super::*;
    use crate::initializer::Initializer;
    use crate::messages::{NodeProto, StringStringEntryProto};
    use crate::write::{LARGEST_MESSAGE, Model, data_file};

    /// Writes `y = x + w` with 400 weights of which the first is `weight`; `largest` as in [`Model::write`].
    fn write(path: &Path, weight: f32, tool: &str, largest: u64) {
        let mut weights = vec![0.5; 400];
        weights[0] = weight;
        let tensor = Tensor::f32(&[400], weights);
        let model = Model {
            name: "sum".to_string(),
            nodes: vec![NodeProto {
                input: vec!["x".to_string(), "w".to_string()],
                output: vec!["y".to_string()],
                op_type: "Add".to_string(),
                ..Default::default()
            }],
            initializers: vec![Initializer::new("w", Cow::Borrowed(&tensor))],
            ..Default::default()
        };
        model.write(path, &[("ddae.tool".to_string(), tool.to_string())], largest).expect("written");
        append(path, &suffix(path, &[("ddae.errors".to_string(), "none".to_string())]).expect("a suffix"));
    }

    fn append(path: &Path, bytes: &[u8]) {
        let mut file = fs::read(path).expect("a file");
        file.extend(bytes);
        fs::write(path, file).expect("written");
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sum.onnx");
        for largest in [LARGEST_MESSAGE, 0] {
            write(&path, 1.0, "a", largest);
            let whole = of(&path).expect("an identity");
            assert_eq!(whole.integrity, Integrity::Intact);
            let files = if largest == 0 { vec![path.clone(), data_file(&path)] } else { vec![path.clone()] };
            for file in files {
                let bytes = fs::read(&file).expect("a file");
                for at in (0..bytes.len()).step_by(7) {
                    let mut other = bytes.clone();
                    other[at] ^= 1;
                    fs::write(&file, other).expect("written");
                    let found = of(&path).map(|identity| identity.integrity);
                    assert!(!matches!(found, Ok(Integrity::Intact)), "byte {at} of {}", file.display());
                }
                fs::write(&file, bytes).expect("written");
            }
        }
    }

    #[test]
    fn the_graph_is_told_by_what_it_computes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        write(&path("a.onnx"), 1.0, "a", LARGEST_MESSAGE);
        write(&path("b.onnx"), 1.0, "b", LARGEST_MESSAGE);
        write(&path("c.onnx"), 2.0, "a", LARGEST_MESSAGE);
        let [a, b, c] =
            ["a.onnx", "b.onnx", "c.onnx"].map(|name| of(&path(name)).expect("an identity").graph);
        assert_eq!(a, b, "another tool wrote it");
        assert_ne!(a, c, "other weights");
        // Weights beside the file count as those in it do.
        write(&path("d.onnx"), 1.0, "a", 0);
        let before = of(&path("d.onnx")).expect("an identity");
        let data = data_file(&path("d.onnx"));
        let mut bytes = fs::read(&data).expect("data");
        bytes[3] ^= 1;
        fs::write(&data, bytes).expect("written");
        let after = of(&path("d.onnx")).expect("an identity");
        assert_ne!(before.graph, after.graph);
        assert_eq!(after.integrity, Integrity::Changed);
    }

    #[test]
    fn a_file_written_anew_is_a_changed_one_and_one_without_the_entry_says_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sum.onnx");
        write(&path, 1.0, "a", LARGEST_MESSAGE);
        // As other tools do that read a file and write what they understood.
        let mut model = ModelProto::decode(&fs::read(&path).expect("a file")[..]).expect("a model");
        model.metadata_props.push(StringStringEntryProto::new("quantised", "yes"));
        fs::write(&path, model.encode_to_vec()).expect("written");
        assert_eq!(of(&path).expect("an identity").integrity, Integrity::Changed);
        model.metadata_props.retain(|entry| entry.key != ENTRY);
        fs::write(&path, model.encode_to_vec()).expect("written");
        assert_eq!(of(&path).expect("an identity").integrity, Integrity::Unsaid);
        // Metadata after the entry are a change too.
        write(&path, 1.0, "a", LARGEST_MESSAGE);
        append(&path, &metadata_suffix(&[("ddae.unit_length".to_string(), "true".to_string())]));
        assert_eq!(of(&path).expect("an identity").integrity, Integrity::Changed);
    }
}
