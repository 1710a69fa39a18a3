//! Metrics of features, against the tools'.

use ddae_infer::fid::random_state::RandomState;
use ddae_infer::fid::{
    Accumulator, KernelOptions, frechet_distance, inception_score, kernel_distance, precision_recall,
};
use ddae_tests::{fixture, rule_values};
use ndarray::{Array2, ArrayView2};

use super::{close, stored};

/// Points of five degrees of freedom in `dim` dimensions, none below 0.
fn features(name: &str, count: usize, dim: usize, spread: f64, shift: f64) -> Array2<f32> {
    let values = |name: &str, rows: usize, columns: usize, lo: f64, hi: f64| {
        let values = rule_values(name, rows * columns, lo, hi).into_iter().map(f64::from).collect();
        Array2::from_shape_vec((rows, columns), values).expect("a matrix")
    };
    let codes = values(&format!("{name}.codes"), count, 5, -spread, spread);
    let noise = values(&format!("{name}.noise"), count, dim, 0.0, 0.2);
    (codes.dot(&values("axes", 5, dim, -1.0, 1.0)) + noise).mapv(|value| (value + shift).max(0.0) as f32)
}

fn sets() -> (Array2<f32>, Array2<f32>) {
    (features("real", 450, 64, 1.0, 0.0), features("fake", 500, 64, 1.2, 0.1))
}

#[test]
fn choices_are_those_of_numpy() {
    let case = fixture("generation");
    let integers = |name: &str| case.i64(name).1.into_iter().map(|value| value as usize).collect::<Vec<_>>();
    let permutation = RandomState::new(2020).permutation(500);
    assert_eq!(permutation[..40], integers("output.permutation"));
    let mut state = RandomState::new(7);
    let choices: Vec<usize> = (0..3).flat_map(|_| state.choice(70_000, 20)).collect();
    assert_eq!(choices, integers("output.choices"));
    assert_eq!(RandomState::new(0).permutation(1), [0]);
    assert!(RandomState::new(0).permutation(0).is_empty());
}

#[test]
fn metrics_of_features_are_those_of_the_tools() {
    let case = fixture("generation");
    let (real, fake) = sets();
    let (real, fake) = (real.view(), fake.view());

    let options = KernelOptions { subset_size: 200, ..KernelOptions::default() };
    let kernel = kernel_distance(real, fake, options, |_| true).expect("a distance");
    close("kid", &[kernel.mean, kernel.deviation], &stored(&case, "kid"));
    // clean-fid draws in the same order; its numbers depend on numpy's global seed.
    close("kid of clean-fid", &[kernel.mean], &stored(&case, "kid_clean"));

    for neighbours in [3, 5] {
        let found = precision_recall(real, fake, neighbours, |_| true).expect("both");
        let ours = [found.precision, found.recall, found.f_score()];
        close("precision and recall", &ours, &stored(&case, &format!("prc_{neighbours}")));
        assert!(found.precision > 0.1 && found.precision < 0.95, "a number that tells something: {found:?}");
    }

    let logits = Array2::from_shape_vec((505, 30), rule_values("logits", 505 * 30, -4.0, 4.0)).expect("rows");
    for (name, seed) in [("is", Some(2020)), ("is_in_order", None)] {
        let score = inception_score(logits.view(), 10, seed).expect("a score");
        close(name, &[score.mean, score.deviation], &stored(&case, name));
    }

    let statistics = |rows: ArrayView2<f32>| {
        let mut moments = Accumulator::new(rows.ncols());
        moments.add(rows).expect("finite");
        moments.finish().expect("statistics")
    };
    let distance = frechet_distance(&statistics(real), &statistics(fake)).expect("a distance").total();
    close("fid of torch-fidelity", &[distance], &stored(&case, "fid"));
    close("fid of clean-fid", &[distance], &stored(&case, "fid_clean"));
}

/// Copies of one point, and points that lie exactly on a ball.
#[test]
fn balls_have_their_rims() {
    let rows = |values: &[f32]| Array2::from_shape_vec((values.len(), 1), values.to_vec()).expect("rows");
    // The third neighbour of each real point is 3 away; 6 is on the rim of the ball around 3, and 6.001 is not.
    let real = rows(&[0.0, 1.0, 2.0, 3.0]);
    let fake = rows(&[6.0, 6.001, 6.001, 6.001]);
    let found = precision_recall(real.view(), fake.view(), 3, |_| true).expect("both");
    assert_eq!((found.precision, found.recall, found.f_score()), (0.25, 0.0, 0.0));
    let same = rows(&[5.0; 6]);
    let found = precision_recall(same.view(), same.view(), 3, |_| true).expect("both");
    assert_eq!((found.precision, found.recall, found.f_score()), (1.0, 1.0, 1.0));
    // Far from 0, where float32 loses what tells points apart, unless they are taken about their centre.
    let far = |values: &[f32]| rows(&values.iter().map(|value| value + 4096.0).collect::<Vec<_>>());
    let found =
        precision_recall(far(&[0.0, 1.0, 2.0, 3.0]).view(), far(&[6.0, 7.0, 9.0, 9.5]).view(), 3, |_| true);
    assert_eq!(found.expect("both").precision, 0.25);
    let error = precision_recall(real.view(), same.view(), 4, |_| true).expect_err("too few").to_string();
    assert!(error.starts_with("the nearest neighbour number 4 of an image"), "{error}");
    let large = rows(&[1e30, -1e30, 0.0, 1.0]);
    let error = precision_recall(large.view(), real.view(), 3, |_| true).expect_err("too large").to_string();
    assert!(error.starts_with("the distance of two images is too large"), "{error}");
}

#[test]
fn metrics_of_nothing_are_refused() {
    let (real, fake) = sets();
    let few = KernelOptions { subset_size: 451, ..KernelOptions::default() };
    let error = kernel_distance(real.view(), fake.view(), few, |_| true).expect_err("too few").to_string();
    assert!(error.contains("the smaller set has 450"), "{error}");
    let mut broken = Array2::zeros((4, 3));
    let error = inception_score(broken.view(), 5, None).expect_err("too few").to_string();
    assert!(error.starts_with("5 splits of 4 images"), "{error}");
    broken[[2, 1]] = f32::NAN;
    let error = inception_score(broken.view(), 2, None).expect_err("no number").to_string();
    assert!(error.starts_with("image 2 has the feature NaN in column 1"), "{error}");
}
