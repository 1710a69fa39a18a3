//! Parquet tables, as pandas, pyarrow and the Hugging Face hub write them.

use std::fs::File;

use half::f16;
use ndarray::Array2;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::Opened;
use super::converted::{DESCRIPTION, refuse};
use super::labels::RawLabels;
use super::matrix::{Matrix, check_memory};
use super::numbers::{Element, narrowed, too_large};
use super::table::{Column, Kind, Table};

/// The first bytes of a parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Rows that are read at a time.
const BATCH: usize = 1024;

/// A parquet file.
pub(super) struct Parquet {
    reader: SerializedFileReader<File>,
    rows: usize,
    columns: Vec<Column>,
    /// How each column is stored; none for those that hold neither numbers nor texts.
    leaves: Vec<Option<Leaf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    Number(Element),
    Text,
}

/// A number as it is stored: no one type holds all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    Real(f64),
}

impl Number {
    /// The nearest float32, rounded once.
    fn narrowed(self, row: usize, column: usize) -> Opened<f32> {
        match self {
            Self::Signed(value) => Ok(value as f32),
            Self::Unsigned(value) => Ok(value as f32),
            Self::Real(value) => narrowed(value).ok_or_else(|| too_large(row, column, value)),
        }
    }
}

impl Parquet {
    pub(super) fn open(file: File) -> Opened<Self> {
        let reader = whole(|| SerializedFileReader::new(file))?;
        let metadata = reader.metadata();
        let mut said = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        if said.any(|entry| entry.key == DESCRIPTION) {
            return refuse();
        }
        let rows: Option<usize> = metadata
            .row_groups()
            .iter()
            .map(|group| usize::try_from(group.num_rows()).ok())
            .try_fold(0usize, |sum, rows| sum.checked_add(rows?));
        let rows = rows.ok_or("it is said to have more rows than any file")?;
        if rows == 0 {
            return Err("it has no rows".to_string());
        }
        // The crate takes places for numbers that are not negative.
        let mut chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        let is_sound = |chunk: &ColumnChunkMetaData| {
            let first = chunk.dictionary_page_offset().unwrap_or(0).min(chunk.data_page_offset());
            first >= 0 && chunk.compressed_size() >= 0
        };
        if !chunks.all(is_sound) {
            return Err("it is damaged: a column lies at no place in it".to_string());
        }
        let (mut columns, mut leaves) = (Vec::new(), Vec::new());
        for descriptor in metadata.file_metadata().schema_descr().columns() {
            let (kind, leaf) = kind_of(descriptor);
            let parts = descriptor.path().parts();
            // The names behind that of a list are those of its levels.
            let name = if descriptor.max_rep_level() == 0 { parts.join(".") } else { parts[0].clone() };
            columns.push(Column { name, kind });
            leaves.push(leaf);
        }
        Ok(Self { reader, rows, columns, leaves })
    }

    /// Calls `row` with the values of each row of a column, exact.
    fn each_number(&self, column: usize, row: OnRow<Number>) -> Opened<()> {
        let Some(Leaf::Number(element)) = self.leaves[column] else {
            return Err("it holds no numbers".to_string());
        };
        self.each_group(column, |reader, first, rows| {
            macro_rules! each {
                ($reader:expr, $convert:expr) => {{
                    let mut numbers = Vec::new();
                    values(&mut *$reader, first, rows, &mut |number, values| {
                        numbers.clear();
                        numbers.extend(values.iter().map($convert));
                        row(number, &numbers)
                    })
                }};
            }
            match (reader, element) {
                (ColumnReader::BoolColumnReader(reader), _) => {
                    each!(reader, |&value| Number::Signed(i64::from(value)))
                }
                // Shorter and unsigned integers are kept as signed ones of 32 or 64 bits.
                (ColumnReader::Int32ColumnReader(reader), Element::U32) => {
                    each!(reader, |&value| Number::Signed(i64::from(value as u32)))
                }
                (ColumnReader::Int32ColumnReader(reader), _) => {
                    each!(reader, |&value| Number::Signed(i64::from(value)))
                }
                (ColumnReader::Int64ColumnReader(reader), Element::U64) => {
                    each!(reader, |&value| Number::Unsigned(value as u64))
                }
                (ColumnReader::Int64ColumnReader(reader), _) => each!(reader, |&value| Number::Signed(value)),
                (ColumnReader::FloatColumnReader(reader), _) => {
                    each!(reader, |&value| Number::Real(f64::from(value)))
                }
                (ColumnReader::DoubleColumnReader(reader), _) => each!(reader, |&value| Number::Real(value)),
                (ColumnReader::FixedLenByteArrayColumnReader(reader), Element::F16) => {
                    each!(reader, |value| match value.data() {
                        &[low, high] => Number::Real(f16::from_le_bytes([low, high]).to_f64()),
                        _ => Number::Real(f64::NAN),
                    })
                }
                _ => Err("its numbers are not stored as its description says".to_string()),
            }
        })
    }

    /// Calls `work` with the reader of a column in each group of rows, the number of the group's first row, and how many
    /// it has.
    fn each_group(
        &self,
        column: usize,
        mut work: impl FnMut(&mut ColumnReader, usize, usize) -> Opened<()>,
    ) -> Opened<()> {
        let name = ddae_base::text::excerpt(&self.columns[column].name, 40);
        let mut first = 0;
        for group in 0..self.reader.num_row_groups() {
            let of_group = whole(|| self.reader.get_row_group(group))?;
            let rows = usize::try_from(of_group.metadata().num_rows()).map_err(|error| error.to_string())?;
            let mut reader = whole(|| of_group.get_column_reader(column))?;
            work(&mut reader, first, rows).map_err(|reason| format!("column '{name}': {reason}"))?;
            first += rows;
        }
        Ok(())
    }

    fn element(&self, column: usize) -> Element {
        match self.leaves[column] {
            Some(Leaf::Number(element)) => element,
            _ => Element::F64,
        }
    }
}

impl Table for Parquet {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn has_names(&self) -> bool {
        true
    }

    fn numbers(&mut self, columns: &[usize]) -> Opened<Matrix> {
        let shape = (self.rows, columns.len());
        check_memory(shape, (shape.0 as u64).saturating_mul(shape.1 as u64 * 4))?;
        // A column at a time, as they lie in the file: each is a row here, turned in the end.
        let mut turned = Vec::new();
        for (place, &column) in columns.iter().enumerate() {
            self.each_number(column, &mut |row, values| {
                for &value in values {
                    turned.push(value.narrowed(row, place)?);
                }
                Ok(())
            })?;
        }
        let turned = Array2::from_shape_vec((shape.1, shape.0), turned).map_err(|error| error.to_string())?;
        let mut elements = columns.iter().map(|&column| self.element(column));
        let first = elements.next().unwrap_or(Element::F64);
        let (stored_as, read_as) = match elements.all(|element| element == first) {
            true => (first.name(), first.reading()),
            false => ("columns of several types", "f32, each number rounded to the nearest"),
        };
        Ok(Matrix::in_memory(turned.reversed_axes().as_standard_layout().into_owned(), stored_as, read_as))
    }

    fn lists(&mut self, column: usize) -> Opened<Matrix> {
        let rows = self.rows;
        let mut dim = 0;
        let mut numbers: Vec<f32> = Vec::new();
        self.each_number(column, &mut |row, values| {
            if row == 0 {
                dim = values.len();
                check_memory((rows, dim), (rows as u64).saturating_mul(dim as u64 * 4))?;
            }
            if values.len() != dim {
                return Err(format!(
                    "row {row} has a list of {} numbers, and row 0 of {dim}; each row needs the same",
                    values.len()
                ));
            }
            for (place, &value) in values.iter().enumerate() {
                numbers.push(value.narrowed(row, place)?);
            }
            Ok(())
        })?;
        let numbers = Array2::from_shape_vec((rows, dim), numbers).map_err(|error| error.to_string())?;
        let element = self.element(column);
        Ok(Matrix::in_memory(numbers, element.name(), element.reading()))
    }

    fn labels(&mut self, column: usize) -> Opened<RawLabels> {
        if self.columns[column].kind == Kind::Lists {
            return Err("the label column holds lists; one label for each row is wanted".to_string());
        }
        match self.leaves[column] {
            Some(Leaf::Text) => {
                let mut words = Vec::new();
                self.each_group(column, |reader, first, rows| {
                    let ColumnReader::ByteArrayColumnReader(reader) = reader else {
                        return Err("its texts are not stored as its description says".to_string());
                    };
                    values(reader, first, rows, &mut |row, texts| {
                        for text in texts {
                            let text = std::str::from_utf8(text.data());
                            let text = text.map_err(|_| format!("row {row} is not text in UTF-8"))?;
                            words.push(text.to_string());
                        }
                        Ok(())
                    })
                })?;
                RawLabels::of_texts(words)
            }
            Some(Leaf::Number(_)) => {
                let (mut whole, mut real) = (Vec::new(), Vec::new());
                self.each_number(column, &mut |row, values| {
                    for &value in values {
                        match value {
                            Number::Signed(value) => whole.push(value),
                            Number::Unsigned(value) => whole.push(i64::try_from(value).map_err(|_| {
                                format!("row {row} has the label {value}, which is too large")
                            })?),
                            Number::Real(value) => real.push(value),
                        }
                    }
                    Ok(())
                })?;
                match real.is_empty() {
                    true => Ok(RawLabels::Integers(whole)),
                    false => RawLabels::of_floats(real.into_iter()),
                }
            }
            None => Err("the label column holds neither numbers nor texts".to_string()),
        }
    }
}

/// What a column holds, and how.
fn kind_of(descriptor: &ColumnDescriptor) -> (Kind, Option<Leaf>) {
    let logical = descriptor.logical_type_ref();
    let leaf = match (descriptor.physical_type(), logical) {
        (Physical::BOOLEAN, _) => Some(Leaf::Number(Element::Bool)),
        (Physical::FLOAT, _) => Some(Leaf::Number(Element::F32)),
        (Physical::DOUBLE, _) => Some(Leaf::Number(Element::F64)),
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => Some(Leaf::Number(Element::F16)),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(integer))) => {
            let sign = if integer.is_signed { "i" } else { "u" };
            Element::of_name(&format!("{sign}{}", integer.bit_width)).map(Leaf::Number)
        }
        (Physical::INT32, None) => Some(Leaf::Number(Element::I32)),
        (Physical::INT64, None) => Some(Leaf::Number(Element::I64)),
        (Physical::BYTE_ARRAY, None | Some(LogicalType::String | LogicalType::Enum)) => Some(Leaf::Text),
        _ => None,
    };
    let kind = match (descriptor.max_rep_level(), leaf) {
        (0, Some(Leaf::Number(Element::Bool))) => Kind::Other("truth values"),
        (0, Some(Leaf::Number(_))) => Kind::Numbers,
        (0, Some(Leaf::Text)) => Kind::Texts,
        (1, Some(Leaf::Number(_))) => Kind::Lists,
        (0, None) => Kind::Other("dates, decimals or bytes"),
        (1, _) => Kind::Other("lists of something else"),
        _ => Kind::Other("lists of lists"),
    };
    (kind, leaf)
}

/// What is called with the number and the values of a row.
type OnRow<'r, V> = &'r mut dyn FnMut(usize, &[V]) -> Opened<()>;

/// Calls `row` with the number and values of each row of a group: one value, or those of a list.
fn values<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    first: usize,
    rows: usize,
    row: OnRow<T::T>,
) -> Opened<()> {
    let mut number = first;
    while number < first + rows {
        let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let wanted = BATCH.min(first + rows - number);
        let (records, _, _) = whole(|| {
            reader.read_records(wanted, Some(&mut definitions), Some(&mut repetitions), &mut values)
        })?;
        if records == 0 || definitions.len().max(values.len()) == 0 {
            return Err(format!("it ends after {} of {rows} rows of a group", number - first));
        }
        // A value that is missing has a level of its own, and none among the values.
        let deepest = definitions.iter().copied().max().unwrap_or(0);
        let levels = repetitions.len().max(definitions.len()).max(values.len());
        let starts = |level: usize| repetitions.get(level).copied().unwrap_or(0) == 0;
        if levels != values.len() {
            let missing =
                definitions.iter().position(|&level| level < deepest || values.is_empty()).unwrap_or(0);
            let before = (0..=missing).filter(|&level| starts(level)).count().max(1);
            return Err(format!(
                "row {} is empty (null); a value is wanted in every row",
                number + before - 1
            ));
        }
        let mut begin = 0;
        for level in 1..=levels {
            if level == levels || starts(level) {
                row(number, &values[begin..level])?;
                (begin, number) = (level, number + 1);
            }
        }
    }
    Ok(())
}

/// What the crate reads; its errors, and its panics at some damaged pages, in one line.
fn whole<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Opened<T> {
    match ddae_base::contained(read) {
        Some(read) => read.map_err(|error| {
            format!("it is no whole parquet file: {}", ddae_base::text::excerpt(error, 120))
        }),
        None => Err("it is no whole parquet file: one of its pages makes no sense".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::Int64Type;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A table of one column with the type `kind` in the words of a schema.
    fn table(kind: &str, numbers: &[i64]) -> Parquet {
        let schema = format!("message table {{ required int64 x {kind}; }}");
        let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
        let file = tempfile::tempfile().expect("a file");
        let clone = file.try_clone().expect("a handle");
        let mut writer = SerializedFileWriter::new(clone, schema, Arc::default()).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        let mut column = group.next_column().expect("a column").expect("a column");
        column.typed::<Int64Type>().write_batch(numbers, None, None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");
        Parquet::open(file).expect("a table")
    }

    #[test]
    fn whole_numbers_are_rounded_once() {
        // By way of float64 they become the neighbours, 18014398509481984 and 18446741874686296064.
        for (kind, stored, nearest) in [
            ("", 18_014_399_583_223_809i64, 18_014_400_656_965_632f32),
            ("", -18_014_399_583_223_809, -18_014_400_656_965_632.0),
            ("(INTEGER(64,false))", -(3i64 << 39) + 1, 18_446_742_974_197_923_840.0),
        ] {
            let matrix = table(kind, &[stored]).numbers(&[0]).expect("numbers");
            assert_eq!(matrix.read(0..1).expect("a row")[[0, 0]], nearest, "{kind} {stored}");
        }
    }

    #[test]
    fn whole_labels_are_exact() {
        let large = (1i64 << 53) + 1;
        let labels = [large, -large, i64::MAX, i64::MIN];
        assert_eq!(table("", &labels).labels(0), Ok(RawLabels::Integers(labels.to_vec())));
        assert_eq!(
            table("(INTEGER(64,false))", &[7, -1]).labels(0),
            Err("column 'x': row 1 has the label 18446744073709551615, which is too large".to_string())
        );
    }
}
