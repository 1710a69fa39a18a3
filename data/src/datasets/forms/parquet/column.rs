//! One column of a parquet file, page by page.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use super::header::{DATA, DATA_V2, DICTIONARY, Fault, INDEX, OF_DICTIONARY, PageHeader};
use crate::datasets::DataError;

const EXPECTED: &str = "a whole parquet file";
/// Bytes of a page when it is unpacked; usual ones have 1 MiB, or the one large image in them.
const MOST_PAGE: u64 = 512 << 20;
/// Values of a page: each takes some forty bytes when it is decoded.
const MOST_VALUES: u64 = 1 << 20;
/// Bytes of a page's header; it may hold the least and the greatest value.
const MOST_HEADER: usize = 16 << 20;
/// Bytes that are read for a header at first.
const USUAL_HEADER: usize = 4 << 10;

/// Where a page lies in its file, header included.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u32,
}

/// A page of data.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataPage {
    place: Place,
    uses_dictionary: bool,
    /// Rows, one value or null each.
    pub rows: u32,
    /// Bytes that it takes when it is decoded, with the dictionary where it uses that.
    pub weight: u64,
}

/// The pages of a column in one row group.
#[derive(Debug)]
pub(super) struct Chunk {
    description: ColumnDescPtr,
    compression: Compression,
    dictionary: Option<Place>,
    pub pages: Vec<DataPage>,
}

/// The values of a page, null where a row has none.
#[derive(Debug)]
pub(super) enum Values {
    Bytes(Vec<Option<ByteArray>>),
    Integers(Vec<Option<i64>>),
}

impl Chunk {
    /// Finds the pages of a column of `rows` rows from their headers.
    pub fn index(
        file: &File,
        path: &Path,
        meta: &ColumnChunkMetaData,
        rows: u64,
    ) -> Result<Chunk, DataError> {
        let wrong = |found: String| DataError::format(path, found, EXPECTED);
        let column = meta.column_path().string();
        let length = file.metadata().map_err(DataError::io("read", path))?.len();
        let start =
            meta.dictionary_page_offset().filter(|&offset| offset > 0).unwrap_or(meta.data_page_offset());
        let range = u64::try_from(start).ok().zip(u64::try_from(meta.compressed_size()).ok());
        let range = range.and_then(|(start, size)| Some((start, start.checked_add(size)?)));
        let (mut at, end) = range.filter(|&(_, end)| end <= length).ok_or_else(|| {
            wrong(format!("column {column} lies beyond the file's {length} bytes; it seems to be cut short"))
        })?;
        let mut chunk = Chunk {
            description: meta.column_descr_ptr(),
            compression: checked(meta.compression(), path)?,
            dictionary: None,
            pages: Vec::new(),
        };
        let (mut found, mut dictionary_weight) = (0, 0);
        while found < rows {
            let header = header(file, path, at, end)?;
            let page_at = at;
            let damaged = |what: &str| wrong(format!("a page of column {column}, at byte {page_at}, {what}"));
            let (Ok(compressed), Ok(uncompressed)) =
                (u64::try_from(header.compressed), u64::try_from(header.uncompressed))
            else {
                return Err(damaged("has a length below 0"));
            };
            let whole = header.length as u64 + compressed;
            if whole > end - at {
                return Err(damaged("ends beyond its column"));
            }
            check_size(chunk.compression, compressed, uncompressed).map_err(|what| damaged(&what))?;
            // Neither is longer than is allowed.
            let place = Place { offset: at, length: whole as u32 };
            at += whole;
            let values = u64::try_from(header.values).ok();
            match (header.kind, values) {
                (INDEX, _) => {}
                // Every value of a dictionary takes at least its length, or itself.
                (DICTIONARY, Some(values)) if chunk.dictionary.is_none() && values <= uncompressed / 4 => {
                    chunk.dictionary = Some(place);
                    dictionary_weight = uncompressed + values * 40;
                }
                (DATA | DATA_V2, Some(values)) if values <= MOST_VALUES && values <= rows - found => {
                    found += values;
                    let uses_dictionary = OF_DICTIONARY.contains(&header.encoding);
                    let weight =
                        uncompressed + values * 40 + if uses_dictionary { dictionary_weight } else { 0 };
                    if values > 0 {
                        chunk.pages.push(DataPage { place, uses_dictionary, rows: values as u32, weight });
                    }
                }
                (DATA | DATA_V2, Some(values)) if values > MOST_VALUES && values <= rows - found => {
                    return Err(DataError::format(
                        path,
                        format!("a page of column {column} has {values} values"),
                        format!(
                            "pages of at most {MOST_VALUES} (write it again with a smaller data_page_size)"
                        ),
                    ));
                }
                (DATA | DATA_V2 | DICTIONARY, _) => {
                    return Err(damaged(&format!("promises {} values, which it cannot hold", header.values)));
                }
                (kind, _) => return Err(damaged(&format!("is of the unknown kind {kind}"))),
            }
        }
        Ok(chunk)
    }

    /// Decodes a page.
    pub fn decode(&self, file: &File, path: &Path, page: &DataPage) -> Result<Values, DataError> {
        let dictionary = self.dictionary.filter(|_| page.uses_dictionary);
        let (before, after) =
            (dictionary.map_or(0, |place| place.length as usize), page.place.length as usize);
        let mut bytes = vec![0; before + after];
        let places = dictionary.into_iter().map(|place| (0, place)).chain([(before, page.place)]);
        for (start, place) in places {
            let target = &mut bytes[start..start + place.length as usize];
            file.read_exact_at(target, place.offset).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    DataError::format(path, "it ends within a page", "it not to change while it is in use")
                }
                _ => DataError::io("read", path)(error),
            })?;
        }
        let broken = |what: String| {
            let found = format!("the page at byte {} cannot be decoded ({what})", page.place.offset);
            DataError::format(path, found, EXPECTED)
        };
        check_unpacked(self.compression, &bytes, before).map_err(broken)?;
        // What damaged pages do to the reader is not known; a panic must not end the program.
        match ddae_base::contained(|| self.values(bytes, before, page.rows as usize)) {
            Some(values) => values.map_err(|error| broken(ddae_base::text::joined(error))),
            None => Err(broken("the reader gave up".to_string())),
        }
    }

    /// The values of one page, given the bytes of the dictionary and its own: a column of a single page.
    fn values(&self, bytes: Vec<u8>, dictionary: usize, rows: usize) -> Result<Values, ParquetError> {
        let meta = ColumnChunkMetaData::builder(Arc::clone(&self.description))
            .set_compression(self.compression)
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_data_page_offset(dictionary as i64)
            .set_dictionary_page_offset((dictionary > 0).then_some(0))
            .build()?;
        let pages = SerializedPageReader::new(Arc::new(Bytes::from(bytes)), &meta, rows, None)?;
        match get_column_reader(Arc::clone(&self.description), Box::new(pages)) {
            ColumnReader::ByteArrayColumnReader(reader) => {
                self.read::<ByteArrayType>(reader, rows).map(Values::Bytes)
            }
            ColumnReader::Int32ColumnReader(reader) => {
                let values = self.read::<Int32Type>(reader, rows)?;
                Ok(Values::Integers(values.into_iter().map(|value| value.map(i64::from)).collect()))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                self.read::<Int64Type>(reader, rows).map(Values::Integers)
            }
            _ => Err(ParquetError::General("its type is none that images or labels have".to_string())),
        }
    }

    fn read<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        rows: usize,
    ) -> Result<Vec<Option<T::T>>, ParquetError> {
        let most = self.description.max_def_level();
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (read, _, _) = reader.read_records(rows, Some(&mut levels), None, &mut values)?;
        if read != rows {
            return Err(ParquetError::General(format!("it has {read} rows of {rows}")));
        }
        if most == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| (level == most).then(|| values.next()).flatten()).collect())
    }
}

/// A way of compressing that is read.
fn checked(compression: Compression, path: &Path) -> Result<Compression, DataError> {
    match compression {
        // Nothing bounds what a page of it becomes.
        Compression::BROTLI(_) | Compression::LZO => Err(DataError::format(
            path,
            format!("its images are compressed with {compression}"),
            "parquet that is not compressed, or with snappy, gzip, lz4 or zstd",
        )),
        known => Ok(known),
    }
}

/// Whether a page can become as large as its header says.
fn check_size(compression: Compression, compressed: u64, uncompressed: u64) -> Result<(), String> {
    // The most that a byte becomes, by the formats.
    let most = match compression {
        Compression::UNCOMPRESSED => 1,
        Compression::SNAPPY => 32,
        Compression::LZ4 | Compression::LZ4_RAW => 256,
        _ => u64::MAX,
    };
    let longest = uncompressed.max(compressed);
    if longest > MOST_PAGE {
        return Err(format!("promises {longest} bytes, and pages have at most {} MiB", MOST_PAGE >> 20));
    }
    if uncompressed > compressed.saturating_add(16).saturating_mul(most) {
        return Err(format!("promises {uncompressed} bytes, but has {compressed}"));
    }
    Ok(())
}

/// Checks that gzip's pages, which the reader unpacks without a limit, do not become longer than they say, and refuses frames
/// of LZ4 in the place of Hadoop's blocks, which it unpacks likewise.
fn check_unpacked(compression: Compression, bytes: &[u8], dictionary: usize) -> Result<(), String> {
    if !matches!(compression, Compression::GZIP(_) | Compression::LZ4) {
        return Ok(());
    }
    for page in [&bytes[..dictionary], &bytes[dictionary..]] {
        if page.is_empty() {
            continue;
        }
        let header = PageHeader::read(page).map_err(|_| "its header is none".to_string())?;
        let most = u64::try_from(header.uncompressed).unwrap_or(0);
        let start = usize::try_from(header.levels).ok().and_then(|levels| levels.checked_add(header.length));
        if compression == Compression::LZ4 {
            let body = start.and_then(|start| page.get(start..)).unwrap_or_default();
            if body.starts_with(b"\x04\x22\x4d\x18") {
                return Err("it is a frame of LZ4, where Hadoop's blocks or LZ4_RAW are wanted".to_string());
            }
            continue;
        }
        // Pages of the second version need not be compressed.
        let body = start.and_then(|start| page.get(start..)).filter(|body| body.starts_with(b"\x1f\x8b"));
        let Some(body) = body else { continue };
        let mut unpacked = std::io::Read::take(flate2::read::MultiGzDecoder::new(body), most + 1);
        let count = std::io::copy(&mut unpacked, &mut std::io::sink()).map_err(|error| error.to_string())?;
        if count > most {
            return Err(format!("it becomes longer than the {most} bytes it promises"));
        }
    }
    Ok(())
}

/// The header at byte `at`, which is before `end`.
fn header(file: &File, path: &Path, at: u64, end: u64) -> Result<PageHeader, DataError> {
    let mut size = USUAL_HEADER;
    loop {
        let length = size.min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).map_err(DataError::io("read", path))?;
        match PageHeader::read(&bytes) {
            Ok(header) => return Ok(header),
            Err(Fault::Short) if length == size && size < MOST_HEADER => size *= 8,
            Err(_) => {
                return Err(DataError::format(path, format!("there is no page at byte {at}"), EXPECTED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_do_not_become_larger_than_they_can() {
        let (none, snappy, zstd) =
            (Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default()));
        for (compression, compressed, uncompressed, wanted) in [
            (none, 100, 100, Ok(())),
            (none, 100, 2_000_000_000, Err("promises 2000000000 bytes, and pages have at most 512 MiB")),
            (none, 100, 200, Err("promises 200 bytes, but has 100")),
            (snappy, 100, 2_000, Ok(())),
            (snappy, 100, 100_000_000, Err("promises 100000000 bytes, but has 100")),
            (zstd, 100, 100_000_000, Ok(())),
            (zstd, 600 << 20, 100, Err("promises 629145600 bytes, and pages have at most 512 MiB")),
        ] {
            assert_eq!(check_size(compression, compressed, uncompressed), wanted.map_err(str::to_string));
        }
        let header = [0x15, 0, 0x15, 16, 0x15, 16, 0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
        let page = |body: &[u8]| [&header[..], body].concat();
        assert_eq!(check_unpacked(Compression::LZ4, &page(b"\0\0\0\x08\0\0\0\x07"), 0), Ok(()));
        let error =
            check_unpacked(Compression::LZ4, &page(b"\x04\x22\x4d\x18\0\0\0\0"), 0).expect_err("a frame");
        assert!(error.starts_with("it is a frame of LZ4"), "{error}");
    }
}
