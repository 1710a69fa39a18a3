//! Linear layers.

use ndarray::{Array2, ArrayD, ArrayView1, ArrayView2, IxDyn};

use super::Real;

/// `x [.., I] * weight[O,I]^T + bias[O]`: `[.., O]`.
pub fn linear<F: Real>(x: &ArrayD<F>, weight: ArrayView2<F>, bias: Option<ArrayView1<F>>) -> ArrayD<F> {
    let (outputs, features) = weight.dim();
    let rows = x.shape().iter().rev().skip(1).product();
    let flat: ndarray::CowArray<F, _> =
        x.to_shape((rows, features)).expect("the graph checked the last axis");
    let mut result: Array2<F> = flat.dot(&weight.t());
    if let Some(bias) = bias {
        result += &bias;
    }
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let result = result.as_standard_layout().into_owned();
    result.into_shape_with_order(IxDyn(&shape)).expect("as many rows as x has")
}
