//! The numbers of a key never change: published seeds keep their images.

use ddae_base::random::{Purpose, Rng, stream};
use ddae_data::loader::order;

/// Computed by a second implementation of ChaCha8 and of the conversions.
#[test]
fn golden_values() {
    let words: Vec<u64> = {
        let mut rng = stream(0, Purpose::Noise, 0, 0);
        (0..3).map(|_| rng.next_u64()).collect()
    };
    assert_eq!(words, [937696089655168661, 16793981948690608437, 14643184798593973991]);
    let mut rng = stream(42, Purpose::Sample, 7, 3);
    let uniforms: Vec<f64> = (0..3).map(|_| rng.uniform()).collect();
    assert_eq!(uniforms, [0.2512041954168772, 0.7430496839730476, 0.48683344951467034]);
    let mut normals = [0f32; 5];
    stream(u64::MAX, Purpose::Noise, 1234, 11).fill_normal(&mut normals);
    assert_eq!(normals, [1.7479743, 0.17139482, -0.41301662, -0.33192676, -1.4882698]);
    let mut rng = stream(1, Purpose::Augment, 2, 3);
    let numbers: Vec<u64> = (0..8).map(|_| rng.below(10)).collect();
    assert_eq!(numbers, [4, 2, 0, 5, 0, 4, 7, 7]);
    assert_eq!(order(5, 6, 8), [0, 6, 2, 7, 4, 5, 3, 1]);
}

#[test]
fn purposes_keep_their_numbers() {
    let numbers = [
        (Purpose::Shuffle, 1),
        (Purpose::Augment, 2),
        (Purpose::Noise, 3),
        (Purpose::Sample, 4),
        (Purpose::Training, 5),
        (Purpose::HoldOut, 6),
        (Purpose::EdmAugment, 7),
        (Purpose::Preview, 8),
        (Purpose::Initialise, 10),
        (Purpose::Calibrate, 11),
        (Purpose::SodaSource, 12),
        (Purpose::SodaTarget, 13),
    ];
    for (purpose, number) in numbers {
        assert_eq!(purpose as u64, number, "{purpose:?}");
    }
}
