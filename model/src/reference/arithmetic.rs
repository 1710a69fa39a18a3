//! Element by element.

use ndarray::ArrayD;

use super::Real;

/// `x * sigmoid(x)`.
pub fn silu<F: Real>(x: F) -> F {
    x / (F::one() + (-x).exp())
}

/// `factor * x + shift`.
pub fn affine<F: Real>(x: &ArrayD<F>, factor: f64, shift: f64) -> ArrayD<F> {
    let (factor, shift) = (F::rounded(factor), F::rounded(shift));
    x.mapv(|x| factor * x + shift)
}

/// `x` limited to `[min, max]`; a NaN stays one.
pub fn clamp<F: Real>(x: &ArrayD<F>, min: f64, max: f64) -> ArrayD<F> {
    let (min, max) = (F::rounded(min), F::rounded(max));
    x.mapv(|x| {
        if x < min {
            min
        } else if x > max {
            max
        } else {
            x
        }
    })
}
