//! Each format, read back by its own library.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::record::{Field, RowAccessor};
use ::safetensors::{Dtype, SafeTensors};
use ddae_store::{Compression, FeatureKey, FeatureType, Layout, Provenance, ShardWriter};
use half::f16;
use ndarray::{Array1, Array2, Array3};
use ndarray_npy::read_npy;
use tempfile::TempDir;

use super::*;

const ROWS: usize = 25;

fn value(place: usize, view: usize, row: usize, column: usize) -> f32 {
    ((row * 7 + view * 31 + place * 57 + column * 13) % 97) as f32 / 4.0
}

fn path(row: usize) -> String {
    format!("größe/{row}, \"x\".png")
}

/// A feature file of two layers and two views in a folder.
fn file(dtype: FeatureType) -> (TempDir, FeatureFile) {
    let folder = tempfile::tempdir().expect("a folder");
    let classes = Some(vec!["ant".to_string(), "größe".to_string()]);
    let layout = Layout {
        keys: vec![(FeatureKey::new(11, "out_6"), 5), (FeatureKey::new(2, "up.5"), 3)],
        views: 2,
        total: ROWS,
        dtype,
        compression: Compression::Off,
        provenance: Provenance { classes, seed: Some(3), weights: Some(None), ..Provenance::default() },
    };
    let mut writer = ShardWriter::create(folder.path().join("x"), 0, 1, 0..ROWS, &layout).expect("a shard");
    for (place, (key, width)) in layout.keys.iter().enumerate() {
        for view in 0..2 {
            let features =
                Array2::from_shape_fn((ROWS, *width), |(row, column)| value(place, view, row, column));
            writer.write(key, view, 0, features.view()).expect("written");
        }
    }
    writer.write_labels(0, &(0..ROWS as i64).map(|row| row % 3).collect::<Vec<_>>()).expect("written");
    writer.write_indices(0, &(100..100 + ROWS as u64).collect::<Vec<_>>()).expect("written");
    writer.write_paths(path).expect("written");
    let file = FeatureFile::open(writer.finish().expect("a shard")).expect("a file");
    (folder, file)
}

fn written(format: Format, dtype: FeatureType) -> (TempDir, FeatureFile, PathBuf) {
    let (folder, file) = file(dtype);
    let out = format.path(&folder.path().join("made/x.h5"));
    assert!(convert(&file, format, &out, false, &AtomicBool::new(false)).expect("written"));
    (folder, file, out)
}

#[test]
fn npy() {
    let (_folder, file, out) = written(Format::Npy, FeatureType::F32);
    for (place, (name, width)) in [("t11/out_6", 5), ("t2/up.5", 3)].into_iter().enumerate() {
        let found: Array3<f32> = read_npy(out.join(format!("{name}.npy"))).expect("an array");
        assert_eq!(found.dim(), (2, ROWS, width));
        for ((view, row, column), found) in found.indexed_iter() {
            assert_eq!(*found, value(place, view, row, column));
        }
    }
    let labels: Array1<i64> = read_npy(out.join("labels.npy")).expect("an array");
    assert_eq!(labels.to_vec(), file.labels().expect("labels"));
    let indices: Array1<u64> = read_npy(out.join("indices.npy")).expect("an array");
    assert_eq!(indices.to_vec(), file.indices().expect("indices"));
    let lines = |name: &str| {
        fs::read_to_string(out.join(name)).expect("a list").lines().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(lines("paths.txt"), (0..ROWS).map(path).collect::<Vec<_>>());
    assert_eq!(lines("classes.txt"), ["ant", "größe"]);
    let said: Value =
        serde_json::from_slice(&fs::read(out.join("provenance.json")).expect("a file")).expect("JSON");
    assert_eq!(said, description(&file));
    assert_eq!(
        (&said["provenance"]["seed"], &said["views"], &said["rows"]),
        (&json!(3), &json!(2), &json!(ROWS))
    );
}

#[test]
fn half_precision_stays_half_where_there_is_such_a_type() {
    let (_folder, _, out) = written(Format::Npy, FeatureType::F16);
    let bytes = fs::read(out.join("t11/out_6.npy")).expect("an array");
    assert!(bytes.windows(5).any(|text| text == b"'<f2'"));
    let of = |at: usize| f16::from_le_bytes([bytes[128 + 2 * at], bytes[129 + 2 * at]]);
    assert_eq!((of(0).to_f32(), of(5 * ROWS + 6).to_f32()), (value(0, 0, 0, 0), value(0, 1, 1, 1)));
    assert_eq!(bytes.len(), 128 + 2 * 2 * ROWS * 5);
}

#[test]
fn safetensors() {
    for (dtype, name) in [(FeatureType::F32, Dtype::F32), (FeatureType::F16, Dtype::F16)] {
        let (_folder, file, out) = written(Format::Safetensors, dtype);
        let bytes = fs::read(&out).expect("the file");
        let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata: &HashMap<String, String> = metadata.metadata().as_ref().expect("metadata");
        let said: Value = serde_json::from_str(&metadata[DESCRIPTION]).expect("JSON");
        assert_eq!(said, description(&file));
        for (place, (key, width)) in [("t11/out_6", 5), ("t2/up.5", 3)].into_iter().enumerate() {
            let tensor = tensors.tensor(key).expect("a tensor");
            assert_eq!((tensor.dtype(), tensor.shape()), (name, &[2, ROWS, width][..]));
            let values: Vec<f32> = match dtype {
                FeatureType::F32 => {
                    tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
                }
                FeatureType::F16 => {
                    tensor.data().as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
                }
            };
            for (at, found) in values.into_iter().enumerate() {
                let (view, row, column) = (at / width / ROWS, at / width % ROWS, at % width);
                assert_eq!(found, value(place, view, row, column));
            }
        }
        let numbers = |name: &str| -> Vec<i64> {
            let tensor = tensors.tensor(name).expect("a tensor");
            tensor.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        };
        assert_eq!(numbers("labels"), file.labels().expect("labels"));
        assert_eq!(numbers("indices")[..2], [100, 101]);
        let (texts, offsets) = (tensors.tensor("paths.bytes").expect("paths"), numbers("paths.offsets"));
        for row in 0..ROWS {
            let bytes = &texts.data()[offsets[row] as usize..offsets[row + 1] as usize];
            assert_eq!(std::str::from_utf8(bytes).expect("UTF-8"), path(row));
        }
    }
}

#[test]
fn parquet() {
    let (_folder, file, out) = written(Format::Parquet, FeatureType::F16);
    let reader = SerializedFileReader::new(fs::File::open(&out).expect("a file")).expect("a table");
    let entries = reader.metadata().file_metadata().key_value_metadata().expect("metadata");
    let said = entries.iter().find(|entry| entry.key == DESCRIPTION).expect("the description");
    let said: Value = serde_json::from_str(said.value.as_deref().expect("a value")).expect("JSON");
    assert_eq!(said, description(&file));
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 2 * ROWS);
    for (number, found) in rows.iter().enumerate() {
        let (view, row) = (number / ROWS, number % ROWS);
        let columns: Vec<&String> = found.get_column_iter().map(|(name, _)| name).collect();
        assert_eq!(columns, ["row", "view", "index", "label", "class", "path", "t11/out_6", "t2/up.5"]);
        let long = |at: usize| found.get_long(at).expect("a number");
        assert_eq!(
            [long(0), long(1), long(2), long(3)],
            [row as i64, view as i64, 100 + row as i64, row as i64 % 3]
        );
        let class = found.get_column_iter().nth(4).map(|(_, field)| field.clone()).expect("a class");
        // The third class has no name.
        let expected = [Field::Str("ant".into()), Field::Str("größe".into()), Field::Null];
        assert_eq!(class, expected[row % 3]);
        assert_eq!(found.get_string(5).expect("a path"), &path(row));
        for (place, width) in [5, 3].into_iter().enumerate() {
            let list = found.get_list(6 + place).expect("a list");
            let expected: Vec<_> =
                (0..width).map(|column| Field::Float(value(place, view, row, column))).collect();
            assert_eq!(list.elements(), expected);
        }
    }
}

/// What was made of the same file stays, what is another's is not touched unless asked, and what is no features' never.
#[test]
fn what_is_there() {
    let go = AtomicBool::new(false);
    for format in [Format::Npy, Format::Parquet, Format::Safetensors] {
        let (folder, file, out) = written(format, FeatureType::F32);
        assert!(!convert(&file, format, &out, false, &go).expect("there"));
        assert!(convert(&file, format, &out, true, &go).expect("written anew"));
        let (_other_folder, other) = self::file(FeatureType::F16);
        let error = convert(&other, format, &out, false, &go).expect_err("another's").to_string();
        assert!(
            error.ends_with(": holds other features: choose another output, or give --overwrite"),
            "{error}"
        );
        assert!(convert(&other, format, &out, true, &go).expect("replaced"));
        assert!(!convert(&other, format, &out, false, &go).expect("there"));
        // Stopped, nothing is left of it.
        let error = convert(&file, format, &out, true, &AtomicBool::new(true)).expect_err("stopped");
        assert!(matches!(error, InferError::Interrupted), "{error}");
        assert!(!convert(&other, format, &out, false, &go).expect("as it was"));
        assert_eq!(fs::read_dir(folder.path().join("made")).expect("a folder").count(), 1);
    }
    let (folder, file) = self::file(FeatureType::F32);
    let notes = folder.path().join("notes");
    fs::create_dir(&notes).expect("a folder");
    fs::write(notes.join("paths.txt"), "mine").expect("written");
    for overwrite in [false, true] {
        let error = convert(&file, Format::Npy, &notes, overwrite, &go).expect_err("somebody's").to_string();
        assert!(error.contains("is something else"), "{error}");
    }
    assert_eq!(fs::read_to_string(notes.join("paths.txt")).expect("a file"), "mine");
    let error = convert(&file, Format::H5, &folder.path().join("y.h5"), false, &go).expect_err("no format");
    assert!(error.is_usage(), "{error}");
}

#[test]
fn names_follow_the_feature_file() {
    for (format, expected) in [
        (Format::H5, "a/train.h5"),
        (Format::Npy, "a/train"),
        (Format::Parquet, "a/train.parquet"),
        (Format::Safetensors, "a/train.safetensors"),
    ] {
        assert_eq!(format.path(Path::new("a/train")), Path::new(expected));
        assert_eq!(format.path(Path::new("a/train.h5")), Path::new(expected));
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert_eq!(Format::Parquet.path(Path::new("a/v1.2")), Path::new("a/v1.2.parquet"));
    assert!("hdf5".parse::<Format>().is_err());
}

#[test]
fn outputs_are_named_after_their_file() {
    for (file, npy, parquet) in [
        ("a/x.h5", "a/x", "a/x.parquet"),
        ("a/x", "a/x", "a/x.parquet"),
        ("a/x.hdf5", "a/x", "a/x.parquet"),
        ("x.HDF5", "x", "x.parquet"),
    ] {
        let path = |format: Format| format.path(Path::new(file));
        assert_eq!([path(Format::Npy), path(Format::Parquet)], [npy, parquet].map(PathBuf::from), "{file}");
    }
}
