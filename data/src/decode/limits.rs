//! How large an image may be.

use std::ffi::OsStr;
use std::path::Path;

use image::Limits;

use crate::datasets::DataError;

/// A longer file is not a training image.
pub(crate) const MOST_BYTES: u64 = 256 << 20;
/// Million pixels of an image, unless [`LIMIT`] says otherwise: more than a training image has. Decoding takes up to 14
/// bytes for each, in every thread that reads images.
const MOST_MEGAPIXELS: u32 = 50;
/// The environment variable that raises the limit.
const LIMIT: &str = "DDAE_MAX_MEGAPIXELS";
/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const BYTES_OF_PIXEL: u64 = 8;
/// What a file may hold beside its pixels: profiles, texts.
const BYTES_BESIDE: u64 = 16 << 20;
const MILLION: u64 = 1_000_000;

/// The pixels and bytes that an image may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub pixels: u64,
}

impl Bound {
    /// As the environment says.
    pub(super) fn from_environment() -> Result<Bound, DataError> {
        Ok(Bound { pixels: most_pixels(std::env::var_os(LIMIT).as_deref())? })
    }

    /// Bytes that a decoder may take.
    pub(super) fn bytes(self) -> u64 {
        self.pixels.saturating_mul(BYTES_OF_PIXEL).saturating_add(BYTES_BESIDE)
    }

    pub(super) fn limits(self) -> Limits {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.bytes());
        limits
    }

    /// Checks what a header says.
    pub(super) fn check(self, path: &Path, [height, width]: [usize; 2]) -> Result<(), DataError> {
        let pixels = height as u64 * width as u64;
        if pixels <= self.pixels {
            return Ok(());
        }
        let (most, megapixels) = (self.pixels / MILLION, pixels.div_ceil(MILLION));
        let found = format!(
            "it has {width}x{height} pixels, and images of more than {most} megapixels are not decoded"
        );
        let expected = format!("a smaller image, or the environment variable {LIMIT}={megapixels}");
        Err(DataError::format(path, found, expected))
    }
}

/// Pixels of the largest image that is decoded, as the environment variable says.
fn most_pixels(variable: Option<&OsStr>) -> Result<u64, DataError> {
    let Some(text) = variable.filter(|text| !text.is_empty()) else {
        return Ok(u64::from(MOST_MEGAPIXELS) * MILLION);
    };
    let megapixels = text.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|&number| number > 0);
    megapixels.map(|number| u64::from(number) * MILLION).ok_or_else(|| {
        let text = ddae_base::text::excerpt(text.to_string_lossy(), 40);
        DataError::Argument(format!("{LIMIT} is '{text}'; a whole number of megapixels is wanted, as in 50"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_environment() {
        let most = |text: &str| most_pixels(Some(OsStr::new(text)));
        assert_eq!(most_pixels(None).ok(), Some(50_000_000));
        assert_eq!((most("").ok(), most("177").ok()), (Some(50_000_000), Some(177_000_000)));
        for text in ["0", "-1", "many", "1.5"] {
            let error = most(text).expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("DDAE_MAX_MEGAPIXELS is '{text}'; a whole number")),
                "{error}"
            );
        }
    }
}
