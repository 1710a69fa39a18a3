use ddae_tests::{Fixture, fixture, relative_error, tolerance};

use super::*;
use ddae_base::random::{Purpose, stream};

/// The fixtures' draws of image `i`, gated as their config says.
fn draws(case: &Fixture, i: usize) -> Draws {
    let probability = case.config["p"].as_f64().expect("p");
    let value = |name: &str, index: usize| f64::from(case.f32(&format!("input.draw.{name}")).1[index]);
    let bit = |name: &str| case.i64(&format!("input.draw.{name}.bit")).1[i] == 1;
    let enabled = |name: &str| value(&format!("{name}.uniform"), i) < probability;
    let angle = |name: &str| (2.0 * value(&format!("{name}.uniform"), i) - 1.0) * std::f64::consts::PI;
    let when = |enabled: bool, value: f64| if enabled { value } else { 0.0 };
    let images = case.i64("input.draw.01.bit").1.len();
    Draws {
        x_flip: bit("01"),
        y_flip: bit("03") && enabled("04"),
        scale: when(enabled("06"), value("05.normal", i)),
        rotation: when(enabled("08"), angle("07")),
        aniso: when(enabled("11"), value("09.normal", i)),
        aniso_angle: when(enabled("11") && value("12.uniform", i) < 0.5, angle("10")),
        translation: [0, 1].map(|axis| when(enabled("14"), value("13.normal", axis * images + i))),
    }
}

#[test]
fn published_augmentation() {
    for name in ["edm_augment_1x28", "edm_augment_3x32"] {
        let case = fixture(name);
        let (shape, images) = case.f32("input.image");
        let (_, expected) = case.f32("output.image");
        let (_, labels) = case.f32("output.label");
        let shape = [shape[1], shape[2], shape[3]];
        let size = shape.iter().product();
        for (i, image) in images.chunks_exact(size).enumerate() {
            let draws = draws(&case, i);
            let error = relative_error(&apply(&draws, image, shape), &expected[i * size..][..size]);
            assert!(error <= tolerance::NETWORK, "{name} image {i}: {error:e} for {draws:?}");
            let error = relative_error(&draws.label(), &labels[i * 9..][..9]);
            assert!(error <= tolerance::CLOSE, "{name} label {i}: {error:e} for {draws:?}");
        }
    }
}

fn image(shape: [usize; 3]) -> Vec<f32> {
    ddae_tests::rule_values("picture", shape.iter().product(), -1.0, 1.0)
}

#[test]
fn probability_zero_only_flips() {
    let shape = [2, 5, 7];
    let image = image(shape);
    let mirrored: Vec<f32> = image.chunks(7).flat_map(|row| row.iter().rev().copied()).collect();
    let mut flips = 0;
    for index in 0..200 {
        let (augmented, label) = augment(&image, shape, 0.0, &mut stream(0, Purpose::EdmAugment, index, 0));
        assert_eq!(label[1..], [0.0; 8]);
        assert_eq!(augmented, if label[0] == 1.0 { &mirrored[..] } else { &image[..] });
        flips += label[0] as usize;
    }
    assert!((70..130).contains(&flips), "{flips} of 200 flipped");
}

#[test]
fn transformations_are_enabled_as_often_as_asked() {
    let count = 20_000;
    let mut enabled = [0usize; 9];
    for index in 0..count {
        let label = Draws::random(0.12, &mut stream(1, Purpose::EdmAugment, index, 0)).label();
        for (count, value) in enabled.iter_mut().zip(label) {
            *count += usize::from(value != 0.0);
        }
    }
    let expected = [0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.06, 0.12, 0.12];
    for (i, (&found, expected)) in enabled.iter().zip(expected).enumerate() {
        let found = found as f64 / count as f64;
        assert!((found - expected).abs() < 0.012, "label {i}: {found} instead of {expected}");
    }
}

#[test]
fn vertical_flip_mirrors_rows() {
    let image: Vec<f32> = (0..12).map(|v| v as f32).collect();
    let draws = Draws { y_flip: true, ..Draws::default() };
    let expected = [8., 9., 10., 11., 4., 5., 6., 7., 0., 1., 2., 3.];
    assert_eq!(apply(&draws, &image, [1, 3, 4]), expected);
}

/// Skipping the resampling when only flips were drawn is right because resampling by the identity changes nothing.
#[test]
fn resampling_by_the_identity_is_exact() {
    let shape = [3, 32, 28];
    let image = image(shape);
    let error = relative_error(&resample::transform(&image, shape, &Affine::scaling(1.0, 1.0)), &image);
    assert!(error <= tolerance::CLOSE, "{error:e}");
}

#[test]
fn translation_by_whole_pixels_moves_them() {
    // 0.125 * 32 * 0.5 = 2 pixels to the right, 0.125 * 16 * -0.5 = 1 pixel upwards.
    let (shape, draws) = ([1, 16, 32], Draws { translation: [0.5, -0.5], ..Draws::default() });
    let image = image(shape);
    let moved = apply(&draws, &image, shape);
    for y in 0..15 {
        for x in 2..32 {
            let (ours, expected) = (moved[y * 32 + x], image[(y + 1) * 32 + x - 2]);
            assert!((ours - expected).abs() < 1e-5, "({x}, {y}): {ours} instead of {expected}");
        }
    }
    // What comes into view is the mirror image.
    assert!((moved[0] - image[32 + 2]).abs() < 1e-5);
}

#[test]
fn a_quarter_turn_is_counter_clockwise() {
    let shape = [1, 8, 8];
    let mut image = vec![0.0; 64];
    image[3 * 8 + 7] = 1.0; // right of the middle
    let draws = Draws { rotation: std::f64::consts::FRAC_PI_2, ..Draws::default() };
    let turned = apply(&draws, &image, shape);
    let brightest = (0..64).max_by(|&a, &b| turned[a].total_cmp(&turned[b])).expect("64 pixels");
    assert!(brightest / 8 <= 1 && (3..5).contains(&(brightest % 8)), "pixel {brightest}");
}

#[test]
fn extreme_draws_and_tiny_images_are_survived() {
    let extremes = [
        Draws { scale: -60.0, ..Draws::default() },
        Draws { scale: 60.0, rotation: 1.0, ..Draws::default() },
        Draws { aniso: 40.0, aniso_angle: 0.7, translation: [50.0, -50.0], ..Draws::default() },
        Draws { translation: [1e300, f64::NAN], ..Draws::default() },
    ];
    for shape in [[1, 1, 1], [3, 2, 5], [0, 4, 4], [1, 28, 28]] {
        for draws in &extremes {
            let image = image(shape);
            assert_eq!(apply(draws, &image, shape).len(), image.len(), "{draws:?} on {shape:?}");
        }
    }
    // Content moved out of reach of its mirror images leaves black.
    let far = Draws { translation: [50.0, 0.0], ..Draws::default() };
    assert!(apply(&far, &[1.0; 64], [1, 8, 8]).iter().all(|&v| v == 0.0));
}
