//! The sizes of EDM2's networks.

use ddae_tests::cases::edm2::{CASES, architecture};
use ddae_tests::cases::stored;
use ddae_tests::fixture;

#[test]
fn counts_are_the_published_ones() {
    for name in CASES {
        let case = fixture(name);
        // Counted with the frequencies and phases, without the loss.
        let network = stored(&architecture(&case).network_graph(false).expect("a graph"));
        let count: usize = network.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(case.config["parameters"].as_u64(), Some(count as u64), "{name}");
    }
}
