//! Moving elements without computing: any element type.

use ndarray::{Array, ArrayD, ArrayView4, Axis, IxDyn, Slice, concatenate};

use super::fixed_rank;
use crate::graph::Op;

/// An operation that only moves elements, or `None` where it is none. `shape` is the result's.
pub fn apply<T: Copy + Default>(op: &Op, operands: &[&ArrayD<T>], shape: &[usize]) -> Option<ArrayD<T>> {
    let x = operands[0];
    Some(match op {
        Op::Reshape => x.clone().into_shape_with_order(IxDyn(shape)).expect("the graph checked the sizes"),
        Op::Transpose { axes } => x.view().permuted_axes(IxDyn(axes)).as_standard_layout().into_owned(),
        Op::Concat { axis } => {
            let parts: Vec<_> = operands.iter().map(|part| part.view()).collect();
            let joined = concatenate(Axis(*axis), &parts).expect("the graph checked the sizes");
            joined.as_standard_layout().into_owned()
        }
        Op::Slice { axis, start, length } => {
            let range = Slice::from(*start..start + length);
            x.slice_axis(Axis(*axis), range).as_standard_layout().into_owned()
        }
        Op::Pad { axis, before, .. } => {
            let mut padded = ArrayD::from_elem(IxDyn(shape), T::default());
            let range = Slice::from(*before..before + x.shape()[*axis]);
            padded.slice_axis_mut(Axis(*axis), range).assign(x);
            padded
        }
        Op::UpsampleNearest { factor } => upsample_nearest(fixed_rank(x), *factor),
        _ => return None,
    })
}

/// Each pixel of `[B,C,H,W]` repeated `factor` times along both axes.
fn upsample_nearest<T: Copy>(x: ArrayView4<T>, factor: usize) -> ArrayD<T> {
    let (batch, channels, height, width) = x.dim();
    let large = (batch, channels, height * factor, width * factor);
    Array::from_shape_fn(large, |(b, c, y, x0)| x[[b, c, y / factor, x0 / factor]]).into_dyn()
}

/// Indices `[B]` as rows of a table of `rows` rows, or the first index that it does not have, and `rows`.
pub fn rows(indices: &ArrayD<i64>, rows: usize) -> Result<Vec<usize>, (i64, usize)> {
    let row = |&index: &i64| usize::try_from(index).ok().filter(|&row| row < rows).ok_or((index, rows));
    indices.iter().map(row).collect()
}

/// Rows of `table [N, ..]`: `[B, ..]`.
pub fn gather<T: Copy>(table: &ArrayD<T>, rows: &[usize]) -> ArrayD<T> {
    table.select(Axis(0), rows).as_standard_layout().into_owned()
}
