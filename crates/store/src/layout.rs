//! What a feature job writes: keys, shape, storage and provenance.

use std::fmt;
use std::str::FromStr;

use super::FeatureError;
use super::provenance::{Difference, Pairing, Provenance};

/// One dataset of a feature file: the layer `tap` of the network run at `timestep`. Written `t11/out_6`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureKey {
    /// The published step index: 1..=1000 for DDPM, 1..=18 for EDM, 0 for a network without one.
    pub timestep: i64,
    /// The layer's name, such as `out_6`; not empty, without `/` and control characters.
    pub tap: String,
}

impl FeatureKey {
    /// The key of `tap` at `timestep`.
    pub fn new(timestep: i64, tap: impl Into<String>) -> Self {
        Self { timestep, tap: tap.into() }
    }

    /// The path of the dataset in the file.
    pub(super) fn dataset(&self) -> String {
        format!("features/{self}")
    }

    fn is_writable(&self) -> bool {
        !matches!(self.tap.as_str(), "" | "." | "..")
            && !self.tap.contains(|c: char| c == '/' || c.is_control())
    }
}

impl fmt::Display for FeatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}/{}", self.timestep, self.tap)
    }
}

impl FromStr for FeatureKey {
    type Err = FeatureError;

    fn from_str(text: &str) -> Result<Self, FeatureError> {
        text.strip_prefix('t')
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(timestep, tap)| Some(Self::new(timestep.parse().ok()?, tap)))
            .filter(Self::is_writable)
            .ok_or_else(|| FeatureError::Key(text.to_string()))
    }
}

/// How features are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureType {
    /// 4 bytes a number.
    F32,
    /// 2 bytes a number, about three decimals, at most 65504.
    F16,
}

impl FeatureType {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl fmt::Display for FeatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

impl FromStr for FeatureType {
    type Err = FeatureError;

    fn from_str(text: &str) -> Result<Self, FeatureError> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            other => Err(FeatureError::Layout(format!("the type {other:?} is neither f32 nor f16"))),
        }
    }
}

/// How features are compressed. Nothing is lost; what is saved depends on how many features are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Off,
    /// LZF: fast. Read by h5py; other readers of HDF5 need a plug-in.
    Lzf,
    /// zlib after a byte shuffle: slower and smaller. Read by everything.
    Zlib,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Lzf => "lzf",
            Self::Zlib => "zlib",
        })
    }
}

impl FromStr for Compression {
    type Err = FeatureError;

    fn from_str(text: &str) -> Result<Self, FeatureError> {
        match text {
            "off" => Ok(Self::Off),
            "lzf" => Ok(Self::Lzf),
            "zlib" => Ok(Self::Zlib),
            other => {
                Err(FeatureError::Layout(format!("the compression {other:?} is none of off, lzf, zlib")))
            }
        }
    }
}

/// What all shards of a job have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The datasets and how many features each has (D), in the order in which readers list them.
    pub keys: Vec<(FeatureKey, usize)>,
    /// Views of each image: 1, or as many random crops and flips as were computed.
    pub views: usize,
    /// Rows (images) of the whole job, over all shards (N).
    pub total: usize,
    /// How features are stored.
    pub dtype: FeatureType,
    /// How they are compressed.
    pub compression: Compression,
    /// Where the features come from.
    pub provenance: Provenance,
}

impl Layout {
    /// Refuses what no file can hold.
    pub(super) fn check(&self) -> Result<(), FeatureError> {
        let refuse = |reason: String| Err(FeatureError::Layout(reason));
        if self.keys.is_empty() || self.views == 0 || self.total == 0 {
            let (keys, views, total) = (self.keys.len(), self.views, self.total);
            return refuse(format!(
                "{keys} datasets of {views} views and {total} rows; at least one of each"
            ));
        }
        for (i, (key, width)) in self.keys.iter().enumerate() {
            if !key.is_writable() {
                return refuse(format!("{:?} cannot be the name of a tap (empty, or with a /)", key.tap));
            }
            if *width == 0 {
                return refuse(format!("{key} has no features (D = 0)"));
            }
            if self.keys[..i].iter().any(|(other, _)| other == key) {
                return refuse(format!("{key} is asked for twice"));
            }
        }
        Ok(())
    }

    /// The width of `key` and its place in [`Layout::keys`].
    pub(super) fn find(&self, key: &FeatureKey) -> Option<(usize, usize)> {
        let place = self.keys.iter().position(|(other, _)| other == key)?;
        Some((place, self.keys[place].1))
    }

    /// The keys in one line.
    pub(super) fn known(&self) -> String {
        self.keys.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The first property in which a file of layout `other` differs although the two cannot be used together then (see
    /// [`Provenance::difference`]). The compression may differ, and between two jobs the datasets, views and rows.
    pub fn difference(&self, other: &Self, pairing: Pairing) -> Option<Difference> {
        let keys = |layout: &Self| {
            let keys: Vec<_> = layout.keys.iter().map(|(key, width)| format!("{key} [{width}]")).collect();
            keys.join(", ")
        };
        let of_job = [
            ("list of datasets", keys(self), keys(other)),
            ("number of views", self.views.to_string(), other.views.to_string()),
            ("number of rows", self.total.to_string(), other.total.to_string()),
        ];
        let dtype = ("dtype", self.dtype.to_string(), other.dtype.to_string());
        of_job
            .into_iter()
            .filter(|_| matches!(pairing, Pairing::Job | Pairing::Seeds))
            .chain([dtype])
            .find(|(_, first, second)| first != second)
            .map(|(property, first, second)| Difference::new(property, first, second))
            .or_else(|| self.provenance.difference(&other.provenance, pairing))
    }
}
