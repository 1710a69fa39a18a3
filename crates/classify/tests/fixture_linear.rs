//! The linear probe against PyTorch's (fixture `probe_adam`): the same batches from the same weights.

use ddae_classify::linear::model::{BatchNorm, LinearModel};
use ddae_classify::linear::trainer::Trainer;
use ddae_classify::linear::{LinearOptions, Preset, learning_rate};
use ddae_classify::scaling::Scaling;
use ddae_tests::{Fixture, fixture, relative_error, tolerance};
use ndarray::{Array1, Array2, Axis};

fn matrix(case: &Fixture, name: &str) -> Array2<f32> {
    let (shape, values) = case.f32(name);
    Array2::from_shape_vec((shape[0], shape[1]), values).expect("a matrix")
}

/// Trains with the preset's settings, in the fixture's order, and compares all that the fixture holds under `prefix`.
/// Returns the loss of the last step.
#[track_caller]
fn check(preset: Preset, prefix: &str) -> f64 {
    let (case, features) = (fixture("probe_adam"), fixture("probe_knn_logistic"));
    let number = |name: &str| case.config[name].as_f64().expect("a number");
    let options = LinearOptions { epochs: number("epochs") as usize, ..preset.options() };
    assert_eq!((options.batch as f64, options.learning_rate), (number("batch"), number("lr")));
    let (mut train, mut test) = (matrix(&features, "input.train"), matrix(&features, "input.test"));
    let scaling = options.normalisation.fit(&train.view()).expect("a scaling");
    for rows in [&mut train, &mut test] {
        Scaling::apply(&scaling, rows);
    }
    let classes: Vec<usize> =
        features.i64("input.train_label").1.iter().map(|&label| label as usize).collect();
    let mut trainer = Trainer::new(LinearModel {
        weight: matrix(&case, "input.weight"),
        bias: Array1::from_vec(case.f32("input.bias").1),
        batch_norm: options.batch_norm.then(|| BatchNorm::new(train.ncols())),
    });
    let mut loss = f64::NAN;
    for epoch in 0..options.epochs {
        let batches = train.axis_chunks_iter(Axis(0), options.batch).zip(classes.chunks(options.batch));
        for (batch, classes) in batches {
            loss = trainer.step(batch.to_owned(), classes, learning_rate(&options, epoch));
        }
    }
    let model = trainer.finish();
    let logits = model.logits(test.view());
    for (name, ours) in [
        ("weight", model.weight.as_slice()),
        ("bias", model.bias.as_slice()),
        ("test_logits", logits.as_slice()),
    ] {
        let error = relative_error(ours.expect("row-major"), &case.f32(&format!("output.{prefix}{name}")).1);
        println!("{prefix}{name}: {error:.1e}");
        assert!(error <= tolerance::NETWORK, "{prefix}{name}: relative error {error:e}");
    }
    loss
}

#[test]
fn ddae() {
    let loss = check(Preset::Ddae, "");
    let expected = fixture("probe_adam").f32("output.last_loss").1;
    let error = relative_error(&[loss], &expected);
    assert!(error <= tolerance::NETWORK, "relative error {error:e}");
}

#[test]
fn soda() {
    check(Preset::Soda, "soda_");
}
