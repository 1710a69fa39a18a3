//! Moving averages that files keep without the names of their weights, given those of the weights beside them.
//!
//! - `torch_ema`, score_sde and others keep a list (`shadow_params`) in the order of the network's parameters.
//! - CompVis' `LitEma` keeps buffers under the names without their dots, beside `decay` and `num_updates`.
//!
//! Neither holds buffers (the statistics of batch norms), which are not averaged: those are taken from the weights beside
//! them. Only names of a known network are given; an average that they do not fit stays nameless, which is said.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::stored::StoredTensor;
use super::telling::{COUNTS, Telling, telling};
use ddae_model::networks::recognition::{Shapes, find, innermost};

/// Averages that are named: a file has one, or a few of different decays.
const MOST_AVERAGES: usize = 16;
/// Sets of weights beside them, and parts in front of their names, that averages are compared with.
const MOST_SETS: usize = 256;
const MOST_LEVELS: usize = 8;
/// Bytes of names that are looked at, all in all.
const MOST_READ: usize = 1 << 28;
/// Buffers of PyTorch's own modules and of SongUNets, which are no parameters.
const BUFFERS: [&str; 4] = ["running_mean", "running_var", "num_batches_tracked", "resample_filter"];

/// Why an average has no names.
const UNLIKE: &str = "its order fits no weights beside it";
const AMBIGUOUS: &str = "its order fits several weights beside it";
const LEFT_OUT: &str = "it holds more averages or weights than are compared";
const OTHER_NAMES: &str = "without their dots they are those of no weights beside it";

/// A moving average whose weights have no names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamelessAverage {
    /// What stands before its tensors: `ema.shadow_params`.
    pub name: String,
    /// Whether it is certainly one.
    pub is_certain: bool,
    /// Why its weights could not be named.
    pub problem: &'static str,
}

/// An average in a file.
struct Average {
    /// `ema.shadow_params.`
    base: String,
    is_certain: bool,
    kind: Kind,
}

enum Kind {
    /// Its tensors in their order; none where numbers are missing.
    List(Option<Vec<usize>>),
    /// Its tensors.
    Dotless(Vec<usize>),
}

/// The names of an average.
struct Fit<'t> {
    /// What stands before those of the weights that it averages.
    prefix: &'t str,
    /// Tensors of the average with their names after its base.
    names: Vec<(usize, &'t str)>,
    /// Tensors below the prefix that are not averaged.
    buffers: Vec<usize>,
}

/// Renames the tensors of averages to the names of the weights that they average, after the average's own prefix, and
/// gives those that fit no weights. `unordered` says why tensors are not in the order of the network, where they are not.
pub(super) fn name_averages(
    tensors: &mut Vec<StoredTensor>,
    unordered: Option<&'static str>,
) -> Vec<NamelessAverage> {
    let (mut averages, dotless) = (lists(tensors), dotless(tensors));
    if averages.is_empty() && dotless.is_empty() {
        return Vec::new();
    }
    let shape = |tensor: &StoredTensor| (tensor.name().to_string(), tensor.shape().to_vec());
    let shapes: Shapes = tensors.iter().map(shape).collect();
    let mut sets: Vec<String> =
        find(&shapes).unwrap_or_default().into_iter().map(|found| found.prefix).collect();
    sets.sort_unstable();
    sets.dedup();
    // Numbers among the names of an average that has names.
    let prefixes: Vec<&str> = sets.iter().map(String::as_str).collect();
    let around = innermost(averages.iter().map(|average| average.base.as_str()), &prefixes);
    let mut around = around.into_iter();
    averages.retain(|_| {
        let set = around.next().flatten().map(|at| prefixes[at]);
        !set.is_some_and(|prefix| telling(prefix) == Telling::Average)
    });
    averages.extend(dotless);
    let mut beside = Beside::of(tensors, &prefixes);
    let mut nameless = Vec::new();
    let mut named: Vec<(usize, String)> = Vec::new();
    let mut copies: Vec<StoredTensor> = Vec::new();
    for (count, average) in averages.iter().enumerate() {
        let fit = match &average.kind {
            _ if count >= MOST_AVERAGES || sets.len() > MOST_SETS => Err(LEFT_OUT),
            Kind::List(listed) => match (unordered, listed) {
                (Some(problem), _) => Err(problem),
                (None, None) => Err(UNLIKE),
                (None, Some(listed)) => beside.only(|beside, prefix| beside.list(prefix, average, listed)),
            },
            Kind::Dotless(own) => beside
                .only(|beside, prefix| beside.dotless(prefix, average, own))
                .map_err(|problem| if problem == UNLIKE { OTHER_NAMES } else { problem }),
        };
        let base = &average.base;
        match fit {
            Ok(Fit { prefix, names, buffers }) => {
                named.extend(names.into_iter().map(|(at, name)| (at, format!("{base}{name}"))));
                let copy = |at: usize| {
                    let tensor = tensors[at].clone();
                    let name = format!("{base}{}", &tensor.name()[prefix.len()..]);
                    tensor.named(name)
                };
                copies.extend(buffers.into_iter().map(copy));
            }
            Err(problem) => nameless.push(NamelessAverage {
                name: base.trim_end_matches('.').to_string(),
                is_certain: average.is_certain,
                problem,
            }),
        }
    }
    for (at, name) in named {
        tensors[at] = tensors[at].clone().named(name);
    }
    tensors.extend(copies);
    nameless
}

/// The number that is the last part of a name, and what stands before it.
fn numbered(name: &str) -> Option<(&str, usize)> {
    let start = name.rfind('.').map_or(0, |dot| dot + 1);
    let (base, leaf) = name.split_at(start);
    let is_number = !leaf.is_empty() && leaf.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| leaf.parse().ok()).flatten().map(|number| (base, number))
}

/// Tensors that are numbered below a name that tells an average, sorted by it; not single numbers, which no weights are.
fn lists(tensors: &[StoredTensor]) -> Vec<Average> {
    let mut bases: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, tensor) in tensors.iter().enumerate() {
        if let Some((base, number)) = numbered(tensor.name()) {
            bases.entry(base).or_default().push((number, at));
        }
    }
    let is_single = |&(_, at): &(usize, usize)| tensors[at].shape().iter().all(|&size| size == 1);
    let list = |(base, mut listed): (&str, Vec<(usize, usize)>)| {
        let told = telling(base);
        if told == Telling::Nothing || listed.iter().all(is_single) {
            return None;
        }
        listed.sort_unstable();
        let is_whole = listed.iter().enumerate().all(|(at, &(number, _))| at == number);
        let kind = Kind::List(is_whole.then(|| listed.into_iter().map(|(_, at)| at).collect()));
        Some(Average { base: base.to_string(), is_certain: told == Telling::Average, kind })
    };
    bases.into_iter().filter_map(list).collect()
}

/// Averages that have `LitEma`'s counters and no dots in their names, sorted.
fn dotless(tensors: &[StoredTensor]) -> Vec<Average> {
    let names: HashSet<&str> = tensors.iter().map(StoredTensor::name).collect();
    let [first, second] = COUNTS;
    let bases = names.iter().filter_map(|name| name.strip_suffix(first));
    let bases =
        bases.filter(|base| base.ends_with('.') && names.contains(format!("{base}{second}").as_str()));
    // The tensors of those of whose names none has a dot.
    let mut of_bases: BTreeMap<&str, Option<Vec<usize>>> =
        bases.map(|base| (base, Some(Vec::new()))).collect();
    if of_bases.is_empty() {
        return Vec::new();
    }
    for (at, tensor) in tensors.iter().enumerate() {
        let name = tensor.name();
        let own = name.rfind('.').map_or(0, |dot| dot + 1);
        if let Some(Some(tensors)) = of_bases.get_mut(&name[..own])
            && !COUNTS.contains(&&name[own..])
        {
            tensors.push(at);
        }
    }
    // What lies deeper below a base has dots.
    let prefixes: Vec<&str> = of_bases.keys().copied().collect();
    let mut sorted: Vec<&str> = names.into_iter().collect();
    sorted.sort_unstable();
    for (name, base) in sorted.iter().zip(innermost(sorted.iter().copied(), &prefixes)) {
        if let Some(base) = base.map(|at| prefixes[at])
            && name[base.len()..].contains('.')
        {
            of_bases.insert(base, None);
        }
    }
    let average = |(base, own): (&str, Option<Vec<usize>>)| {
        let own = own.filter(|own| !own.is_empty())?;
        Some(Average { base: base.to_string(), is_certain: true, kind: Kind::Dotless(own) })
    };
    of_bases.into_iter().filter_map(average).collect()
}

/// The weights that averages are compared with.
struct Beside<'t> {
    tensors: &'t [StoredTensor],
    /// The names with their places among the tensors, sorted.
    sorted: Vec<(&'t str, usize)>,
    /// What stands before the names of networks, and beginnings of that: averages may be of a module around a network. The
    /// longest first, and those that tell no average before others.
    prefixes: Vec<&'t str>,
    /// Bytes of names that may still be looked at.
    left: usize,
}

impl<'t> Beside<'t> {
    fn of(tensors: &'t [StoredTensor], sets: &[&'t str]) -> Beside<'t> {
        let mut sorted: Vec<(&str, usize)> =
            tensors.iter().enumerate().map(|(at, tensor)| (tensor.name(), at)).collect();
        sorted.sort_unstable();
        let mut prefixes: Vec<&str> = Vec::new();
        for set in sets.iter().take(MOST_SETS) {
            let mut prefix = *set;
            for _ in 0..MOST_LEVELS {
                prefixes.push(prefix);
                let Some(inner) = prefix.strip_suffix('.') else { break };
                prefix = &inner[..inner.rfind('.').map_or(0, |dot| dot + 1)];
            }
        }
        prefixes.sort_unstable_by_key(|prefix| (std::cmp::Reverse(prefix.len()), *prefix));
        prefixes.dedup();
        prefixes.sort_by_key(|prefix| telling(prefix) == Telling::Average);
        Beside { tensors, sorted, prefixes, left: MOST_READ }
    }

    /// The names that are told by one of the prefixes alone.
    fn only(
        &mut self,
        fit: impl Fn(&Beside<'t>, &'t str) -> Option<Fit<'t>>,
    ) -> Result<Fit<'t>, &'static str> {
        let mut fits: Vec<Fit<'t>> = Vec::new();
        for prefix in self.prefixes.clone() {
            // The same tensors after less of their names; and averages of averages.
            let is_known = fits.iter().any(|fit| fit.prefix.starts_with(prefix));
            if is_known || !fits.is_empty() && telling(prefix) == Telling::Average {
                continue;
            }
            let bytes = self.below(prefix).iter().map(|(name, _)| name.len() + size_of::<usize>()).sum();
            self.left = self.left.checked_sub(bytes).ok_or(LEFT_OUT)?;
            fits.extend(fit(self, prefix));
        }
        let mut fits = fits.into_iter();
        let first = fits.next().ok_or(UNLIKE)?;
        let is_same = |other: Fit| {
            let same = |(&a, &b): (&usize, &usize)| self.tensors[a].is_same_as(&self.tensors[b]);
            other.names == first.names
                && other.buffers.len() == first.buffers.len()
                && other.buffers.iter().zip(&first.buffers).all(same)
        };
        if fits.all(is_same) { Ok(first) } else { Err(AMBIGUOUS) }
    }

    /// The tensors whose names begin with `prefix`.
    fn below(&self, prefix: &str) -> &[(&'t str, usize)] {
        let start = self.sorted.partition_point(|(name, _)| *name < prefix);
        let rest = &self.sorted[start..];
        &rest[..rest.partition_point(|(name, _)| name.starts_with(prefix))]
    }

    /// The names of a list, where the parameters below a prefix have its shapes in its order.
    fn list(&self, prefix: &'t str, average: &Average, listed: &[usize]) -> Option<Fit<'t>> {
        let below = self.below(prefix);
        if below.len() < listed.len() {
            return None;
        }
        let others = below.iter().filter(|(name, _)| !name.starts_with(&average.base));
        let (buffers, mut parameters): (Vec<usize>, Vec<usize>) =
            others.map(|(_, at)| *at).partition(|&at| is_buffer(self.tensors[at].name()));
        // In the order of the file. Another list has no names to give.
        parameters.sort_unstable();
        let is_listed = |&at: &usize| numbered(self.tensors[at].name()).is_some();
        let shapes = |places: &[usize]| places.iter().map(|&at| self.tensors[at].shape()).collect::<Vec<_>>();
        if parameters.len() != listed.len()
            || parameters.iter().any(is_listed)
            || shapes(&parameters) != shapes(listed)
        {
            return None;
        }
        let names = parameters.iter().map(|&at| &self.tensors[at].name()[prefix.len()..]);
        Some(Fit { prefix, names: listed.iter().copied().zip(names).collect(), buffers })
    }

    /// The names that are those of tensors without dots.
    fn dotless(&self, prefix: &'t str, average: &Average, own: &[usize]) -> Option<Fit<'t>> {
        let below = self.below(prefix);
        if below.len() < own.len() {
            return None;
        }
        let mut dotted: HashMap<String, Vec<(&'t str, usize)>> = HashMap::new();
        for (name, at) in below.iter().filter(|(name, _)| !name.starts_with(&average.base)) {
            let name = &name[prefix.len()..];
            dotted.entry(name.replace('.', "")).or_default().push((name, *at));
        }
        // Two names that are the same without their dots tell nothing.
        let name_of = |&at: &usize| match dotted.get(&self.tensors[at].name()[average.base.len()..]) {
            Some(same) => match &same[..] {
                [(name, of)] if self.tensors[at].shape() == self.tensors[*of].shape() => Some((at, *name)),
                _ => None,
            },
            None => None,
        };
        let names: Vec<(usize, &'t str)> = own.iter().map(name_of).collect::<Option<_>>()?;
        let averaged: HashSet<&str> = names.iter().map(|(_, name)| *name).collect();
        let rest = dotted.into_values().flatten().filter(|(name, _)| !averaged.contains(name));
        // Parameters that are not trained are not averaged either; what else lies at the top of a file is none of them.
        let rest = rest.filter(|(name, _)| !prefix.is_empty() || is_buffer(name));
        let mut buffers: Vec<usize> = rest.map(|(_, at)| at).collect();
        buffers.sort_unstable();
        Some(Fit { prefix, names, buffers })
    }
}

fn is_buffer(name: &str) -> bool {
    BUFFERS.contains(&name.rsplit('.').next().unwrap_or_default())
}
