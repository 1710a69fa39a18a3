//! A disk that is full: one clear line, nothing half-written, and what was finished stays.
//!
//! A limit on the size of files, set by the shell, makes writes fail the way a full disk does.

use std::path::Path;
use std::process::Command;

use ddae_tests::programs::{Ended, run};

use crate::scene::{done, names, words};

/// Runs the binary where files end at `blocks` times 512 bytes.
fn limited(folder: &Path, blocks: usize, line: &str) -> Ended {
    let script = format!("ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .current_dir(folder)
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ddae-infer")])
        .args(words(line));
    run(&mut command)
}

#[test]
fn features() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "features FEATURES --data-root DATA --timesteps 11,21 --views 8 --shards 2 -o out";
    let ended = limited(folder.path(), 64, line);
    let message = ended.error(&[1]);
    assert!(message.starts_with("error: ") && message.contains("out."), "{message}");
    assert!(message.contains("the file would be too large"), "{message}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    done(folder.path(), line);
    assert_eq!(names(folder.path()), ["out.h5"]);
}

/// The shards fit, the joined file does not.
#[test]
fn joining() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "features FEATURES --data-root DATA --timesteps 11,21 --views 8 --shards 2 -o out";
    done(folder.path(), line);
    let whole = std::fs::metadata(folder.path().join("out.h5")).expect("the file").len();
    std::fs::remove_file(folder.path().join("out.h5")).expect("removed");
    let ended = limited(folder.path(), (whole as usize * 3 / 4) / 512, line);
    assert!(ended.error(&[1]).contains("out.h5"), "{ended}");
    assert_eq!(names(folder.path()), ["out.0000-of-0002.h5", "out.0001-of-0002.h5"]);
    let printed = done(folder.path(), line);
    assert!(printed.starts_with("0 images") || printed.contains("out.h5"), "{printed}");
    assert_eq!(names(folder.path()), ["out.h5"]);
}

/// The same of the shards of several machines.
#[test]
fn merging() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "features FEATURES --data-root DATA --timesteps 11,21 --views 8 -o out";
    let shards = ["out.0000-of-0002.h5", "out.0001-of-0002.h5"];
    for (shard, name) in shards.iter().enumerate() {
        let own = tempfile::tempdir().expect("a folder");
        done(own.path(), &format!("{line} --shard {shard}/2"));
        std::fs::copy(own.path().join(name), folder.path().join(name)).expect("a copy");
    }
    let shard = std::fs::metadata(folder.path().join(shards[0])).expect("the file").len();
    let ended = limited(folder.path(), (shard as usize * 3 / 2) / 512, "merge out");
    let message = ended.error(&[1]);
    assert!(message.contains("out.h5") && message.contains("the file would be too large"), "{message}");
    assert_eq!(names(folder.path()), shards);
    done(folder.path(), "merge out");
    assert_eq!(names(folder.path()), ["out.h5"]);
}

#[test]
fn arrays() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "sample DDPM --steps 2 --seeds 0-99 --no-png --npy array.npy";
    let ended = limited(folder.path(), 8, line);
    assert_eq!(
        ended.error(&[1]),
        "error: cannot write array.npy: the file would be too large: for a limit of this account ('ulimit -f') or for its file system"
    );
    assert!(names(folder.path()).is_empty());
}

#[test]
fn sheets() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = "sample DDPM --steps 2 --seeds 0-99 -o images --sheet sheet.png";
    let ended = limited(folder.path(), 8, line);
    let message = ended.error(&[1]);
    assert_eq!(
        message,
        "error: sheet.png: cannot write the image: the file would be too large: for a limit of this account ('ulimit -f') or for its file system"
    );
    // The images are small enough, and are not drawn again.
    assert_eq!(names(folder.path()).len(), 101);
    let printed = done(folder.path(), line);
    assert!(printed.starts_with("0 images"), "{printed}");
    assert!(folder.path().join("sheet.png").is_file());
}
