//! Any bytes as an image file: decoding it and bringing it to a shape end in a result, within the decoder's limits.

#![no_main]

use ddae_data::datasets::of_files;
use ddae_fuzz::MemoryFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = MemoryFile::new(bytes);
    for shape in [[1, 8, 8], [3, 8, 12]] {
        let mut levels = vec![0; shape.iter().product()];
        let _ = of_files(vec![file.path()], shape).read(0, &mut levels);
    }
});
