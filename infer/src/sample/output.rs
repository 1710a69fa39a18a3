//! Where generated pictures go: a folder of PNG files that says what made them.

use std::io::Write;
use std::path::{Path, PathBuf};

use ddae_data::sheet::Sheet;
use serde::{Deserialize, Serialize};

use crate::error::InferError;

/// Everything that decides what a picture of a given seed looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// SHA-256 of the checkpoint's weights.
    pub model: String,
    /// The sampler: `ddpm`, `ddim` or `edm`.
    pub sampler: String,
    /// Its steps.
    pub steps: usize,
    /// Its noise.
    pub eta: f64,
    /// Version of the tool.
    pub version: String,
}

/// A folder with one PNG file per seed and `run.json`.
pub struct PictureFolder {
    path: PathBuf,
}

impl PictureFolder {
    /// Opens or makes the folder for pictures of these settings.
    ///
    /// # Errors
    /// When it holds pictures of other settings and `overwrite` is not set: the message says which differ.
    pub fn open(path: &Path, settings: &Settings, overwrite: bool) -> Result<PictureFolder, InferError> {
        let io = |at: &Path| {
            let at = at.to_path_buf();
            move |source| InferError::Io { path: at, source }
        };
        std::fs::create_dir_all(path).map_err(io(path))?;
        let record = path.join("run.json");
        if let Ok(text) = std::fs::read_to_string(&record)
            && !overwrite
        {
            let found: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let wanted = serde_json::to_value(settings).unwrap_or_default();
            let differs = |key: &&String| found.get(*key) != wanted.get(*key);
            if let Some(key) = wanted.as_object().into_iter().flat_map(|map| map.keys()).find(differs) {
                let show = |value: &serde_json::Value| {
                    value.get(key).map_or("nothing".to_string(), |v| v.to_string())
                };
                return Err(InferError::Settings(format!(
                    "{} holds pictures with {key} {}, and this run has {}: choose another folder, or --overwrite",
                    path.display(),
                    show(&found),
                    show(&wanted)
                )));
            }
        }
        let text = serde_json::to_string_pretty(settings).unwrap_or_default();
        let partial = path.join("run.json.partial");
        std::fs::write(&partial, text + "\n").map_err(io(&partial))?;
        std::fs::rename(&partial, &record).map_err(io(&record))?;
        Ok(PictureFolder { path: path.to_path_buf() })
    }

    /// Whether the picture of a seed is here already.
    pub fn holds(&self, seed: u64) -> bool {
        picture_path(&self.path, seed).is_file()
    }

    /// Writes the picture of a seed, levels `[C, H, W]`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, seed: u64, levels: &[u8], shape: [usize; 3]) -> Result<(), InferError> {
        let mut sheet = Sheet::new(1, shape)?;
        sheet.push_u8(levels)?;
        Ok(sheet.write_png(picture_path(&self.path, seed))?)
    }
}

/// The file of a seed's picture: `000042.png`.
pub fn picture_path(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("{seed:06}.png"))
}

/// Values in [0, 1] as levels, rounded and limited as torchvision's `save_image` does.
pub fn to_levels(picture: &[f64]) -> Vec<u8> {
    picture.iter().map(|v| (v * 255.0 + 0.5).clamp(0.0, 255.0) as u8).collect()
}

/// Reads a picture written by [`PictureFolder::write`]: levels `[C, H, W]`.
///
/// # Errors
/// When the file cannot be decoded or has another shape.
pub fn read_picture(path: &Path, [channels, height, width]: [usize; 3]) -> Result<Vec<u8>, InferError> {
    let wrong = |message: String| {
        InferError::Settings(format!("{}: {message}; remove it and run again", path.display()))
    };
    let picture = image::open(path).map_err(|error| wrong(error.to_string()))?;
    if (picture.height() as usize, picture.width() as usize) != (height, width) {
        return Err(wrong(format!(
            "{}x{} and not {width}x{height} pixels",
            picture.width(),
            picture.height()
        )));
    }
    if channels == 1 {
        return Ok(picture.to_luma8().into_raw());
    }
    let interleaved = picture.to_rgb8().into_raw();
    Ok((0..channels).flat_map(|plane| interleaved.iter().skip(plane).step_by(channels).copied()).collect())
}

/// Streams pictures into one `.npy` array of uint8 `[N, H, W, C]` (NumPy's format, version 1.0).
pub struct NpyWriter {
    path: PathBuf,
    partial: PathBuf,
    shape: [usize; 3],
    file: std::io::BufWriter<std::fs::File>,
}

impl NpyWriter {
    /// Begins the file under a temporary name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(path: &Path, count: usize, shape: [usize; 3]) -> Result<NpyWriter, InferError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let io = |source| InferError::Io { path: partial.clone(), source };
        let mut file = std::io::BufWriter::new(std::fs::File::create(&partial).map_err(io)?);
        let [c, h, w] = shape;
        let mut header =
            format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {h}, {w}, {c}), }}");
        // The header's length is such that the array begins at a multiple of 64 bytes.
        let padding = (64 - (10 + header.len() + 1) % 64) % 64;
        header.push_str(&" ".repeat(padding));
        header.push('\n');
        let length = u16::try_from(header.len()).map_err(|e| io(std::io::Error::other(e)))?;
        let prefix: Vec<u8> = b"\x93NUMPY\x01\x00".iter().copied().chain(length.to_le_bytes()).collect();
        file.write_all(&prefix).and_then(|()| file.write_all(header.as_bytes())).map_err(io)?;
        Ok(NpyWriter { path: path.to_path_buf(), partial, shape, file })
    }

    /// Adds a picture, levels `[C, H, W]`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, levels: &[u8]) -> Result<(), InferError> {
        let [c, h, w] = self.shape;
        let interleaved: Vec<u8> =
            (0..h * w).flat_map(|pixel| (0..c).map(move |plane| levels[plane * h * w + pixel])).collect();
        self.file
            .write_all(&interleaved)
            .map_err(|source| InferError::Io { path: self.partial.clone(), source })
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<(), InferError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&self.partial, &self.path));
        written.map_err(|source| InferError::Io { path: self.path.clone(), source })
    }
}

impl Drop for NpyWriter {
    fn drop(&mut self) {
        // After `finish` the temporary name is gone, and this does nothing.
        let _ = std::fs::remove_file(&self.partial);
    }
}
