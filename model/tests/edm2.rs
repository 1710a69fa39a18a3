//! EDM2's networks through the reference interpreter, against what the published code computed.

use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_tests::edm2::{self, CASES};
use ddae_tests::imported::Case;
use ddae_tests::published::stored;
use ddae_tests::{fixture, parameter_shapes};

fn outputs(case: &Case) -> Vec<(String, Tensor)> {
    run::<f32>(&case.graph, &case.weights, &case.inputs).expect("a run")
}

#[test]
fn the_small_networks() {
    for name in &CASES[..3] {
        for case in [edm2::network(name), edm2::feature(name)] {
            case.check(&outputs(&case));
        }
        let case = edm2::loss(name);
        case.check_mean(&outputs(&case));
    }
}

/// The loss's graph holds every parameter and buffer.
#[test]
fn names_shapes_and_counts_are_the_published_ones() {
    for name in CASES {
        let mut published = parameter_shapes(name);
        published.sort();
        assert_eq!(stored(&edm2::loss(name).graph), published, "{name}");
        // Counted with the frequencies and phases, without the loss.
        let network = stored(&edm2::network(name).graph);
        let count: usize = network.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(fixture(name).config["parameters"].as_u64(), Some(count as u64), "{name}");
    }
}
