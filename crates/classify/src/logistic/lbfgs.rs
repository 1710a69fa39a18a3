//! Limited-memory BFGS (Nocedal and Wright, algorithm 7.4) on the preconditioned objective.

use std::collections::VecDeque;

use ndarray::Array2;

use super::objective::{Evaluation, Objective, largest_magnitude};
use super::precondition::Preconditioner;

/// Pairs of steps and gradient changes that are kept.
const MEMORY: usize = 20;

/// Armijo's constant: the share of the promised decrease that a step must bring.
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// Halvings of one step after which the objective counts as flat to rounding.
const LONGEST_LINE_SEARCH: usize = 40;

/// The largest entry of the mean loss's gradient down to which products in float32 are good enough.
const SINGLE: f64 = 2e-6;

/// What float32 takes from the objective, relative to it and for each sample: less is no increase.
const SINGLE_NOISE: f64 = 1e-7;

/// Steps in float32 without a smaller gradient after which it counts as exhausted.
const PATIENCE: usize = 20;

/// Where the solver stopped.
pub(crate) struct Minimum {
    /// Parameters `[D + 1, K]`.
    pub parameters: Array2<f64>,
    /// The objective there, in float64.
    pub evaluation: Evaluation,
    /// Steps taken.
    pub iterations: u64,
}

/// Minimises `objective` from `parameters` until the largest entry of the gradient, divided by the number of samples,
/// is at most `tolerance`, or `max_iterations` steps were taken, or no step brings a decrease any more. `on_step` is
/// called after every step.
///
/// The first steps are taken with products in float32, for as long as these say where to go; the end is decided in
/// float64.
pub(crate) fn minimise(
    objective: &Objective,
    mut parameters: Array2<f64>,
    tolerance: f64,
    max_iterations: u64,
    on_step: &mut dyn FnMut(),
) -> Minimum {
    let preconditioner = Preconditioner::new(objective);
    let samples = objective.samples() as f64;
    let mut precise = false;
    let mut evaluation = objective.evaluate_single(&parameters);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let mut iterations = 0;
    let (mut smallest, mut since_smallest) = (f64::INFINITY, 0);
    while iterations < max_iterations {
        let gradient = largest_magnitude(&evaluation.gradient) / samples;
        if precise && gradient <= tolerance {
            break;
        }
        since_smallest = if gradient < smallest { 0 } else { since_smallest + 1 };
        smallest = smallest.min(gradient);
        let exhausted = gradient <= tolerance.max(SINGLE) || since_smallest > PATIENCE;
        if !precise && (exhausted || !evaluation.value.is_finite() || !gradient.is_finite()) {
            precise = true;
            evaluation = objective.evaluate(&parameters);
            continue;
        }
        let direction = descent_direction(&evaluation.gradient, &memory, &preconditioner);
        let Some((next_parameters, next)) =
            line_search(objective, &parameters, &evaluation, &direction, precise)
        else {
            if !precise {
                precise = true;
                evaluation = objective.evaluate(&parameters);
                continue;
            }
            if memory.is_empty() {
                break;
            }
            // Rounding spoils the remembered curvature near the minimum: start again from the plain one.
            memory.clear();
            continue;
        };
        iterations += 1;
        on_step();
        let step = &next_parameters - &parameters;
        let change = &next.gradient - &evaluation.gradient;
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Pair { step, change, curvature });
        }
        parameters = next_parameters;
        evaluation = next;
    }
    if !precise {
        evaluation = objective.evaluate(&parameters);
    }
    Minimum { parameters, evaluation, iterations }
}

/// One remembered step: `s`, `y` and `s . y`.
struct Pair {
    step: Array2<f64>,
    change: Array2<f64>,
    curvature: f64,
}

/// The two-loop recursion, with the preconditioner as the first inverse Hessian.
fn descent_direction(
    gradient: &Array2<f64>,
    memory: &VecDeque<Pair>,
    preconditioner: &Preconditioner,
) -> Array2<f64> {
    let mut direction = gradient.mapv(|g| -g);
    let mut projections = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let projection = dot(&pair.step, &direction) / pair.curvature;
        direction.scaled_add(-projection, &pair.change);
        projections.push(projection);
    }
    let mut direction = preconditioner.solve(&direction);
    if let Some(last) = memory.back() {
        direction *= last.curvature / dot(&last.change, &preconditioner.solve(&last.change));
    }
    for (pair, projection) in memory.iter().zip(projections.into_iter().rev()) {
        let correction = projection - dot(&pair.change, &direction) / pair.curvature;
        direction.scaled_add(correction, &pair.step);
    }
    direction
}

/// A step along `direction` that decreases the objective enough, or none when rounding hides any decrease.
///
/// The objective is convex, so backtracking by quadratic interpolation is enough: the curvature of an accepted step
/// is never negative.
fn line_search(
    objective: &Objective,
    parameters: &Array2<f64>,
    evaluation: &Evaluation,
    direction: &Array2<f64>,
    precise: bool,
) -> Option<(Array2<f64>, Evaluation)> {
    let slope = dot(&evaluation.gradient, direction);
    if slope.is_nan() || slope >= 0.0 {
        return None;
    }
    let mut length = 1.0;
    for _ in 0..LONGEST_LINE_SEARCH {
        let mut candidate = parameters.clone();
        candidate.scaled_add(length, direction);
        let (next, noise) = match precise {
            true => (objective.evaluate(&candidate), 0.0),
            false => {
                let noise = SINGLE_NOISE * (evaluation.value.abs() + objective.samples() as f64);
                (objective.evaluate_single(&candidate), noise)
            }
        };
        if next.value <= evaluation.value + SUFFICIENT_DECREASE * length * slope + noise {
            return Some((candidate, next));
        }
        let interpolated = -0.5 * slope * length * length / (next.value - evaluation.value - slope * length);
        length = if interpolated.is_finite() {
            interpolated.clamp(0.1 * length, 0.5 * length)
        } else {
            0.1 * length
        };
    }
    None
}

/// Eight sums side by side.
fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let (Some(a), Some(b)) = (a.as_slice(), b.as_slice()) else {
        return a.iter().zip(b).map(|(a, b)| a * b).sum();
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}
