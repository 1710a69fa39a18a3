//! Moving elements, and means over axes.

use super::Built;
use crate::graph::{Dim, Graph, Op, Shape, Value};

impl Graph {
    /// The same elements in another shape.
    pub fn reshape(&mut self, x: Value, shape: Shape) -> Built {
        let from = self.shape(x);
        if from.per_sample() != shape.per_sample() || from.has_batch() != shape.has_batch() {
            return self.fail("Reshape", format!("{from} does not fill {shape}"));
        }
        self.add_node(Op::Reshape, &[x], shape)
    }

    /// `x [N]` or `[N, C]` with ones appended, so that it multiplies images: `[N, 1, 1, 1]` or `[N, C, 1, 1]`.
    pub fn per_image(&mut self, x: Value) -> Built {
        let mut dims = self.shape(x).dims().to_vec();
        dims.resize(4, Dim::Size(1));
        self.reshape(x, Shape::of(dims))
    }

    /// Axes in another order: `output axis i = input axis axes[i]`.
    pub fn transpose(&mut self, x: Value, axes: &[usize]) -> Built {
        let from = self.shape(x).clone();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..from.rank()) {
            return self.fail("Transpose", format!("{axes:?} is no order of the axes of {from}"));
        }
        let shape = Shape::of(axes.iter().map(|&a| from.dims()[a]).collect());
        self.add_node(Op::Transpose { axes: axes.to_vec() }, &[x], shape)
    }

    /// `parts` joined along `axis`.
    pub fn concat(&mut self, parts: &[Value], axis: usize) -> Built {
        let Some(first) = parts.first().map(|v| self.shape(*v).clone()) else {
            return self.fail("Concat", "nothing to join".to_string());
        };
        let mut total = 0;
        for part in parts {
            let shape = self.shape(*part);
            match shape.size(axis) {
                Some(size) if shape.rank() == first.rank() && shape.with(axis, 0) == first.with(axis, 0) => {
                    total += size;
                }
                _ => {
                    return self.fail("Concat", format!("{first} and {shape} do not join along axis {axis}"));
                }
            }
        }
        self.add_node(Op::Concat { axis }, parts, first.with(axis, total))
    }

    /// `length` indices from `start` along `axis`.
    pub fn slice(&mut self, x: Value, axis: usize, start: usize, length: usize) -> Built {
        let shape = self.shape(x).clone();
        match shape.size(axis) {
            Some(size) if start + length <= size && length > 0 => {
                self.add_node(Op::Slice { axis, start, length }, &[x], shape.with(axis, length))
            }
            _ => self.fail("Slice", format!("{start}..{} is outside axis {axis} of {shape}", start + length)),
        }
    }

    /// `before` zeros before and `after` zeros after the elements along `axis`.
    pub fn pad(&mut self, x: Value, axis: usize, before: usize, after: usize) -> Built {
        let shape = self.shape(x).clone();
        match shape.size(axis) {
            Some(size) => {
                let shape = shape.with(axis, before + size + after);
                self.add_node(Op::Pad { axis, before, after }, &[x], shape)
            }
            None => self.fail("Pad", format!("axis {axis} of {shape} has no fixed size")),
        }
    }

    /// Mean over `axes` (ascending), which are removed.
    pub fn mean(&mut self, x: Value, axes: &[usize]) -> Built {
        let from = self.shape(x).clone();
        let ascending = axes.windows(2).all(|w| w[0] < w[1]);
        if axes.is_empty() || !ascending || axes.iter().any(|&a| from.size(a).is_none()) {
            return self.fail("Mean", format!("the axes {axes:?} do not fit {from}"));
        }
        let dims =
            from.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d).collect();
        self.add_node(Op::Mean { axes: axes.to_vec() }, &[x], Shape::of(dims))
    }

    /// The spatial mean of a feature map: `[B,C,H,W]` to `[B,C]`.
    pub fn pool(&mut self, x: Value) -> Built {
        self.mean(x, &[2, 3])
    }
}
