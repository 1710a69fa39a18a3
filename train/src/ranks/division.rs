//! Looking at the average of the weights, divided among ranks: validation losses, latents, samples.

use std::fmt;
use std::ops::Range;

use ddae_base::Stop;
use tch::Tensor;
use tch::kind::Element;

use crate::TrainError;
use crate::torch::TorchError;
use crate::torch::shim::ranks::Group;

/// Who computes which of many images. Every rank has the same number of whole batches, or one more, and all get what any has
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

    fn world(&self) -> usize {
        self.among.map_or(1, |(group, _)| group.world())
    }

    /// Whether this rank makes something of what was found.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this rank was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_requested()
    }

    /// The images of a rank, of `count` in batches of `batch`.
    fn part(&self, rank: usize, count: usize, batch: usize) -> Range<usize> {
        let batches = count.div_ceil(batch);
        let first = |rank: usize| (batches * rank / self.world() * batch).min(count);
        first(rank)..first(rank + 1)
    }

    /// `width` numbers for each of `count` images, in their order: `work` gives those of its part, which begins with a batch. `None`
    /// if the work of any rank was to stop, and gave none.
    ///
    /// # Errors
    /// Those of `work`, and when another rank does not answer.
    pub fn gathered<T: Element + Copy>(
        &self,
        [count, width]: [usize; 2],
        batch: usize,
        work: impl FnOnce(Range<usize>) -> Result<Option<Vec<T>>, TrainError>,
    ) -> Result<Option<Vec<T>>, TrainError> {
        let batch = batch.max(1);
        let part = self.part(self.rank(), count, batch);
        let wanted = part.len() * width;
        let found = if part.is_empty() { Some(Vec::new()) } else { work(part)? };
        let Some((group, _)) = self.among else { return Ok(found) };
        let failed = |e| TrainError::from(TorchError::at("parts of ranks", e));
        let stopped = Tensor::f_from_slice(&[i64::from(found.is_none())]).map_err(failed)?;
        group.largest(&stopped)?;
        let stopped = Vec::<i64>::try_from(&stopped).map_err(failed)?;
        let Some(mut own) = found.filter(|_| stopped == [0]) else { return Ok(None) };
        if own.len() != wanted {
            let message = format!("a rank found {} numbers where {wanted} are wanted", own.len());
            return Err(TorchError::Input(message).into());
        }
        // All send as much as the one with the most.
        let most =
            (0..self.world()).map(|rank| self.part(rank, count, batch).len() * width).max().unwrap_or(0);
        own.resize(most, T::ZERO);
        let all = group.gather(&Tensor::f_from_slice(&own).map_err(failed)?)?;
        let mut whole = Vec::with_capacity(count * width);
        for rank in 0..self.world() {
            let length = self.part(rank, count, batch).len() * width;
            let of_rank = all.f_select(0, rank as i64).and_then(|row| row.f_narrow(0, 0, length as i64));
            whole.extend(Vec::<T>::try_from(&of_rank.map_err(failed)?).map_err(failed)?);
        }
        Ok(Some(whole))
    }
}
