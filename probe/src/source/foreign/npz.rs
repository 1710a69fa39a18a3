//! NumPy archives: arrays in a zip file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::result::ZipError;

use super::labels::RawLabels;
use super::matrix::Matrix;
use super::npy::Header;
use super::{ArrayInfo, Arrays, Opened};

/// Arrays whose shapes are listed.
const MOST_LISTED: usize = 64;

/// An archive of arrays.
pub(super) struct Npz {
    archive: ZipArchive<BufReader<File>>,
    arrays: Vec<ArrayInfo>,
}

impl Npz {
    /// Opens an archive and reads what its arrays are.
    ///
    /// # Errors
    /// When it is damaged, or no archive of arrays.
    pub(super) fn open(mut file: File) -> Opened<Self> {
        if promises_many(&mut file).map_err(|error| error.to_string())? {
            return Err(
                "it is an archive of more than 65,535 files, and no .npz file has so many".to_string()
            );
        }
        let mut archive = ZipArchive::new(BufReader::new(file))
            .map_err(|error| format!("it is no .npz file, or it was cut off ({error})"))?;
        let names: Vec<String> =
            archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
        if let Some(name) = names.iter().find(|name| name.ends_with("data.pkl")) {
            let name = ddae_base::text::excerpt(name, 60);
            return Err(format!(
                "it is a file of torch.save ('{name}'), whose pickle is not run; save its tensors with \
                 safetensors.torch.save_file or np.savez"
            ));
        }
        let mut arrays = Vec::new();
        for name in names.iter().filter_map(|name| name.strip_suffix(".npy")) {
            let shape = match arrays.len() < MOST_LISTED {
                true => archive
                    .by_name(&format!("{name}.npy"))
                    .ok()
                    .and_then(|mut entry| Header::read(&mut entry).ok()),
                false => None,
            };
            arrays.push(ArrayInfo { name: name.to_string(), shape: shape.map(|header| header.shape) });
        }
        match arrays.is_empty() {
            true => Err("it is a zip archive without a NumPy array (.npy) in it".to_string()),
            false => Ok(Self { archive, arrays }),
        }
    }

    /// Does something with the array behind its header, and reads on to its end, where its checksum is compared.
    fn with<T>(&mut self, name: &str, work: impl FnOnce(&Header, &mut dyn Read) -> Opened<T>) -> Opened<T> {
        let mut entry = self.archive.by_name(&format!("{name}.npy")).map_err(|error| match error {
            ZipError::FileNotFound => "there is no such array".to_string(),
            error => format!("it cannot be read: {error}"),
        })?;
        let size = entry.size();
        let header = Header::read(&mut entry)?;
        header.check_length(size.saturating_sub(header.length as u64))?;
        let value = work(&header, &mut entry)?;
        match entry.read(&mut [0; 1]) {
            Ok(0) => Ok(value),
            Ok(_) => Err("it is longer than its shape says".to_string()),
            Err(error) => Err(format!("it cannot be read: {error}")),
        }
    }
}

impl Arrays for Npz {
    fn list(&self) -> Vec<ArrayInfo> {
        self.arrays.clone()
    }

    fn matrix(&mut self, name: &str, flatten: bool) -> Opened<Matrix> {
        self.with(name, |header, source| header.matrix(source, flatten))
    }

    fn labels(&mut self, name: &str) -> Opened<RawLabels> {
        self.with(name, |header, source| header.labels(source))
    }
}

/// Whether the record at an archive's end that is there for many or large files promises more files than 65,535: a
/// reader would reserve memory for as many as are promised.
fn promises_many(file: &mut File) -> std::io::Result<bool> {
    const LOCATOR: &[u8] = b"PK\x06\x07";
    const RECORD: &[u8] = b"PK\x06\x06";
    const LONGEST: u64 = 0xffff + 22 + 20;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut tail = Vec::new();
    file.take(LONGEST).read_to_end(&mut tail)?;
    let mut many = false;
    for at in (0..tail.len()).filter(|&at| tail[at..].starts_with(LOCATOR)) {
        let Some(place) = tail.get(at + 8..at + 16).and_then(|bytes| bytes.try_into().ok()) else { continue };
        let mut record = [0; 40];
        file.seek(SeekFrom::Start(u64::from_le_bytes(place)))?;
        many |= match file.read_exact(&mut record) {
            Ok(()) if record.starts_with(RECORD) => {
                let files: [u8; 8] = record[32..40].try_into().unwrap_or([0xff; 8]);
                u64::from_le_bytes(files) > 0xffff
            }
            _ => true,
        };
    }
    file.rewind()?;
    Ok(many)
}
