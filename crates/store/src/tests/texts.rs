//! Attributes, class names and paths.

use hdf5::file::File;
use hdf5::types::VarLenUnicode;

use super::*;

/// What once ended at 64 KiB.
#[test]
fn names_of_many_classes_and_long_texts_are_kept() {
    let folder = folder();
    let classes: Vec<String> = (0..20_000).map(|class| format!("{class:05} {}", "ö".repeat(27))).collect();
    assert_eq!(classes[0].len(), 60);
    let mut layout = layout();
    layout.provenance.classes = Some(classes);
    layout.provenance.config = Some("é: 1\n".repeat(100_000));
    layout.provenance.timesteps = Some((0..1000).collect());
    layout.provenance.taps = Some((0..300).map(|tap| format!("out_{tap}")).collect());
    let prefix = folder.path().join("train");
    write_job(&prefix, 2, &layout);
    check_content(&shard_path(&prefix, 0, 2), &layout, 0..51);
    merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy).expect("joined");
    check_content(&merged_path(&prefix), &layout, 0..103);
    let length = std::fs::metadata(merged_path(&prefix)).expect("a file").len();
    assert!(length < 2_500_000, "{length} bytes");
}

/// More datasets than a list of attributes has room for.
#[test]
fn thousands_of_datasets() {
    let folder = folder();
    let keys =
        (1..=5_000).map(|timestep| (FeatureKey::new(timestep, "out"), 1 + timestep as usize % 2)).collect();
    let layout = Layout { keys, views: 1, total: 2, ..layout() };
    let prefix = folder.path().join("train");
    let mut writer = ShardWriter::create(&prefix, 0, 1, 0..2, &layout).expect("a shard");
    for (key, width) in &layout.keys {
        writer.write(key, 0, 0, Array2::zeros((2, *width)).view()).expect("written");
    }
    writer.write_labels(0, &[0, 1]).expect("written");
    let path = writer.finish().expect("a shard");
    assert_eq!(FeatureFile::open(path).expect("a file").layout(), &layout);
}

/// Values as h5py sees them, and what has no counterpart.
#[test]
fn attributes_are_plain_values_of_their_types() {
    let folder = folder();
    let long: Vec<i64> = (0..300).collect();
    let attributes = json!({
        "model": "12ab", "weights": null, "seed": 3, "of_images": u64::MAX, "flip": true, "scale": 0.5, "title": "größe",
        "empty": "", "timesteps": [11, 2], "taps": ["out_6", "up.5.res"], "calibration": { "pictures": ["a", null] },
        "mixed": [1, "a"], "nothing": [], "long": long, "rows": "a reserved name", "job.rows": "another", "nul": "a\0b",
        "classes": ["ant", "größe"],
    });
    let layout = Layout { provenance: with_attributes(attributes), ..layout() };
    let prefix = folder.path().join("train");
    write_job(&prefix, 1, &layout);
    let path = shard_path(&prefix, 0, 1);
    check_content(&path, &layout, 0..103);
    let file = File::open(&path).expect("HDF5");
    let attr = |name: &str| file.attr(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = |name: &str| attr(name).read_scalar::<VarLenUnicode>().expect("a text").to_string();
    assert_eq!((text("model"), text("title"), text("empty")), ("12ab".into(), "größe".into(), String::new()));
    assert_eq!(
        (text("format"), text("dtype"), text("job.rows")),
        ("ddae-features".into(), "f32".into(), "a reserved name".into())
    );
    assert_eq!(text("calibration"), r#"{"pictures":["a",null]}"#);
    assert_eq!(attr("seed").read_scalar::<i64>().expect("a number"), 3);
    assert_eq!(attr("of_images").read_scalar::<u64>().expect("a number"), u64::MAX);
    assert_eq!(attr("timesteps").read_raw::<i64>().expect("numbers"), [11, 2]);
    assert!(attr("flip").read_scalar::<bool>().expect("a truth value"));
    let taps = attr("taps").read_raw::<VarLenUnicode>().expect("texts");
    assert_eq!(taps.iter().map(|tap| tap.as_str()).collect::<Vec<_>>(), ["out_6", "up.5.res"]);
    let mut json: Vec<_> =
        attr("json").read_raw::<VarLenUnicode>().expect("texts").iter().map(|n| n.to_string()).collect();
    json.sort();
    assert_eq!(json, ["calibration", "long", "mixed", "nothing", "nul"]);
    assert_eq!(attr("weights").space().expect("a space").extents().expect("extents"), hdf5::Extents::Null);
    // Dimensions have names, and their scales no values.
    for (name, size) in [("view", 2), ("row", 103), ("feature_20", 20), ("feature_3", 3), ("class", 2)] {
        let scale = file.dataset(name).expect(name);
        assert_eq!((scale.shape(), scale.storage_size()), (vec![size], 0), "{name}");
        assert!(scale.attr("REFERENCE_LIST").is_ok() && scale.attr("CLASS").is_ok(), "{name}");
    }
    assert_eq!(
        file.dataset("features/t11/out_6")
            .expect("features")
            .attr("DIMENSION_LIST")
            .expect("dimensions")
            .shape(),
        [3]
    );
}

/// A note that somebody adds, and data sets of their own, are theirs.
#[test]
fn what_is_added_later_changes_nothing() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 1, &layout);
    let path = shard_path(&prefix, 0, 1);
    let file = File::open_rw(&path).expect("HDF5");
    let text: VarLenUnicode = "seen by me".parse().expect("a text");
    file.attr("format").expect("an attribute").read_scalar::<VarLenUnicode>().expect("read");
    file.new_attr::<VarLenUnicode>().create("note").expect("made").write_scalar(&text).expect("written");
    file.new_dataset_builder().with_data(&[text.clone(), text]).create("notes").expect("made");
    file.new_dataset_builder().with_data(&[1f32, 2.0]).create("features/mine").expect("made");
    file.close().expect("closed");
    check_content(&path, &layout, 0..103);
}

#[test]
fn paths_that_cannot_be_kept_are_refused() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    for (path, expected) in [
        ("a\0b".to_string(), "a zero ends a text"),
        ("x".repeat(70_000), "a text has 70000 bytes, and 65536 are possible"),
    ] {
        let mut writer = ShardWriter::create(&prefix, 0, 1, 0..103, &layout).expect("a shard");
        let error = message(writer.write_paths(|_| path.clone()));
        assert!(
            error.contains("train.0000-of-0001.h5: cannot write: ") && error.contains(expected),
            "{error}"
        );
        drop(writer);
        assert_eq!(names(folder.path()), [""; 0]);
    }
    // The longest that can.
    let mut writer =
        ShardWriter::create(&prefix, 0, 1, 0..103, &Layout { total: 103, ..layout }).expect("a shard");
    writer.write_paths(|row| "x".repeat(if row == 7 { 65_536 } else { 3 })).expect("written");
}

#[test]
fn a_file_without_paths_says_so() {
    let folder = folder();
    let layout = Layout { keys: vec![(FeatureKey::new(1, "a"), 1)], views: 1, total: 2, ..layout() };
    let prefix = folder.path().join("train");
    let write = |shard: usize, has_paths: bool| {
        let mut writer = ShardWriter::create(&prefix, shard, 2, shard..shard + 1, &layout).expect("a shard");
        writer.write(&layout.keys[0].0, 0, 0, Array2::zeros((1, 1)).view()).expect("written");
        writer.write_labels(0, &[3]).expect("written");
        if has_paths {
            writer.write_paths(|_| format!("{shard}")).expect("written");
        }
        writer.finish().expect("a shard")
    };
    let first = FeatureFile::open(write(0, false)).expect("a shard");
    assert!(!first.has_paths());
    assert!(message(first.paths(0..1)).ends_with("it has no paths: rows 0..1 of 1"));
    drop(first);
    write(1, true);
    let error = message(merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy));
    assert!(
        error.contains("train.0001-of-0002.h5 holds paths of rows paths where this job has none"),
        "{error}"
    );
    write(0, true);
    merge(&prefix, 2, merged_path(&prefix), MergeMode::Virtual).expect("joined");
    assert_eq!(
        FeatureFile::open(merged_path(&prefix)).expect("a file").paths(0..2).expect("paths"),
        ["0", "1"]
    );
}

/// What draws for images are keyed by is part of a file where it was written, through shards and joining.
#[test]
fn keys_of_images_are_kept() {
    let (folder, layout) = (folder(), layout());
    let key = |row: usize| format!("{row:064x}");
    let write = |prefix: &Path, shard: usize, keyed: std::ops::Range<usize>| {
        let rows = shard_rows(layout.total, shard, 2);
        let mut writer = ShardWriter::create(prefix, shard, 2, rows.clone(), &layout).expect("a shard");
        for (place, (key, width)) in layout.keys.iter().enumerate() {
            for view in 0..layout.views {
                writer
                    .write(key, view, 0, features(place, view, rows.clone(), *width).view())
                    .expect("written");
            }
        }
        writer.write_labels(0, &rows.clone().map(label).collect::<Vec<_>>()).expect("written");
        writer.write_paths(|row| image_path(rows.start + row)).expect("written");
        // The last first.
        for row in keyed.rev() {
            writer.write_image_keys(row, &[key(rows.start + row)]).expect("written");
        }
        writer.finish()
    };
    let prefix = folder.path().join("train");
    let rows = shard_rows(layout.total, 0, 2).len();
    let missing = write(&prefix, 0, 0..rows - 1).expect_err("a key is missing").to_string();
    assert!(missing.contains("keys of images"), "{missing}");
    for shard in 0..2 {
        write(&prefix, shard, 0..shard_rows(layout.total, shard, 2).len()).expect("a shard");
    }
    merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy).expect("joined");
    let file = FeatureFile::open(merged_path(&prefix)).expect("a file");
    assert!(file.has_image_keys() && file.added().is_empty());
    assert_eq!(file.image_keys(50..53).expect("keys"), [key(50), key(51), key(52)]);
    // A shard without is of another making.
    write(&prefix, 1, 0..0).expect("a shard");
    let error =
        merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy).expect_err("of two kinds").to_string();
    assert!(error.contains("keys of images none where this job has keys"), "{error}");
    let other = folder.path().join("plain");
    write_job(&other, 1, &layout);
    let plain = FeatureFile::open(shard_path(&other, 0, 1)).expect("a file");
    assert!(!plain.has_image_keys());
    let error = plain.image_keys(0..1).expect_err("none").to_string();
    assert!(error.contains("it has no image keys: rows 0..1 of 103"), "{error}");
}
