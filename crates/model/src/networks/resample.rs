//! Resampling in residual blocks, without weights.

use crate::graph::{Graph, GraphError, Value};

/// Another size of an image, or the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Resample {
    /// The same size.
    None,
    /// Each pixel repeated, along both axes.
    Up,
    /// The means of 2x2 pixels.
    Down,
}

impl Resample {
    /// The image `x [B,C,H,W]` in the new size.
    pub fn apply(self, g: &mut Graph, x: Value) -> Result<Value, GraphError> {
        match self {
            Resample::None => Ok(x),
            Resample::Up => g.upsample_nearest(x, 2),
            Resample::Down => g.avg_pool(x, 2),
        }
    }
}
