//! A table with a row for each image and view: `row`, `view`, `index`, `label`, `class` and `path`, and of each dataset a
//! column of lists, called like it (`t11/out_6`).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ddae_base::files::{self, PartialFile};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type};
use serde_json::Value;

use super::{DESCRIPTION, Source, class_name};
use crate::error::InferError;

/// Rows of a group, at most.
const MOST_ROWS: usize = 1 << 16;

/// What may go wrong in the middle of a file.
enum Trouble {
    Parquet(ParquetError),
    Other(InferError),
}

impl From<ParquetError> for Trouble {
    fn from(error: ParquetError) -> Trouble {
        Trouble::Parquet(error)
    }
}

impl From<InferError> for Trouble {
    fn from(error: InferError) -> Trouble {
        Trouble::Other(error)
    }
}

impl From<ddae_store::FeatureError> for Trouble {
    fn from(error: ddae_store::FeatureError) -> Trouble {
        Trouble::Other(error.into())
    }
}

pub(super) fn write(source: &Source<'_>, out: &Path) -> Result<(), InferError> {
    let folder = files::folder(out);
    std::fs::create_dir_all(folder).map_err(InferError::io("create", folder))?;
    let partial = PartialFile::create(out)?;
    match fill(source, partial.file()) {
        Ok(()) => Ok(partial.finish()?),
        Err(Trouble::Other(error)) => Err(error),
        Err(Trouble::Parquet(ParquetError::External(error))) => {
            Err(InferError::io("write", out)(std::io::Error::other(error)))
        }
        Err(Trouble::Parquet(error)) => Err(InferError::io("write", out)(std::io::Error::other(error))),
    }
}

fn fill(source: &Source<'_>, out: &File) -> Result<(), Trouble> {
    let (file, classes) = (source.file, source.classes());
    let schema = Arc::new(schema(source)?);
    let description = KeyValue::new(DESCRIPTION.to_string(), source.description.to_string());
    let properties = WriterProperties::builder()
        .set_created_by(concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(ColumnPath::from("class"), true)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![description]))
        .build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let widest = file.layout().keys.iter().map(|(_, width)| *width).max().unwrap_or(1);
    let step = source.block_rows(widest).min(MOST_ROWS);
    let (labels, indices) = (file.labels()?, file.indices()?);
    for view in 0..file.views() {
        for rows in source.blocks(step) {
            let rows = rows?;
            let mut group = writer.next_row_group()?;
            let first = file.rows().start;
            let numbers: Vec<i64> = rows.clone().map(|row| (first + row) as i64).collect();
            put::<Int64Type>(&mut group, &numbers, None, None)?;
            put::<Int64Type>(&mut group, &vec![view as i64; rows.len()], None, None)?;
            let images: Vec<i64> = indices[rows.clone()].iter().map(|&index| index as i64).collect();
            put::<Int64Type>(&mut group, &images, None, None)?;
            put::<Int64Type>(&mut group, &labels[rows.clone()], None, None)?;
            if !classes.is_empty() {
                let names: Vec<_> =
                    labels[rows.clone()].iter().map(|&label| class_name(classes, label)).collect();
                let values: Vec<ByteArray> = names.iter().flatten().map(|&name| name.into()).collect();
                let levels: Vec<i16> = names.iter().map(|name| i16::from(name.is_some())).collect();
                put::<ByteArrayType>(&mut group, &values, Some(&levels), None)?;
            }
            if let Some(paths) = source.paths(rows.clone())? {
                let paths: Vec<ByteArray> = paths.iter().map(|path| path.as_str().into()).collect();
                put::<ByteArrayType>(&mut group, &paths, None, None)?;
            }
            for (key, width) in &file.layout().keys {
                let (features, _) = file.read(key, view, rows.clone())?.into_raw_vec_and_offset();
                // A list begins where nothing is repeated, and none of them is empty.
                let repeated: Vec<i16> = (0..features.len()).map(|at| i16::from(at % width != 0)).collect();
                put::<FloatType>(&mut group, &features, Some(&vec![1; features.len()]), Some(&repeated))?;
            }
            group.close()?;
        }
    }
    writer.close()?;
    Ok(())
}

/// Writes the next column of a group.
fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("the table has more columns than its schema".to_string());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, defined, repeated)?;
    column.close()
}

fn schema(source: &Source<'_>) -> Result<Type, ParquetError> {
    let column = |name: &str, physical: Physical, logical: Option<LogicalType>, repetition: Repetition| {
        let builder = Type::primitive_type_builder(name, physical);
        builder.with_logical_type(logical).with_repetition(repetition).build().map(Arc::new)
    };
    let number = |name: &str| column(name, Physical::INT64, None, Repetition::REQUIRED);
    let text =
        |name: &str, repetition| column(name, Physical::BYTE_ARRAY, Some(LogicalType::String), repetition);
    let mut fields = vec![number("row")?, number("view")?, number("index")?, number("label")?];
    if !source.classes().is_empty() {
        fields.push(text("class", Repetition::OPTIONAL)?);
    }
    if source.file.has_paths() {
        fields.push(text("path", Repetition::REQUIRED)?);
    }
    for key in source.file.keys() {
        let element = column("element", Physical::FLOAT, None, Repetition::REQUIRED)?;
        let list = Type::group_type_builder("list").with_fields(vec![element]);
        let list = list.with_repetition(Repetition::REPEATED).build()?;
        let name = key.to_string();
        let lists = Type::group_type_builder(&name).with_fields(vec![Arc::new(list)]);
        let lists = lists.with_repetition(Repetition::REQUIRED);
        fields.push(Arc::new(lists.with_logical_type(Some(LogicalType::List)).build()?));
    }
    Type::group_type_builder("features").with_fields(fields).build()
}

/// What the file at `path` was made of, if it is one of these.
pub(super) fn made_of(path: &Path) -> Option<Value> {
    let reader = SerializedFileReader::new(File::open(path).ok()?).ok()?;
    let entries = reader.metadata().file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == DESCRIPTION)?;
    serde_json::from_str(entry.value.as_deref()?).ok()
}
