//! Any bytes as a checkpoint file, in every format: opening it, reading its tensors and recognising its networks end in a
//! result.

#![no_main]

use std::path::Path;

use ddae_checkpoint::{Checkpoint, WeightChoice, WeightSet};
use ddae_model::networks::recognition::{Given, Shapes, find};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Checkpoint::from_bytes(Path::new("input"), bytes.to_vec()) {
        for tensor in file.tensors() {
            let _ = file.read(tensor.name());
        }
        let parameters = file.parameters(WeightSet::Ema).unwrap_or_default().into_iter();
        let shapes: Shapes =
            parameters.map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect();
        let given = Given { image_size: Some([32, 32]), heads: Some(4), ..Given::default() };
        for found in find(&shapes).unwrap_or_default() {
            if let Ok(network) = found.recognise(&shapes, &given) {
                let _ = network.name_map();
                let _ = network.architecture.unused(network.names, &shapes);
            }
        }
        let _ = (file.layout().to_string(), file.modules());
        let _ = file.choose(None, "--weights", |_| true);
        for set in file.sets() {
            let asked = WeightChoice::Named(set.prefix().to_string());
            let _ = file.choose(Some(&asked), "--weights", |_| true);
            let _ = file.shapes_below(set.prefix());
        }
        let _ = file.record();
    }
});
