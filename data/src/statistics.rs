//! Statistics of a split's images.

use ddae_model::config::ChannelStatistics;
use rayon::prelude::*;

use crate::datasets::DataError;
use crate::split::Split;

/// Images that one task reads.
const CHUNK: usize = 256;

/// Mean and standard deviation (divided by the number of pixels) of each channel over all pixels of all images, with
/// levels in [0, 1]. Every image is read once, in parallel; `progress` is told how many images
/// each task has read. The sums are exact, so the result does not depend on the number of threads.
///
/// # Errors
/// When the split is empty, or an image cannot be read; the message names its file.
pub fn channel_statistics(
    split: &Split,
    progress: impl Fn(usize) + Sync,
) -> Result<ChannelStatistics, DataError> {
    let [channels, height, width] = split.shape();
    let count = split.len();
    if count == 0 {
        return Err(DataError::Argument(format!("{} has no images", split.name())));
    }
    let nothing = || vec![(0u64, 0u64); channels];
    let sums = (0..count.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let mut sums = nothing();
            let mut image = vec![0; split.image_len()];
            let positions = chunk * CHUNK..((chunk + 1) * CHUNK).min(count);
            let read = positions.len();
            for position in positions {
                split.read(position, &mut image)?;
                for (sum, plane) in sums.iter_mut().zip(image.chunks_exact(height * width)) {
                    for &level in plane {
                        sum.0 += u64::from(level);
                        sum.1 += u64::from(level) * u64::from(level);
                    }
                }
            }
            progress(read);
            Ok::<_, DataError>(sums)
        })
        .try_reduce(nothing, |a, b| Ok(a.iter().zip(&b).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect()))?;
    let pixels = (count * height * width) as f64;
    let statistics = |(sum, squares): (u64, u64)| {
        let mean = sum as f64 / pixels;
        let variance = (squares as f64 / pixels - mean * mean).max(0.0);
        (mean / 255.0, variance.sqrt() / 255.0)
    };
    let (mean, std) = sums.into_iter().map(statistics).unzip();
    Ok(ChannelStatistics { mean, std })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_channel_on_its_own() {
        let levels = [[0, 255, 51, 51], [255, 0, 51, 51]].concat();
        let split =
            Split::in_memory("two", vec!["a".into()], vec![0, 0], [2, 1, 2], levels).expect("consistent");
        let statistics = channel_statistics(&split, |_| {}).expect("in memory");
        assert_eq!(statistics, ChannelStatistics { mean: vec![0.5, 0.2], std: vec![0.5, 0.0] });
    }
}
