//! The checkpoint that a path means: a file, or one in the folder of a run or of a diffusers model.

use std::path::{Path, PathBuf};

use ddae_checkpoint::{Checkpoint, Format, Furthest, SetRole, WeightChoice, WeightSet, names_average};
use ddae_onnx::metadata::GraphKind;

use super::WeightOptions;
use super::diffusers::DiffusersFolder;
use crate::ExportError;

/// What the names of diffusers' files of weights begin with (`diffusion_pytorch_model.fp16.safetensors`).
pub(super) const STEM: &str = "diffusion_pytorch_model";

/// The variant that diffusers calls the weights in training beside which the others are a moving average.
const NON_EMA: &str = "non_ema";

/// What the folder of a repository in Hugging Face's cache begins with, and where its files are.
pub(super) const CACHED: &str = "models--";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// A checkpoint, and what lies beside it.
pub(super) struct Located {
    pub checkpoint: Checkpoint,
    /// Files of a run folder that cannot be read, a line each.
    pub passed_over: Vec<String>,
    /// What diffusers wrote beside it.
    pub diffusers: DiffusersFolder,
    /// The configuration of the run that it seems to belong to.
    pub config: Option<PathBuf>,
    /// The name of the folder that was chosen among those of several sets of weights, and what it says of them.
    pub folder_role: Option<(String, SetRole)>,
}

/// Opens `path`, for a graph of the wanted kind: a pipeline of diffusers holds several networks.
pub(super) fn locate(path: &Path, options: &WeightOptions) -> Result<Located, ExportError> {
    if !path.is_dir() {
        let checkpoint = Checkpoint::open(path)?;
        return Ok(Located::of(checkpoint, vec![]));
    }
    let cached = snapshot(path)?;
    let path = cached.as_deref().unwrap_or(path);
    if let Some((folder, folder_role)) = model_folder(path, options)? {
        let (file, variant_role) =
            variant(&folder, options.weights.as_ref().filter(|_| folder_role.is_none()))?;
        let folder_role = folder_role.or(variant_role);
        return Ok(Located { folder_role, ..Located::of(Checkpoint::open(&file)?, vec![]) });
    }
    let (checkpoint, passed_over) = furthest(path)?;
    Ok(Located::of(checkpoint, passed_over))
}

impl Located {
    fn of(checkpoint: Checkpoint, passed_over: Vec<String>) -> Located {
        let is_diffusers =
            checkpoint.path().file_name().is_some_and(|name| name.to_string_lossy().starts_with(STEM));
        let folder = checkpoint.path().parent().unwrap_or(Path::new(""));
        let diffusers = if is_diffusers { DiffusersFolder::find(folder) } else { DiffusersFolder::default() };
        let candidates = [folder.join("config.yaml"), folder.join("../config.yaml")];
        let is_ours = !is_diffusers && checkpoint.format() == Format::Safetensors;
        let config = candidates.into_iter().find(|path| is_ours && path.is_file());
        Located { checkpoint, passed_over, diffusers, config, folder_role: None }
    }
}

/// A folder of a model, and what it was chosen as among several.
type Chosen = (PathBuf, Option<(String, SetRole)>);

/// The folder of a diffusers model: `path` itself, or the part of a pipeline that the wanted graph is of. Training scripts
/// keep a moving average of a part in a folder beside it: `unet_ema`.
fn model_folder(path: &Path, options: &WeightOptions) -> Result<Option<Chosen>, ExportError> {
    let is_model = |folder: &Path| folder.join("config.json").is_file();
    if is_model(path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let role = match (&options.weights, DiffusersFolder::find(path).is_average()) {
            (None | Some(WeightChoice::Of(WeightSet::Ema)), true) => Some((name, SetRole::Average)),
            (Some(WeightChoice::Named(asked)), true) if *asked == name => Some((name, SetRole::Average)),
            (Some(WeightChoice::Of(WeightSet::Model)), true) => {
                let message = "--weights model: its config.json says that it holds a moving average alone";
                return Err(ExportError::unusable(path, message));
            }
            _ => None,
        };
        return Ok(Some((path.to_path_buf(), role)));
    }
    let parts = match options.kind {
        GraphKind::Latent => ["vae", "unet"],
        _ => ["unet", "vae"],
    };
    for part in parts {
        let (plain, mut averages) = (path.join(part), averages_of(path, part));
        averages.retain(|name| is_model(&path.join(name)));
        let chosen = match (&options.weights, &*averages, is_model(&plain)) {
            (_, [], true) => return Ok(Some((plain, None))),
            (_, [], false) => continue,
            (None | Some(WeightChoice::Of(WeightSet::Ema)), [average], _) => {
                (average.clone(), SetRole::Average)
            }
            (Some(WeightChoice::Of(WeightSet::Model)), _, true) => (part.to_string(), SetRole::Plain),
            (Some(WeightChoice::Named(name)), _, true) if name == part => (part.to_string(), SetRole::Plain),
            (Some(WeightChoice::Named(name)), averages, _) if averages.contains(name) => {
                (name.clone(), SetRole::Average)
            }
            (asked, averages, has_plain) => {
                let names = averages.iter().map(String::as_str).chain(has_plain.then_some(part));
                let names: Vec<String> = names.map(|name| format!("'{}'", name.escape_debug())).collect();
                let asked = asked.as_ref().map_or(String::new(), |asked| format!("--weights {asked}: "));
                let message =
                    format!("{asked}it holds the weights {}; choose with --weights NAME", names.join(", "));
                return Err(ExportError::unusable(path, message));
            }
        };
        return Ok(Some((path.join(&chosen.0), Some(chosen))));
    }
    Ok(None)
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
    if !main.is_empty() && !main.contains(['/', '\\']) && snapshots.join(main).is_dir() {
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

/// The file of weights in the folder of a model, and what its variant tells of them: one in full precision before others,
/// safetensors before pickles, whole files before parts with an index.
fn variant(
    folder: &Path,
    asked: Option<&WeightChoice>,
) -> Result<(PathBuf, Option<(String, SetRole)>), ExportError> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<(String, usize, String)> = names
        .filter(|name| folder.join(name).is_file())
        .filter_map(|name| variant_of(&name).map(|(variant, rank)| (variant, rank, name)))
        .collect();
    found.sort();
    let of = |wanted: &str| found.iter().find(|(variant, ..)| variant == wanted);
    let has_both = of(NON_EMA).is_some() && of("").is_some();
    let named = |variant: &str| match variant {
        NON_EMA => Some((NON_EMA.to_string(), SetRole::Plain)),
        "" if has_both => Some((STEM.to_string(), SetRole::Average)),
        _ => None,
    };
    let chosen = match asked {
        Some(WeightChoice::Of(WeightSet::Model)) if of(NON_EMA).is_some() => of(NON_EMA),
        Some(WeightChoice::Named(name)) if of(name).is_some() => of(name),
        _ => of("").or_else(|| {
            // Rounded weights before others than the published ones.
            found.iter().find(|(variant, ..)| variant != NON_EMA).or_else(|| found.first())
        }),
    };
    match chosen {
        Some((variant, _, name)) => Ok((folder.join(name), named(variant))),
        None => {
            let weights = [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"];
            let weights = weights.map(|ending| format!("{STEM}{ending}")).join(", ");
            Err(ExportError::unusable(
                folder,
                format!(
                    "it holds a config.json of diffusers, but none of {weights}, also not as a variant (.fp16)"
                ),
            ))
        }
    }
}

/// The variant that a file's name tells, and its rank among the files of one; none for other files and for parts.
fn variant_of(name: &str) -> Option<(String, usize)> {
    let rest = name.strip_prefix(STEM)?;
    for (rank, kind) in ["safetensors", "bin"].into_iter().enumerate() {
        if let Some(variant) = rest.strip_suffix(kind).and_then(|rest| rest.strip_suffix('.')) {
            let variant = variant.strip_prefix('.').unwrap_or(variant);
            return (!variant.contains("-of-")).then(|| (variant.to_string(), 2 * rank));
        }
        if let Some(index) = rest.strip_prefix(&format!(".{kind}.index")) {
            let variant = index.strip_suffix("json")?.trim_matches('.');
            return Some((variant.to_string(), 2 * rank + 1));
        }
    }
    None
}

/// The names of folders in `path` for moving averages of the part `part`.
fn averages_of(path: &Path, part: &str) -> Vec<String> {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| names_average(name) && name.split(['_', '-']).any(|word| word == part)).collect();
    names.sort_unstable();
    names
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
