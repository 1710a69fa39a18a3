//! Any bytes as an idx file of images or labels, plain or gzip-compressed: opening the data set and reading its images end
//! in a result. The first byte says which of the files it is; the others are whole, of three images.

#![no_main]

use std::fs;

use ddae_data::datasets;
use ddae_fuzz::folder;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3];
const IMAGES: &[u8] =
    &[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let root = folder();
    for (number, name) in NAMES.iter().enumerate() {
        let whole = if number % 2 == 0 { IMAGES } else { LABELS };
        let content = if number == usize::from(choice % 2) { bytes } else { whole };
        fs::write(root.path().join(format!("{name}-ubyte")), content).expect("memory");
    }
    if let Ok(data) = datasets::open("mnist", Some(root.path())) {
        let mut levels = vec![0; data.train.image_len()];
        for index in 0..data.train.len().min(64) {
            let _ = data.train.read(index, &mut levels);
        }
    }
});
