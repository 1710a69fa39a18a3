//! What a file holds, whatever its format.

use std::collections::HashMap;

use super::pytorch::PickledModule;
use super::stored::StoredTensor;
use ddae_pickle::PickleError;

/// The format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One safetensors file.
    Safetensors,
    /// A zip archive of PyTorch (since 1.6).
    PyTorch,
    /// The format of PyTorch before 1.6.
    PyTorchLegacy,
    /// A plain pickle, whose tensors hold their storages.
    Pickle,
    /// Several files with an index in JSON.
    Sharded,
}

impl Format {
    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::PyTorch => "PyTorch",
            Format::PyTorchLegacy => "PyTorch (before 1.6)",
            Format::Pickle => "Python pickle",
            Format::Sharded => "sharded",
        }
    }

    /// What the first bytes of a file promise.
    pub(super) fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Format::Safetensors),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Format::PyTorch),
            [0x80, 2..=5, ..] => Some(Format::PyTorchLegacy),
            _ => None,
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Its tensors.
    pub tensors: Vec<StoredTensor>,
    /// Everything else that a dictionary of PyTorch holds: names and what is there, printed.
    pub values: Vec<(String, String)>,
    /// How many values more there are.
    pub left_out: usize,
    /// What is among the values and may have been meant as a tensor: names and what is there.
    pub unread: Vec<(String, String)>,
    /// Python objects that it refers to and that files of tensors have no need of, by name.
    pub foreign: Vec<String>,
    /// Modules that were pickled with their classes, outer ones first.
    pub modules: Vec<PickledModule>,
    /// Keys of the outermost dictionary under which there are dictionaries.
    pub groups: Vec<String>,
    /// The metadata of a safetensors file.
    pub metadata: HashMap<String, String>,
}

/// Why contents cannot be read, for a message that begins with the file's name.
#[derive(Debug)]
pub(super) enum Fault {
    Pickle(PickleError),
    Format(String),
}

impl From<PickleError> for Fault {
    fn from(error: PickleError) -> Fault {
        Fault::Pickle(error)
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::Format(message)
    }
}
