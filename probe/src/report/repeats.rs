//! Accuracies with several seeds.

use serde::Serialize;

/// What several seeds gave: each draws the held-out part, a trained probe's weights and order, and the samples of
/// `--shots` anew.
#[derive(Clone, Debug, Serialize)]
pub struct Repeats {
    /// The first of the seeds, which follow each other.
    pub first_seed: u64,
    /// On the test set, in the order of the seeds.
    pub accuracies: Vec<f64>,
    /// The features that each of them used.
    pub features: Vec<String>,
    /// The mean accuracy.
    pub mean: f64,
    /// The standard deviation of the accuracies (over n - 1).
    pub deviation: f64,
}

impl Repeats {
    pub(crate) fn new(first_seed: u64, accuracies: Vec<f64>, features: Vec<String>) -> Self {
        let count = accuracies.len() as f64;
        let mean = accuracies.iter().sum::<f64>() / count;
        let squares = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        Self { first_seed, accuracies, features, mean, deviation }
    }

    /// What should be known where seeds chose different features.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let mut chosen: Vec<(&str, usize)> = Vec::new();
        for features in &self.features {
            match chosen.iter_mut().find(|(known, _)| known == features) {
                Some((_, times)) => *times += 1,
                None => chosen.push((features, 1)),
            }
        }
        chosen.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let listed: Vec<String> =
            chosen.iter().map(|(features, times)| format!("{features} ({times})")).collect();
        (chosen.len() > 1).then(|| format!("seeds chose different features: {}", listed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_by_hand() {
        let of =
            |features: [&str; 3]| Repeats::new(3, vec![0.5, 0.7, 0.6], features.map(str::to_string).to_vec());
        let repeats = of(["a", "a", "a"]);
        assert!((repeats.mean - 0.6).abs() < 1e-12 && (repeats.deviation - 0.1).abs() < 1e-12, "{repeats:?}");
        assert_eq!(repeats.disagreement(), None);
        let differing = of(["b", "a", "a"]).disagreement();
        assert_eq!(differing.as_deref(), Some("seeds chose different features: a (2), b (1)"));
    }
}
