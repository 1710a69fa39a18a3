//! Files of format version 1. Those in `files` were written by the last version that wrote it (ddae-store 0.1.0, at
//! c5ddbbb): a job of `write_job` in two shards, joined by copying and by reference.

use std::fs;

use super::*;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/files");

pub(super) fn old_layout() -> Layout {
    let provenance = with_attributes(json!({
        "model": "12ab", "latents": null, "weights": "ema", "epoch": 3, "data_set": "animals/train", "split": "train",
        "seed": u64::MAX, "noise_stream": "chacha8 of seed, split, image, its levels, view and timestep", "views": 2,
        "crop_padding": 0, "flip": true, "image_shape": [3, 32, 32], "calibration": null, "timesteps": [11, 2],
        "taps": ["out_6", "up.5.res"], "classes": ["ant", "bee", "größe", "dog", "e", "f", "g", "h", "i", "j"],
        "config": "network: unet\n",
    }));
    Layout { provenance, ..layout() }
}

pub(super) fn copied(folder: &Path, names: &[&str]) {
    for name in names {
        fs::copy(Path::new(FILES).join(name), folder.join(name)).expect("a copy");
    }
}

const SHARDS: [&str; 2] = ["version1.0000-of-0002.h5", "version1.0001-of-0002.h5"];

#[test]
fn they_are_read() {
    for (name, rows) in
        [(SHARDS[0], 0..51), (SHARDS[1], 51..103), ("version1.h5", 0..103), ("version1-virtual.h5", 0..103)]
    {
        let path = Path::new(FILES).join(name);
        check_content(&path, &old_layout(), rows);
        let file = FeatureFile::open(&path).expect("a file");
        assert_eq!(
            (file.version(), file.has_paths(), file.is_virtual()),
            (1, false, name.contains("virtual"))
        );
        // What a later version says beside does not keep them apart.
        let mut new = old_layout();
        new.provenance.noise = Some(Some("keyed".to_string()));
        file.check_job(&new).expect("the same job");
        new.provenance.noise = Some(Some("none".to_string()));
        assert!(message(file.check_job(&new)).contains(r#"holds noise "keyed" where this job has "none""#));
    }
}

/// The joined file is of this version, and its rows have as few paths as they had.
#[test]
fn they_are_joined_with_each_other() {
    let folder = folder();
    copied(folder.path(), &SHARDS);
    let prefix = folder.path().join("version1");
    for mode in [MergeMode::Copy, MergeMode::Virtual] {
        merge(&prefix, 2, merged_path(&prefix), mode).expect("joined");
        check_content(&merged_path(&prefix), &old_layout(), 0..103);
        let file = FeatureFile::open(merged_path(&prefix)).expect("a file");
        assert_eq!((file.version(), file.has_paths()), (2, false));
    }
}

/// Half of the rows would have paths and half would not.
#[test]
fn they_are_not_mixed_with_files_of_this_version() {
    let folder = folder();
    copied(folder.path(), &SHARDS[..1]);
    let (layout, prefix) = (old_layout(), folder.path().join("version1"));
    let wanted = "version1.0000-of-0002.h5 holds format version 1 where this job has 2: choose another output with -o, or \
                  give --overwrite";
    assert!(message(missing_shards(&prefix, 2, &layout)).ends_with(wanted));
    write_shard(&prefix, 1, 2, &layout).expect("a shard");
    for mode in [MergeMode::Copy, MergeMode::Virtual] {
        let error = message(merge(&prefix, 2, merged_path(&prefix), mode));
        let wanted = "version1.0001-of-0002.h5 holds format version 2 where this job has 1: ";
        assert!(error.contains(wanted), "{error}");
    }
}
