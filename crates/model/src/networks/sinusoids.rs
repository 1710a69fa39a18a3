//! Sinusoids of a timestep, as every time embedding here begins.

use crate::graph::{Dim, Graph, GraphError, Shape, Value};
use crate::tensor::Tensor;

/// Which sinusoids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sinusoids {
    /// Length of the embedding, an even number: a sine and a cosine of each frequency.
    pub width: usize,
    /// The `n = width / 2` frequencies are `10000^(-k / (n - shift))`, `k = 0 .. n`; below `n`.
    pub shift: f64,
    /// `[cos, sin]` rather than `[sin, cos]`.
    pub cosines_first: bool,
}

impl Sinusoids {
    /// The embedding `[B, width]` of the scalars `t [B]` (or `[1]`).
    pub fn of(self, g: &mut Graph, t: Value) -> Result<Value, GraphError> {
        let half = self.width / 2;
        let step = 10_000f64.ln() / (half as f64 - self.shift);
        let frequencies = (0..half).map(|k| (-(k as f64) * step).exp() as f32).collect();
        let frequencies = g.constant(Tensor::f32(&[1, half], frequencies))?;
        let batch = g.shape(t).dims()[0];
        let t = g.reshape(t, Shape::of(vec![batch, Dim::Size(1)]))?;
        let angles = g.mul(t, frequencies)?;
        let (sin, cos) = (g.sin(angles)?, g.cos(angles)?);
        g.concat(&if self.cosines_first { [cos, sin] } else { [sin, cos] }, 1)
    }
}
