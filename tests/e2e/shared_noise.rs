//! Images that hold nothing: whatever a probe finds in their features is a fault of the programs.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::formats::png;
use crate::place::Place;
use crate::tiny::{SIDE, TRAINING, ddpm};

const CLASSES: usize = 4;
/// Images of each class, in each split.
const EACH: usize = 100;

/// The documented pipeline, with one seed for both splits. Where images of the same number share their noise, the nearest
/// neighbour of a test image is the training image of its number, which has its class.
#[test]
fn probes_find_nothing_where_there_is_nothing() {
    let place = Place::new();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for split in ["train", "test"] {
        for number in 0..CLASSES * EACH {
            let image: Vec<u8> = (0..SIDE * SIDE).map(|_| random.random()).collect();
            let (class, number) = (number / EACH, number % EACH);
            place.write(&format!("data/{split}/class_{class}/{number:02}.png"), png(&image, SIDE, SIDE));
        }
    }
    let config = ddpm().replace("n_T: 100", "n_T: 1000").replace("classes: 3", "classes: 4");
    place.write("ddpm.yaml", config);
    place.done(&format!(
        "ddae-train diffusion --config ddpm.yaml {TRAINING} --set n_epoch=1 --set n_sample=0"
    ));
    place.done("ddae-export run --graph features --taps out_2 -o features.onnx");
    for split in ["train", "test"] {
        place.done(&format!(
            "ddae-infer features features.onnx --split {split} --data-root data --timesteps 300,500,900 -o {split}"
        ));
    }
    let chance = 1.0 / CLASSES as f64;
    let error = (chance * (1.0 - chance) / (CLASSES * EACH) as f64).sqrt();
    for timestep in [300, 500, 900] {
        for probe in ["knn -k 1", "logistic"] {
            let files = format!("--train train.h5 --test test.h5 --features t{timestep}/out_2");
            let report = place.run(&format!("ddae-probe {probe} {files} --json")).json();
            let accuracy = report["accuracy"].as_f64().expect("an accuracy");
            let distance = (accuracy - chance).abs() / error;
            assert!(
                distance < 3.0,
                "{probe} at {timestep}: {accuracy}, {distance:.1} standard errors from chance"
            );
        }
    }
}
