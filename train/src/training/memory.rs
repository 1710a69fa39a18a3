//! Whether a run fits into the memory, before anything of it is there.

use ddae_base::memory::{self, MemoryError};

use super::options::Amp;
use super::plan::TrainingPlan;
use crate::optimizer::moment_names;

/// Float32 numbers for each parameter beside the optimiser's moments: itself, average and gradient.
const ON_CPU: u64 = 3;
/// The same in the memory of the machine where a GPU holds them: what a checkpoint is written from.
const BESIDE_GPU: u64 = 2;

impl TrainingPlan {
    /// Float32 numbers that the optimiser remembers of each parameter.
    pub(super) fn moments(&self) -> u64 {
        moment_names(self.config.training()).len() as u64
    }

    /// Refuses a run that needs more memory than is free: on the CPU its parameters, gradients and moments, and what the
    /// backward pass needs at least; where a GPU computes, what checkpoints are written from.
    ///
    /// # Errors
    /// [`MemoryError`] says how much is needed, and what to change.
    pub fn check_memory(&self, amp: Amp, on_cpu: bool) -> Result<(), MemoryError> {
        let stored = self.graph.stored_bytes();
        let moments = self.moments();
        let narrower =
            "choose a smaller network (of a UNet n_channels and ch_mults, of a DiT hidden_size and depth)";
        if !on_cpu {
            return memory::check(
                "a checkpoint of this network",
                stored.saturating_mul(BESIDE_GPU + moments),
                narrower,
            );
        }
        let state = stored.saturating_mul(ON_CPU + moments);
        memory::check("training this network", state, narrower)?;
        let batch = self.batch.pass;
        let of_images = |count: usize| match amp {
            Amp::Off => self.graph.saved_bytes(count),
            Amp::Bf16 | Amp::Fp16 => self.graph.saved_bytes(count) / 2,
        };
        let free = memory::free()?;
        let left = free.unwrap_or(u64::MAX).saturating_sub(state);
        let advice = match left / of_images(1).max(1) {
            0 => "choose smaller images or a smaller network".to_string(),
            most => format!("set batch_size to at most {most}"),
        };
        let what = format!("a step of {batch} images");
        memory::check_against(free, what, state.saturating_add(of_images(batch)), advice)
    }
}
