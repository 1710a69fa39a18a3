//! The sets of weights in a file: each network that its names and shapes tell, under each of the prefixes it has.
//!
//! Training code keeps a moving average beside the weights in training under any name. What a set is called is not guessed
//! from a list of layouts: all sets are found, a word in the prefix tells an average, and where more than one is left the user
//! chooses.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::CheckpointError;
use super::file::Checkpoint;
use super::stored::StoredTensor;
use ddae_model::networks::Family;
use ddae_model::networks::recognition::{Shapes, find};
use ddae_model::weights::WeightSet;

/// Words of a prefix that certainly mean a moving average.
const AVERAGED: [&str; 7] = ["ema", "averaged", "average", "avg", "shadow", "swa", "polyak"];
/// Counts what `torch.optim.swa_utils.AveragedModel` has averaged; the weights stand in `module.` beside it.
const N_AVERAGED: &str = "n_averaged";
/// What our own training checkpoints hold of tensors that are no weights.
const OF_RUNS: [&str; 3] = ["optimizer.", "record.", "record_encoder."];

/// Sets that are compared with each other, and that an error lists.
const MOST_COMPARED: usize = 256;
const SHOWN: usize = 16;

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
    families: Vec<&'static Family>,
    tensors: usize,
    elements: u64,
    /// The number of the first set that is the same bytes under other names, which may be itself.
    bytes_of: usize,
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

    /// Number of tensors below the prefix.
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
            "" => f.write_str("names without a prefix")?,
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
    let mut sets: Vec<NamedWeights> = Vec::new();
    for found in find(&shapes).unwrap_or_default() {
        if let Some(set) = sets.iter_mut().find(|set| set.prefix == found.prefix) {
            set.families.push(found.family);
            continue;
        }
        let of_it = below(tensors, &found.prefix);
        sets.push(NamedWeights {
            role: SetRole::Plain,
            families: vec![found.family],
            tensors: of_it.len(),
            elements: of_it.iter().fold(0, |n: u64, tensor| n.saturating_add(elements(tensor))),
            bytes_of: 0,
            prefix: found.prefix,
        });
    }
    sets.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    let is_same = |a: &NamedWeights, b: &NamedWeights| {
        is_same(below(tensors, &a.prefix), &a.prefix, below(tensors, &b.prefix), &b.prefix)
    };
    for at in 0..sets.len() {
        let first = sets[..at.min(MOST_COMPARED)].iter().position(|known| is_same(known, &sets[at]));
        sets[at].bytes_of = first.unwrap_or(at);
    }
    let prefixes: Vec<String> = sets.iter().map(|set| set.prefix.clone()).collect();
    for set in &mut sets {
        set.role = role(&set.prefix, &prefixes, |name| shapes.has(name));
    }
    sets
}

/// The only set among some: there is one, or all are the same bytes under several names.
fn only<'s>(sets: &[&'s NamedWeights]) -> Option<&'s NamedWeights> {
    let (first, others) = sets.split_first()?;
    others.iter().all(|set| set.bytes_of == first.bytes_of).then_some(*first)
}

/// The tensors whose names begin with `prefix`, of sorted ones.
fn below<'t>(tensors: &'t [StoredTensor], prefix: &str) -> &'t [StoredTensor] {
    let start = tensors.partition_point(|tensor| tensor.name() < prefix);
    let rest = &tensors[start..];
    &rest[..rest.partition_point(|tensor| tensor.name().starts_with(prefix))]
}

fn elements(tensor: &StoredTensor) -> u64 {
    tensor.shape().iter().fold(1, |n: u64, &size| n.saturating_mul(size as u64))
}

/// Whether two runs of tensors are the same bytes under the same names after their prefixes.
fn is_same(a: &[StoredTensor], a_prefix: &str, b: &[StoredTensor], b_prefix: &str) -> bool {
    let same = |(a, b): (&StoredTensor, &StoredTensor)| {
        a.name()[a_prefix.len()..] == b.name()[b_prefix.len()..] && a.is_same_as(b)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// What a prefix among others tells.
fn role(prefix: &str, others: &[String], has: impl Fn(&str) -> bool) -> SetRole {
    let parts = || prefix.split('.').filter(|part| !part.is_empty());
    if parts().any(|part| words(part).iter().any(|word| word == "online")) {
        let average = prefix.replace("online", "ema");
        return if others.contains(&average) { SetRole::Copy } else { SetRole::Plain };
    }
    let is_average = |part: &str| {
        let words = words(part);
        let at = words.iter().position(|word| AVERAGED.contains(&word.as_str()));
        at.is_some_and(|at| at == 0 || words[at - 1] != "non")
    };
    let is_counted = prefix.strip_suffix("module.").is_some_and(|outer| has(&format!("{outer}{N_AVERAGED}")));
    if parts().any(is_average) || is_counted { SetRole::Average } else { SetRole::Plain }
}

/// Whether a name certainly says that what bears it is a moving average: `model_ema`, `unet_ema`, but not `non_ema`.
pub fn names_average(name: &str) -> bool {
    role(&format!("{name}."), &[], |_| false) == SetRole::Average
}

/// The words of a name like `state_dict_ema` or `netEma`, in small letters.
fn words(part: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_was_small = false;
    for c in part.chars() {
        let is_border = !c.is_alphanumeric();
        if (is_border || (before_was_small && c.is_uppercase()))
            && words.last().is_some_and(|word| !word.is_empty())
        {
            words.push(String::new());
        }
        if let (false, Some(word)) = (is_border, words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before_was_small = c.is_lowercase();
    }
    words
}

impl Checkpoint {
    /// The set of weights that is wanted, among those of networks that `is_wanted`: the one that is asked for, else the
    /// average, else the only one. None where the names tell no such network.
    ///
    /// # Errors
    /// When what is asked for is not there, or several are left: with all that there are, for the option `option`.
    pub fn choose(
        &self,
        asked: Option<&WeightChoice>,
        option: &str,
        is_wanted: impl Fn(&Family) -> bool,
    ) -> Result<Option<&NamedWeights>, CheckpointError> {
        let wanted: Vec<&NamedWeights> =
            self.sets().iter().filter(|set| set.families.iter().any(|family| is_wanted(family))).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let of = |role: SetRole| wanted.iter().copied().filter(|set| set.role == role).collect::<Vec<_>>();
        let (averages, plain, copies) = (of(SetRole::Average), of(SetRole::Plain), of(SetRole::Copy));
        let in_training = if plain.is_empty() { &copies } else { &plain };
        let wrong = |message: String| {
            let mut listed: Vec<String> = wanted.iter().take(SHOWN).map(ToString::to_string).collect();
            let count = wanted.len();
            listed.extend((count > SHOWN).then(|| "…".to_string()));
            let sets = if count == 1 { "one set".to_string() } else { format!("{count} sets") };
            let message = format!("{message}: it holds {sets} of weights, {}", listed.join(", "));
            CheckpointError::format(self.path(), message)
        };
        let several = || wrong(format!("more than one set could be meant; choose with {option} NAME"));
        match asked {
            Some(WeightChoice::Named(name)) => {
                let name = name.trim_end_matches('.');
                let exact = wanted.iter().copied().find(|set| set.prefix.trim_end_matches('.') == name);
                let start = format!("{name}.");
                let begins: Vec<&NamedWeights> =
                    wanted.iter().copied().filter(|set| set.prefix.starts_with(&start)).collect();
                match (exact.or_else(|| only(&begins)), begins.is_empty()) {
                    (Some(set), _) => Ok(Some(set)),
                    (None, true) => {
                        Err(wrong(format!("{option} {}: no weights are called so", name.escape_debug())))
                    }
                    (None, false) => Err(several()),
                }
            }
            Some(WeightChoice::Of(set)) => {
                let fitting = match set {
                    WeightSet::Ema => &averages,
                    WeightSet::Model => in_training,
                };
                match (only(fitting), fitting.is_empty(), set) {
                    (Some(set), ..) => Ok(Some(set)),
                    (None, true, WeightSet::Ema) => {
                        Err(wrong(format!("{option} ema: no moving average is there")))
                    }
                    (None, true, WeightSet::Model) => {
                        Err(wrong(format!("{option} model: no weights in training are there")))
                    }
                    (None, false, _) => Err(several()),
                }
            }
            None => match (only(&averages), averages.is_empty(), self.nameless_averages()) {
                (Some(set), ..) => Ok(Some(set)),
                (None, true, [list, ..]) => Err(wrong(format!(
                    "its moving average, '{}', has no names, and its order fits no weights beside it; choose others with \
                     {option} NAME",
                    list.escape_debug()
                ))),
                (None, true, []) => only(in_training).map(Some).ok_or_else(several),
                (None, false, _) => Err(several()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_averages() {
        for (prefix, is_average) in [
            ("", false),
            ("model.", false),
            ("ema.", true),
            ("EMA.ema_model.nn_model.", true),
            ("EMA.online_model.nn_model.", false),
            ("state_dict_ema.", true),
            ("state_dict.model_ema.", true),
            ("ema_model_state_dict.module.", true),
            ("params_ema.", true),
            ("netEma.", true),
            ("model-ema.", true),
            ("non_ema.", false),
            ("unet_non_ema.", false),
            ("schema.", false),
            ("emanate.model.", false),
            ("swa_model.", true),
            ("average.", true),
        ] {
            let found = role(prefix, &[], |_| false) == SetRole::Average;
            assert_eq!(found, is_average, "'{prefix}'");
        }
        let counted = |name: &str| name == "state.n_averaged";
        assert_eq!(role("state.module.", &[], counted), SetRole::Average);
        assert_eq!(role("other.module.", &[], counted), SetRole::Plain);
        let others = ["EMA.ema_model.".to_string()];
        assert_eq!(role("EMA.online_model.", &others, |_| false), SetRole::Copy);
    }
}
