//! Where the noise comes from that images are seen with.

use std::fmt;
use std::str::FromStr;

/// The noise of an image; [docs/noise.md](../../../docs/noise.md) says how to draw it elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseSource {
    /// Drawn for each image, view and timestep, from a stream that is keyed by all of them.
    #[default]
    Keyed,
    /// Drawn once for each timestep, and the same for all images and views.
    Fixed,
    /// Zeros: the image scaled as at its timestep, and of a posterior its mean.
    None,
}

impl NoiseSource {
    /// All of them, by name.
    pub const ALL: [NoiseSource; 3] = [NoiseSource::Keyed, NoiseSource::Fixed, NoiseSource::None];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            NoiseSource::Keyed => "keyed",
            NoiseSource::Fixed => "fixed",
            NoiseSource::None => "none",
        }
    }
}

impl fmt::Display for NoiseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NoiseSource {
    type Err = String;

    fn from_str(text: &str) -> Result<NoiseSource, String> {
        let found = NoiseSource::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| "wanted is keyed, none or fixed".to_string())
    }
}
