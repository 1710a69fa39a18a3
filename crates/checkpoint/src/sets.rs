//! The sets of weights in a file: each network that its names and shapes tell, under each of the prefixes it has.
//!
//! Training code keeps a moving average beside the weights in training under any name. What a set is called is not guessed
//! from a list of layouts: all sets are found, a word in the prefix tells an average, and where more than one is left the user
//! chooses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::stored::StoredTensor;
use super::telling::{COUNTS, Telling, telling, words};
use ddae_model::networks::Family;
use ddae_model::networks::recognition::{Shapes, find, innermost};
use ddae_model::weights::WeightSet;

/// Counts what `torch.optim.swa_utils.AveragedModel` has averaged; the weights stand in `module.` beside it.
const N_AVERAGED: &str = "n_averaged";
/// What our own training checkpoints hold of tensors that are no weights.
const OF_RUNS: [&str; 3] = ["optimizer.", "record.", "record_encoder."];

/// Sets of the same sizes that are compared with each other.
const MOST_COMPARED: usize = 64;

/// What the prefix of a set tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetRole {
    /// A moving average.
    Average,
    /// Nothing: weights in training, or the only ones.
    Plain,
    /// The copy of the weights in training that `ema_pytorch` keeps beside their average (`online_model`).
    Copy,
}

/// A set of weights in a file.
#[derive(Clone, Debug)]
pub struct NamedWeights {
    prefix: String,
    role: SetRole,
    pub(super) families: Vec<&'static Family>,
    tensors: usize,
    elements: u64,
    /// The number of the first set that is the same bytes under other names, which may be itself.
    pub(super) bytes_of: usize,
}

impl NamedWeights {
    /// What stands before the names of its tensors: `EMA.ema_model.nn_model.`, or nothing.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What its prefix tells of it.
    pub fn role(&self) -> SetRole {
        self.role
    }

    /// The kinds of networks whose weights they are: one, or the two halves of a SODA.
    pub fn families(&self) -> &[&'static Family] {
        &self.families
    }

    /// Number of tensors below the prefix, but for those of other sets.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// Their elements, all in all.
    pub fn elements(&self) -> u64 {
        self.elements
    }
}

/// The prefix, as it is given to `--weights`, and what it means.
impl fmt::Display for NamedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.prefix {
            "" => f.write_str("'' (names without a prefix)")?,
            prefix => write!(f, "'{}'", prefix.trim_end_matches('.').escape_debug())?,
        }
        match self.role {
            SetRole::Average => f.write_str(" (moving average)"),
            SetRole::Plain => Ok(()),
            SetRole::Copy => f.write_str(" (in training)"),
        }
    }
}

/// Which set of weights of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightChoice {
    /// The moving average, or the weights in training.
    Of(WeightSet),
    /// The one whose prefix this is or begins with.
    Named(String),
}

impl FromStr for WeightChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<WeightChoice, Infallible> {
        let known = [WeightSet::Ema, WeightSet::Model].into_iter().find(|set| set.name() == text);
        Ok(known.map_or_else(|| WeightChoice::Named(text.to_string()), WeightChoice::Of))
    }
}

impl fmt::Display for WeightChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightChoice::Of(set) => f.write_str(set.name()),
            WeightChoice::Named(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

/// Finds the sets among tensors (sorted by name); `ours` says whether they are of one of our training checkpoints.
pub(super) fn sets(tensors: &[StoredTensor], ours: bool) -> Vec<NamedWeights> {
    let is_of_run = |name: &str| ours && OF_RUNS.iter().any(|part| name.starts_with(part));
    let shape = |tensor: &StoredTensor| (tensor.name().to_string(), tensor.shape().to_vec());
    let shapes: Shapes = tensors.iter().filter(|tensor| !is_of_run(tensor.name())).map(shape).collect();
    let mut families: BTreeMap<String, Vec<&'static Family>> = BTreeMap::new();
    for found in find(&shapes).unwrap_or_default() {
        families.entry(found.prefix).or_default().push(found.family);
    }
    let prefixes: Vec<&str> = families.keys().map(String::as_str).collect();
    let mut tensors_of: Vec<Vec<&StoredTensor>> = vec![Vec::new(); prefixes.len()];
    for (tensor, set) in tensors.iter().zip(innermost(tensors.iter().map(StoredTensor::name), &prefixes)) {
        if let Some(set) = set.filter(|_| !is_of_run(tensor.name())) {
            tensors_of[set].push(tensor);
        }
    }
    // The same bytes are as many tensors of as many elements.
    let mut known: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let known_prefixes: HashSet<&str> = prefixes.iter().copied().collect();
    let mut sets: Vec<NamedWeights> = Vec::with_capacity(prefixes.len());
    for (at, (prefix, own)) in prefixes.iter().zip(&tensors_of).enumerate() {
        let elements = own.iter().fold(0, |n: u64, tensor| n.saturating_add(elements(tensor)));
        let alike = known.entry((own.len(), elements)).or_default();
        let is_first = |&&first: &&usize| is_same(&tensors_of[first], prefixes[first], own, prefix);
        let bytes_of = alike.iter().find(is_first).copied();
        if bytes_of.is_none() && alike.len() < MOST_COMPARED {
            alike.push(at);
        }
        sets.push(NamedWeights {
            prefix: prefix.to_string(),
            role: role(prefix, |other| known_prefixes.contains(other), |name| shapes.has(name)),
            families: families[*prefix].clone(),
            tensors: own.len(),
            elements,
            bytes_of: bytes_of.unwrap_or(at),
        });
    }
    sets
}

fn elements(tensor: &StoredTensor) -> u64 {
    tensor.shape().iter().fold(1, |n: u64, &size| n.saturating_mul(size as u64))
}

/// Whether two runs of tensors are the same bytes under the same names after their prefixes.
fn is_same(a: &[&StoredTensor], a_prefix: &str, b: &[&StoredTensor], b_prefix: &str) -> bool {
    let same = |(a, b): (&&StoredTensor, &&StoredTensor)| {
        a.is_same_as(b) && a.name()[a_prefix.len()..] == b.name()[b_prefix.len()..]
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// What a prefix tells, among others that there are.
fn role(prefix: &str, is_set: impl Fn(&str) -> bool, has: impl Fn(&str) -> bool) -> SetRole {
    if words(prefix).iter().any(|word| word == "online") {
        return if is_set(&prefix.replace("online", "ema")) { SetRole::Copy } else { SetRole::Plain };
    }
    let is_counted = || {
        let outer = prefix.strip_suffix("module.").unwrap_or(prefix);
        let has_all = |base: &str| COUNTS.iter().all(|count| has(&format!("{base}{count}")));
        (outer != prefix && has(&format!("{outer}{N_AVERAGED}"))) || has_all(prefix) || has_all(outer)
    };
    if telling(prefix) == Telling::Average || is_counted() { SetRole::Average } else { SetRole::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_role() {
        let of = |prefix: &str, set: &str, tensors: &[&str]| {
            role(prefix, |other| other == set, |name| tensors.contains(&name))
        };
        for (prefix, set, tensors, expected) in [
            ("model.", "", &[][..], SetRole::Plain),
            ("ema.", "", &[], SetRole::Average),
            ("EMA.online_model.", "", &[], SetRole::Plain),
            ("EMA.online_model.", "EMA.ema_model.", &[], SetRole::Copy),
            ("state.module.", "", &["state.n_averaged"], SetRole::Average),
            ("state.", "", &["state.n_averaged"], SetRole::Plain),
            ("other.module.", "", &["state.n_averaged"], SetRole::Plain),
            ("smooth.", "", &["smooth.decay", "smooth.num_updates"], SetRole::Average),
            ("smooth.module.", "", &["smooth.decay", "smooth.num_updates"], SetRole::Average),
            ("smooth.", "", &["smooth.decay"], SetRole::Plain),
        ] {
            assert_eq!(of(prefix, set, tensors), expected, "'{prefix}'");
        }
    }
}
