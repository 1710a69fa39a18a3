//! Which weights of a file are taken, and of which of its networks.

use ddae_checkpoint::{
    Checkpoint, LayoutKind, NamedWeights, NamelessAverage, SetRole, WeightChoice, WeightSet, listed,
};
use ddae_model::networks::Family;
use ddae_model::networks::recognition::{RecogniseError, find};
use ddae_onnx::metadata::GraphKind;

use crate::ExportError;

/// Networks that an error lists.
const SHOWN: usize = 16;

/// The weights that are taken of a file.
pub(super) struct Taken {
    /// The prefix of the set, where the names tell one.
    pub set: Option<String>,
    /// What stands before all names that are looked at.
    pub root: String,
    /// Averaged or in training, where that is told.
    pub told: Option<WeightSet>,
    /// Of a folder of several, the one.
    pub folder: Option<String>,
    /// What was asked for, or what the arrangement says where names tell nothing.
    pub asked: Option<WeightSet>,
    /// The name that was asked for.
    pub named: Option<String>,
}

impl Taken {
    /// The set that is asked for of the networks that `is_wanted`; where names tell none, what the file's arrangement says.
    pub fn from(
        checkpoint: &Checkpoint,
        asked: Option<&WeightChoice>,
        is_wanted: impl Fn(&Family) -> bool,
    ) -> Result<Taken, ExportError> {
        let layout = checkpoint.layout();
        let (set, name) = match asked {
            Some(WeightChoice::Of(set)) => (Some(*set), None),
            Some(WeightChoice::Named(name)) => (None, Some(name.clone())),
            None => (None, None),
        };
        let count =
            checkpoint.sets().iter().filter(|set| set.families().iter().any(|&f| is_wanted(f))).count();
        let is_only = count <= 1
            && checkpoint.sets().iter().all(|set| set.role() == SetRole::Plain)
            && checkpoint.nameless_averages().is_empty()
            && layout.kind() == LayoutKind::StateDict;
        if let (true, Some(set)) = (is_only, set) {
            let (set, path) = (set.name(), checkpoint.path().display());
            let message =
                format!("--weights {set}: {path} is a plain file of weights and holds only one set");
            return Err(ExportError::Argument(message));
        }
        // An arrangement that is known has those in training under a name of their own.
        let by_layout = (count <= 1 && layout.kind() != LayoutKind::StateDict).then_some(WeightSet::Model);
        if let Some(found) = checkpoint.choose(asked, "--weights", &is_wanted)? {
            let told = checkpoint.told(found, &is_wanted).or(by_layout);
            // A role that decides nothing is a name.
            let by_role = set.filter(|set| told != Some(*set)).map(|set| set.name().to_string());
            return Ok(Taken {
                set: Some(found.prefix().to_string()),
                root: found.prefix().to_string(),
                told,
                folder: None,
                asked: set,
                named: name.or(by_role),
            });
        }
        if let Some(name) = name {
            let known = match checkpoint.sets() {
                [] => "none that is known".to_string(),
                sets => listed(sets),
            };
            let name = name.escape_debug();
            let message =
                format!("--weights {name}: it holds no weights of this network called so, but {known}");
            return Err(ExportError::unusable(checkpoint.path(), message));
        }
        if let ([average, ..], true) = (checkpoint.nameless_averages(), set != Some(WeightSet::Model)) {
            return Err(without_names(checkpoint, average));
        }
        // A part of a network, or one that names do not tell: as its arrangement says.
        let kind = set.or_else(|| checkpoint.weight_sets().first().copied()).unwrap_or_default();
        checkpoint.parameters(kind)?;
        let root = layout.root(kind).unwrap_or_default().to_string();
        Ok(Taken {
            set: None,
            root,
            told: (layout.kind() != LayoutKind::StateDict).then_some(kind),
            folder: None,
            asked: Some(kind),
            named: None,
        })
    }

    /// Averaged or in training.
    pub fn kind(&self) -> WeightSet {
        self.told.or(self.asked).unwrap_or_default()
    }
}

/// Refuses a file of an average without names, and without the weights that would tell them.
fn without_names(checkpoint: &Checkpoint, average: &NamelessAverage) -> ExportError {
    let message = format!("{}; take a file that holds the weights in training beside it", average.refusal());
    ExportError::unusable(checkpoint.path(), message)
}

/// Why weights are not recognised; what is there and cannot be read may be the reason.
pub(super) fn unrecognised(checkpoint: &Checkpoint, source: RecogniseError) -> ExportError {
    let path = checkpoint.path();
    if let ([], [average, ..]) = (checkpoint.sets(), checkpoint.nameless_averages()) {
        return without_names(checkpoint, average);
    }
    match checkpoint.unread() {
        [(name, what), ..] => {
            let name = name.escape_debug();
            ExportError::unusable(path, format!("{source}; it holds '{name}' as {what}, which is not read"))
        }
        [] => ExportError::Recognise { path: path.to_path_buf(), source },
    }
}

/// The kind of network among several from which the wanted graph can be made.
pub(super) fn chosen(
    checkpoint: &Checkpoint,
    asked: Option<&WeightChoice>,
    wanted: GraphKind,
) -> Result<&'static Family, ExportError> {
    let is_named = |prefix: &str| match asked {
        Some(WeightChoice::Named(name)) => format!("{}.", prefix.trim_end_matches('.'))
            .starts_with(&format!("{}.", name.trim_end_matches('.'))),
        _ => true,
    };
    let mut families: Vec<&'static Family> = Vec::new();
    let by_name = checkpoint.sets().iter().filter(|set| is_named(set.prefix()));
    for &family in by_name.flat_map(NamedWeights::families) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        // It is a name that none of them has.
        if let [set, ..] = checkpoint.sets() {
            return Ok(set.families()[0]);
        }
        let set = checkpoint.weight_sets().first().copied().unwrap_or_default();
        let shapes = checkpoint.shapes(set)?;
        return match find(&shapes) {
            Err(source) => Err(unrecognised(checkpoint, source)),
            Ok(found) => Ok(found[0].family),
        };
    }
    let mut fitting: Vec<&'static Family> =
        families.iter().copied().filter(|family| family.kinds.contains(&wanted)).collect();
    if wanted == GraphKind::Network && fitting.len() > 1 {
        // An encoder has a kind of its own.
        fitting.retain(|family| !family.kinds.contains(&GraphKind::Encoder));
    }
    match (&*fitting, &*families) {
        ([only], _) => Ok(only),
        ([], [only]) => Ok(only),
        (several, all) => {
            let names = |wanted: &[&Family]| {
                let sets = checkpoint.sets().iter();
                let of_them = sets.filter(|set| set.families().iter().any(|family| wanted.contains(family)));
                let names = of_them.flat_map(|set| {
                    set.families().iter().map(move |family| format!("{} ('{}')", family.name, set.prefix()))
                });
                let mut names = names;
                let mut shown: Vec<String> = names.by_ref().take(SHOWN).collect();
                shown.extend(names.next().map(|_| "…".to_string()));
                shown.join(", ")
            };
            let kind = wanted.name();
            let message = match several {
                [] => format!("it holds {}, and none has a graph of kind {kind}", names(all)),
                several => {
                    let several = names(several);
                    format!(
                        "it holds {several}: several for a graph of kind {kind}; choose with --weights NAME, or give \
                         --config FILE"
                    )
                }
            };
            Err(ExportError::unusable(checkpoint.path(), message))
        }
    }
}
