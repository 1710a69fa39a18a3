//! The solver of the crate `linfa-logistic`.
//!
//! The only module that sees ndarray 0.16, which linfa wants.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array2, ArrayView2};

use super::objective::Objective;
use crate::error::{ClassifyError, Result};

/// Minimises `objective` with linfa's L-BFGS from `start` and returns the parameters `[D + 1, K]`.
///
/// linfa minimises the same function, with `alpha` in the same place. Its tolerance is on the Euclidean norm of the
/// whole gradient. It does not say whether it converged: the caller looks at the gradient.
///
/// # Errors
/// When linfa's line search fails.
pub(super) fn minimise(
    objective: &Objective,
    start: &Array2<f64>,
    tolerance: f64,
    max_iterations: u64,
) -> Result<Array2<f64>> {
    let failed = |reason: String| ClassifyError::Solver { solver: "linfa", reason };
    let (rows, class_count) = objective.parameter_shape();
    let features = objective.features();
    let matrix = |values: ArrayView2<f64>| {
        ndarray16::Array2::from_shape_vec(values.dim(), values.iter().copied().collect())
            .map_err(|error| failed(error.to_string()))
    };
    let targets = ndarray16::Array1::from(objective.classes().to_vec());
    let model = MultiLogisticRegression::default()
        .alpha(objective.alpha())
        .gradient_tolerance(tolerance * objective.samples() as f64)
        .max_iterations(max_iterations)
        .initial_params(matrix(start.view())?)
        .fit(&DatasetBase::new(matrix(features)?, targets))
        .map_err(|error| failed(error.to_string()))?;
    let values = model.params().iter().chain(model.intercept()).copied().collect();
    Array2::from_shape_vec((rows, class_count), values).map_err(|error| failed(error.to_string()))
}
