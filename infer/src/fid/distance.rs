//! The Fréchet distance between two Gaussians.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::Array2;

use super::error::FidError;
use super::factor::factor;
use super::network::check_networks;
use super::statistics::Statistics;

/// The squared Fréchet distance (Dowson and Landau 1982) in its two parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// `||m - n||²`, at least 0.
    pub of_means: f64,
    /// `tr(A) + tr(B) - 2 tr((A B)^(1/2))`, at least 0.
    pub of_covariances: f64,
}

impl Distance {
    /// Both together: what is called FID.
    pub fn total(&self) -> f64 {
        self.of_means + self.of_covariances
    }
}

impl Statistics {
    /// Whether these are of the features that `fake`'s are of.
    ///
    /// # Errors
    /// When their number differs, or they do not go together ([`check_networks`]).
    pub fn check_comparable(&self, fake: &Statistics) -> Result<(), FidError> {
        if self.dim() != fake.dim() {
            return Err(FidError::Dims { real: self.dim(), fake: fake.dim() });
        }
        check_networks(self.network.as_deref(), fake.network.as_deref())
    }
}

/// The squared Fréchet distance between `real` and `fake`.
///
/// With factors A = K Kᵀ and B = L Lᵀ, the trace of (A B)^(1/2) is the sum of the singular values of Kᵀ L: no root is
/// taken of computed eigenvalues, which would make 1e-8 of a rounding of 1e-16 in every direction in which a set does not
/// vary. So no small multiple of the identity has to be added where there are fewer images than features.
///
/// # Errors
/// When the numbers of features differ, the statistics come from different networks, one is no mean and covariance, or a
/// number on the way is too large.
pub fn frechet_distance(real: &Statistics, fake: &Statistics) -> Result<Distance, FidError> {
    real.check_comparable(fake)?;
    for mean in [&real.mean, &fake.mean] {
        if let Some((column, &value)) = mean.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(FidError::Covariance { what: format!("has a mean of {value} in feature {column}") });
        }
    }
    let (of_real, of_fake) = (factor(real.covariance.view())?, factor(fake.covariance.view())?);
    let product = product(&of_real, &of_fake);
    // Finite numbers may be too large to multiply, and of infinite ones the decomposition would not end.
    if !product.is_all_finite() {
        return Err(FidError::Overflow { what: "the product of the covariances" });
    }
    let common = sum_of_singular_values(&product)?;
    let trace = real.covariance.diag().sum() + fake.covariance.diag().sum();
    let difference = &real.mean - &fake.mean;
    let of_means = difference.dot(&difference);
    for (what, value) in [
        ("the sum of the variances", trace),
        ("the trace of the covariances' root", 2.0 * common),
        ("the distance of the means", of_means),
    ] {
        if !value.is_finite() {
            return Err(FidError::Overflow { what });
        }
    }
    // Rounding alone can make it negative.
    let distance = Distance { of_means, of_covariances: (trace - 2.0 * common).max(0.0) };
    match distance.total().is_finite() {
        true => Ok(distance),
        false => Err(FidError::Overflow { what: "the distance" }),
    }
}

/// `a^T b`.
fn product(a: &Array2<f64>, b: &Array2<f64>) -> Mat<f64> {
    let (a, b) = (matrix(a), matrix(b));
    let mut product = Mat::zeros(a.ncols(), b.ncols());
    matmul(&mut product, Accum::Replace, a.transpose(), b, 1.0, Par::rayon(0));
    product
}

fn sum_of_singular_values(matrix: &Mat<f64>) -> Result<f64, FidError> {
    if matrix.nrows() == 0 || matrix.ncols() == 0 {
        return Ok(0.0);
    }
    Ok(matrix.singular_values().map_err(|_| FidError::NoConvergence)?.iter().sum())
}

fn matrix(of: &Array2<f64>) -> MatRef<'_, f64> {
    let (rows, columns) = of.dim();
    MatRef::from_row_major_slice(of.as_slice().expect("factors lie row after row"), rows, columns)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};

    use super::*;

    fn statistics(mean: Array1<f64>, covariance: Array2<f64>) -> Statistics {
        Statistics { mean, covariance, count: None, network: None }
    }

    /// Gaussians with the same axes, some of which they do not vary along: the distance of the covariances is that of
    /// their roots. The axes are the columns of a reflection.
    #[test]
    fn gaussians_with_common_axes() {
        let dim = 60;
        let normal = Array1::from_shape_fn(dim, |i| ((i * 7 + 3) % 11) as f64 + 0.5);
        let outer = Array2::from_shape_fn((dim, dim), |(i, j)| normal[i] * normal[j]);
        let axes = Array2::<f64>::eye(dim) - outer * (2.0 / normal.dot(&normal));
        let covariance = |variances: &Array1<f64>| (&axes * variances).dot(&axes.t());
        let real =
            Array1::from_shape_fn(dim, |i| if i % 3 == 0 { 0.0 } else { 10_f64.powi(2 - i as i32 % 9) });
        let fake = Array1::from_shape_fn(dim, |i| if i % 4 == 0 { 0.0 } else { 1.0 + i as f64 });
        let expected: f64 = real.iter().zip(&fake).map(|(a, b)| (a.sqrt() - b.sqrt()).powi(2)).sum();
        let means = (Array1::ones(dim), Array1::from_elem(dim, 1.5));
        let real = statistics(means.0, covariance(&real));
        let fake = statistics(means.1, covariance(&fake));
        for (a, b) in [(&real, &fake), (&fake, &real)] {
            let distance = frechet_distance(a, b).expect("a distance");
            assert!((distance.of_means - 15.0).abs() < 1e-12, "{distance:?}");
            assert!((distance.of_covariances / expected - 1.0).abs() < 1e-9, "{distance:?} {expected}");
        }
        let same = frechet_distance(&real, &real).expect("a distance").total();
        assert!(same.abs() < 1e-9, "{same:e}");
    }

    #[test]
    fn a_set_that_does_not_vary() {
        let point = statistics(array![3.0, 0.0], Array2::zeros((2, 2)));
        let other = statistics(array![0.0, 4.0], array![[2.0, 1.0], [1.0, 2.0]]);
        let distance = frechet_distance(&point, &other).expect("a distance");
        assert_eq!((distance.of_means, distance.of_covariances), (25.0, 4.0));
    }

    #[test]
    fn statistics_that_do_not_belong_together() {
        let small = statistics(array![0.0], array![[1.0]]);
        let large = statistics(array![0.0, 0.0], Array2::eye(2));
        let error = frechet_distance(&small, &large).expect_err("other widths").to_string();
        assert!(error.contains("of 1 features and the fake ones of 2"), "{error}");
        let of = |network: &str| Statistics { network: Some(network.into()), ..small.clone() };
        let error = frechet_distance(&of("0123456789abcdef"), &of("ff")).expect_err("others").to_string();
        assert!(error.contains("by the network 0123456789ab and the fake ones by ff"), "{error}");
        frechet_distance(&of("ff"), &small).expect("one of them does not say");
        let huge = Array2::from_shape_fn((5, 5), |(i, j)| if i == j { 1.5e308 } else { 1e308 });
        let huge = statistics(Array1::zeros(5), huge);
        let error = frechet_distance(&huge, &huge).expect_err("beyond all numbers").to_string();
        assert!(
            error.starts_with("the product of the covariances is too large for 64-bit floats"),
            "{error}"
        );
        let broken = statistics(array![f64::NAN], array![[1.0]]);
        let error = frechet_distance(&small, &broken).expect_err("no number").to_string();
        assert!(error.contains("has a mean of NaN in feature 0"), "{error}");
    }
    /// Finite statistics whose distance is not: no distance, and not 0 either.
    #[test]
    fn what_overflows_is_refused() {
        let zeros = |dim: usize| Array2::<f64>::zeros((dim, dim));
        let refused = |real: &Statistics, fake: &Statistics, what: &str| {
            for (a, b) in [(real, fake), (fake, real)] {
                let error = frechet_distance(a, b).expect_err("beyond all numbers").to_string();
                assert!(error.starts_with(&format!("{what} is too large for 64-bit floats; ")), "{error}");
            }
        };
        let near = statistics(Array1::zeros(2), zeros(2));
        let far = statistics(array![1e200, 0.0], zeros(2));
        refused(&near, &far, "the distance of the means");
        let opposite = statistics(array![-1e308, 0.0], zeros(2));
        refused(&statistics(array![1e308, 0.0], zeros(2)), &opposite, "the distance of the means");
        let wide = statistics(Array1::zeros(2), Array2::eye(2) * 1.5e308);
        refused(&near, &wide, "the sum of the variances");
        refused(
            &statistics(Array1::zeros(1), array![[1e308]]),
            &statistics(Array1::zeros(1), array![[1e308]]),
            "the sum of the variances",
        );
        let scattered = statistics(Array1::zeros(1), array![[1e308]]);
        refused(&scattered, &statistics(array![1e154], zeros(1)), "the distance");
    }
}
