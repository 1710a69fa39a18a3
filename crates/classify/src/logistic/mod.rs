//! Multinomial logistic regression in float64, usually on standardised features.
//!
//! The objective is scikit-learn's: the sum of the cross-entropies plus `||W||^2 / (2 C)`, the intercept free.
//!
//! Two solvers find its minimum:
//!
//! - [`Solver::Newton`], the default: limited-memory BFGS whose first inverse Hessian is the objective's curvature at
//!   the start. Some dozens of passes over the data.
//! - [`Solver::Linfa`]: `linfa-logistic`, an independent implementation. On features with few strong directions (raw
//!   pixels) it can stop far from the minimum without an error, which is why it is not the default.
//!
//! Whatever a solver returns is checked with this module's own objective: finite values, a mean loss below
//! that of a guess (`ln(classes)` for balanced classes), and the gradient left over.

mod lbfgs;
mod linfa;
mod objective;
mod precision;
mod precondition;

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::error::{ClassifyError, Result};
use crate::labels::Classes;
use crate::ranking::Ranks;
use crate::scaling::Standardise;
use objective::{Evaluation, Objective};

/// Rows that one thread classifies at a time.
const PREDICTED_ROWS: usize = 256;

/// What finds the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solver {
    /// Preconditioned quasi-Newton steps.
    Newton,
    /// The crate `linfa-logistic`.
    Linfa,
}

impl Solver {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Newton => "newton",
            Self::Linfa => "linfa",
        }
    }
}

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub struct LogisticOptions {
    /// Inverse strength of the L2 penalty, above 0 (scikit-learn's `C`; its default is 1).
    pub c: f64,
    /// What finds the minimum.
    pub solver: Solver,
    /// Steps after which the solver stops, converged or not.
    pub max_iterations: u64,
    /// Converged when no entry of the mean loss's gradient is larger.
    pub tolerance: f64,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { c: 1.0, solver: Solver::Newton, max_iterations: 1000, tolerance: 1e-5 }
    }
}

/// How a fit ended.
#[derive(Clone, Copy, Debug)]
pub struct FitSummary {
    /// Steps taken, where the solver tells.
    pub iterations: Option<u64>,
    /// Mean cross-entropy on the training set, in nats, without the penalty.
    pub mean_loss: f64,
    /// The objective, penalty included, divided by the number of samples.
    pub mean_objective: f64,
    /// Largest entry of the objective's gradient, divided by the number of samples.
    pub gradient: f64,
    /// Whether `gradient` is at most ten times the tolerance. (A solver may stop a little short of its tolerance
    /// where rounding hides any further decrease.)
    pub converged: bool,
}

/// Scaled training features with their classes, ready to be fitted with any C.
pub struct TrainingSet {
    features: Array2<f64>,
    scaler: Standardise,
    classes: Classes,
    class_indices: Vec<usize>,
}

impl TrainingSet {
    /// Standardises `features` `[N, D]` (in place) with labels `[N]`.
    ///
    /// # Errors
    /// When there are fewer than two classes.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn new(features: Array2<f64>, labels: &[i64]) -> Result<Self> {
        let scaler = Standardise::fit(features.view());
        Self::scaled(features, labels, scaler)
    }

    /// As [`TrainingSet::new`] without scaling: the penalty acts on the features as they are. They are still shifted to
    /// mean 0, which changes nothing but the intercept, and that is not penalised.
    ///
    /// # Errors
    /// When there are fewer than two classes.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn unscaled(features: Array2<f64>, labels: &[i64]) -> Result<Self> {
        let scaler = Standardise::fit(features.view()).centre_only();
        Self::scaled(features, labels, scaler)
    }

    fn scaled(mut features: Array2<f64>, labels: &[i64], scaler: Standardise) -> Result<Self> {
        assert_eq!(features.nrows(), labels.len(), "one label per row");
        let classes = Classes::of(labels)?;
        let class_indices = classes.indices(labels, "training set")?;
        scaler.apply(features.view_mut());
        Ok(Self { features, scaler, classes, class_indices })
    }

    /// The classes, ascending.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Fits a model, from `start` (a model of the same training set with another C) where there is one. `on_step` is
    /// called after every step of a solver that tells.
    ///
    /// # Errors
    /// When the solver fails or returns a model that is not finite or not better than a guess.
    pub fn fit(
        &self,
        options: &LogisticOptions,
        start: Option<&LogisticModel>,
        on_step: &mut dyn FnMut(),
    ) -> Result<LogisticModel> {
        let class_count = self.classes.len();
        let objective =
            Objective::new(self.features.view(), &self.class_indices, class_count, 1.0 / options.c);
        let start =
            start.map_or_else(|| objective::starting_point(&objective), |model| model.parameters.clone());
        let (parameters, evaluation, iterations) = match options.solver {
            Solver::Newton => {
                let minimum =
                    lbfgs::minimise(&objective, start, options.tolerance, options.max_iterations, on_step);
                (minimum.parameters, minimum.evaluation, Some(minimum.iterations))
            }
            Solver::Linfa => {
                let parameters =
                    linfa::minimise(&objective, &start, options.tolerance, options.max_iterations)?;
                let evaluation = objective.evaluate(&parameters);
                (parameters, evaluation, None)
            }
        };
        let summary = check(&objective, &evaluation, iterations, options)?;
        Ok(LogisticModel { scaler: self.scaler.clone(), classes: self.classes.clone(), parameters, summary })
    }
}

/// Checks what a solver returned.
fn check(
    objective: &Objective,
    evaluation: &Evaluation,
    iterations: Option<u64>,
    options: &LogisticOptions,
) -> Result<FitSummary> {
    let samples = objective.samples() as f64;
    let gradient = objective::largest_magnitude(&evaluation.gradient) / samples;
    let mean_loss = evaluation.cross_entropy / samples;
    if !(evaluation.value.is_finite() && gradient.is_finite()) {
        return Err(ClassifyError::Solver {
            solver: options.solver.name(),
            reason: format!("it returned weights whose loss is {}", evaluation.value),
        });
    }
    let classes = objective.parameter_shape().1;
    let chance = chance_loss(objective.classes(), classes);
    if mean_loss > chance - 1e-9 {
        return Err(ClassifyError::Chance { loss: mean_loss, classes, chance, c: options.c });
    }
    let mean_objective = evaluation.value / samples;
    let converged = gradient <= 10.0 * options.tolerance;
    Ok(FitSummary { iterations, mean_loss, mean_objective, gradient, converged })
}

/// The mean loss of guessing by the frequency of each class: `ln(classes)` for balanced classes, less for others.
pub fn chance_loss(class_indices: &[usize], classes: usize) -> f64 {
    let mut counts = vec![0.0; classes];
    for &class in class_indices {
        counts[class] += 1.0;
    }
    let samples = class_indices.len() as f64;
    counts.iter().filter(|&&count| count > 0.0).map(|count| -count / samples * (count / samples).ln()).sum()
}

/// A fitted logistic regression.
#[derive(Clone, Debug)]
pub struct LogisticModel {
    scaler: Standardise,
    classes: Classes,
    /// `[D + 1, K]`: weights on scaled features, then the intercept.
    parameters: Array2<f64>,
    summary: FitSummary,
}

impl LogisticModel {
    /// How the fit ended.
    pub fn summary(&self) -> FitSummary {
        self.summary
    }

    /// The classes, in the order of the probabilities' columns.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Class probabilities `[N, K]` of features `[N, D]`, as they were before scaling.
    pub fn probabilities(&self, features: ArrayView2<f32>) -> Array2<f64> {
        let (rows, dim) = features.dim();
        let mut probabilities = Array2::zeros((rows, self.classes.len()));
        let blocks = probabilities.axis_chunks_iter_mut(Axis(0), PREDICTED_ROWS);
        let blocks: Vec<_> = blocks.zip(features.axis_chunks_iter(Axis(0), PREDICTED_ROWS)).collect();
        blocks.into_par_iter().for_each(|(mut block, features)| {
            let mut features = features.mapv(f64::from);
            self.scaler.apply(features.view_mut());
            let logits = features.dot(&self.parameters.slice(s![..dim, ..])) + self.parameters.row(dim);
            block.assign(&logits);
            for mut row in block.rows_mut() {
                objective::softmax_in_place(row.as_slice_mut().unwrap_or(&mut []));
            }
        });
        probabilities
    }

    /// Adds the most probable classes of each row to `ranks`, as indices into [`Self::classes`].
    pub fn rank(&self, features: ArrayView2<f32>, ranks: &mut Ranks) {
        for row in self.probabilities(features).rows() {
            ranks.push(row.iter().copied(), f64::NEG_INFINITY);
        }
    }

    /// The most probable class of each row, as an index into [`Self::classes`]; the smaller one where two are equal.
    pub fn predict(&self, features: ArrayView2<f32>) -> Vec<usize> {
        self.probabilities(features)
            .rows()
            .into_iter()
            .map(|row| first_largest(row.iter().copied()))
            .collect()
    }
}

/// Position of the first of the largest values.
pub(crate) fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    values.enumerate().fold((0, f64::NEG_INFINITY), |best, (i, v)| if v > best.1 { (i, v) } else { best }).0
}
