//! Predictions as a parquet table.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::Int64Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::RowAccessor;
use parquet::schema::parser::parse_message_type;

use super::{About, Columns, Predictions};

/// The key of [`About`] in the file's metadata.
const ABOUT: &str = "ddae_predictions";

const SCHEMA: &str =
    "message predictions { required int64 sample; required int64 label; required int64 prediction; }";

/// The file.
pub(super) fn bytes(predictions: &Predictions) -> Result<Vec<u8>, ParquetError> {
    let samples: Vec<i64> = (0..predictions.labels.len() as i64).collect();
    table(&samples, predictions)
}

/// The file with these numbers of samples.
fn table(samples: &[i64], predictions: &Predictions) -> Result<Vec<u8>, ParquetError> {
    let about =
        serde_json::to_string(&predictions.about).map_err(|error| ParquetError::External(error.into()))?;
    let properties = WriterProperties::builder()
        .set_created_by(concat!("ddae-probe ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![KeyValue::new(ABOUT.to_string(), about)]))
        .build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for values in [samples, &predictions.labels, &predictions.predictions] {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("a column is missing".to_string()));
        };
        column.typed::<Int64Type>().write_batch(values, None, None)?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

pub(super) fn read(file: File) -> Result<Predictions, String> {
    let damaged = |error: ParquetError| format!("it cannot be read as parquet: {error}");
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = reader.metadata().file_metadata();
    let names: Vec<String> =
        metadata.schema().get_fields().iter().map(|field| field.name().to_string()).collect();
    let columns = Columns::find(&names)?;
    let said = metadata.key_value_metadata().into_iter().flatten().find(|entry| entry.key == ABOUT);
    let about = said.and_then(|entry| entry.value.as_deref());
    let about = about.and_then(|text| serde_json::from_str::<Option<About>>(text).ok()).flatten();
    let mut read = Predictions { about, ..Predictions::default() };
    for (place, row) in reader.get_row_iter(None).map_err(damaged)?.enumerate() {
        let row = row.map_err(damaged)?;
        let number = |column: usize| {
            let wrong = |_| format!("column {} holds no whole numbers of 64 bits", names[column]);
            row.get_long(column).map_err(wrong)
        };
        columns.add(&mut read, place, number)?;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_another_order_are_refused() {
        let predictions = Predictions { labels: vec![3, 4, 3], predictions: vec![3, 3, 3], about: None };
        let read = |samples: &[i64]| {
            let path = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(path.path(), table(samples, &predictions).expect("a table")).expect("written");
            read(File::open(path.path()).expect("a file"))
        };
        assert_eq!(read(&[0, 1, 2]).as_ref(), Ok(&predictions));
        let error = read(&[0, 2, 1]).expect_err("another order");
        assert!(error.starts_with("sample is 2 in row 1: samples from 0 on are wanted"), "{error}");
    }
}
