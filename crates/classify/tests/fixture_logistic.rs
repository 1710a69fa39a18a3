//! The logistic regression against scikit-learn's (fixture `probe_knn_logistic`).

use ddae_classify::logistic::{LogisticOptions, Solver, TrainingSet};
use ddae_classify::scaling::Standardise;
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
        let model = train
            .fit(&LogisticOptions { solver, tolerance: 1e-6, ..Default::default() }, None, &mut || ())
            .expect("a model");
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

#[test]
fn features_as_they_are_may_lie_far_from_zero() {
    let labels = fixture("probe_knn_logistic").i64("input.train_label").1;
    let (train, test) = (features("input.train").mapv(f64::from), features("input.test"));
    let options = LogisticOptions { tolerance: 1e-8, ..Default::default() };
    let fit = |train: TrainingSet| train.fit(&options, None, &mut || ()).expect("a model");
    let near = fit(TrainingSet::unscaled(train.clone(), &labels).expect("a training set"));
    let far = fit(TrainingSet::unscaled(&train + 64.0, &labels).expect("a training set"));
    let (near, far) = (near.probabilities(test.view()), far.probabilities((&test + 64.0).view()));
    let error = relative_error(&far.into_raw_vec_and_offset().0, &near.into_raw_vec_and_offset().0);
    assert!(error < 1e-4, "{error}");

    // Standardised features are left alone by standardising.
    let standardise = Standardise::fit(train.view());
    let mut scaled = train.clone();
    standardise.apply(scaled.view_mut());
    let mut scaled_test = test.clone();
    standardise.apply_f32(&mut scaled_test);
    let given = fit(TrainingSet::unscaled(scaled, &labels).expect("a training set"));
    let own = fit(TrainingSet::new(train, &labels).expect("a training set"));
    let (given, own) = (given.probabilities(scaled_test.view()), own.probabilities(test.view()));
    let error = relative_error(&given.into_raw_vec_and_offset().0, &own.into_raw_vec_and_offset().0);
    assert!(error < 1e-5, "{error}");
}
