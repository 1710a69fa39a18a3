//! Any bytes as a checkpoint file, in every format: opening it and reading its tensors ends in a result.

#![no_main]

use std::path::Path;

use ddae_model::checkpoint::{Checkpoint, WeightSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Checkpoint::from_bytes(Path::new("input"), bytes.to_vec()) {
        for tensor in file.tensors() {
            let _ = file.read(tensor.name());
        }
        let _ = file.parameters(WeightSet::Ema);
        let _ = file.layout().to_string();
        let _ = file.record();
    }
});
