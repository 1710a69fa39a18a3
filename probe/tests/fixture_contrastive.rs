//! Alignment and uniformity against the published code (fixture `contrastive`).

use ddae_probe::contrastive::of_batch;
use ddae_tests::{fixture, relative_error, tolerance};
use ndarray::Array2;

#[test]
fn alignment_and_uniformity_are_the_published_ones() {
    let case = fixture("contrastive");
    let matrix = |name: &str| {
        let (shape, values) = case.f32(name);
        Array2::from_shape_vec((shape[0], shape[1]), values).expect("a matrix")
    };
    let found = of_batch(matrix("input.x").view(), matrix("input.y").view());
    for (name, ours) in [("alignment", found.alignment), ("uniformity", found.uniformity)] {
        let error = relative_error(&[ours], &case.f32(&format!("output.{name}")).1);
        println!("{name}: {error:.1e}");
        assert!(error <= tolerance::NETWORK, "{name}: relative error {error:e}");
    }
}
