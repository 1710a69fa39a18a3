//! Any bytes as an archive of a data set: unpacking it ends in a result, and writes nothing outside its folder. The first
//! byte says what it is: a compressed tar archive, a tar archive (which is compressed here, so that its headers are what
//! changes), or a zip archive.

#![no_main]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;

use ddae_data::datasets;
use ddae_fuzz::folder;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;

/// Blocks of 128 KiB after which unpacking is stopped: what was packed tightly fills any disk.
const MOST_BLOCKS: u32 = 256;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let (name, top) = match choice % 3 {
        2 => ("tiny-imagenet-200.zip", "tiny-imagenet-200"),
        _ => ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
    };
    let content = match choice % 3 {
        1 => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
            gzip.write_all(bytes).expect("memory");
            gzip.finish().expect("memory")
        }
        _ => bytes.to_vec(),
    };
    let above = folder();
    let root = above.path().join("root");
    fs::create_dir(&root).expect("memory");
    let path = root.join(name);
    fs::write(&path, content).expect("memory");
    let mut blocks = 0;
    let mut progress = |_, _, _| {
        blocks += 1;
        if blocks < MOST_BLOCKS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let _ = datasets::prepare(&path.display().to_string(), None, false, &mut progress);
    for (folder, known) in [(above.path(), ["root", "root"]), (root.as_path(), [name, top])] {
        for entry in fs::read_dir(folder).expect("memory") {
            let found = entry.expect("memory").file_name();
            let found = found.to_string_lossy();
            assert!(known.contains(&&*found), "{found} was written beside the data set");
        }
    }
});
