//! Files of others that are cut off or changed: every one ends in numbers or in one line, and in no more memory than its
//! size allows.

use std::path::Path;

use ddae_probe::source::feature_set::FeatureSet;
use ddae_probe::source::{Input, ProbeSource};

const FILES: [&str; 11] = [
    "train.f8.npy",
    "train.plain.npz",
    "train.packed.npz",
    "train.safetensors",
    "train.lists.parquet",
    "train.columns.parquet",
    "train.halves.parquet",
    "train.tsv",
    "train.y_text.npy",
    "train.plain.h5",
    "train.groups.h5",
];

/// What reading `path` comes to.
fn read(path: &Path, whole: &Path) -> Result<f32, String> {
    let labels = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/train.y.npy");
    let named = path
        .with_file_name(format!("{}:emb", path.file_name().and_then(|name| name.to_str()).expect("text")));
    let halves = whole.ends_with("train.halves.parquet");
    // Those of HDF5 files are read too: texts of variable length are where it has no checksums.
    let labels = (whole.extension().is_none_or(|ending| ending != "h5")).then_some(labels.as_path());
    let input = |path| Input { labels, ..Input::new(path) };
    let path = if halves { &named } else { path };
    let source = ProbeSource::open(&input(path), &input(path)).map_err(|error| error.to_string())?;
    let features = FeatureSet::Matrix("features".to_string());
    let rows =
        source.train.read(&features, 0, 0..source.train.labels().len()).map_err(|error| error.to_string())?;
    Ok(rows.sum())
}

#[test]
fn damaged_files_end_in_numbers_or_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let (mut refused, mut tried) = (0, 0);
    for name in FILES {
        let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name);
        let bytes = std::fs::read(&whole).expect("a file");
        let mut check = |changed: &[u8]| {
            std::fs::write(&path, changed).expect("written");
            tried += 1;
            if let Err(error) = read(&path, &whole) {
                refused += 1;
                assert!(
                    !error.contains('\n') && error.contains(path.to_str().expect("text")),
                    "{name}: {error}"
                );
            }
        };
        for length in (0..bytes.len()).step_by(bytes.len() / 40) {
            check(&bytes[..length]);
        }
        for position in (0..bytes.len()).step_by((bytes.len() / 400).max(1)) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[position] ^= change;
                check(&changed);
            }
        }
    }
    assert!(refused > tried / 4, "{refused} of {tried}");
}

/// A promise of terabytes in a few bytes.
#[test]
fn sizes_that_are_promised_are_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (1000000, 1000000)}";
    let array = [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    let tensors = br#"{"x":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}"#;
    let tensors = [&(tensors.len() as u64).to_le_bytes()[..], tensors].concat();
    let long = [&(90_000_000u64).to_le_bytes()[..], b"{\"x\""].concat();
    for (bytes, wanted) in [
        (&array, "its shape [1000000, 1000000] promises 4000000000000 bytes, and there are 0"),
        (&tensors, "its tensors take 4000000000000 bytes, and there are 0"),
        (&long, "it is"),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let error = read(&path, &path).expect_err("too large");
        assert!(error.contains(wanted), "{error}");
    }
}
