//! EDM2's networks through their ONNX files in ONNX Runtime, against what the published code computed.

mod onnx;

use ddae_export::lower::Options;
use ddae_tests::edm2::{self, CASES};
use ddae_tests::imported::Case;
use onnx::through_onnx;

fn outputs(case: &Case) -> Vec<(String, ddae_model::tensor::Tensor)> {
    through_onnx(&case.graph, &case.weights, &case.inputs, Options::default())
}

#[test]
fn networks() {
    for name in CASES {
        let case = edm2::network(name);
        case.check(&outputs(&case));
    }
}

#[test]
fn features_and_losses() {
    for name in CASES {
        let feature = edm2::feature(name);
        feature.check(&outputs(&feature));
        let loss = edm2::loss(name);
        loss.check_mean(&outputs(&loss));
    }
}
