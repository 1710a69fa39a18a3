//! Test samples in a plane and beside their nearest training samples.

use ddae_base::shell;

use crate::images::Atlas;

/// What a page shows of two files of features.
#[derive(Clone, Debug, Default)]
pub struct FeatureView {
    /// The file with the training features.
    pub train: String,
    /// The file with the test features.
    pub test: String,
    /// Which features.
    pub features: String,
    /// Their number.
    pub dim: usize,
    /// Test samples in all, of which `samples` are some, evenly spaced.
    pub total: usize,
    /// Training samples in all.
    pub base: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The test samples that are shown.
    pub samples: Vec<Sample>,
    /// Neighbours that were asked for each.
    pub k: usize,
    /// Places by their principal components, with the shares of the variance.
    pub pca: Option<(Vec<[f64; 2]>, [f64; 2])>,
    /// Places by t-SNE, with its perplexity.
    pub tsne: Option<(Vec<[f64; 2]>, f32)>,
    /// The images that samples name by number; empty without a data set.
    pub atlas: Atlas,
    /// Attributes of the test file.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// A test sample.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What it is called: its path or number.
    pub key: String,
    /// Its class, a position in the classes.
    pub class: usize,
    /// What its neighbours voted for.
    pub predicted: usize,
    /// Its image.
    pub image: Option<usize>,
    /// The nearest training samples, nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// A training sample beside a test sample.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// What it is called.
    pub key: String,
    /// Its class.
    pub class: usize,
    /// Its distance: that of features of length 1.
    pub distance: f64,
    /// Its image.
    pub image: Option<usize>,
}

impl Sample {
    /// Whether another class was voted for.
    pub fn is_mistake(&self) -> bool {
        self.class != self.predicted
    }
}

impl FeatureView {
    /// The name of a class.
    pub fn class(&self, class: usize) -> &str {
        self.classes.get(class).map_or("?", String::as_str)
    }

    /// The command that measures k-NN of these features on all test samples.
    pub fn command(&self) -> String {
        let [train, test, features] = [&self.train, &self.test, &self.features].map(shell::word);
        format!("ddae-probe knn --train {train} --test {test} --features {features} -k {}", self.k)
    }
}

/// The class that most of the `neighbours` have, the smaller one of two.
///
/// # Panics
/// When a class is not below `classes`.
pub fn majority(neighbours: &[Neighbour], classes: usize) -> usize {
    let mut votes = vec![0; classes];
    neighbours.iter().for_each(|neighbour| votes[neighbour.class] += 1);
    (0..classes).rev().max_by_key(|&class| votes[class]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_neighbours_decide_and_the_smaller_of_two_classes() {
        let of = |classes: &[usize]| {
            let neighbour = |&class| Neighbour { key: String::new(), class, distance: 0.0, image: None };
            majority(&classes.iter().map(neighbour).collect::<Vec<_>>(), 3)
        };
        assert_eq!([of(&[2, 1, 2]), of(&[2, 1, 1, 2]), of(&[0])], [2, 1, 0]);
    }
}
