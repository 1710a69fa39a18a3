//! Any bytes as a feature file: opening it and reading what it promises end in a result.

#![no_main]

use ddae_fuzz::MemoryFile;
use ddae_store::FeatureFile;
use libfuzzer_sys::fuzz_target;

/// Rows that are read: more are only more of the same.
const MOST_ROWS: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let file = MemoryFile::new(bytes);
    if let Ok(features) = FeatureFile::open(file.path()) {
        let _ = features.labels();
        let _ = features.indices();
        let _ = features.attributes();
        let _ = features.paths(0..features.len().min(MOST_ROWS));
        for key in features.keys() {
            for view in 0..features.views().min(4) {
                let _ = features.read(key, view, 0..features.len().min(MOST_ROWS));
            }
        }
    }
});
