//! Writing ONNX files straight from the weights: no message ever holds a tensor's data.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::initializer::Initializer;
use super::messages::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, RAW_DATA, StringStringEntryProto, TensorHeader,
    ValueInfoProto,
};
use super::{IR_VERSION, OPSET};

/// A protobuf message ends at 2 GiB; beyond this many bytes the data goes to a file of its own. The margin is for
/// what is not data.
pub const LARGEST_MESSAGE: u64 = (1 << 31) - (16 << 20);

/// Tensors below this many bytes always stay in the message.
const SMALL: u64 = 1024;

/// Tensors in a data file start at multiples of this, so that a runtime can map them into memory.
const PAGE: u64 = 4096;

const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const METADATA: u32 = 14;

/// A graph ready to be written.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Named as the fields of the specification's GraphProto.
pub struct Model<'w> {
    pub name: String,
    /// In order of computation.
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<Initializer<'w>>,
    pub inputs: Vec<ValueInfoProto>,
    pub outputs: Vec<ValueInfoProto>,
    /// Types and shapes of the values in between.
    pub values: Vec<ValueInfoProto>,
}

/// Where a tensor's data goes.
#[derive(Clone, Copy)]
enum Place {
    Message,
    DataFile { offset: u64 },
}

/// What stands in the message about a constant, its data aside.
fn header(initializer: &Initializer, place: Place, location: &str) -> TensorHeader {
    let mut header = TensorHeader {
        dims: initializer.shape().iter().map(|&n| n as i64).collect(),
        data_type: initializer.element_type(),
        name: initializer.name.clone(),
        ..Default::default()
    };
    if let Place::DataFile { offset } = place {
        header.data_location = 1;
        header.external_data = vec![
            StringStringEntryProto::new("location", location),
            StringStringEntryProto::new("offset", offset.to_string()),
            StringStringEntryProto::new("length", initializer.bytes().to_string()),
        ];
    }
    header
}

impl Model<'_> {
    /// All values with a declared type and shape.
    pub fn declared(&self) -> impl Iterator<Item = &ValueInfoProto> {
        self.inputs.iter().chain(&self.outputs).chain(&self.values)
    }

    /// Writes the model to `path`. Where the constants are more than `largest_message` bytes ([`LARGEST_MESSAGE`], or 0
    /// for as little in the message as possible), those that are not small go to a file beside it, `path` with `.data`
    /// appended. Both files are synced. Returns the files written.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(
        &self,
        path: &Path,
        metadata: &[(String, String)],
        largest_message: u64,
    ) -> io::Result<Vec<PathBuf>> {
        let bytes: u64 = self.initializers.iter().map(Initializer::bytes).sum();
        let places = self.places(bytes > largest_message);
        let data_path = data_file(path);
        let location = data_path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();

        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        self.write_message(&mut out, metadata, &places, &location)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let mut written = vec![path.to_path_buf()];
        if places.iter().any(|place| matches!(place, Place::DataFile { .. })) {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&data_path)?);
            self.write_data_file(&mut out, &places)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            written.push(data_path);
        }
        Ok(written)
    }

    /// The standard operators, and the other sets that nodes are from, in their first version.
    fn operator_sets(&self) -> Vec<OperatorSetIdProto> {
        let others: BTreeSet<&str> = self.nodes.iter().map(|node| node.domain.as_str()).collect();
        let others = others.into_iter().filter(|domain| !domain.is_empty());
        let standard = OperatorSetIdProto { domain: String::new(), version: OPSET };
        let others = others.map(|domain| OperatorSetIdProto { domain: domain.to_string(), version: 1 });
        std::iter::once(standard).chain(others).collect()
    }

    fn places(&self, external: bool) -> Vec<Place> {
        let mut end = 0u64;
        let place = |initializer: &Initializer| {
            let bytes = initializer.bytes();
            if !external || bytes < SMALL {
                return Place::Message;
            }
            let offset = end.next_multiple_of(PAGE);
            end = offset + bytes;
            Place::DataFile { offset }
        };
        self.initializers.iter().map(place).collect()
    }

    fn write_message(
        &self,
        out: &mut impl Write,
        metadata: &[(String, String)],
        places: &[Place],
        location: &str,
    ) -> io::Result<()> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_string(),
            producer_version: env!("CARGO_PKG_VERSION").to_string(),
            graph: None,
            opset_import: self.operator_sets(),
            metadata_props: metadata.iter().map(|(k, v)| StringStringEntryProto::new(k, v)).collect(),
        };
        out.write_all(&model.encode_to_vec())?;

        let graph = GraphProto {
            node: self.nodes.clone(),
            name: self.name.clone(),
            initializer: Vec::new(),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            value_info: self.values.clone(),
        };
        let tensors: Vec<(TensorHeader, u64)> = self
            .initializers
            .iter()
            .zip(places)
            .map(|(initializer, &place)| {
                let header = header(initializer, place, location);
                let data = match place {
                    Place::Message => length_delimited(RAW_DATA, initializer.bytes()),
                    Place::DataFile { .. } => 0,
                };
                let length = header.encoded_len() as u64 + data;
                (header, length)
            })
            .collect();
        let constants: u64 = tensors.iter().map(|(_, length)| length_delimited(INITIALIZER, *length)).sum();
        write_key(out, GRAPH, graph.encoded_len() as u64 + constants)?;
        out.write_all(&graph.encode_to_vec())?;
        for ((initializer, (header, length)), place) in self.initializers.iter().zip(&tensors).zip(places) {
            write_key(out, INITIALIZER, *length)?;
            out.write_all(&header.encode_to_vec())?;
            if let Place::Message = place {
                write_key(out, RAW_DATA, initializer.bytes())?;
                initializer.write(out)?;
            }
        }
        Ok(())
    }

    fn write_data_file(&self, out: &mut impl Write, places: &[Place]) -> io::Result<()> {
        let mut end = 0u64;
        for (initializer, place) in self.initializers.iter().zip(places) {
            if let Place::DataFile { offset } = place {
                io::copy(&mut io::Read::take(io::repeat(0), offset - end), out)?;
                initializer.write(out)?;
                end = offset + initializer.bytes();
            }
        }
        Ok(())
    }
}

/// The file beside `path` that holds the data of a model too large for one message.
pub fn data_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".data");
    PathBuf::from(name)
}

/// Entries of `metadata_props` as they would stand at the end of a file: protobuf joins a repeated field from
/// wherever its entries lie, so appending these bytes adds the entries.
pub fn metadata_suffix(entries: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        prost::encoding::message::encode(METADATA, &StringStringEntryProto::new(key, value), &mut bytes);
    }
    bytes
}

/// Bytes of a length-delimited field with its key and length.
fn length_delimited(field: u32, length: u64) -> u64 {
    (key_len(field) + encoded_len_varint(length)) as u64 + length
}

fn write_key(out: &mut impl Write, field: u32, length: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(16);
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    encode_varint(length, &mut bytes);
    out.write_all(&bytes)
}
