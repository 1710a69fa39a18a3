use ddae_model::config::ChannelStatistics;

use crate::datasets::DataError;

/// Turns levels into what an encoder or classifier sees: `(level / 255 - mean) / std` per channel, in float32
/// (torchvision's `ToTensor` and `Normalize`).
#[derive(Clone, Debug)]
pub struct Normaliser {
    /// The number of every level, by channel.
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// For images of as many channels as there are statistics.
    ///
    /// # Errors
    /// When the statistics are not `channels` numbers each, or cannot be divided by.
    pub fn new(channels: usize, statistics: &ChannelStatistics) -> Result<Normaliser, DataError> {
        statistics.check().map_err(DataError::Argument)?;
        if statistics.mean.len() != channels {
            return Err(DataError::Argument(format!(
                "the normalisation is for {} channels, but the images have {channels}: give one mean and one \
                 standard deviation per channel",
                statistics.mean.len()
            )));
        }
        let table = |(&mean, &std): (&f64, &f64)| {
            let (mean, std) = (mean as f32, std as f32);
            std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
        };
        Ok(Normaliser { tables: statistics.mean.iter().zip(&statistics.std).map(table).collect() })
    }

    /// Appends the numbers of an image [C, H, W] to `out`.
    ///
    /// # Panics
    /// When `levels` cannot be divided into equally large channels.
    pub fn append(&self, levels: &[u8], out: &mut Vec<f32>) {
        let pixels = levels.len() / self.tables.len();
        assert_eq!(levels.len(), pixels * self.tables.len(), "the image does not fill its channels");
        for (plane, table) in levels.chunks_exact(pixels.max(1)).zip(&self.tables) {
            out.extend(plane.iter().map(|&level| table[usize::from(level)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_its_own_numbers() {
        let statistics = ChannelStatistics { mean: vec![0.5, 0.2], std: vec![0.25, 0.8] };
        let normaliser = Normaliser::new(2, &statistics).expect("two of each");
        let mut out = vec![7.0];
        normaliser.append(&[0, 255, 51, 255], &mut out);
        assert_eq!(out, [7.0, -2.0, 2.0, 0.0, 1.0]);
        let error = Normaliser::new(3, &statistics).unwrap_err().to_string();
        assert!(error.starts_with("the normalisation is for 2 channels, but the images have 3"), "{error}");
        let flat = ChannelStatistics { mean: vec![0.5], std: vec![0.0] };
        let error = Normaliser::new(1, &flat).unwrap_err().to_string();
        assert_eq!(error, "normalisation.std has 0; it must be above 0");
    }
}
