//! The texts of variable length among a file's attributes.
//!
//! HDF5 keeps them in its global heap, the one part of a file without checksums, where a changed byte can make the library
//! read for ever. So the places, sizes and CRC-32 of all of them are recorded when a file is begun, in an attribute that
//! HDF5 guards itself, and nothing is asked of the library before the heap was found to be what it was. What another
//! program has added since is looked at as far as the library will: every object ends within its collection.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// One text: where its collection begins in the file, its number there, its bytes, and their CRC-32.
pub(super) type Text = [u64; 4];

/// How a collection begins: its signature, its version, and three zeros.
const BEGINNING: [u8; 8] = *b"GCOL\x01\0\0\0";
/// What the library knows one by.
const SIGNATURE: &[u8] = b"GCOL\x01";
/// Bytes that are looked through at a time.
const BLOCK: usize = 1 << 20;
/// Bytes before the first object, and before each object's own.
const HEADER: usize = 16;
/// The largest collection that is read; those of feature files take a few hundred KiB at most.
const LARGEST: u64 = 16 << 20;
/// The longest text that fits into one.
pub(super) const LONGEST: u64 = 15 << 20;

/// The texts in a file that has no others yet: all that its heap holds.
pub(super) fn texts(file: &[u8]) -> Vec<Text> {
    let (mut texts, mut at) = (Vec::new(), 0);
    while let Some(next) = file[at..].windows(BEGINNING.len()).position(|bytes| bytes == BEGINNING) {
        at += next;
        let size = size_of(&file[at..]).and_then(|size| usize::try_from(size).ok());
        let found = size.and_then(|size| Some((size, objects(file.get(at..at.checked_add(size)?)?)?)));
        let Some((size, found)) = found else {
            at += BEGINNING.len();
            continue;
        };
        let text = |(number, bytes): (u16, &[u8])| {
            [at as u64, u64::from(number), bytes.len() as u64, u64::from(crc32fast::hash(bytes))]
        };
        texts.extend(found.into_iter().map(text));
        at += size;
    }
    texts
}

/// Checks that the texts are where they were, as they were, in collections that the library can read.
///
/// # Errors
/// What is wrong.
pub(super) fn check(file: &File, texts: &[Text]) -> io::Result<Result<(), String>> {
    let (length, mut end) = (file.metadata()?.len(), 0);
    for collection in texts.chunk_by(|first, second| first[0] == second[0]) {
        let begin = collection[0][0];
        // In order and apart, so that no more is read than the file has.
        let mut header = [0; HEADER];
        let fits = begin >= end && begin.checked_add(HEADER as u64).is_some_and(|end| end <= length);
        if !fits {
            return Ok(Err(format!("its texts are said to lie at {begin}, where there are none")));
        }
        file.read_exact_at(&mut header, begin)?;
        let size = size_of(&header).filter(|&size| size <= LARGEST.min(length - begin));
        let Some(size) = size else {
            return Ok(Err(format!("what holds its texts, at {begin}, is not what HDF5 writes")));
        };
        end = begin + size;
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, begin)?;
        let Some(found) = objects(&bytes) else {
            return Ok(Err(format!("what holds its texts, at {begin}, is not what HDF5 writes")));
        };
        for &[_, number, size, sum] in collection {
            let is_same = found.iter().any(|(found, bytes)| {
                u64::from(*found) == number
                    && bytes.len() as u64 == size
                    && u64::from(crc32fast::hash(bytes)) == sum
            });
            if !is_same {
                return Ok(Err("its attributes are not those that were written".to_string()));
            }
        }
    }
    Ok(Ok(()))
}

/// Checks that the library can read every text of variable length in a file that others wrote: whatever looks like a
/// collection is one, whole, and ends.
///
/// # Errors
/// What is wrong.
pub(super) fn check_all(file: &File) -> io::Result<Result<(), String>> {
    let length = file.metadata()?.len();
    let (mut block, mut at) = (vec![0; BLOCK], 0);
    while at < length {
        let read = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
        file.read_exact_at(&mut block[..read], at)?;
        // The library passes over what is reserved behind the version.
        let begins = block[..read].windows(SIGNATURE.len()).enumerate();
        for (place, _) in begins.filter(|(_, bytes)| *bytes == SIGNATURE) {
            let begin = at + place as u64;
            let mut size = [0; 8];
            let has_size = length - begin >= HEADER as u64;
            if has_size {
                file.read_exact_at(&mut size, begin + 8)?;
            }
            let size = u64::from_le_bytes(size);
            if !has_size || size < HEADER as u64 || size > LARGEST.min(length - begin) {
                return Ok(Err(format!(
                    "a list of its texts, at byte {begin}, is said to have {size} bytes, and {} are possible",
                    LARGEST.min(length - begin)
                )));
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, begin)?;
            if objects(&bytes).is_none() {
                return Ok(Err(format!("a list of its texts, at byte {begin}, is not what HDF5 writes")));
            }
        }
        // One that begins at the end of a block is found whole in the next.
        at += read.saturating_sub(SIGNATURE.len() - 1).max(1) as u64;
    }
    Ok(Ok(()))
}

/// The size of the collection that begins with these bytes.
fn size_of(bytes: &[u8]) -> Option<u64> {
    let (beginning, rest) = bytes.split_first_chunk::<8>()?;
    let size = u64::from_le_bytes(*rest.first_chunk()?);
    (*beginning == BEGINNING && size >= HEADER as u64).then_some(size)
}

/// The objects of a whole collection, by number; `None` where the library would run out of it, or stand still.
fn objects(collection: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let (mut objects, mut rest) = (Vec::new(), collection.get(HEADER..)?);
    while rest.len() >= HEADER {
        let number = u16::from_le_bytes([rest[0], rest[1]]);
        let size = usize::try_from(u64::from_le_bytes(*rest[8..].first_chunk()?)).ok()?;
        let taken = match number {
            // What is free, with this header; the library would stay where it is for ever if it took nothing.
            0 => Some(size).filter(|&size| size >= HEADER)?,
            number => {
                objects.push((number, rest[HEADER..].get(..size)?));
                size.checked_next_multiple_of(8)?.checked_add(HEADER)?
            }
        };
        rest = rest.get(taken..)?;
    }
    Some(objects)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn object(number: u16, bytes: &[u8]) -> Vec<u8> {
        let mut object = number.to_le_bytes().to_vec();
        object.extend([1, 0, 0, 0, 0, 0]);
        object.extend((bytes.len() as u64).to_le_bytes());
        object.extend(bytes);
        object.resize(object.len().next_multiple_of(8), 0);
        object
    }

    fn collection(objects: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = BEGINNING.to_vec();
        bytes.extend([0; 8]);
        bytes.extend(objects.concat());
        let size = bytes.len() as u64;
        bytes[8..16].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn of_file(bytes: &[u8], texts: &[Text]) -> Result<(), String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        check(&file, texts).expect("readable")
    }

    #[test]
    fn texts_are_found_and_known_again() {
        let mut file = vec![7; 13];
        file.extend(collection(&[object(1, b"GCOL\x01\0\0\0 inside of a text"), object(3, b"b")]));
        file.extend(b"GCOL\x01\0\0\0 and no collection");
        file.extend(collection(&[object(2, b"")]));
        let found = texts(&file);
        let places: Vec<_> = found.iter().map(|&[_, number, size, _]| (number, size)).collect();
        assert_eq!(places, [(1, 25), (3, 1), (2, 0)]);
        assert_eq!(of_file(&file, &found), Ok(()));
        // Another program has added a text, and removed none.
        let mut longer = vec![7; 13];
        longer.extend(collection(&[object(1, b"a"), object(9, b"new")]));
        assert_eq!(of_file(&longer, &texts(&longer)[..1]), Ok(()));
    }

    #[test]
    fn every_changed_byte_of_a_text_or_its_place_is_noticed() {
        let file = collection(&[object(1, b"network: unet"), object(2, b"ema")]);
        let found = texts(&file);
        let mut unnoticed = Vec::new();
        for position in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[position] ^= 1 << bit;
                if of_file(&changed, &found).is_ok() {
                    unnoticed.push(position);
                }
            }
        }
        unnoticed.dedup();
        // Counts of references and what is reserved, which the library does not read; padding.
        let harmless = |at: &usize| matches!(at, 18..24 | 45..48 | 50..56 | 67..72);
        assert!(unnoticed.iter().all(harmless), "{unnoticed:?}");
        let end = file.len() as u64;
        for texts in [[[end, 1, 13, 0]], [[u64::MAX, 1, 13, 0]], [[8, 1, 13, 0]]] {
            assert!(of_file(&file, &texts).is_err());
        }
        assert!(of_file(&file, &[found[0], found[1], found[0]]).is_err() == (found[0][0] != found[1][0]));
    }

    /// Where the library would stay for ever, or compute with sizes beyond 64 bits.
    #[test]
    fn objects_without_end_are_refused() {
        let mut free = object(0, b"12345678");
        for size in [0u64, 8, 15, 1 << 40, u64::MAX, u64::MAX - 7, u64::MAX - 15] {
            free[8..16].copy_from_slice(&size.to_le_bytes());
            assert_eq!(objects(&collection(&[object(1, b"a"), free.clone()])), None, "{size}");
            let mut text = object(2, b"12345678");
            text[8..16].copy_from_slice(&size.to_le_bytes());
            assert_eq!(objects(&collection(&[text])).is_none(), size > 8, "{size}");
        }
    }

    #[test]
    fn every_collection_of_a_file_is_looked_at() {
        let all = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            check_all(&file).expect("readable")
        };
        // What is free is as long as its header says, which is part of it.
        let endless = collection(&[object(1, b"a"), object(0, b"")]);
        let mut free = endless.clone();
        let at = free.len() - 8;
        free[at] = HEADER as u8;
        assert_eq!(all(&[&[7; 13][..], &free, &[7; 5]].concat()), Ok(()));
        // Also where a block ends within its beginning, and whatever is reserved.
        for before in [0, 13, BLOCK - 1, BLOCK - 3, BLOCK - 5, BLOCK, 2 * BLOCK - 6] {
            let bytes = [&vec![7; before][..], &free, &endless].concat();
            let error = all(&bytes).expect_err("no end");
            assert!(error.contains(&format!("at byte {}", before + free.len())), "{error}");
        }
        let mut reserved = endless.clone();
        reserved[6] = 1;
        assert!(all(&reserved).is_err());
        assert!(all(&free[..free.len() - 1]).expect_err("cut off").contains("is said to have"));
        assert!(all(b"GCOL\x01").is_err());
        assert_eq!(all(b"GCOL\x02"), Ok(()), "the library refuses it itself");
    }
}
