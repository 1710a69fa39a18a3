//! How far outputs are from others that are taken to be right.

use ddae_model::tensor::Tensor;
use ddae_onnx::metadata::OutputError;

/// Outputs by name.
pub type Outputs = [(String, Tensor)];

/// Differences of outputs, gathered over batches without keeping them.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    outputs: Vec<Sums>,
}

/// Sums over all samples so far, of the output `a` and the right one `b`.
#[derive(Clone, Debug)]
struct Sums {
    name: String,
    samples: usize,
    /// Sums over the samples, by element of an output.
    a: Vec<f64>,
    b: Vec<f64>,
    /// Sums over samples and elements.
    aa: f64,
    bb: f64,
    ab: f64,
    difference: f64,
}

impl Comparison {
    /// Takes in the outputs of a batch. An output that is missing or of another shape is infinitely far.
    pub fn add(&mut self, found: &Outputs, expected: &Outputs) {
        for (i, (name, b)) in expected.iter().enumerate() {
            if self.outputs.len() <= i {
                self.outputs.push(Sums::new(name, b));
            }
            self.outputs[i].add(named(found, name), b);
        }
    }

    /// The errors of the outputs, in the order of the right ones, to as many digits as say something.
    pub fn errors(&self) -> Vec<OutputError> {
        self.outputs.iter().map(Sums::error).collect()
    }
}

impl Sums {
    fn new(name: &str, b: &Tensor) -> Sums {
        let zeros = vec![0.0; elements_per_sample(b)];
        let (a, b) = (zeros.clone(), zeros);
        Sums { name: name.to_string(), samples: 0, a, b, aa: 0.0, bb: 0.0, ab: 0.0, difference: 0.0 }
    }

    fn add(&mut self, a: Option<&Tensor>, b: &Tensor) {
        let elements = self.b.len();
        let Some(a) = a.filter(|a| a.shape() == b.shape() && elements_per_sample(b) == elements) else {
            self.difference = f64::INFINITY;
            return;
        };
        self.samples += b.data().len() / elements.max(1);
        for (i, (a, b)) in a.to_f64_vec().into_iter().zip(b.to_f64_vec()).enumerate() {
            self.a[i % elements] += a;
            self.b[i % elements] += b;
            self.aa += a * a;
            self.bb += b * b;
            self.ab += a * b;
            self.difference += (a - b) * (a - b);
        }
    }

    fn error(&self) -> OutputError {
        let relative = relative(self.difference, self.bb);
        // The sum of products about the means is the sum of products less that of the means.
        let of_means = |x: &[f64], y: &[f64]| {
            x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / self.samples.max(1) as f64
        };
        let ab = self.ab - of_means(&self.a, &self.b);
        let (aa, bb) = (self.aa - of_means(&self.a, &self.a), self.bb - of_means(&self.b, &self.b));
        let cosine = match (aa * bb).sqrt() {
            _ if self.difference == 0.0 => 1.0,
            product if product > 0.0 => (ab / product).clamp(-1.0, 1.0),
            _ => 0.0,
        };
        let cosine = format!("{cosine:.7}").parse().unwrap_or(cosine);
        OutputError { name: self.name.clone(), relative: two_digits(relative), cosine }
    }
}

/// The output of a name.
pub(crate) fn named<'t>(outputs: &'t Outputs, name: &str) -> Option<&'t Tensor> {
    outputs.iter().find(|(output, _)| output == name).map(|(_, tensor)| tensor)
}

/// `||a - b|| / ||b||`; infinite where shapes differ, an output is missing or a value is not finite.
pub(crate) fn relative_difference(found: Option<&Tensor>, expected: &Tensor) -> f64 {
    let Some(found) = found.filter(|found| found.shape() == expected.shape()) else { return f64::INFINITY };
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in found.to_f64_vec().into_iter().zip(expected.to_f64_vec()) {
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    relative(difference, norm)
}

/// A difference from sums of squares.
fn relative(difference: f64, norm: f64) -> f64 {
    let relative = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
    if relative.is_nan() { f64::INFINITY } else { relative }
}

/// A difference as it reads: it must not change in its last digits from one processor to the next.
pub(crate) fn two_digits(difference: f64) -> f64 {
    format!("{difference:.1e}").parse().unwrap_or(difference)
}

fn elements_per_sample(tensor: &Tensor) -> usize {
    tensor.shape().iter().skip(1).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(a: &[[f32; 2]], b: &[[f32; 2]]) -> OutputError {
        let tensor =
            |rows: &[[f32; 2]]| vec![("y".to_string(), Tensor::f32(&[rows.len(), 2], rows.concat()))];
        let mut comparison = Comparison::default();
        let middle = a.len() / 2;
        comparison.add(&tensor(&a[..middle]), &tensor(&b[..middle]));
        comparison.add(&tensor(&a[middle..]), &tensor(&b[middle..]));
        comparison.errors().remove(0)
    }

    #[test]
    fn the_mean_does_not_hide_a_difference() {
        let b = [[100.0, 7.0], [101.0, 8.0], [99.0, 6.0], [100.0, 7.0]];
        // The right mean, and what differs between images turned around.
        let a = [[100.0, 7.0], [99.0, 6.0], [101.0, 8.0], [100.0, 7.0]];
        let error = compared(&a, &b);
        assert!(error.relative < 0.03 && error.cosine == -1.0, "{error:?}");
    }

    #[test]
    fn equal_outputs_have_no_error() {
        let b = [[1.0, 2.0], [1.0, 2.0]];
        assert_eq!(compared(&b, &b), OutputError { name: "y".to_string(), relative: 0.0, cosine: 1.0 });
        let shifted = [[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]];
        let error = compared(&shifted.map(|[x, y]| [2.0 * x + 1.0, 2.0 * y]), &shifted);
        assert!(error.relative > 1.0 && error.cosine == 1.0, "{error:?}");
    }

    #[test]
    fn what_is_missing_or_not_finite_is_infinitely_far() {
        let b = [("y".to_string(), Tensor::f32(&[1, 2], vec![1.0, 2.0]))];
        let nan = [("y".to_string(), Tensor::f32(&[1, 2], vec![f32::NAN, 2.0]))];
        let other = [("y".to_string(), Tensor::f32(&[2, 1], vec![1.0, 2.0]))];
        for a in [&[] as &Outputs, &nan, &other] {
            let mut comparison = Comparison::default();
            comparison.add(a, &b);
            assert_eq!(comparison.errors()[0].relative, f64::INFINITY);
        }
    }
}
