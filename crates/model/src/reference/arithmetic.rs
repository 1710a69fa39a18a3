//! Element by element.

use ndarray::ArrayD;

use super::Real;

/// `x * sigmoid(x)`.
pub fn silu<F: Real>(x: F) -> F {
    x / (F::one() + (-x).exp())
}

/// `max(x, 0)`; a NaN stays one.
pub fn relu<F: Real>(x: F) -> F {
    if x < F::zero() { F::zero() } else { x }
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (arXiv 1606.08415).
pub fn gelu_tanh<F: Real>(x: F) -> F {
    let (half, cubic) = (F::rounded(0.5), F::rounded(0.044_715));
    let slope = F::rounded((2.0 / std::f64::consts::PI).sqrt());
    half * x * (F::one() + (slope * (x + cubic * x * x * x)).tanh())
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
