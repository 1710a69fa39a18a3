//! A folder of PNG files, one for each seed, that says what made them.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ddae_base::files::{clear_leftovers, write_locked};
use ddae_base::lock::{Lock, LockError};
use ddae_base::text::joined;
use ddae_data::interleave::planes;
use ddae_data::sheet::Sheet;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::InferError;

/// The file that says what made the images.
const RECORD: &str = "run.json";
/// Longest value in a message.
const SHOWN: usize = 60;

/// Everything that decides what the image of a seed looks like, where nothing else guides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleSettings {
    /// SHA-256 of the checkpoint.
    pub model: String,
    /// Which of its weights: `ema`, `model`, or nothing for a plain file of weights.
    pub weights: Option<String>,
    /// The precision of the ONNX file.
    pub model_precision: String,
    /// The configuration (YAML).
    pub config: String,
    /// The sampler: `ddpm`, `ddim` or `edm`.
    pub sampler: String,
    /// Its steps.
    pub steps: usize,
    /// Its noise.
    pub eta: f64,
    /// The class of all images, or `drawn` where each seed has one of its own; nothing for a network that is told of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The execution provider.
    pub provider: String,
    /// How products are computed: `f32` or `tf32`.
    pub precision: String,
    /// The program and its version.
    pub tool: String,
    /// SHA-256 of the graph and its weights; earlier versions did not say it. Last, since it differs with nearly all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holds {
    /// No images.
    Nothing,
    /// Images of the same settings.
    Same,
    /// Images of others; what differs.
    Others(String),
}

/// A folder with one PNG file per seed, `000042.png`, and `run.json` with everything that decides what they look like
/// (the type `S` of [`ImageFolder::open`]), locked against other processes.
#[derive(Debug)]
pub struct ImageFolder {
    path: PathBuf,
    shape: [usize; 3],
    /// Of the folder; of a part of its images that too.
    _locks: Vec<Lock>,
}

impl ImageFolder {
    /// The seeds among `seeds` whose images are not in the folder yet. Changes nothing.
    ///
    /// # Errors
    /// When it holds images of other settings and `overwrite` is not set (the message says which differ), or
    /// images that this program did not make.
    pub fn missing<S: Serialize + DeserializeOwned>(
        path: &Path,
        settings: &S,
        seeds: &[u64],
        overwrite: bool,
    ) -> Result<Vec<u64>, InferError> {
        match holds(path, settings)? {
            Holds::Others(what) if !overwrite => {
                Err(InferError::OtherImages { path: path.to_path_buf(), what })
            }
            Holds::Same if !overwrite => {
                Ok(seeds.iter().copied().filter(|seed| !image_path(path, *seed).is_file()).collect())
            }
            _ => Ok(seeds.to_vec()),
        }
    }

    /// Opens or makes the folder for images of these settings. With `overwrite`, images of others are removed.
    ///
    /// # Errors
    /// Like [`ImageFolder::missing`]; when another process has the folder, or the disk refuses.
    pub fn open<S: Serialize + DeserializeOwned>(
        path: &Path,
        settings: &S,
        shape: [usize; 3],
        overwrite: bool,
    ) -> Result<ImageFolder, InferError> {
        fs::create_dir_all(path).map_err(InferError::io("create", path))?;
        let lock = Lock::folder(path)?;
        ImageFolder::missing(path, settings, &[], overwrite)?;
        clear_leftovers(path, |name| name == RECORD || is_image(name))?;
        let found = holds(path, settings)?;
        if let Holds::Others(_) = found {
            for image in images(path)? {
                fs::remove_file(&image).map_err(InferError::io("remove", &image))?;
            }
        }
        // A record of an earlier version stays as it is: what it does not say is not known of the images that are there.
        if found != Holds::Same {
            write_record(&Lock::output(&path.join(RECORD))?, settings)?;
        }
        Ok(ImageFolder { path: path.to_path_buf(), shape, _locks: vec![lock] })
    }

    /// [`ImageFolder::open`] for a part of the images, while other processes draw other parts into the folder: `part`, such as
    /// `shard-3-of-8`, tells it from those. Images of other settings are not removed, as they may be another process's.
    ///
    /// # Errors
    /// Like [`ImageFolder::open`]; when a process has the folder for itself, or this part.
    pub fn open_part<S: Serialize + DeserializeOwned>(
        path: &Path,
        settings: &S,
        shape: [usize; 3],
        part: &str,
    ) -> Result<ImageFolder, InferError> {
        fs::create_dir_all(path).map_err(InferError::io("create", path))?;
        let locks = vec![Lock::shared_folder(path)?, Lock::output(&path.join(part))?];
        let record = path.join(RECORD);
        loop {
            match holds(path, settings)? {
                Holds::Same => break,
                Holds::Others(what) => {
                    let message = format!(
                        "it holds images of other settings ({what}), and other processes may be drawing into it: remove \
                         them first, or choose another folder"
                    );
                    return Err(InferError::Output { path: path.to_path_buf(), message });
                }
                Holds::Nothing => {}
            }
            // All processes want to write the same; the first does, and the others find it.
            match Lock::output(&record) {
                Ok(lock) => write_record(&lock, settings)?,
                Err(LockError::InUse { .. }) => thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error.into()),
            }
        }
        clear_leftovers(path, |name| name == RECORD || is_image(name))?;
        Ok(ImageFolder { path: path.to_path_buf(), shape, _locks: locks })
    }

    /// The folder that the process has opened which this one works for.
    pub fn of_another(path: &Path, shape: [usize; 3]) -> ImageFolder {
        ImageFolder { path: path.to_path_buf(), shape, _locks: Vec::new() }
    }

    /// Writes the image of a seed, levels `[C, H, W]`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, seed: u64, levels: &[u8]) -> Result<(), InferError> {
        let mut sheet = Sheet::new(1, self.shape)?;
        sheet.push_u8(levels)?;
        Ok(sheet.write_png(image_path(&self.path, seed))?)
    }

    /// Reads the image of a seed, levels `[C, H, W]`.
    ///
    /// # Errors
    /// When the file cannot be decoded or has another shape.
    pub fn read(&self, seed: u64) -> Result<Vec<u8>, InferError> {
        let path = image_path(&self.path, seed);
        let [channels, height, width] = self.shape;
        let wrong = |message: String| InferError::Output {
            path: path.clone(),
            message: format!("{message}; remove it and run again"),
        };
        let broken = |error: image::ImageError| wrong(joined(&error));
        let file = File::open(&path).map_err(InferError::io("open", &path))?;
        let reader = ImageReader::with_format(BufReader::new(file), ImageFormat::Png);
        let decoder = reader.into_decoder().map_err(broken)?;
        // Before anything is decoded.
        let (color, (columns, rows)) = (decoder.color_type(), decoder.dimensions());
        let found = [color.channel_count() as usize, rows as usize, columns as usize];
        if found != self.shape || color.bits_per_pixel() as usize != 8 * channels {
            let [c, h, w] = found;
            return Err(wrong(format!("an image of {c}x{h}x{w} and not of {channels}x{height}x{width}")));
        }
        let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
        Ok(planes(&image.into_bytes(), channels))
    }
}

fn write_record(lock: &Lock, settings: &impl Serialize) -> Result<(), InferError> {
    write_locked(lock, |out| {
        serde_json::to_writer_pretty(&mut *out, settings)?;
        writeln!(out)
    })?;
    Ok(())
}

/// The file of a seed's image: `000042.png`.
pub(crate) fn image_path(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("{seed:06}.png"))
}

/// All files in the folder that are named like images of seeds.
fn images(folder: &Path) -> Result<Vec<PathBuf>, InferError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(InferError::io("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(InferError::io("list", folder))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_image) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a file is named like the image of a seed.
fn is_image(name: &str) -> bool {
    let seed = name.strip_suffix(".png").and_then(|seed| seed.parse::<u64>().ok());
    seed.is_some_and(|seed| image_path(Path::new(""), seed) == Path::new(name))
}

/// What the folder holds, seen from a run with `settings`.
fn holds<S: Serialize + DeserializeOwned>(folder: &Path, settings: &S) -> Result<Holds, InferError> {
    if folder.exists() && !folder.is_dir() {
        let message = "it is a file; give a folder for the images".to_string();
        return Err(InferError::Output { path: folder.to_path_buf(), message });
    }
    let record = folder.join(RECORD);
    let text = match fs::read_to_string(&record) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(image) = images(folder)?.into_iter().next() else { return Ok(Holds::Nothing) };
            let message =
                format!("it is there, but no {RECORD} that says what made it: choose another folder");
            return Err(InferError::Output { path: image, message });
        }
        Err(error) => return Err(InferError::io("read", &record)(error)),
    };
    let Ok(found) = serde_json::from_str::<S>(&text) else {
        return Ok(Holds::Others(format!("a {RECORD} that is damaged or of another version")));
    };
    let (found, wanted) = (serde_json::to_value(&found), serde_json::to_value(settings));
    let (Ok(Value::Object(found)), Ok(Value::Object(wanted))) = (found, wanted) else {
        return Ok(Holds::Others(format!("a {RECORD} that is damaged")));
    };
    // What an earlier version did not say yet is not compared.
    let differs = |key: &String, value: &Value| found.get(key).is_some_and(|found| found != value);
    let Some((key, wanted)) = wanted.iter().find(|(key, value)| differs(key, value)) else {
        return Ok(Holds::Same);
    };
    let found = found.get(key).map(Value::to_string).unwrap_or_default();
    let wanted = wanted.to_string();
    Ok(Holds::Others(match found.len().max(wanted.len()) {
        0..=SHOWN => format!("{key} {found}, and this run has {wanted}"),
        _ => format!("another {key}"),
    }))
}
