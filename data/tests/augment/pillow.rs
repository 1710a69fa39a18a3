//! Images of many shapes, under operations of many magnitudes, against hashes of what Pillow computed (`pillow.py`).

use ddae_data::augment::{Canvas, Operation, Rectangle, ResizedCrop};

/// FNV-1a.
fn hash(levels: &[u8], state: u64) -> u64 {
    levels.iter().fold(state, |h, &level| (h ^ u64::from(level)).wrapping_mul(0x0000_0100_0000_01b3))
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The numbers between the separators of `3x32x32` or `0..256`.
fn numbers<const N: usize>(text: &str, separator: &str) -> [usize; N] {
    let numbers: Vec<usize> = text.split(separator).map(|n| n.parse().expect("a number")).collect();
    numbers.try_into().expect("as many as asked for")
}

#[test]
fn levels_are_those_of_pillow() {
    let lines = include_str!("pillow.txt").lines().filter(|line| !line.starts_with('#'));
    let mut differing = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [shape, range, name, magnitude, expected] = words[..] else { panic!("{line}") };
        let [low, high] = numbers(range, "..").map(|level: usize| level as f64);
        let numbers_of_shape: [usize; 3] = numbers(shape, "x");
        let size = numbers_of_shape.iter().product();
        let image: Vec<u8> = ddae_tests::rule_values(&format!("pillow {shape}"), size, low, high)
            .into_iter()
            .map(|level| level as u8)
            .collect();
        let mut canvas = Canvas::new(numbers_of_shape).expect("grey or RGB");
        let found = if name == "resized_crop" {
            resized_crops(&mut canvas, &image)
        } else {
            let operation = Operation::ALL.into_iter().find(|operation| format!("{operation:?}") == name);
            canvas.levels_mut().copy_from_slice(&image);
            canvas.apply(operation.expect(name), magnitude.parse().expect("a number"));
            hash(canvas.levels(), START)
        };
        if format!("{found:016x}") != expected {
            differing.push(line);
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

/// Parts of every size, one after the other.
fn resized_crops(canvas: &mut Canvas, image: &[u8]) -> u64 {
    let [_, height, width] = canvas.shape();
    let scaler = ResizedCrop::new(height, width);
    let sizes = (1..=height).flat_map(|h| (1..=width).map(move |w| (h, w)));
    sizes.fold(START, |state, (h, w)| {
        canvas.levels_mut().copy_from_slice(image);
        scaler.apply(canvas, Rectangle { top: (height - h) / 2, left: width - w, height: h, width: w });
        hash(canvas.levels(), state)
    })
}
