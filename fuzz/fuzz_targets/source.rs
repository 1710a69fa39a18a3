//! Any bytes as a file of images: a tar file, a parquet file or a table, which its first bytes tell. Opening it and reading
//! its images end in a result. The reader of parquet may panic within itself, which is caught and an error.

#![no_main]

use std::fs;
use std::sync::Once;

use ddae_data::datasets;
use ddae_fuzz::folder;
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // libfuzzer's hook ends the process at every panic, also at those that are caught.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let root = folder();
    let path = root.path().join("images");
    fs::write(&path, bytes).expect("memory");
    if let Ok(data) = datasets::open(&path.display().to_string(), None) {
        for (_, split) in data.splits() {
            let mut levels = vec![0; split.image_len()];
            for index in 0..split.len().min(64) {
                let _ = split.read(index, &mut levels);
                let _ = split.key(index);
            }
        }
    }
});
