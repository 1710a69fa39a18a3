//! The logistic regression against scikit-learn's (fixture `probe_knn_logistic`).

use ddae_probe::logistic::{LogisticOptions, Solver, TrainingSet};
use ddae_tests::{fixture, relative_error};
use ndarray::Array2;

fn features(name: &str) -> Array2<f32> {
    let (shape, values) = fixture("probe_knn_logistic").f32(name);
    Array2::from_shape_vec((shape[0], shape[1]), values).expect("a matrix")
}

#[test]
fn probabilities_and_accuracy_are_those_of_scikit_learn() {
    let case = fixture("probe_knn_logistic");
    let (_, train_labels) = case.i64("input.train_label");
    let (_, test_labels) = case.i64("input.test_label");
    let (_, expected) = case.f64("output.logistic_proba");
    let (_, accuracy) = case.f64("output.logistic_acc");
    let train =
        TrainingSet::new(features("input.train").mapv(f64::from), &train_labels).expect("a training set");
    for solver in [Solver::Newton, Solver::Linfa] {
        let model = train.fit(&LogisticOptions { solver, ..Default::default() }).expect("a model");
        println!("{solver:?}: {:?}", model.summary());
        assert!(model.summary().converged, "{solver:?}: {:?}", model.summary());
        let test = features("input.test");
        let probabilities = model.probabilities(test.view());
        let error = relative_error(&probabilities.into_raw_vec_and_offset().0, &expected);
        println!("{solver:?}: relative error {error:e}");
        assert!(error < 1e-4, "{solver:?}: relative error {error:e}");
        let correct =
            model.predict(test.view()).iter().zip(&test_labels).filter(|(p, l)| **p as i64 == **l).count();
        assert_eq!(correct as f64 / test_labels.len() as f64, accuracy[0], "{solver:?}");
    }
}
