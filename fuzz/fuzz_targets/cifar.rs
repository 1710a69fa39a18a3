//! Any bytes as a batch of CIFAR, binary or python version: opening the data set and reading its images end in a result.
//! The first byte says which version it is.

#![no_main]

use std::fs;
use std::os::unix::fs::symlink;

use ddae_data::datasets;
use ddae_fuzz::folder;
use libfuzzer_sys::fuzz_target;

const CIFAR10: [&str; 6] =
    ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];
const CIFAR100: [&str; 2] = ["train", "test"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let (name, below, ending, files) = match choice % 4 {
        0 => ("cifar10", "cifar-10-batches-bin", ".bin", &CIFAR10[..]),
        1 => ("cifar10", "cifar-10-batches-py", "", &CIFAR10[..]),
        2 => ("cifar100", "cifar-100-binary", ".bin", &CIFAR100[..]),
        _ => ("cifar100", "cifar-100-python", "", &CIFAR100[..]),
    };
    let root = folder();
    let below = root.path().join(below);
    fs::create_dir(&below).expect("memory");
    fs::write(root.path().join("batch"), bytes).expect("memory");
    for file in files {
        symlink("../batch", below.join(format!("{file}{ending}"))).expect("memory");
    }
    if let Ok(data) = datasets::open(name, Some(root.path())) {
        let mut levels = vec![0; data.train.image_len()];
        for index in 0..data.train.len().min(64) {
            let _ = data.train.read(index, &mut levels);
        }
    }
});
