//! The noise-conditional head against the published one (fixture `noise_mlp`).

use ddae_classify::mlp::Layer;
use ddae_classify::noise_mlp::NoiseMlpModel;
use ddae_tests::cases::published::noise_mlp;
use ddae_tests::{fixture, relative_error, tolerance};
use ndarray::{Array1, Array2};

#[test]
fn logits_are_the_published_ones() {
    let (case, weights) = (fixture("noise_mlp"), noise_mlp().weights);
    let values = |name: String| {
        let tensor = weights.get(&name).unwrap_or_else(|| panic!("{name}"));
        (tensor.shape().to_vec(), tensor.as_f32().expect("float32").to_vec())
    };
    let layer = |name: &str| {
        let (shape, weight) = values(format!("{name}.weight"));
        Layer {
            weight: Array2::from_shape_vec((shape[0], shape[1]), weight).expect("a matrix"),
            bias: Array1::from_vec(values(format!("{name}.bias")).1),
        }
    };
    let model = NoiseMlpModel {
        embedding: [layer("time_emb.lin1"), layer("time_emb.lin2")],
        hidden: layer("cls.0"),
        output: layer("cls.2"),
    };
    let (shape, features) = case.f32("input.feature");
    let features = Array2::from_shape_vec((shape[0], shape[1]), features).expect("a matrix");
    let logits = model.logits(features.view(), &case.i64("input.t").1);
    let error = relative_error(logits.as_slice().expect("row-major"), &case.f32("output.logits").1);
    println!("relative error {error:.1e}");
    assert!(error <= tolerance::NETWORK, "relative error {error:e}");
}
