//! Evaluation of the average of the weights, divided among ranks: validation losses, accuracies, latents, samples.

use std::fmt;
use std::ops::Range;

use ddae_base::{Stop, detail};
use tch::kind::Element;
use tch::{Device, Tensor};

use super::group::lost;
use crate::TrainError;
use crate::torch::TorchError;
use crate::torch::shim::ranks::Group;

/// Numbers that are sent at once: rank 0 holds what all have found and one such piece, the others what they have found.
const PIECE: usize = 1 << 22;

/// Who computes which of many images. Every rank has the same number of whole batches, or one more, and rank 0 gets what all have
/// found, so that the result is that of one rank with the same batches, to the bit where a batch's is.
#[derive(Clone, Copy)]
pub struct Division<'a> {
    /// The ranks, on the CPU, and which of them this is.
    among: Option<(&'a Group, usize)>,
    stop: &'a Stop,
}

impl fmt::Debug for Division<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.world())
    }
}

/// The images of a rank of `world`, of `count` in batches of `batch`.
fn part(rank: usize, world: usize, count: usize, batch: usize) -> Range<usize> {
    let batches = count.div_ceil(batch);
    let first = |rank: usize| (batches * rank / world * batch).min(count);
    first(rank)..first(rank + 1)
}

impl<'a> Division<'a> {
    /// One process does all. It ends between two batches where `stop` is requested.
    pub fn alone(stop: &'a Stop) -> Division<'a> {
        Division { among: None, stop }
    }

    /// All ranks of `group` take part, of which this is `rank`; each calls the same. A stop of any is one of all.
    pub fn among(group: &'a Group, rank: usize, stop: &'a Stop) -> Division<'a> {
        Division { among: Some((group, rank)), stop }
    }

    fn rank(&self) -> usize {
        self.among.map_or(0, |(_, rank)| rank)
    }

    /// Number of ranks.
    pub fn world(&self) -> usize {
        self.among.map_or(1, |(group, _)| group.world())
    }

    /// Whether this rank gets what was found.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this rank was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_requested()
    }

    /// `width` numbers for each of `count` images, in their order, on rank 0, and none on the others: `work` gives those of its
    /// part, which begins with a batch. `None` on all ranks if one of them was to stop.
    ///
    /// # Errors
    /// Those of `work`, when ranks do not call the same, and when another rank does not answer.
    pub fn gathered<T: Element + Copy>(
        &self,
        [count, width]: [usize; 2],
        batch: usize,
        work: impl FnOnce(Range<usize>) -> Result<Option<Vec<T>>, TrainError>,
    ) -> Result<Option<Vec<T>>, TrainError> {
        let (batch, rank, world) = (batch.max(1), self.rank(), self.world());
        let own = part(rank, world, count, batch);
        let wanted = own.len() * width;
        if world > 1 && !own.is_empty() {
            let Range { start, end } = own;
            detail(|| format!("rank {rank} of {world} evaluates images {start} to {} of {count}", end - 1));
        }
        let found = if own.is_empty() { Some(Vec::new()) } else { work(own)? };
        let Some((group, _)) = self.among else { return Ok(found) };
        let is_stopped = found.is_none() || self.is_stopped();
        let Some(mut found) = agreed(group, is_stopped, [count, width, batch])?.then_some(found).flatten()
        else {
            return Ok(None);
        };
        if found.len() != wanted {
            let message = format!("a rank found {} numbers where {wanted} are wanted", found.len());
            return Err(TorchError::Input(message).into());
        }
        if rank > 0 {
            for piece in found.chunks(PIECE) {
                group.send(&Tensor::f_from_slice(piece).map_err(failed)?, 0)?;
            }
            return Ok(Some(Vec::new()));
        }
        found.reserve_exact(count * width - wanted);
        for other in 1..world {
            let length = part(other, world, count, batch).len() * width;
            for first in (0..length).step_by(PIECE) {
                let size = [PIECE.min(length - first) as i64];
                let piece = Tensor::f_empty(size, (T::KIND, Device::Cpu)).map_err(failed)?;
                group.receive(&piece, other)?;
                found.extend(Vec::<T>::try_from(&piece).map_err(failed)?);
            }
        }
        Ok(Some(found))
    }
}

/// Whether no rank was to stop, after all have told that and what they evaluate.
fn agreed(group: &Group, is_stopped: bool, sizes: [usize; 3]) -> Result<bool, TrainError> {
    let [count, width, batch] = sizes.map(|size| size as i64);
    // The largest of negated numbers is the smallest.
    let words = [i64::from(is_stopped), count, width, batch, -count, -width, -batch];
    let words = Tensor::f_from_slice(&words).map_err(failed)?;
    group.largest(&words)?;
    let words = Vec::<i64>::try_from(&words).map_err(failed)?;
    let [stopped, most @ .., a, b, c] = &words[..] else {
        return Err(TorchError::Input("ranks exchange what is not seven words".to_string()).into());
    };
    let least = [-a, -b, -c];
    if most != least {
        return Err(lost(format!(
            "ranks have unlike images to evaluate: {least:?} and {most:?} (images, numbers of each, images at a time): give all \
             ranks the same data and options"
        )));
    }
    Ok(*stopped == 0)
}

fn failed(error: tch::TchError) -> TrainError {
    TorchError::at("parts of ranks", error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::sheet;

    /// The numbers of images of each rank.
    fn parts(world: usize, count: usize, batch: usize) -> Vec<usize> {
        (0..world).map(|rank| part(rank, world, count, batch).len()).collect()
    }

    #[test]
    fn whole_batches_are_dealt_out() {
        assert_eq!(parts(3, 7, 2), [2, 2, 3]);
        assert_eq!(parts(2, 12, 5), [5, 7]);
        assert_eq!(parts(8, 64, 64), [0, 0, 0, 0, 0, 0, 0, 64]);
        assert_eq!(parts(2, 0, 4), [0, 0]);
    }

    /// Of the published configurations: 64 samples, or 30, in passes of 64 to 128 images.
    #[test]
    fn all_ranks_draw_samples_of_a_sheet() {
        for (count, pass, world) in [(64, 64, 8), (64, 128, 2), (64, 64, 3), (100, 64, 8), (30, 64, 8)] {
            let on_gpus = parts(world, count, sheet::batch(count, pass, world, Device::Cuda(0)));
            assert!(on_gpus.iter().all(|&of_rank| of_rank > 0), "{count} on {world}: {on_gpus:?}");
        }
        for world in 1..=8 {
            let batch = sheet::batch(64, 64, world, Device::Cpu);
            assert_eq!(batch, sheet::batch(64, 128, 1, Device::Cpu), "the same picture for all worlds");
            assert!(parts(world, 64, batch).iter().all(|&of_rank| of_rank > 0), "{world}");
        }
        // No more at a time than in training, and one GPU draws all at once.
        assert_eq!(sheet::batch(400, 64, 2, Device::Cuda(0)), 64);
        assert_eq!(sheet::batch(64, 128, 1, Device::Cuda(0)), 64);
    }
}
