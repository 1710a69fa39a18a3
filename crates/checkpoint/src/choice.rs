//! Which of a file's sets of weights is meant.

use super::CheckpointError;
use super::averages::NamelessAverage;
use super::file::Checkpoint;
use super::sets::{NamedWeights, SetRole, WeightChoice};
use ddae_model::networks::Family;
use ddae_model::weights::WeightSet;

/// Sets that an error lists.
const SHOWN: usize = 16;

/// The sets of the networks that are wanted.
struct Wanted<'c> {
    sets: Vec<&'c NamedWeights>,
    nameless: &'c [NamelessAverage],
}

impl<'c> Wanted<'c> {
    fn of(checkpoint: &'c Checkpoint, is_wanted: impl Fn(&Family) -> bool) -> Wanted<'c> {
        let sets = checkpoint.sets().iter().filter(|set| set.families.iter().any(|family| is_wanted(family)));
        Wanted { sets: sets.collect(), nameless: checkpoint.nameless_averages() }
    }

    fn role(&self, role: SetRole) -> Vec<&'c NamedWeights> {
        self.sets.iter().copied().filter(|set| set.role() == role).collect()
    }

    /// Weights in training: those of which names tell nothing, else copies beside averages.
    fn in_training(&self) -> Vec<&'c NamedWeights> {
        let plain = self.role(SetRole::Plain);
        if plain.is_empty() { self.role(SetRole::Copy) } else { plain }
    }

    /// The sets that a name means: the one that is called so, else those whose names begin with it.
    fn named(&self, name: &str) -> Vec<&'c NamedWeights> {
        let name = name.trim_end_matches('.');
        let exact = self.sets.iter().copied().find(|set| set.prefix().trim_end_matches('.') == name);
        let start = format!("{name}.");
        let begins = || self.sets.iter().copied().filter(|set| set.prefix().starts_with(&start)).collect();
        exact.map_or_else(begins, |set| vec![set])
    }
}

/// The only set among some: there is one, or all are the same bytes under several names.
fn only<'s>(sets: &[&'s NamedWeights]) -> Option<&'s NamedWeights> {
    let (first, others) = sets.split_first()?;
    others.iter().all(|set| set.bytes_of == first.bytes_of).then_some(*first)
}

/// Names of sets for an error, the first of many.
pub fn listed<'s>(sets: impl IntoIterator<Item = &'s NamedWeights>) -> String {
    let mut sets = sets.into_iter();
    let mut listed: Vec<String> = sets.by_ref().take(SHOWN).map(ToString::to_string).collect();
    listed.extend(sets.next().map(|_| "…".to_string()));
    listed.join(", ")
}

impl NamelessAverage {
    /// A clause that says why its weights cannot be taken.
    pub fn refusal(&self) -> String {
        let (name, problem) = (self.name.escape_debug(), self.problem);
        match self.is_certain {
            true => format!("its moving average, '{name}', has no names, and {problem}"),
            false => format!("'{name}', which may be a moving average, has no names, and {problem}"),
        }
    }
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
        let wanted = Wanted::of(self, is_wanted);
        if wanted.sets.is_empty() {
            return Ok(None);
        }
        let wrong = |message: String| {
            let count = wanted.sets.len();
            let sets = if count == 1 { "one set".to_string() } else { format!("{count} sets") };
            let listed = listed(wanted.sets.iter().copied());
            CheckpointError::format(self.path(), format!("{message}: it holds {sets} of weights, {listed}"))
        };
        let several = || wrong(format!("more than one set could be meant; choose with {option} NAME"));
        let nameless = |average: &NamelessAverage| {
            wrong(format!("{}; choose others with {option} NAME", average.refusal()))
        };
        let averages = wanted.role(SetRole::Average);
        match asked {
            Some(WeightChoice::Named(name)) => {
                let named = wanted.named(name);
                let own = wanted.nameless.iter().find(|list| list.name == name.trim_end_matches('.'));
                match (only(&named), named.is_empty(), own) {
                    (Some(set), ..) => Ok(Some(set)),
                    (None, true, Some(average)) => Err(nameless(average)),
                    (None, true, None) => {
                        Err(wrong(format!("{option} {}: no weights are called so", name.escape_debug())))
                    }
                    (None, false, _) => Err(several()),
                }
            }
            Some(WeightChoice::Of(set)) => {
                // Where roles leave several, a set may be called so.
                let exact = || only(&wanted.named(set.name()));
                match set {
                    WeightSet::Ema => match (only(&averages), wanted.nameless) {
                        (Some(average), []) => Ok(Some(average)),
                        (_, [average, ..]) => exact().map(Some).ok_or_else(|| nameless(average)),
                        (None, []) if averages.is_empty() => {
                            Err(wrong(format!("{option} ema: no moving average is there")))
                        }
                        (None, []) => exact().map(Some).ok_or_else(several),
                    },
                    WeightSet::Model => {
                        let in_training = wanted.in_training();
                        match only(&in_training) {
                            Some(set) => Ok(Some(set)),
                            None if in_training.is_empty() => {
                                Err(wrong(format!("{option} model: no weights in training are there")))
                            }
                            None => exact().map(Some).ok_or_else(several),
                        }
                    }
                }
            }
            // An average without names may be the one that is meant.
            None => match (only(&averages), wanted.nameless) {
                (Some(average), []) => Ok(Some(average)),
                (_, [average, ..]) => Err(nameless(average)),
                (None, []) if averages.is_empty() => {
                    only(&wanted.in_training()).map(Some).ok_or_else(several)
                }
                (None, []) => Err(several()),
            },
        }
    }

    /// What the names of a file tell of one of its sets, among those of networks that `is_wanted`: that it is the average, or
    /// the one in training beside an average; nothing where there is no average, or several others.
    pub fn told(&self, set: &NamedWeights, is_wanted: impl Fn(&Family) -> bool) -> Option<WeightSet> {
        let wanted = Wanted::of(self, is_wanted);
        let has_average = !wanted.role(SetRole::Average).is_empty()
            || wanted.nameless.iter().any(|average| average.is_certain);
        let is_only = only(&wanted.role(SetRole::Plain)).is_some();
        match set.role() {
            SetRole::Average => Some(WeightSet::Ema),
            SetRole::Copy => Some(WeightSet::Model),
            SetRole::Plain => (has_average && is_only).then_some(WeightSet::Model),
        }
    }
}
