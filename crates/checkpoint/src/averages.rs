//! Moving averages that files keep without the names of their weights, given those of the weights beside them.
//!
//! - `torch_ema` and score_sde keep a list, `shadow_params`, in the order of the network's parameters.
//! - CompVis' `LitEma` keeps buffers under the names without their dots, beside `decay` and `num_updates`.
//!
//! Neither holds buffers (the statistics of batch norms), which are not averaged: those are taken from the weights beside
//! them.

use std::collections::{HashMap, HashSet};

use super::stored::StoredTensor;

/// The list of `torch_ema`.
const LIST: &str = "shadow_params.";
/// What stands beside the buffers of `LitEma`.
const COUNTS: [&str; 2] = ["decay", "num_updates"];
/// Averages that are looked for: a file has one, or a few of different decays.
const MOST_AVERAGES: usize = 16;
/// Buffers of PyTorch's own modules, which are no parameters.
const BUFFERS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// Renames the tensors of averages to the names of the weights that they average, after the average's own prefix, and
/// gives the names of those that fit no weights. The tensors are in the order of the file.
pub(super) fn name_averages(tensors: &mut Vec<StoredTensor>) -> Vec<String> {
    let mut nameless = Vec::new();
    for base in lists(tensors) {
        if !name_list(tensors, &base) {
            nameless.push(base.trim_end_matches('.').to_string());
        }
    }
    for base in dotless(tensors) {
        if !name_dotless(tensors, &base) {
            nameless.push(base.trim_end_matches('.').to_string());
        }
    }
    nameless
}

/// Prefixes of lists: `ema.shadow_params.`
fn lists(tensors: &[StoredTensor]) -> Vec<String> {
    let first = format!("{LIST}0");
    let is_list =
        |name: &&str| name.strip_suffix(&first).is_some_and(|outer| outer.is_empty() || outer.ends_with('.'));
    let names = tensors.iter().map(StoredTensor::name).filter(is_list);
    names.map(|name| name[..name.len() - 1].to_string()).take(MOST_AVERAGES).collect()
}

/// Prefixes of averages that have `LitEma`'s counters and no dots in their names: `model_ema.`
fn dotless(tensors: &[StoredTensor]) -> Vec<String> {
    let names: HashSet<&str> = tensors.iter().map(StoredTensor::name).collect();
    let [first, second] = COUNTS;
    let bases = names.iter().filter_map(|name| name.strip_suffix(first));
    let bases =
        bases.filter(|base| base.ends_with('.') && names.contains(format!("{base}{second}").as_str()));
    let mut bases: Vec<String> = bases.map(str::to_string).collect();
    bases.sort_unstable();
    bases.truncate(MOST_AVERAGES);
    bases.retain(|base| {
        let rest = || names.iter().filter_map(|name| name.strip_prefix(base.as_str()));
        rest().count() > COUNTS.len() && rest().all(|name| !name.contains('.'))
    });
    bases
}

/// Gives the elements of a list the names of the parameters below the one prefix whose shapes are the same in the same order.
fn name_list(tensors: &mut Vec<StoredTensor>, base: &str) -> bool {
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (at, tensor) in tensors.iter().enumerate() {
        let number = tensor.name().strip_prefix(base).and_then(|number| number.parse().ok());
        if let Some(number) = number {
            places.insert(number, at);
        }
    }
    let listed: Option<Vec<usize>> = (0..places.len()).map(|number| places.get(&number).copied()).collect();
    let Some(listed) = listed else { return false };
    let is_parameter = |tensor: &StoredTensor| {
        let leaf = tensor.name().rsplit('.').next().unwrap_or_default();
        !tensor.name().starts_with(base) && !BUFFERS.contains(&leaf)
    };
    // How many parameters there are below each prefix.
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for tensor in tensors.iter().filter(|tensor| is_parameter(tensor)) {
        let name = tensor.name();
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        starts.chain([0]).for_each(|start| *counts.entry(&name[..start]).or_insert(0) += 1);
    }
    let fits = |prefix: &str| {
        let below = tensors.iter().filter(|tensor| tensor.name().starts_with(prefix) && is_parameter(tensor));
        below.map(StoredTensor::shape).eq(listed.iter().map(|&at| tensors[at].shape()))
    };
    let mut fitting: Vec<&str> =
        counts.iter().filter(|&(_, &count)| count == listed.len()).map(|(prefix, _)| *prefix).collect();
    // Of prefixes with the same tensors the longest is what stands before the names; a few are tried.
    fitting.sort_unstable_by_key(|prefix| std::cmp::Reverse((prefix.len(), *prefix)));
    fitting.truncate(8);
    let Some(model) = fitting.into_iter().find(|prefix| fits(prefix)).map(str::to_string) else {
        return false;
    };
    let names: Vec<String> = tensors
        .iter()
        .filter(|tensor| tensor.name().starts_with(&model) && is_parameter(tensor))
        .map(|tensor| format!("{base}{}", &tensor.name()[model.len()..]))
        .collect();
    for (at, name) in listed.into_iter().zip(names) {
        tensors[at] = tensors[at].clone().named(name);
    }
    copy_buffers(tensors, &model, base, |name| {
        let leaf = name.rsplit('.').next().unwrap_or_default();
        BUFFERS.contains(&leaf)
    });
    true
}

/// Gives tensors without dots in their names those of the weights beside them: of `model.` to `model_ema.`.
fn name_dotless(tensors: &mut Vec<StoredTensor>, base: &str) -> bool {
    let (outer, own) = match base.trim_end_matches('.').rsplit_once('.') {
        Some((outer, own)) => (format!("{outer}."), own),
        None => (String::new(), base.trim_end_matches('.')),
    };
    let Some(model) = own.strip_suffix("_ema").or_else(|| own.strip_prefix("ema_")) else { return false };
    let model = format!("{outer}{model}.");
    let mut dotted: HashMap<String, Vec<String>> = HashMap::new();
    for name in tensors.iter().filter_map(|tensor| tensor.name().strip_prefix(&model)) {
        dotted.entry(name.replace('.', "")).or_default().push(name.to_string());
    }
    let mut names: Vec<(usize, String)> = Vec::new();
    for (at, tensor) in tensors.iter().enumerate() {
        let Some(name) = tensor.name().strip_prefix(base).filter(|name| !COUNTS.contains(name)) else {
            continue;
        };
        // Two names that are the same without their dots tell nothing.
        match dotted.get(name).map(Vec::as_slice) {
            Some([dotted]) => names.push((at, format!("{base}{dotted}"))),
            _ => return false,
        }
    }
    let averaged: HashSet<String> = names.iter().map(|(_, name)| name[base.len()..].to_string()).collect();
    for (at, name) in names {
        tensors[at] = tensors[at].clone().named(name);
    }
    copy_buffers(tensors, &model, base, |name| !averaged.contains(name));
    true
}

/// Puts the tensors of `model` that are not averaged among those of the average.
fn copy_buffers(
    tensors: &mut Vec<StoredTensor>,
    model: &str,
    average: &str,
    is_buffer: impl Fn(&str) -> bool,
) {
    let copies: Vec<StoredTensor> = tensors
        .iter()
        .filter_map(|tensor| {
            let name = tensor.name().strip_prefix(model)?;
            let is_other = !tensor.name().starts_with(average);
            (is_other && is_buffer(name)).then(|| tensor.clone().named(format!("{average}{name}")))
        })
        .collect();
    tensors.extend(copies);
}
