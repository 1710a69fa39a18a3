//! What tells an ONNX file from all others, and whether it is still what was written.
//!
//! The last entry of a file's metadata, [`ENTRY`], is the SHA-256 of everything before it and of the data beside it. It
//! stands at the very end of the file, so whoever writes the file anew, or changes a byte of it, breaks it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memmap2::Mmap;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, message, skip_field,
};
use sha2::{Digest, Sha256};

use super::messages::{ModelProto, StringStringEntryProto};
use super::write::metadata_suffix;

/// The key of the entry.
pub const ENTRY: &str = "ddae.content";

/// Fields of `ModelProto` that say who wrote it and what for, and nothing of what it computes: names and versions of the
/// producer, the model's own version and documentation, metadata.
const ABOUT: [u32; 6] = [2, 3, 4, 5, 6, 14];

/// `ModelProto.graph`.
const GRAPH: u32 = 7;
/// `GraphProto.initializer`.
const INITIALIZER: u32 = 5;
/// `TensorProto.external_data`.
const EXTERNAL_DATA: u32 = 13;
/// The key of an entry of that which names the file.
const LOCATION: &str = "location";

/// Bytes of a file of data that are read at a time.
const PIECE: usize = 1 << 20;

/// Digits of a SHA-256 in hexadecimal.
const DIGITS: usize = 64;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256, hexadecimal, of the graph and its weights, those beside the file too: the same for files that compute the
    /// same thing with the same operations, whatever their metadata. Of weights beside the file, the places in their file
    /// count as well, and its name does not.
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
    let names = files_beside(&model);
    let message = if is_entry { body } else { &bytes };
    let mut hashes = Hashes::default();
    hashes.message(message)?;
    // Where all is in the file, its fields are the graph.
    let mut nameless = match names.is_empty() {
        true => None,
        false => Some(nameless(message, &names)?),
    };
    for name in &names {
        let graphs = std::iter::once(&mut hashes.graph).chain(&mut nameless);
        add_data_beside(&mut graphs.collect::<Vec<_>>(), path, name)?;
    }
    let integrity = if is_entry {
        if hashes.all() == said { Integrity::Intact } else { Integrity::Changed }
    } else if model.metadata_props.iter().any(|entry| entry.key == ENTRY) {
        Integrity::Changed
    } else {
        Integrity::Unsaid
    };
    Ok(Identity { graph: hex(nameless.unwrap_or(hashes.graph)), integrity })
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
    for name in files_beside(&model) {
        add_data_beside(&mut [&mut hashes.graph], path, name)?;
    }
    suffix.extend(metadata_suffix(&[(ENTRY.to_string(), hashes.all())]));
    Ok(suffix)
}

/// Hashes of the parts of a file, to the byte.
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
        for field in Fields(bytes) {
            let Field { tag, whole, .. } = field?;
            if ABOUT.contains(&tag) { self.about.update(whole) } else { self.graph.update(whole) }
        }
        Ok(())
    }

    fn all(&self) -> String {
        hex(Sha256::new_with_prefix(self.graph.clone().finalize())
            .chain_update(self.about.clone().finalize()))
    }
}

/// The names of the files that hold data of `model`, in the order in which it names them.
fn files_beside(model: &ModelProto) -> Vec<&str> {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
    let mut names = Vec::new();
    for entry in tensors.flat_map(|tensor| &tensor.external_data) {
        if entry.key == LOCATION && !names.contains(&entry.value.as_str()) {
            names.push(entry.value.as_str());
        }
    }
    names
}

/// Feeds the file `name` beside `path`, its length first, to hashes. It is read piece by piece: mapped, gigabytes of weights
/// would count as this process's memory.
fn add_data_beside(hashes: &mut [&mut Sha256], path: &Path, name: &str) -> io::Result<()> {
    let mut feed = || -> io::Result<()> {
        let mut file = File::open(path.with_file_name(name))?;
        let mut left = file.metadata()?.len();
        let mut add = |bytes: &[u8]| hashes.iter_mut().for_each(|hash| hash.update(bytes));
        add(&left.to_le_bytes());
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE as u64) as usize];
            file.read_exact(piece)?;
            add(piece);
            left -= piece.len() as u64;
        }
        Ok(())
    };
    feed().map_err(|error| io::Error::new(error.kind(), format!("its data in {name}: {error}")))
}

/// The hash of what is computed, with the number of a file of data in place of its name.
fn nameless(bytes: &[u8], names: &[&str]) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    for field in Fields(bytes) {
        match field? {
            Field { tag, .. } if ABOUT.contains(&tag) => {}
            // Its length is that of the names, too.
            Field { tag: GRAPH, content: Some(graph), .. } => {
                for field in Fields(graph) {
                    match field? {
                        Field { tag: INITIALIZER, content: Some(tensor), whole } => {
                            hash.update(nameless_tensor(tensor, names)?.as_deref().unwrap_or(whole));
                        }
                        field => hash.update(field.whole),
                    }
                }
            }
            field => hash.update(field.whole),
        }
    }
    Ok(hash)
}

/// The field of a tensor with numbers in place of names; none where it names no file.
fn nameless_tensor(tensor: &[u8], names: &[&str]) -> io::Result<Option<Vec<u8>>> {
    let is_beside = |field: io::Result<Field>| field.is_ok_and(|field| field.tag == EXTERNAL_DATA);
    if !Fields(tensor).any(is_beside) {
        return Ok(None);
    }
    let mut content = Vec::new();
    for field in Fields(tensor) {
        let Field { tag, whole, content: entry } = field?;
        let entry = entry.filter(|_| tag == EXTERNAL_DATA).map(StringStringEntryProto::decode);
        match entry.transpose().map_err(invalid)?.filter(|entry| entry.key == LOCATION) {
            Some(entry) => {
                let number = names.iter().position(|name| *name == entry.value);
                let number = number.map_or(entry.value, |number| number.to_string());
                message::encode(EXTERNAL_DATA, &StringStringEntryProto::new(LOCATION, number), &mut content);
            }
            None => content.extend_from_slice(whole),
        }
    }
    let mut field = Vec::with_capacity(content.len() + 8);
    encode_key(INITIALIZER, WireType::LengthDelimited, &mut field);
    encode_varint(content.len() as u64, &mut field);
    field.append(&mut content);
    Ok(Some(field))
}

/// A field of a message.
struct Field<'a> {
    tag: u32,
    /// With its key and its length.
    whole: &'a [u8],
    /// Of a message, text or bytes, what it holds.
    content: Option<&'a [u8]>,
}

/// The fields of a message, until one is broken.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = io::Result<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> io::Result<Field<'a>> {
    let whole = *rest;
    let (tag, wire) = decode_key(rest).map_err(invalid)?;
    let mut content = None;
    if wire == WireType::LengthDelimited {
        let length = decode_varint(rest).map_err(invalid)?;
        let length = usize::try_from(length).ok().filter(|&length| length <= rest.len());
        let length = length.ok_or_else(|| invalid("a field is longer than the file"))?;
        content = Some(&rest[..length]);
        rest.advance(length);
    } else {
        skip_field(wire, tag, rest, DecodeContext::default()).map_err(invalid)?;
    }
    Ok(Field { tag, whole: &whole[..whole.len() - rest.len()], content })
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
        // What their file is called does not.
        let named_otherwise = |name: &str, weight: f32| {
            write(&path(name), weight, "a", 0);
            of(&path(name)).expect("an identity")
        };
        let other = named_otherwise("a-longer-name.onnx", 1.0);
        assert_eq!((other.graph, other.integrity), (before.graph.clone(), Integrity::Intact));
        assert_ne!(named_otherwise("f.onnx", 2.0).graph, before.graph);
        // In a copy of it under another name, the message still names the first.
        fs::copy(path("f.onnx"), path("g.onnx")).expect("a copy");
        fs::remove_file(data_file(&path("f.onnx"))).expect("removed");
        let message = of(&path("g.onnx")).expect_err("no data").to_string();
        assert!(message.starts_with("its data in f.onnx.data: "), "{message}");
    }

    /// Files of features carry it.
    #[test]
    fn digests_of_graphs_stay_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sum.onnx");
        for (largest, digest) in [
            (LARGEST_MESSAGE, "d4cdaab12b253f087f63d2f4dcd24e2793e32b918b5fb7773e91d219e49a3239"),
            (0, "b5de622a0fad8d218b0c2e51121e82cda33772762d0bf9f66c10de33eab56975"),
        ] {
            write(&path, 1.0, "a", largest);
            assert_eq!(of(&path).expect("an identity").graph, digest);
        }
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
