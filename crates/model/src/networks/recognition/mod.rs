//! Networks recognised from the names and shapes of their weights.
//!
//! | module | holds |
//! | --- | --- |
//! | `shapes` | names and shapes, as recognition asks for them |
//! | `foreign` | what must not be there: networks that have the names of others |
//! | `names`, `name_map` | parameters under the names of other implementations |
//! | `unused` | what a file holds of a network beyond what was understood |

mod foreign;
mod name_map;
mod names;
mod shapes;
mod unused;

pub use name_map::{NameMap, ParameterSource};
pub use names::{Names, name_map};
pub use shapes::Shapes;

use std::collections::HashSet;

use super::registry::{Architecture, FAMILIES, Family};
use super::{DiffusersConfig, fine_tuned};

/// What the names and shapes of the weights do not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Height and width of the images (or latents).
    pub image_size: Option<[usize; 2]>,
    /// Attention heads.
    pub heads: Option<usize>,
    /// Channels of an attention head; one head over all channels without it.
    pub head_channels: Option<usize>,
    /// Classes that a DiT knows.
    pub classes: Option<usize>,
    /// The `config.json` beside the weights of a diffusers model.
    pub diffusers: Option<DiffusersConfig>,
}

/// Why the weights of a file are not those of a network known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecogniseError {
    /// The names are those of no network.
    #[error(
        "its {count} tensors ({shown}) are of no network known here; docs/import.md lists what can be imported. If they are those of a configuration, give --config FILE"
    )]
    Unknown {
        /// Number of tensors.
        count: usize,
        /// The first names.
        shown: String,
    },
    /// The names are those of a network, but something does not fit.
    #[error("its names are those of {network}, but {problem}")]
    Inconsistent {
        /// The network.
        network: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// Something that the weights do not tell must be given.
    #[error("it holds {found}; the weights do not tell {what}: give {option}, or --config FILE")]
    Incomplete {
        /// What was found.
        found: String,
        /// What is missing.
        what: &'static str,
        /// The option that gives it.
        option: &'static str,
    },
    /// Networks that are told apart by what they compute, not by what they store.
    #[error(
        "it holds {found}: the weights of {networks} have the same names and shapes, so it takes --config FILE with the net_type to tell which they are"
    )]
    Alike {
        /// What was found.
        found: String,
        /// The networks.
        networks: &'static str,
    },
    /// What was found, or given, makes no network.
    #[error("it holds {network}, but {problem}")]
    Impossible {
        /// The network.
        network: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl RecogniseError {
    pub(crate) fn incomplete(found: String, what: &'static str, option: &'static str) -> RecogniseError {
        RecogniseError::Incomplete { found, what, option }
    }
}

impl Given {
    /// Height and width, which `found` needs.
    pub(crate) fn image_size(&self, found: &str) -> Result<[usize; 2], RecogniseError> {
        let size = self.image_size;
        size.ok_or_else(|| {
            RecogniseError::incomplete(found.to_string(), "the size of its images", "--image-size HxW")
        })
    }
}

/// A network that was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub family: &'static Family,
    /// What stands before its parameters' names in the file.
    pub prefix: String,
}

/// A network that was found, with all its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// The network.
    pub architecture: Architecture,
    /// Its parameters' names in the file, after the prefix.
    pub names: Names,
    /// What stands before all of them.
    pub prefix: String,
}

/// The networks that a file holds, in the order of [`FAMILIES`].
///
/// # Errors
/// [`RecogniseError::Unknown`] when there is none.
pub fn find(shapes: &Shapes) -> Result<Vec<Found>, RecogniseError> {
    let mut found: Vec<Found> = Vec::new();
    // By the families that have parts with names: a decoder is a UNet after 'decoder.'.
    let mut in_parts: Vec<(&Family, HashSet<String>)> = Vec::new();
    for family in FAMILIES {
        let [first, second] = family.signature;
        let has_parts = family.parts.iter().any(|part| !part.is_empty());
        if has_parts {
            in_parts.push((family, HashSet::new()));
        }
        for prefix in shapes.prefixes(first) {
            // What one family's names begin with is part of another's.
            let is_part = in_parts.iter().any(|(known, prefixes)| {
                let parts = known.parts.iter().filter(|part| !part.is_empty());
                parts.filter_map(|part| prefix.strip_suffix(part)).any(|outer| prefixes.contains(outer))
            });
            // What is left of a denoiser that was fine-tuned is not a denoiser.
            let is_tuned = |known: &Found| known.prefix == prefix && *known.family == fine_tuned::FAMILY;
            if is_part || found.iter().any(is_tuned) || !shapes.has(&format!("{prefix}{second}")) {
                continue;
            }
            if let (true, Some((_, prefixes))) = (has_parts, in_parts.last_mut()) {
                prefixes.insert(prefix.clone());
            }
            found.push(Found { family, prefix });
        }
    }
    if found.is_empty() {
        let mut shown: Vec<&str> = shapes.iter().map(|(name, _)| name).take(3).collect();
        if shapes.len() > shown.len() {
            shown.push("…");
        }
        return Err(RecogniseError::Unknown { count: shapes.len(), shown: shown.join(", ") });
    }
    Ok(found)
}

/// Refuses weights that have the names of networks which `is_of`, and are those of others.
///
/// # Errors
/// With the name that such networks do not have.
pub fn refuse_foreign(shapes: &Shapes, is_of: impl Fn(&Family) -> bool) -> Result<(), RecogniseError> {
    let found = find(shapes).unwrap_or_default();
    let mut found = found.iter().filter(|found| is_of(found.family));
    found.try_for_each(|found| foreign::refuse(found.family, &shapes.below(&found.prefix)))
}

/// For each of `names` the place of the longest of `prefixes` that it begins with; both are sorted.
pub fn innermost<'n>(names: impl IntoIterator<Item = &'n str>, prefixes: &[&str]) -> Vec<Option<usize>> {
    let mut next = prefixes.iter().enumerate().peekable();
    // Those that the last name begins with, each the beginning of the one after it.
    let mut around: Vec<usize> = Vec::new();
    let of_name = |name: &str| {
        while around.last().is_some_and(|&at| !name.starts_with(prefixes[at])) {
            around.pop();
        }
        while let Some((at, prefix)) = next.next_if(|(_, prefix)| **prefix <= name) {
            around.extend(name.starts_with(prefix).then_some(at));
        }
        around.last().copied()
    };
    names.into_iter().map(of_name).collect()
}

impl Found {
    /// The network with all its sizes, from the shapes of all tensors of the file and from what is given.
    ///
    /// # Errors
    /// When parameters do not fit together, when something must be given, or when what is given is impossible.
    pub fn recognise(&self, shapes: &Shapes, given: &Given) -> Result<Recognised, RecogniseError> {
        let shapes = shapes.below(&self.prefix);
        foreign::refuse(self.family, &shapes)?;
        let (architecture, names) = (self.family.recognise)(&shapes, given)?;
        architecture
            .check()
            .map_err(|problem| RecogniseError::Impossible { network: architecture.name(), problem })?;
        Ok(Recognised { architecture, names, prefix: self.prefix.clone() })
    }
}

impl Recognised {
    /// The one network of a file, from the names and shapes of its tensors.
    ///
    /// # Errors
    /// When they are those of no network or of several, or when something must be given that they do not tell.
    pub fn only(shapes: &Shapes, given: &Given) -> Result<Recognised, RecogniseError> {
        let found = find(shapes)?;
        if let [_, other, ..] = &*found {
            let problem = format!("it holds others besides ({} after '{}')", other.family.name, other.prefix);
            return Err(RecogniseError::Inconsistent { network: found[0].family.name, problem });
        }
        found[0].recognise(shapes, given)
    }

    /// A sentence that says what was found.
    pub fn describe(&self) -> String {
        let names = match self.names {
            Names::Published => "",
            Names::DiffusersUNet(_) => ", under diffusers' names",
            Names::OlderVae => ", under older names",
            Names::CompVisVae => ", under CompVis' names",
        };
        let prefix = match &*self.prefix {
            "" => String::new(),
            prefix => format!(", its names after '{prefix}'"),
        };
        format!("{}{names}{prefix}", self.architecture.describe())
    }
}
