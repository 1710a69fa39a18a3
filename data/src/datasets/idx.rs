//! The idx format of MNIST and Fashion-MNIST: a big-endian header (a magic number, then one length per dimension) and
//! unsigned bytes. Files may be gzip-compressed, whatever they are called.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::DataError;
use super::source::{Planes, RecordFile, Records, Source};

/// Magic number of a file of images: unsigned bytes, three dimensions.
const IMAGES: u32 = 2051;
/// Magic number of a file of labels: unsigned bytes, one dimension.
const LABELS: u32 = 2049;
/// Bytes that a compressed file may unpack to, which is held in memory.
const MOST_UNPACKED: u64 = 1 << 30;
/// More labels are a damaged header, or no data set that idx files are used for.
const MOST_LABELS: usize = 1 << 27;
/// A larger side is a damaged header, not an image.
const MOST_PIXELS_A_SIDE: u32 = 4096;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    count: usize,
    height: usize,
    width: usize,
}

impl Header {
    fn payload(&self) -> u64 {
        self.count as u64 * self.height as u64 * self.width as u64
    }
}

/// Opens a file of images. Uncompressed files are read where they lie; compressed ones are held in memory.
pub(crate) fn open_images(path: &Path) -> Result<(Arc<dyn Source>, usize), DataError> {
    const EXPECTED: &str = "an idx file of images (magic number 2051), gzip-compressed or not";
    let wrong = |found| DataError::format(path, found, EXPECTED);
    let mut file = File::open(path).map_err(DataError::io("open", path))?;
    if is_gzip(&mut file).map_err(DataError::io("read", path))? {
        let (header, levels) = parse(MultiGzDecoder::new(BufReader::new(file)), IMAGES).map_err(wrong)?;
        let shape = [1, header.height, header.width];
        let levels = Cow::Owned(levels);
        return Ok((Arc::new(Planes { shape, levels }), header.count));
    }
    let header = read_header(&mut file, IMAGES).map_err(wrong)?;
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let promised = 16 + header.payload();
    if length != promised {
        return Err(wrong(format!("its header promises {promised} bytes, but it has {length}")));
    }
    let stride = (header.height * header.width) as u64;
    let records = Records {
        shape: [1, header.height, header.width],
        files: vec![RecordFile::open(path, 16, stride, header.count)?],
    };
    Ok((Arc::new(records), header.count))
}

/// Reads a file of labels.
pub(crate) fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    labels_of(file).map_err(|found| {
        DataError::format(path, found, "an idx file of labels (magic number 2049), gzip-compressed or not")
    })
}

/// Images of a compressed or plain idx file in memory.
pub(crate) fn images_in_memory(bytes: &[u8]) -> Result<(Planes, usize), String> {
    let mut bytes = Cursor::new(bytes);
    let compressed = is_gzip(&mut bytes).map_err(|e| e.to_string())?;
    let (header, levels) =
        if compressed { parse(MultiGzDecoder::new(bytes), IMAGES)? } else { parse(bytes, IMAGES)? };
    let shape = [1, header.height, header.width];
    let levels = Cow::Owned(levels);
    Ok((Planes { shape, levels }, header.count))
}

/// Labels of a compressed or plain idx file, from the beginning of `file`.
pub(crate) fn labels_of(mut file: impl Read + Seek) -> Result<Vec<u8>, String> {
    if is_gzip(&mut file).map_err(|e| e.to_string())? {
        Ok(parse(MultiGzDecoder::new(BufReader::new(file)), LABELS)?.1)
    } else {
        Ok(parse(file, LABELS)?.1)
    }
}

fn is_gzip(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let mut magic = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(magic == [0x1f, 0x8b])
}

fn read_header(file: &mut impl Read, magic: u32) -> Result<Header, String> {
    let mut word = || -> Result<u32, String> {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(describe)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let found = word()?;
    if found != magic {
        return Err(format!("its magic number is {found}"));
    }
    let count = word()? as usize;
    if count == 0 {
        return Err("its header promises no entries".into());
    }
    if magic == LABELS && count > MOST_LABELS {
        return Err(format!("its header promises {count} labels, and at most {MOST_LABELS} are read"));
    }
    let (mut height, mut width) = (1, 1);
    if magic == IMAGES {
        (height, width) = (word()?, word()?);
        let sides = 1..=MOST_PIXELS_A_SIDE;
        if !sides.contains(&height) || !sides.contains(&width) {
            return Err(format!("its header promises images of {height}x{width}"));
        }
    }
    Ok(Header { count, height: height as usize, width: width as usize })
}

/// Reads header and payload. Memory grows with what is really there, not with what the header promises, and no further than
/// a gigabyte: a few bytes of a compressed file can stand for a million.
fn parse(mut file: impl Read, magic: u32) -> Result<(Header, Vec<u8>), String> {
    let header = read_header(&mut file, magic)?;
    if header.payload() > MOST_UNPACKED {
        return Err(format!(
            "it unpacks to {} bytes, and no more than {MOST_UNPACKED} are held in memory: gunzip it, and its images are \
             read where they lie",
            header.payload()
        ));
    }
    let mut payload = Vec::new();
    file.take(header.payload() + 1).read_to_end(&mut payload).map_err(describe)?;
    let (promised, found) = (header.payload(), payload.len() as u64);
    if found < promised {
        return Err(format!("its header promises {promised} bytes of data, but there are {found}"));
    }
    if found > promised {
        return Err(format!("there is more after the {promised} bytes of data that its header promises"));
    }
    Ok((header, payload))
}

fn describe(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => format!("it cannot be read ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(magic: u32, dimensions: &[u32], payload: &[u8]) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn reads_what_the_header_promises() {
        let (planes, count) = images_in_memory(&file(IMAGES, &[2, 2, 3], &[7; 12])).expect("well-formed");
        assert_eq!((planes.shape, count, planes.levels.len()), ([1, 2, 3], 2, 12));
        let labels = labels_of(Cursor::new(file(LABELS, &[3], &[4, 5, 6])));
        assert_eq!(labels, Ok(vec![4, 5, 6]));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |bytes: &[u8]| labels_of(Cursor::new(bytes.to_vec())).unwrap_err();
        assert_eq!(error(&[]), "it ends too early");
        assert_eq!(error(&file(IMAGES, &[1, 1, 1], &[0])), "its magic number is 2051");
        assert_eq!(error(&file(LABELS, &[3], &[0])), "its header promises 3 bytes of data, but there are 1");
        assert_eq!(
            error(&file(LABELS, &[1], &[0, 0])),
            "there is more after the 1 bytes of data that its header promises"
        );
        assert_eq!(error(&[0x1f, 0x8b, 8, 0]), "it ends too early");
        assert_eq!(
            error(&file(LABELS, &[u32::MAX], &[0])),
            "its header promises 4294967295 labels, and at most 134217728 are read"
        );
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).expect("packed");
        packed.finish().expect("packed")
    }

    /// A megabyte of gzip that unpacks to a thousand is refused for what its header says, before any of it is held.
    #[test]
    fn a_compressed_file_does_not_fill_the_memory() {
        let packed = gzip(&file(IMAGES, &[300, 4096, 4096], &[0; 1000]));
        let error = images_in_memory(&packed).err().expect("too much");
        assert!(
            error.starts_with("it unpacks to 5033164800 bytes, and no more than 1073741824 are held"),
            "{error}"
        );
    }

    /// As `cat a.gz b.gz`, pigz and bgzip make them.
    #[test]
    fn all_members_of_a_compressed_file_are_read() {
        let whole = file(LABELS, &[6], &[4, 5, 6, 7, 8, 9]);
        for cut in [3, 8, 10] {
            let packed = [gzip(&whole[..cut]), gzip(&whole[cut..])].concat();
            assert_eq!(labels_of(Cursor::new(packed)), Ok(vec![4, 5, 6, 7, 8, 9]), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_allocate_what_is_not_there(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = images_in_memory(&bytes);
            let _ = labels_of(Cursor::new(bytes));
        }

        #[test]
        fn damaged_headers_never_promise_memory(
            dimensions in prop::array::uniform3(any::<u32>()),
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok((planes, count)) = images_in_memory(&file(IMAGES, &dimensions, &payload)) {
                prop_assert_eq!(planes.levels.len(), payload.len());
                prop_assert_eq!(count * planes.shape[1] * planes.shape[2], payload.len());
            }
        }
    }
}
