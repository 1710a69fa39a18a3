//! Any bytes as an ONNX file: reading its graph, what it says of itself, and the configuration in it end in a result.

#![no_main]

use ddae_export::inspect::inspect;
use ddae_fuzz::MemoryFile;
use ddae_infer::model_file::ModelFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = MemoryFile::new(bytes);
    // Also what was changed since it was written, as any of these was.
    let _ = ModelFile::open(&file.path(), &[], "fuzz", true);
    if let Ok(report) = inspect(&file.path()) {
        let _ = serde_json::to_string(&report).expect("JSON");
    }
});
