//! What was predicted of which class.

/// The confusion matrix of a test set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// `[true class][predicted class]`: number of samples.
    counts: Vec<Vec<usize>>,
}

impl ConfusionMatrix {
    /// Counts predictions; both are indices below `classes`.
    ///
    /// # Panics
    /// When one is not.
    pub fn new(truth: &[usize], predictions: &[usize], classes: usize) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (&truth, &prediction) in truth.iter().zip(predictions) {
            counts[truth][prediction] += 1;
        }
        Self { counts }
    }

    /// `[true class][predicted class]`: number of samples.
    pub fn counts(&self) -> &[Vec<usize>] {
        &self.counts
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// Number of samples whose class was found.
    pub fn correct(&self) -> usize {
        self.counts.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// The share of samples whose class was found, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.samples().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_count_by_true_and_predicted_class() {
        let matrix = ConfusionMatrix::new(&[0, 0, 1, 2, 2, 2], &[0, 1, 1, 2, 2, 0], 3);
        assert_eq!(matrix.counts(), [[1, 1, 0], [0, 1, 0], [1, 0, 2]]);
        assert_eq!((matrix.correct(), matrix.samples()), (4, 6));
        assert!((matrix.accuracy() - 4.0 / 6.0).abs() < 1e-15);
    }
}
