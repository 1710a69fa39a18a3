//! How much k-NN and linear models tell from latents: SODA's published k-NN and linear probe, and the logistic regression
//! that such a probe approaches, which depends on no seed and needs no tens of thousands of images.
//!
//! The published probes crop every training image anew whenever they see it; here it is cropped once an evaluation, so
//! that each is encoded once. `ddae-infer features --resized-crop --views N` makes several.

use ddae_classify::ConfusionMatrix;
use ddae_classify::knn::{self, KnnOptions};
use ddae_classify::labels::Classes;
use ddae_classify::linear::{self, Preset};
use ddae_classify::logistic::{LogisticOptions, TrainingSet};
use ddae_classify::scaling::normalise_l2;
use ddae_data::split::Split;
use serde_json::json;

use super::encoder::Latents;
use crate::TrainError;
use crate::training::Scores;

/// Share of the training images that is held out where a data set has no others.
const HELD_OUT: f64 = 0.1;

/// The images whose latents are compared.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Those with known classes.
    pub base: Split,
    /// Those that are classified.
    pub queries: Split,
}

impl Splits {
    /// The training images and those that are not trained on, held out or to test with; without any, a tenth of the training
    /// images is classified by the others.
    ///
    /// # Errors
    /// A sentence: why there is nothing to classify.
    pub fn new(train: &Split, test: &Split) -> Result<Splits, String> {
        if let Some(split) = [train, test].into_iter().find(|split| !split.is_empty() && !split.is_labelled())
        {
            return Err(format!("no scores: {} has no labels (--labels FILE.csv gives them)", split.name()));
        }
        let classes = train.class_counts().into_iter().filter(|&count| count > 0).count();
        if classes < 2 {
            return Err(format!("no scores: {} has only one class", train.name()));
        }
        if !test.is_empty() {
            return Ok(Splits { base: train.clone(), queries: test.clone() });
        }
        let parts = train.hold_out(HELD_OUT, 0);
        let (base, queries) = parts.map_err(|error| format!("no scores: {error}"))?;
        Ok(Splits { base, queries })
    }
}

/// The accuracies of k-NN, of the linear probe and of logistic regression, on latents scaled to length 1.
///
/// # Errors
/// When a class of the queries is not among those of the base, or latents are no numbers.
pub fn scores(splits: &Splits, mut base: Latents, mut queries: Latents) -> Result<Scores, TrainError> {
    normalise_l2(&mut base.latents);
    normalise_l2(&mut queries.latents);
    let classes = Classes::of(&base.labels)?;
    let known = classes.indices(&base.labels, splits.base.name())?;
    let truth = classes.indices(&queries.labels, splits.queries.name())?;
    let accuracy =
        |predictions: &[usize]| ConfusionMatrix::new(&truth, predictions, classes.len()).accuracy();

    let options = KnnOptions::default();
    let options = KnnOptions { k: options.k.min(base.latents.nrows()), ..options };
    let (rows, others) = (queries.latents.view(), base.latents.view());
    let nearest = knn::classify(&rows, &others, &known, classes.len(), &options, &mut |_| {})?;
    let mut values = vec![("knn_accuracy", accuracy(&nearest))];

    let published = Preset::Soda.options();
    let (model, _) = linear::train(&mut base.latents, &known, classes.len(), &published, &mut |_| {})?;
    values.push(("linear_accuracy", accuracy(&model.predict(queries.latents.view()))));

    let logistic = LogisticOptions::default();
    let fitted = TrainingSet::new(base.latents.mapv(f64::from), &base.labels)
        .and_then(|set| set.fit(&logistic, None, &mut || {}));
    let mut notes = Vec::new();
    match fitted {
        Ok(model) => values.push(("logistic_accuracy", accuracy(&model.predict(queries.latents.view())))),
        // Latents that are all alike, early in a run.
        Err(error) => notes.push(format!("no logistic regression: {error}")),
    }
    let protocol = json!({
        "base": splits.base.name(),
        "queries": splits.queries.name(),
        "base_pictures": "cropped at random and mirrored with probability 0.65, once each",
        "normalise": "l2",
        "knn": { "k": options.k, "metric": options.metric.name(), "votes": options.votes.name() },
        "linear": {
            "preset": Preset::Soda.name(),
            "epochs": published.epochs,
            "batch": published.batch,
            "learning_rate": published.learning_rate,
            "seed": published.seed,
        },
        "logistic": { "standardised": true, "c": logistic.c },
    });
    Ok(Scores { values, count: None, by_timestep: Vec::new(), protocol, notes })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// `count` images of one pixel, in two classes that take turns.
    fn split(count: usize) -> Split {
        let labels = (0..count as u32).map(|i| i % 2).collect();
        let classes = vec!["a".to_string(), "b".to_string()];
        Split::in_memory("data", classes, labels, [1, 1, 1], vec![0; count]).expect("a split")
    }

    /// Latents that tell the class, or all the same.
    fn latents(split: &Split, tell: bool) -> Latents {
        let labels: Vec<i64> = (0..split.len()).map(|i| split.label(i) as i64).collect();
        let value = |(i, j): (usize, usize)| match (tell, labels[i] as usize == j) {
            (true, true) => 3.0 + 0.01 * (i % 60) as f32,
            (true, false) => 0.1 * ((i * 7 + j) % 5) as f32,
            (false, _) => 1.0,
        };
        Latents { latents: Array2::from_shape_fn((split.len(), 2), value), labels }
    }

    fn named(scores: &Scores, name: &str) -> Option<f64> {
        scores.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    #[test]
    fn latents_that_tell_the_class_score_1() {
        // As many as the linear probe needs to come from its initial weights to any others.
        let splits = Splits::new(&split(20_000), &split(20)).expect("splits");
        let found =
            scores(&splits, latents(&splits.base, true), latents(&splits.queries, true)).expect("scores");
        for name in ["knn_accuracy", "linear_accuracy", "logistic_accuracy"] {
            assert_eq!(named(&found, name), Some(1.0), "{name}");
        }
        assert_eq!(found.protocol["linear"]["preset"], "soda");
        assert_eq!(found.protocol["knn"]["k"], 20);
        assert_eq!(found.notes, Vec::<String>::new());
    }

    #[test]
    fn latents_that_are_all_alike_are_no_error() {
        let splits = Splits::new(&split(12), &split(20)).expect("splits");
        let found =
            scores(&splits, latents(&splits.base, false), latents(&splits.queries, false)).expect("scores");
        for (name, score) in
            [("knn_accuracy", Some(0.5)), ("linear_accuracy", Some(0.5)), ("logistic_accuracy", None)]
        {
            assert_eq!(named(&found, name), score, "{name}");
        }
        assert_eq!(found.protocol["knn"]["k"], 12, "there are no more");
        assert!(found.notes[0].starts_with("no logistic regression: "), "{:?}", found.notes);
    }

    #[test]
    fn without_test_images_some_of_the_others_are_held_out() {
        let empty = split(0);
        let splits = Splits::new(&split(40), &empty).expect("splits");
        assert_eq!((splits.base.len(), splits.queries.len()), (36, 4));
        let reason = Splits::new(&split(1), &empty).expect_err("one class");
        assert_eq!(reason, "no scores: data has only one class");
        let reason = Splits::new(&split(4), &empty).expect_err("too few");
        assert!(reason.starts_with("no scores: cannot hold out"), "{reason}");
    }
}
