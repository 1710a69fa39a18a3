//! Statistics as `.npz`: NumPy arrays in a zip file, as pytorch-fid keeps them.
//!
//! | array | type | shape |
//! | --- | --- | --- |
//! | `mu` | f64 | `[D]` |
//! | `sigma` | f64 | `[D, D]` |
//! | `count` | u64 | `[]`: images; only in files of this program |
//! | `network` | u8 | text: the checkpoint's digest, after a slash what else tells the network; only in files of this program |

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ddae_base::files;
use ddae_base::kind_of;
use ddae_base::lock::Lock;
use ddae_base::text::excerpt;
use ndarray::{Array, Array1, Array2, ArrayView, Dimension, Ix0, Ix1, arr0};
use ndarray_npy::{ViewElement, ViewNpyError, ViewNpyExt, WriteNpyError, WriteNpyExt};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::error::FidError;
use super::statistics::Statistics;
use crate::error::InferError;

/// A longer array is no statistics: 8192 features have a covariance of half of it.
const MOST_BYTES: u64 = 1 << 30;

/// Where an array in memory begins, so that its numbers are aligned: its header is padded to a multiple.
const ALIGNMENT: usize = 64;

/// Reads the statistics in `path`.
///
/// # Errors
/// When it cannot be read, is no archive with `mu` and `sigma`, or their shapes do not fit each other.
pub fn read(path: &Path) -> Result<Statistics, InferError> {
    let wrong = |message: String| FidError::File { path: path.to_path_buf(), message };
    let file = regular_file(path)?;
    let (end, start) = tail(&file).map_err(InferError::io("read", path))?;
    let entries = entries_of_64_bits(&end, start);
    if entries.is_some_and(|entries| entries > MOST_ENTRIES) {
        return Err(
            wrong("it is an archive of more than 65,535 files, and no statistics are".to_string()).into()
        );
    }
    let mut start = [0; 512];
    let length = (&file).read(&mut start).map_err(InferError::io("read", path))?;
    // Only what is wanted is read: beside statistics, others keep gigabytes of images.
    let mut archive = ZipArchive::new(BufReader::new(&file)).map_err(|error| {
        wrong(match kind_of(&start[..length]).filter(|kind| !kind.contains("zip archive")) {
            Some(kind) => format!("it is {kind}, and no .npz file"),
            None => format!("it is no .npz file, or it was cut off ({error})"),
        })
    })?;
    let held: Vec<String> =
        archive.file_names().filter_map(Result::ok).take(SHOWN_NAMES).map(Cow::into_owned).collect();
    let mut of_name = |name: &str| array_bytes(&mut archive, name).map_err(wrong);
    let needed = |name: &str, bytes: Option<Vec<u8>>| {
        let advice = "wanted are mu [D] and sigma [D, D], as pytorch-fid --save-stats writes them";
        let held = held.join(", ");
        bytes.ok_or_else(|| {
            wrong(format!("it has no array '{name}' (it holds {}); {advice}", excerpt(held, SHOWN)))
        })
    };
    let mean: Array1<f64> = floats("mu", &needed("mu", of_name("mu")?)?).map_err(wrong)?;
    let covariance: Array2<f64> = floats("sigma", &needed("sigma", of_name("sigma")?)?).map_err(wrong)?;
    let (dim, shape) = (mean.len(), covariance.dim());
    if dim == 0 || shape != (dim, dim) {
        let (rows, columns) = shape;
        return Err(
            wrong(format!("mu has {dim} numbers and sigma {rows}x{columns}; wanted are D and DxD")).into()
        );
    }
    let count = match of_name("count")? {
        Some(bytes) => Some(array::<u64, Ix0>("count", &bytes).map_err(wrong)?.into_scalar()),
        None => None,
    };
    let network = match of_name("network")? {
        Some(bytes) => {
            let text = array::<u8, Ix1>("network", &bytes).map_err(wrong)?.to_vec();
            Some(String::from_utf8(text).map_err(|_| wrong("its array 'network' is no text".to_string()))?)
        }
        None => None,
    };
    Ok(Statistics { mean, covariance, count, network })
}

/// Names of arrays that a message shows.
const SHOWN_NAMES: usize = 8;

/// A file of any size; no device or pipe, which has no end to begin from.
fn regular_file(path: &Path) -> Result<File, InferError> {
    let read = InferError::io("read", path);
    let open = || {
        let file = File::open(path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(std::io::Error::other("it is no regular file")),
        }
    };
    open().map_err(read)
}

/// The end of a file, where the records of an archive are, and where it begins; the file is read from its beginning
/// afterwards.
fn tail(mut file: &File) -> std::io::Result<(Vec<u8>, u64)> {
    const LONGEST: u64 = 0xffff + 22 + 20 + 56;
    let start = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok((bytes, start))
}

/// Files of an archive that may hold statistics: a reader reserves memory for as many as it promises.
const MOST_ENTRIES: u64 = 0xffff;

/// The number of files that the record of 64 bits promises, which archives of many files or beyond 4 GB have at their end
/// (APPNOTE.TXT, 4.3.14); the largest where that record does not stand where it is said to. None where there is no such
/// record. `end` is the end of the file, from `start` on.
fn entries_of_64_bits(end: &[u8], start: u64) -> Option<u64> {
    const RECORD: &[u8] = b"PK\x06\x06";
    const RECORD_LENGTH: usize = 56;
    const LOCATOR: &[u8] = b"PK\x06\x07";
    const LOCATOR_LENGTH: usize = 20;
    const END: &[u8] = b"PK\x05\x06";
    let number = |at: usize| end.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let entries = |locator: usize| {
        let record = locator.checked_sub(RECORD_LENGTH)?;
        let is_there = number(locator + 8)? == start + record as u64;
        (is_there && end[record..].starts_with(RECORD)).then(|| number(record + 32)).flatten()
    };
    let windows = end.windows(LOCATOR_LENGTH + END.len()).enumerate();
    let locators = windows.filter(|(_, window)| window.starts_with(LOCATOR) && window.ends_with(END));
    // Whichever a reader takes.
    locators.map(|(at, _)| entries(at).unwrap_or(u64::MAX)).max()
}

/// The array file `name.npy` of an archive, aligned as [`array`] wants it; none where there is no such array.
fn array_bytes(archive: &mut ZipArchive<impl Read + Seek>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let damaged = |error: &dyn std::fmt::Display| unreadable(name, error);
    let file = match archive.by_name(&format!("{name}.npy")) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(damaged(&error)),
    };
    let size = file.size();
    if size > MOST_BYTES {
        return Err(format!(
            "its array '{name}' has {size} bytes, and no statistics have more than {MOST_BYTES}"
        ));
    }
    // Memory for what is there, not for what is promised.
    let mut read = Vec::new();
    file.take(size).read_to_end(&mut read).map_err(|error| damaged(&error))?;
    if (read.len() as u64) < size {
        return Err(damaged(&format!("it ends after {} of {size} bytes", read.len())));
    }
    let mut bytes = vec![0; read.len() + ALIGNMENT];
    let begin = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    bytes[begin..begin + read.len()].copy_from_slice(&read);
    bytes.truncate(begin + read.len());
    Ok(Some(bytes))
}

/// Characters of an array's header, which anybody may have written, that a message shows.
const SHOWN: usize = 200;

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> String {
    format!("its array '{name}' cannot be read: {}", excerpt(error, SHOWN))
}

/// The numbers of an array file that [`array_bytes`] read. What its header promises is checked against its length.
fn array<T: ViewElement + Clone, D: Dimension>(name: &str, bytes: &[u8]) -> Result<Array<T, D>, String> {
    view(bytes).map_err(|error| unreadable(name, &error))
}

fn view<T: ViewElement + Clone, D: Dimension>(bytes: &[u8]) -> Result<Array<T, D>, ViewNpyError> {
    let begin = bytes.as_ptr().align_offset(ALIGNMENT).min(bytes.len());
    if nests(&bytes[begin..]) {
        return Err(ViewNpyError::InvalidData("its header is no description of an array".into()));
    }
    ArrayView::<T, D>::view_npy(&bytes[begin..]).map(|view| view.to_owned())
}

/// Whether the header of an array file has more brackets than a description of numbers, which is a dictionary with a tuple:
/// a parser would go down into each.
fn nests(bytes: &[u8]) -> bool {
    const MOST: usize = 8;
    let header = match bytes {
        [_, _, _, _, _, _, 1, _, low, high, rest @ ..] => {
            rest.get(..usize::from(u16::from_le_bytes([*low, *high]))).unwrap_or(rest)
        }
        // Longer headers, of later versions.
        [_, _, _, _, _, _, _, _, a, b, c, d, rest @ ..] => {
            rest.get(..u32::from_le_bytes([*a, *b, *c, *d]) as usize).unwrap_or(rest)
        }
        _ => &[],
    };
    header.iter().filter(|byte| b"([{".contains(byte)).count() > MOST
}

/// The same of f64 or f32.
fn floats<D: Dimension>(name: &str, bytes: &[u8]) -> Result<Array<f64, D>, String> {
    match view::<f64, D>(bytes) {
        Err(ViewNpyError::WrongDescriptor(_)) => Ok(array::<f32, D>(name, bytes)?.mapv(f64::from)),
        other => other.map_err(|error| unreadable(name, &error)),
    }
}

/// Writes statistics to `path`, which appears when it is whole, in place of what is there.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, statistics: &Statistics) -> Result<(), InferError> {
    write_locked(&Lock::output(path)?, statistics)
}

/// The same for a file that the caller has locked.
///
/// # Errors
/// When the disk refuses.
pub fn write_locked(lock: &Lock, statistics: &Statistics) -> Result<(), InferError> {
    Ok(files::write_locked(lock, |out| write_arrays(out, statistics))?)
}

fn write_arrays(out: &mut (impl Write + Seek), statistics: &Statistics) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(out);
    let mut add = |name: &str, array: &dyn Fn(&mut dyn Write) -> Result<(), WriteNpyError>| {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file(format!("{name}.npy"), options)?;
        array(&mut BufWriter::new(&mut archive)).map_err(|error| match error {
            WriteNpyError::Io(error) => error,
            other => std::io::Error::other(other),
        })
    };
    add("mu", &|out| statistics.mean.write_npy(out))?;
    add("sigma", &|out| statistics.covariance.write_npy(out))?;
    if let Some(count) = statistics.count {
        add("count", &|out| arr0(count).write_npy(out))?;
    }
    if let Some(network) = &statistics.network {
        let text = Array1::from_vec(network.clone().into_bytes());
        add("network", &|out| text.write_npy(out))?;
    }
    archive.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use ndarray::array;

    use super::*;

    fn statistics() -> Statistics {
        Statistics {
            mean: array![1.0, -2.5, 1e-300],
            covariance: array![[2.0, 0.1, 0.0], [0.1, 3.0, 0.3], [0.0, 0.3, 4.0]],
            count: Some(50_000),
            network: Some("ab".repeat(32)),
        }
    }

    /// An archive of these entries, `(name, bytes)`.
    fn archive(folder: &Path, entries: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = folder.join("entries.npz");
        let mut archive = ZipWriter::new(File::create(&path).expect("a file"));
        for (name, bytes) in entries {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            archive.start_file(*name, options).expect("an entry");
            archive.write_all(bytes).expect("written");
        }
        archive.finish().expect("an archive");
        path
    }

    fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).expect("written");
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("statistics.npz");
        let plain = Statistics { count: None, network: None, ..statistics() };
        for written in [statistics(), plain] {
            write(&path, &written).expect("written");
            assert_eq!(read(&path).expect("statistics"), written);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let nowhere = folder.path().join("no/x.npz");
        let message = write(&nowhere, &statistics()).expect_err("no folder").to_string();
        assert!(message.starts_with("cannot write") && message.contains("no/x.npz"), "{message}");
    }

    #[test]
    fn single_precision_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mean, covariance) = (array![0.5_f32, 2.0], array![[1.0_f32, 0.0], [0.0, 1.0]]);
        let path = archive(folder.path(), &[("mu.npy", npy(&mean)), ("sigma.npy", npy(&covariance))]);
        let found = read(&path).expect("statistics");
        assert_eq!((found.mean, found.count), (array![0.5, 2.0], None));
    }

    /// An array file with this header.
    fn with_header(text: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16 + 1).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn what_is_no_statistics_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mean, covariance) = (npy(&array![0.5, 2.0]), npy(&Array2::<f64>::eye(2)));
        let huge = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }";
        let mut promising = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        promising.extend(huge);
        promising.resize(127, b' ');
        promising.push(b'\n');
        for (entries, message) in [
            (
                vec![("mu.npy", mean.clone())],
                "it has no array 'sigma' (it holds mu.npy); wanted are mu [D] and sigma [D, D]",
            ),
            (vec![("arr_0.npy", covariance.clone())], "it has no array 'mu' (it holds arr_0.npy)"),
            (
                vec![("mu.npy", npy(&array![1.0])), ("sigma.npy", covariance.clone())],
                "mu has 1 numbers and sigma 2x2",
            ),
            (vec![("mu.npy", promising)], "its array 'mu' cannot be read: missing "),
            (
                vec![("mu.npy", with_header("'descr':\n\nerror: forged\u{1b}[2J"))],
                "its array 'mu' cannot be read: ",
            ),
            (vec![("mu.npy", with_header(&"{[".repeat(20_000)))], "its header is no description of an array"),
            (vec![("mu.npy", mean[..mean.len() - 4].to_vec())], "its array 'mu' cannot be read: "),
            (vec![("mu.npy", b"hello".to_vec())], "its array 'mu' cannot be read: "),
            (vec![("mu.npy", npy(&array![[1.0]]))], "its array 'mu' cannot be read: ndim 2"),
            (vec![("mu.npy", npy(&array![1_u64]))], "its array 'mu' cannot be read: incorrect descriptor"),
        ] {
            let path = archive(folder.path(), &entries);
            let error = read(&path).expect_err(message).to_string();
            assert!(error.starts_with(&format!("cannot use {}: ", path.display())), "{error}");
            assert!(error.contains(message) && !error.contains('\n') && error.len() < 1000, "{error}");
        }
        // Beside images of any size, statistics are found.
        let large = [
            ("arr_0.npy", vec![0; 3 << 20]),
            ("mu.npy", npy(&array![0.5, 2.0])),
            ("sigma.npy", npy(&Array2::<f64>::eye(2))),
        ];
        assert_eq!(read(&archive(folder.path(), &large)).expect("statistics").mean, array![0.5, 2.0]);
        // The same with the records of 64 bits that archives beyond 4 GB end with.
        let whole = fs::read(archive(folder.path(), &large)).expect("an archive");
        let (path, end) = (folder.path().join("large.npz"), whole.len() - 22);
        let wide = |at: usize| u64::from(u32::from_le_bytes(whole[at..at + 4].try_into().expect("4 bytes")));
        let (size, offset) = (wide(end + 12), wide(end + 16));
        for (count, is_read) in [(3_u64, true), (1 << 16, false), (u64::MAX, false)] {
            let record = [
                &b"PK\x06\x06"[..],
                &44_u64.to_le_bytes(),
                &[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                &count.to_le_bytes(),
                &count.to_le_bytes(),
                &size.to_le_bytes(),
                &offset.to_le_bytes(),
                b"PK\x06\x07",
                &[0; 4],
                &(end as u64).to_le_bytes(),
                &1_u32.to_le_bytes(),
                b"PK\x05\x06",
                &[0; 4],
                &[0xff; 12],
                &[0; 2],
            ];
            fs::write(&path, [&whole[..end], &record.concat()].concat()).expect("written");
            match read(&path) {
                Ok(found) => assert!(is_read && found.mean == array![0.5, 2.0]),
                Err(error) => assert!(!is_read && error.to_string().contains("more than 65,535"), "{error}"),
            }
        }
        let path = folder.path().join("text.npz");
        fs::write(&path, "hello").expect("written");
        let error = read(&path).expect_err("no archive").to_string();
        assert!(error.contains("it is no .npz file, or it was cut off"), "{error}");
        // An end record of 64 bits that promises any number of files.
        let whole = fs::read(archive(folder.path(), &[("mu.npy", b"hello".to_vec())])).expect("an archive");
        let end = whole.windows(4).rposition(|window| window == b"PK\x05\x06").expect("an end record");
        let promise = [&b"PK\x06\x06"[..], &[0xff; 52], b"PK\x06\x07", &[0; 16]].concat();
        fs::write(&path, [&whole[..end], &promise, &whole[end..]].concat()).expect("written");
        let error = read(&path).expect_err("a promise").to_string();
        assert!(error.contains("it is an archive of more than 65,535 files"), "{error}");
        File::create(&path).and_then(|file| file.set_len(MOST_BYTES + 1)).expect("a sparse file");
        let error = read(&path).expect_err("too large").to_string();
        assert!(error.contains("it is no .npz file, or it was cut off"), "{error}");
        fs::write(&path, b"\x89PNG\r\n\x1a\n").expect("written");
        let error = read(&path).expect_err("an image").to_string();
        assert!(error.contains("it is a PNG image, and no .npz file"), "{error}");
        let error = read(&folder.path().join("none.npz")).expect_err("no file").to_string();
        assert!(error.contains("cannot read") && error.contains("No such file"), "{error}");
    }
}
