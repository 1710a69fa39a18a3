//! Images drawn from noise.

use crate::formats::{decode_npy, decode_png};
use crate::tiny::{SIDE, with};

const SAMPLE: &str = "ddae-infer sample sampler.onnx --steps 4 --threads 1";

#[test]
fn images_a_sheet_and_an_array_hold_the_same() {
    let place = with(&["sampler.onnx"]);
    place.done(&format!("{SAMPLE} --seeds 0-4,9 -o images --sheet sheet.png --columns 3 --npy array.npy"));
    assert_eq!(
        place.names("images"),
        ["000000.png", "000001.png", "000002.png", "000003.png", "000004.png", "000009.png", "run.json"]
    );
    let (shape, values) = decode_npy(&place.read("array.npy"));
    assert_eq!(shape, [6, SIDE, SIDE, 1]);
    let sheet = decode_png(&place.read("sheet.png")).into_luma8();
    assert!(sheet.width() as usize >= 3 * SIDE && sheet.height() as usize >= 2 * SIDE);
    for (seed, expected) in [0, 1, 2, 3, 4, 9].into_iter().zip(values.chunks_exact(SIDE * SIDE)) {
        let image = decode_png(&place.read(&format!("images/{seed:06}.png")));
        assert_eq!((image.width() as usize, image.height() as usize), (SIDE, SIDE));
        assert_eq!(image.into_luma8().into_raw(), expected, "seed {seed}");
    }
    let settings: serde_json::Value = serde_json::from_str(&place.text("images/run.json")).expect("JSON");
    assert_eq!((&settings["sampler"], &settings["steps"]), (&"ddim".into(), &4.into()));
}

/// An image is a function of its seed.
#[test]
fn batch_size_and_company_do_not_change_a_image() {
    let place = with(&["sampler.onnx"]);
    for sampler in ["ddim --eta 0.7 --steps 4", "ddpm"] {
        let draw = |folder: &str, options: &str| {
            let line = format!(
                "ddae-infer sample sampler.onnx --sampler {sampler} -o {folder} {options} --overwrite"
            );
            place.done(&line);
        };
        draw("together", "--seeds 0-8 --batch 9 --threads 1");
        draw("apart", "--seeds 8,3,5 --batch 2 --threads 2");
        for seed in [3, 5, 8] {
            let of = |folder: &str| {
                decode_png(&place.read(&format!("{folder}/{seed:06}.png"))).into_luma8().into_raw()
            };
            let (together, apart) = (of("together"), of("apart"));
            let largest = together.iter().zip(&apart).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(largest <= Some(1), "seed {seed} with {sampler}: {largest:?}");
        }
    }
}

#[test]
fn only_missing_images_are_drawn_again() {
    let place = with(&["sampler.onnx"]);
    let line = format!("{SAMPLE} --seeds 0-5 -o images --json");
    assert_eq!(place.run(&line).json()["drawn"], 6);
    let before = place.snapshot();
    std::fs::remove_file(place.path("images/000002.png")).expect("removed");
    assert_eq!(place.run(&line).json()["drawn"], 1);
    assert!(place.snapshot() == before, "the same image came back, and nothing else changed");
    let ended = place.run(&format!("{} --eta 0.5", line));
    let error = ended.error(&[1, 2]);
    assert!(error.contains("images holds images with eta 0.0, and this run has 0.5"), "{error}");
    assert!(place.snapshot() == before);
}
