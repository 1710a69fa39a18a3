//! The files of weights in the folder of a diffusers model: `diffusion_pytorch_model.VARIANT.safetensors`.
//!
//! A variant is a precision (`fp16`), which is of the same weights, or other weights (`non_ema`, `ema`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ddae_checkpoint::{WeightChoice, WeightSet, names_average, words};

use super::locate::{Chosen, several};
use crate::ExportError;

/// What the names of diffusers' files of weights begin with (`diffusion_pytorch_model.fp16.safetensors`).
pub(super) const STEM: &str = "diffusion_pytorch_model";

/// Precisions that variants name, the one that is nearest to the published weights first; without one it is full.
const PRECISIONS: [&str; 9] =
    ["fp32", "float32", "f32", "fp16", "float16", "f16", "half", "bf16", "bfloat16"];

/// A file of weights, whole or the index of several. The first of those of one set is preferred.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Variant {
    /// The place of its precision.
    precision: usize,
    /// Safetensors before pickles, whole files before parts.
    rank: usize,
    /// As `--weights` takes it: `ema.fp16`; nothing for the plain one.
    name: String,
    file: String,
}

/// Files of weights by what they are beside their precision: nothing, `non_ema`, `step100`.
type Sets = BTreeMap<String, Vec<Variant>>;

/// The file of weights in the folder of a model, what its name says of it, and what is to be looked for in the file.
pub(super) fn variant(
    folder: &Path,
    asked: Option<WeightChoice>,
) -> Result<(PathBuf, Option<Chosen>, Option<WeightChoice>), ExportError> {
    let sets = sets(folder);
    if sets.is_empty() {
        let weights = [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"];
        let weights = weights.map(|ending| format!("{STEM}{ending}")).join(", ");
        let message = format!(
            "it holds a config.json of diffusers, but none of {weights}, also not as a variant (.fp16)"
        );
        return Err(ExportError::unusable(folder, message));
    }
    let role = |set: &str| role(&sets, set);
    let of_role =
        |wanted: WeightSet| -> Vec<&String> { sets.keys().filter(|set| role(set) == Some(wanted)).collect() };
    let (averages, in_training) = (of_role(WeightSet::Ema), of_role(WeightSet::Model));
    let only = (sets.len() == 1).then(|| sets.keys().next()).flatten();
    let (set, named, asked) = match &asked {
        Some(WeightChoice::Named(name)) => match (named(&sets, name), only) {
            (Some((set, variant)), _) => (Some(set), Some(variant), None),
            // The name may be one in the file.
            (None, only) => (only, None, asked.clone()),
        },
        Some(WeightChoice::Of(wanted)) => match (of_role(*wanted).as_slice(), only) {
            ([set], _) => (Some(*set), None, None),
            ([], Some(_)) if *wanted == WeightSet::Model && !averages.is_empty() => {
                let message =
                    "--weights model: its files are called a moving average, and there are no others";
                return Err(ExportError::unusable(folder, message));
            }
            ([], only) => (only, None, asked.clone()),
            _ => (None, None, None),
        },
        None => match (averages.as_slice(), only) {
            ([set], _) => (Some(*set), None, None),
            ([], Some(set)) => (Some(set), None, None),
            _ => (None, None, None),
        },
    };
    let Some(set) = set else {
        let others = sets.keys().filter(|set| !averages.contains(set) && !in_training.contains(set));
        let names = averages.iter().copied().chain(in_training.iter().copied()).chain(others);
        return Err(several(folder, asked.as_ref(), names.map(|set| shown(set))));
    };
    let files = sets.get(set).map(Vec::as_slice).unwrap_or_default();
    let variant = named.or_else(|| files.first()).ok_or_else(|| several(folder, None, std::iter::empty()))?;
    let is_told = sets.len() > 1 || !variant.name.is_empty() || named.is_some();
    let chosen =
        Chosen { name: shown(&variant.name).to_string(), role: role(set), is_asked: named.is_some() };
    Ok((folder.join(&variant.file), is_told.then_some(chosen), asked))
}

/// A variant as it is called.
fn shown(name: &str) -> &str {
    if name.is_empty() { STEM } else { name }
}

/// The files of weights in a folder.
fn sets(folder: &Path) -> Sets {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut sets = Sets::new();
    for (set, variant) in names.filter(|name| folder.join(name).is_file()).filter_map(|name| parsed(&name)) {
        sets.entry(set).or_default().push(variant);
    }
    sets.values_mut().for_each(|variants| variants.sort());
    sets
}

/// The set of weights that a file's name tells, and the variant; none for other files and for parts.
fn parsed(file: &str) -> Option<(String, Variant)> {
    let rest = file.strip_prefix(STEM)?;
    let parts: Vec<&str> = rest.trim_start_matches(['.', '_', '-']).split('.').collect();
    let (kind, rank) = [("safetensors", 0), ("bin", 2)]
        .into_iter()
        .find_map(|(kind, rank)| parts.iter().position(|part| *part == kind).map(|at| (at, rank)))?;
    let (tokens, rank) = match &parts[kind + 1..] {
        [] => (parts[..kind].to_vec(), rank),
        ["index", inner @ .., "json"] => ([&parts[..kind], inner].concat(), rank + 1),
        _ => return None,
    };
    if tokens.iter().any(|token| token.contains("-of-")) {
        return None;
    }
    let place = |token: &&str| PRECISIONS.iter().position(|known| known.eq_ignore_ascii_case(token));
    let precision = tokens.iter().find_map(place).map_or(0, |place| place + 1);
    let set: Vec<&str> = tokens.iter().copied().filter(|token| place(token).is_none()).collect();
    let variant = Variant { precision, rank, name: tokens.join("."), file: file.to_string() };
    Some((set.join("."), variant))
}

/// The set and the file that a name means: a variant, the set of one, or the plain files.
fn named<'s>(sets: &'s Sets, name: &str) -> Option<(&'s String, &'s Variant)> {
    let name = name.strip_prefix(STEM).map_or(name, |rest| rest.trim_start_matches(['.', '_', '-']));
    let exact = sets.iter().find_map(|(set, variants)| {
        variants.iter().find(|variant| variant.name == name).map(|variant| (set, variant))
    });
    exact.or_else(|| sets.get_key_value(name).and_then(|(set, variants)| Some((set, variants.first()?))))
}

/// What the name of a set tells, beside the others.
fn role(sets: &Sets, set: &str) -> Option<WeightSet> {
    let is_non_ema = |set: &str| words(set) == ["non", "ema"];
    let has_average = sets.keys().any(|other| names_average(other));
    match set {
        _ if names_average(set) => Some(WeightSet::Ema),
        _ if is_non_ema(set) => Some(WeightSet::Model),
        // diffusers calls those in training so beside which the plain ones are a moving average.
        "" if sets.keys().any(|other| is_non_ema(other)) && !has_average => Some(WeightSet::Ema),
        "" if has_average && sets.len() == 2 => Some(WeightSet::Model),
        _ => None,
    }
}
