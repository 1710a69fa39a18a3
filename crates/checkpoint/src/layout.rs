//! How a file arranges the weights of one network: averaged and in training, and under which names.

use std::fmt;

use ddae_model::weights::WeightSet;

/// Whose arrangement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutKind {
    /// Our own training checkpoint.
    Training,
    /// The published DDAE code: `MODEL`, `EMA`, `opt`.
    Ddae,
    /// The published SODA code: the same, of an encoder and a decoder.
    Soda,
    /// An average and perhaps the weights in training under the keys `ema` and `model`, as DiT's training writes.
    Dictionary,
    /// The weights of one network, and no others.
    StateDict,
}

/// Where the weights are: the beginning of their names, without which they are the published ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: LayoutKind,
    ema: Option<String>,
    model: Option<String>,
}

/// What wraps a network in training code and is no part of its names.
const WRAPPERS: [&str; 4] = ["module.", "model.", "nn_model.", "_orig_mod."];

impl Layout {
    /// Recognises the arrangement of tensors of these names (sorted), where there are dictionaries under the keys
    /// `groups`; `ours` says whether the file says that it is one of our training checkpoints.
    pub(super) fn recognise(names: &[&str], groups: &[String], ours: bool) -> Layout {
        let present =
            |roots: &[&'static str]| roots.iter().copied().find(|root| !below(names, root).is_empty());
        let (kind, ema, model) = if ours {
            (LayoutKind::Training, present(&["ema."]), present(&["model."]))
        } else if let (Some(_), ema, model) = (
            present(&["EMA.ema_model.", "MODEL.", "ema_model."]),
            present(&["EMA.ema_model.", "ema_model."]),
            present(&["MODEL.", "EMA.online_model.", "online_model."]),
        ) {
            (LayoutKind::Ddae, ema, model)
        } else if let Some(ema) = present(&["ema."]) {
            (LayoutKind::Dictionary, Some(ema), present(&["model."]))
        } else {
            let is_group =
                |root: &&str| groups.iter().any(|group| root.strip_suffix('.') == Some(group.as_str()));
            let root =
                ["state_dict.", "model.", "model_state_dict."].iter().copied().find(is_group).unwrap_or("");
            (LayoutKind::StateDict, Some(root), Some(root))
        };
        let unwrap = |root: Option<&str>| root.map(|root| unwrapped(below(names, root), root));
        let (ema, model) = (unwrap(ema), unwrap(model));
        let has_decoder = |root: &Option<String>| {
            root.as_ref().is_some_and(|root| !below(names, &format!("{root}decoder.")).is_empty())
        };
        let is_soda = kind == LayoutKind::Ddae && (has_decoder(&ema) || has_decoder(&model));
        Layout { kind: if is_soda { LayoutKind::Soda } else { kind }, ema, model }
    }

    /// Whose arrangement it is.
    pub fn kind(&self) -> LayoutKind {
        self.kind
    }

    /// What the names of a set's tensors begin with; none when the file does not have the set. A file of one network's
    /// weights alone has them as either set.
    pub fn root(&self, set: WeightSet) -> Option<&str> {
        match set {
            WeightSet::Ema => self.ema.as_deref(),
            WeightSet::Model => self.model.as_deref(),
        }
    }

    /// The sets that the file has, the one to prefer first; one for a file that does not tell them apart.
    pub fn sets(&self) -> Vec<WeightSet> {
        let mut sets: Vec<WeightSet> =
            [WeightSet::Ema, WeightSet::Model].into_iter().filter(|&set| self.root(set).is_some()).collect();
        if self.kind == LayoutKind::StateDict {
            sets.truncate(1);
        }
        sets
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            LayoutKind::Training => "training checkpoint of ddae",
            LayoutKind::Ddae => "checkpoint of the published DDAE code",
            LayoutKind::Soda => "checkpoint of the published SODA code",
            LayoutKind::Dictionary => "dictionary with the keys of DiT's training",
            LayoutKind::StateDict => "plain state dict",
        })?;
        if self.kind == LayoutKind::StateDict {
            return match self.ema.as_deref() {
                None | Some("") => Ok(()),
                Some(root) => write!(f, ", names begin with '{root}'"),
            };
        }
        for (name, root) in [("EMA weights", &self.ema), ("weights in training", &self.model)] {
            match root {
                Some(root) => write!(f, ", {name} under '{root}'")?,
                None => write!(f, ", no {name}")?,
            }
        }
        Ok(())
    }
}

/// The names that begin with `prefix`, of sorted ones.
fn below<'n, 's>(names: &'n [&'s str], prefix: &str) -> &'n [&'s str] {
    let start = names.partition_point(|&name| name < prefix);
    let rest = &names[start..];
    &rest[..rest.partition_point(|name| name.starts_with(prefix))]
}

/// `root` with what all `names` have after it and is only a wrapper.
fn unwrapped(names: &[&str], root: &str) -> String {
    let mut root = root.to_string();
    let all_begin = |start: &str| !names.is_empty() && names.iter().all(|name| name.starts_with(start));
    while let Some(longer) =
        WRAPPERS.iter().map(|wrapper| format!("{root}{wrapper}")).find(|longer| all_begin(longer))
    {
        root = longer;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(names: &[&str], groups: &[&str]) -> (LayoutKind, Option<String>, Option<String>) {
        let mut names = names.to_vec();
        names.sort_unstable();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let layout = Layout::recognise(&names, &groups, false);
        (layout.kind, layout.ema, layout.model)
    }

    fn both(root: &str) -> (LayoutKind, Option<String>, Option<String>) {
        (LayoutKind::StateDict, Some(root.to_string()), Some(root.to_string()))
    }

    fn some(root: &str) -> Option<String> {
        Some(root.to_string())
    }

    #[test]
    fn published_files_are_recognised() {
        let ddae = [
            "MODEL.module.nn_model.norm.weight",
            "EMA.initted",
            "EMA.step",
            "EMA.online_model.nn_model.norm.weight",
            "EMA.ema_model.nn_model.norm.weight",
            "opt.state.0.exp_avg",
        ];
        let (ema, model) = (some("EMA.ema_model.nn_model."), some("MODEL.module.nn_model."));
        assert_eq!(
            recognise(&ddae, &["MODEL", "EMA", "opt"]),
            (LayoutKind::Ddae, ema.clone(), model.clone())
        );
        assert_eq!(
            recognise(&ddae[1..], &["EMA", "opt"]),
            (LayoutKind::Ddae, ema, some("EMA.online_model.nn_model."))
        );
        assert_eq!(recognise(&ddae[..1], &["MODEL"]), (LayoutKind::Ddae, None, model));

        let soda = ["MODEL.module.encoder.0.weight", "MODEL.module.decoder.norm.weight"];
        assert_eq!(recognise(&soda, &["MODEL"]), (LayoutKind::Soda, None, some("MODEL.module.")));
        let average = ["ema_model.encoder.0.weight", "ema_model.decoder.norm.weight"];
        assert_eq!(recognise(&average, &[]), (LayoutKind::Soda, some("ema_model."), None));
    }

    #[test]
    fn files_of_dit_are_recognised() {
        let names = ["ema.pos_embed", "model.pos_embed", "opt.state.0.exp_avg", "args.lr"];
        let groups = ["model", "ema", "opt", "args"];
        assert_eq!(recognise(&names, &groups), (LayoutKind::Dictionary, some("ema."), some("model.")));
        assert_eq!(recognise(&names[..1], &["ema"]), (LayoutKind::Dictionary, some("ema."), None));
        assert_eq!(recognise(&["pos_embed", "x_embedder.proj.weight"], &[]), both(""));
    }

    #[test]
    fn one_networks_weights_are_either_set() {
        assert_eq!(
            recognise(&["module.model.norm.weight", "module.model.norm.bias"], &[]),
            both("module.model.")
        );
        assert_eq!(recognise(&["model.norm.weight", "opt.state.0.step"], &["model", "opt"]), both("model."));
        assert_eq!(
            recognise(&["state_dict._orig_mod.norm.weight"], &["state_dict"]),
            both("state_dict._orig_mod.")
        );
        // A part of a network that is called like a wrapper belongs to its names.
        assert_eq!(recognise(&["model.norm.weight", "head.weight"], &[]), both(""));
        assert_eq!(recognise(&[], &[]), both(""));
    }
}
