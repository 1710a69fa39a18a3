//! Any bytes as `.npz` statistics of a Fréchet distance: reading them ends in a result.

#![no_main]

use ddae_fuzz::MemoryFile;
use ddae_infer::fid::archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = MemoryFile::new(bytes);
    if let Ok(statistics) = archive::read(&file.path()) {
        let dim = statistics.mean.len();
        assert_eq!(statistics.covariance.dim(), (dim, dim));
    }
});
