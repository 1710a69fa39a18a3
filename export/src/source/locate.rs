//! The checkpoint that a path means: a file, or one in the folder of a run or of a diffusers model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ddae_checkpoint::{Checkpoint, Format, Furthest, WeightChoice, WeightSet, names_average, words};
use ddae_onnx::metadata::GraphKind;

use super::WeightOptions;
use super::diffusers::DiffusersFolder;
use super::variants::{STEM, variant};
use crate::ExportError;

/// What the folder of a repository in Hugging Face's cache begins with, and where its files are.
pub(super) const CACHED: &str = "models--";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// The parts of a pipeline that are known here, and the classes of their configurations.
const PARTS: [(&str, &str); 2] = [("unet", "UNet2DModel"), ("vae", "AutoencoderKL")];

/// A checkpoint, and what lies beside it.
pub(super) struct Located {
    pub checkpoint: Checkpoint,
    /// Files of a run folder that cannot be read, a line each.
    pub passed_over: Vec<String>,
    /// What diffusers wrote beside it.
    pub diffusers: DiffusersFolder,
    /// The configuration of the run that it seems to belong to.
    pub config: Option<PathBuf>,
    /// What it was chosen as among several folders and files.
    pub chosen: Option<Chosen>,
    /// Of the weights that are asked for, what is to be looked for in the file.
    pub asked: Option<WeightChoice>,
}

/// A folder or file that was chosen among those of several sets of weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub name: String,
    /// What its name or its configuration says of it.
    pub role: Option<WeightSet>,
    /// Whether it was asked for by its name.
    pub is_asked: bool,
}

/// Opens `path`, for a graph of the wanted kind: a pipeline of diffusers holds several networks.
pub(super) fn locate(path: &Path, options: &WeightOptions) -> Result<Located, ExportError> {
    let asked = options.weights.clone();
    if !path.is_dir() {
        return Ok(Located::of(Checkpoint::open(path)?, vec![], None, asked));
    }
    let cached = snapshot(path)?;
    let path = cached.as_deref().unwrap_or(path);
    if let Some(Part { folder, chosen, asked }) = model_folder(path, options)? {
        let (file, variant, mut asked) = variant(&folder, asked)?;
        if chosen.as_ref().is_some_and(|chosen| chosen.role == Some(WeightSet::Model)) {
            // The folder is the answer already.
            asked = asked.filter(|asked| *asked != WeightChoice::Of(WeightSet::Model));
        }
        let chosen = match (chosen, variant) {
            (Some(folder), Some(file)) => Some(Chosen {
                name: format!("{}/{}", folder.name, file.name),
                role: file.role.or(folder.role),
                is_asked: folder.is_asked || file.is_asked,
            }),
            (folder, file) => folder.or(file),
        };
        return Ok(Located::of(Checkpoint::open(&file)?, vec![], chosen, asked));
    }
    let (checkpoint, passed_over) = furthest(path)?;
    Ok(Located::of(checkpoint, passed_over, None, asked))
}

impl Located {
    fn of(
        checkpoint: Checkpoint,
        passed_over: Vec<String>,
        chosen: Option<Chosen>,
        asked: Option<WeightChoice>,
    ) -> Located {
        let is_diffusers =
            checkpoint.path().file_name().is_some_and(|name| name.to_string_lossy().starts_with(STEM));
        let folder = checkpoint.path().parent().unwrap_or(Path::new(""));
        let diffusers = if is_diffusers { DiffusersFolder::find(folder) } else { DiffusersFolder::default() };
        let candidates = [folder.join("config.yaml"), folder.join("../config.yaml")];
        let is_ours = !is_diffusers && checkpoint.format() == Format::Safetensors;
        let config = candidates.into_iter().find(|path| is_ours && path.is_file());
        Located { checkpoint, passed_over, diffusers, config, chosen, asked }
    }
}

/// The folder of a model.
struct Part {
    folder: PathBuf,
    /// What it was chosen as.
    chosen: Option<Chosen>,
    /// What is to be looked for in it.
    asked: Option<WeightChoice>,
}

/// The folder of a diffusers model: `path` itself, or the part of a pipeline that the wanted graph is of. Training scripts
/// keep a moving average of a part in a folder beside it: `unet_ema`.
fn model_folder(path: &Path, options: &WeightOptions) -> Result<Option<Part>, ExportError> {
    let asked = options.weights.clone();
    if is_model(path) {
        let folder = path.to_path_buf();
        if !DiffusersFolder::find(path).is_average() {
            return Ok(Some(Part { folder, chosen: None, asked }));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_asked = asked == Some(WeightChoice::Named(name.clone()));
        if asked == Some(WeightChoice::Of(WeightSet::Model)) {
            return Err(average_alone(path));
        }
        let chosen = Some(Chosen { name, role: Some(WeightSet::Ema), is_asked });
        let asked = asked.filter(|asked| !is_asked && *asked != WeightChoice::Of(WeightSet::Ema));
        return Ok(Some(Part { folder, chosen, asked }));
    }
    let mut parts = PARTS;
    if options.kind == GraphKind::Latent {
        parts.reverse();
    }
    for part in parts {
        let averages = averages_of(path, part);
        let (name, _) = part;
        let has_plain = is_model(&path.join(name)) && !averages.iter().any(|average| average == name);
        if averages.is_empty() && !has_plain {
            continue;
        }
        return among(path, has_plain.then_some(name), &averages, asked).map(Some);
    }
    Ok(None)
}

/// One of the folders in `path`: that of the part of a pipeline, and those of averages of it.
fn among(
    path: &Path,
    plain: Option<&str>,
    averages: &[String],
    asked: Option<WeightChoice>,
) -> Result<Part, ExportError> {
    let part = |name: &str, role: Option<WeightSet>, is_asked: bool, asked: Option<WeightChoice>| {
        let chosen = Chosen { name: name.to_string(), role, is_asked };
        let is_told = role.is_some() || is_asked;
        Ok(Part { folder: path.join(name), chosen: is_told.then_some(chosen), asked })
    };
    let in_training = (!averages.is_empty()).then_some(WeightSet::Model);
    match (&asked, plain, averages) {
        (Some(WeightChoice::Named(name)), _, _) if averages.contains(name) => {
            part(name, Some(WeightSet::Ema), true, None)
        }
        (Some(WeightChoice::Named(name)), Some(plain), _) if name == plain => {
            part(plain, in_training, true, in_training.map(WeightChoice::Of))
        }
        // There is one folder: what is asked for may be in it.
        (_, Some(plain), []) => part(plain, None, false, asked),
        (Some(WeightChoice::Named(_)), None, [average]) => part(average, Some(WeightSet::Ema), false, asked),
        (None | Some(WeightChoice::Of(WeightSet::Ema)), _, [average]) => {
            part(average, Some(WeightSet::Ema), false, None)
        }
        (Some(WeightChoice::Of(WeightSet::Model)), Some(plain), _) => part(plain, in_training, false, asked),
        (Some(WeightChoice::Of(WeightSet::Model)), None, [average]) => {
            Err(average_alone(&path.join(average)))
        }
        _ => {
            let names = averages.iter().map(String::as_str).chain(plain);
            Err(several(path, asked.as_ref(), names))
        }
    }
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

fn average_alone(path: &Path) -> ExportError {
    let what = if DiffusersFolder::find(path).is_average() { "config.json" } else { "name" };
    let message = format!("--weights model: its {what} says that it holds a moving average alone");
    ExportError::unusable(path, message)
}

/// Refuses to choose among several.
pub(super) fn several<'n>(
    path: &Path,
    asked: Option<&WeightChoice>,
    names: impl Iterator<Item = &'n str>,
) -> ExportError {
    let names: Vec<String> = names.map(|name| format!("'{}'", name.escape_debug())).collect();
    let asked = asked.map_or(String::new(), |asked| format!("--weights {asked}: "));
    let message = format!("{asked}it holds the weights {}; choose with --weights NAME", names.join(", "));
    ExportError::unusable(path, message)
}

/// The names of folders in `path` that are moving averages of a part of a pipeline, as their names or their configurations
/// say; the folder of the part may be one itself.
fn averages_of(path: &Path, (part, class): (&str, &str)) -> Vec<String> {
    let class = DiffusersFolder::find(&path.join(part)).class().unwrap_or_else(|| class.to_string());
    let is_average = |name: &String| {
        let folder = path.join(name);
        if !is_model(&folder) {
            return false;
        }
        let (config, words) = (DiffusersFolder::find(&folder), words(name));
        let names = |part: &str| words.iter().any(|word| word == part);
        let is_of_part = names(part)
            || !PARTS.iter().any(|(other, _)| names(other)) && config.class().is_none_or(|own| own == class);
        is_of_part && (names_average(name) || config.is_average())
    };
    let entries = path.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(is_average).collect();
    names.sort_unstable();
    names
}

/// The folder of the revision that is meant in a repository of Hugging Face's cache (`models--OWNER--NAME`); none for other
/// folders.
fn snapshot(path: &Path) -> Result<Option<PathBuf>, ExportError> {
    let snapshots = path.join(SNAPSHOTS);
    if path.join("config.json").is_file() || !snapshots.is_dir() {
        return Ok(None);
    }
    let main = std::fs::read_to_string(path.join("refs/main")).unwrap_or_default();
    let main = main.trim();
    // A name in the folder, and not one that leads out of it.
    let is_name = Path::new(main).file_name() == Some(OsStr::new(main)) && !main.contains('\\');
    if is_name && snapshots.join(main).is_dir() {
        return Ok(Some(snapshots.join(main)));
    }
    let entries = snapshots.read_dir().into_iter().flatten().flatten();
    let mut revisions: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    match (revisions.pop(), revisions.is_empty()) {
        (Some(only), true) => Ok(Some(only)),
        (None, _) => Err(ExportError::unusable(&snapshots, "it holds no revision; download the model again")),
        (Some(_), false) => {
            Err(ExportError::unusable(&snapshots, "it holds several revisions; give one of them"))
        }
    }
}

/// The whole checkpoint in a run folder (or in its `checkpoints`) that is furthest in training. Files that cannot be read,
/// and damaged ones that are further, are passed over while there is one left, and given as the second result, a line each.
fn furthest(folder: &Path) -> Result<(Checkpoint, Vec<String>), ExportError> {
    let inner = folder.join("checkpoints");
    let place = if inner.is_dir() { inner.as_path() } else { folder };
    let Furthest { checkpoint, mut passed_over } = Furthest::find(place, |_| Ok(()))?;
    match (checkpoint, passed_over.is_empty()) {
        (Some(checkpoint), _) => Ok((checkpoint, passed_over.iter().map(ToString::to_string).collect())),
        (None, false) => Err(passed_over.remove(0).into()),
        (None, true) => {
            let wanted = "this folder holds no checkpoint (checkpoints/*.safetensors) and no model of diffusers \
                          (config.json, diffusion_pytorch_model.*); give a checkpoint, a run folder or a model's folder";
            Err(ExportError::unusable(folder, wanted))
        }
    }
}
