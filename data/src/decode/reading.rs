//! How images are brought to one shape and number of channels.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};

use crate::resize::Rule;

/// Grey and colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// As the files are: grey images become RGB (by replication) only among colour ones, and colour is never thrown away
    #[default]
    Keep,
    /// One channel, PIL's `convert("L")`: (19595 R + 38470 G + 7471 B + 32768) / 65536
    Grey,
    /// Three channels, PIL's `convert("RGB")`
    Rgb,
}

impl Colour {
    /// Channels of images that are stored with so many.
    pub(crate) fn channels(self, stored: usize) -> usize {
        match self {
            Colour::Keep => stored,
            Colour::Grey => 1,
            Colour::Rgb => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Colour::Keep => "keep",
            Colour::Grey => "grey",
            Colour::Rgb => "rgb",
        }
    }
}

/// Different sizes that are remembered, for what is said of them.
const MOST_SIZES: usize = 4096;

/// How image files become levels.
///
/// Clones remember together which sizes they have met.
#[derive(Clone, Default)]
pub struct Reading {
    /// How images of another size are brought to the one that is wanted; where none is chosen, [`Rule::Cover`], and what
    /// was resized is said.
    pub resize: Option<Rule>,
    /// Grey and colour.
    pub colour: Colour,
    /// Whether images are turned upright as their Exif orientation says. PIL and torchvision do not, unless they are told.
    pub orient: bool,
    /// Heights and widths of the images that were decoded.
    seen: Arc<Mutex<BTreeSet<[usize; 2]>>>,
}

impl Reading {
    /// What was chosen, and nothing seen yet.
    pub fn new(resize: Option<Rule>, colour: Colour, orient: bool) -> Reading {
        Reading { resize, colour, orient, seen: Arc::default() }
    }

    /// Whether nothing was chosen.
    pub fn is_default(&self) -> bool {
        *self == Reading::default()
    }

    /// The rule that is taken.
    pub fn rule(&self) -> Rule {
        self.resize.unwrap_or_default()
    }

    /// The sizes that were met so far.
    pub(crate) fn seen(&self) -> Vec<[usize; 2]> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// An image of this size was met.
    pub(crate) fn saw(&self, size: [usize; 2]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_SIZES {
            seen.insert(size);
        }
    }

    /// Levels of `size` from those of `shape` = [C, H, W]; none where another size is refused.
    pub(super) fn resized(&self, levels: &[u8], shape: [usize; 3], size: [usize; 2]) -> Option<Vec<u8>> {
        self.saw([shape[1], shape[2]]);
        self.rule().apply(levels, shape, size)
    }

    /// What the images were brought to `size` = [H, W] from, so far: none where all had it.
    pub(crate) fn note(&self, size: [usize; 2]) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().all(|seen| *seen == size) {
            return None;
        }
        let area = |size: &&[usize; 2]| size[0] * size[1];
        let show = |[height, width]: &[usize; 2]| format!("{height}x{width}");
        let from = match (seen.iter().min_by_key(area), seen.iter().max_by_key(area)) {
            (Some(least), Some(most)) if seen.len() > 1 => {
                let more = if seen.len() == MOST_SIZES { " or more" } else { "" };
                format!("{} sizes{more}, from {} to {}", seen.len(), show(least), show(most))
            }
            (Some(only), _) => show(only),
            _ => return None,
        };
        let rule = self.rule();
        let unasked = if self.resize.is_some() { "" } else { ", as none was asked for" };
        Some(format!(
            "images of {from} (height x width) were brought to {} by --resize {rule}{unasked}",
            show(&size)
        ))
    }
}

impl PartialEq for Reading {
    fn eq(&self, other: &Reading) -> bool {
        (self.resize, self.colour, self.orient) == (other.resize, other.colour, other.orient)
    }
}

impl Eq for Reading {}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({self})")
    }
}

/// As it is typed, without the default choices: `--resize adm --orient`.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resize = self.resize.map(|rule| format!("--resize {rule}"));
        let colour = (self.colour != Colour::Keep).then(|| format!("--colour {}", self.colour.name()));
        let orient = self.orient.then(|| "--orient".to_string());
        f.write_str(&resize.into_iter().chain(colour).chain(orient).collect::<Vec<_>>().join(" "))
    }
}

/// How images are read, as options of a command (`#[command(flatten)]`).
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reading images")]
pub struct ReadingOptions {
    /// How images of another size than the one wanted are brought to it [default: cover, and it is said]
    #[arg(long, value_enum, value_name = "RULE", hide_possible_values = true)]
    pub resize: Option<Rule>,

    /// Grey and colour: keep (as the files are), grey or rgb, as PIL converts
    #[arg(long, value_enum, value_name = "COLOUR", default_value_t = Colour::Keep, visible_alias = "color", hide_possible_values = true)]
    pub colour: Colour,

    /// Turn images upright as their Exif orientation says; PIL and torchvision do not by default
    #[arg(long)]
    pub orient: bool,
}

impl ReadingOptions {
    /// What was chosen.
    pub fn reading(&self) -> Reading {
        Reading::new(self.resize, self.colour, self.orient)
    }
}
