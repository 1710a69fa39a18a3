mod damage;
mod foreign;
mod outside;
mod texts;
mod version1;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ndarray::{Array2, s};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn provenance() -> Provenance {
    with_attributes(json!({
        "model": "sha256:12ab", "seed": u64::MAX, "scale": 0.5, "published": true, "steps": -3,
        "augment": {"flip": true}, "dtype": "f32", "title": "kleidung – größe", "none": null,
    }))
}

fn with_attributes(attributes: Value) -> Provenance {
    serde_json::from_value(attributes).expect("attributes")
}

fn layout() -> Layout {
    Layout {
        keys: vec![(FeatureKey::new(11, "out_6"), 20), (FeatureKey::new(2, "up.5.res"), 3)],
        views: 2,
        total: 103,
        dtype: FeatureType::F32,
        compression: Compression::Off,
        provenance: provenance(),
    }
}

/// What the tests store: small whole numbers and zeros, exact in f16 too.
fn features(place: usize, view: usize, rows: Range<usize>, width: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows.len(), width), |(row, column)| {
        let number = (rows.start + row) * 7 + view * 31 + place * 57 + column * 13;
        (number % 97).saturating_sub(40) as f32
    })
}

fn label(row: usize) -> i64 {
    (row % 10) as i64
}

fn write_shard(prefix: &Path, shard: usize, of: usize, layout: &Layout) -> Result<(), FeatureError> {
    let rows = shard_rows(layout.total, shard, of);
    let mut writer = ShardWriter::create(prefix, shard, of, rows.clone(), layout)?;
    // Batches that do not fall together with chunks, the last one first.
    let batches: Vec<Range<usize>> =
        (rows.start..rows.end).step_by(7).map(|begin| begin..rows.end.min(begin + 7)).collect();
    for batch in batches.into_iter().rev() {
        let offset = batch.start - rows.start;
        for (place, (key, width)) in layout.keys.iter().enumerate() {
            for view in 0..layout.views {
                writer.write(key, view, offset, features(place, view, batch.clone(), *width).view())?;
            }
        }
        writer.write_labels(offset, &batch.map(label).collect::<Vec<_>>())?;
    }
    writer.write_paths(|row| image_path(rows.start + row))?;
    writer.finish().map(drop)
}

fn image_path(row: usize) -> String {
    format!("größe/{}/{row}.png", ["a", "bb", "ccc"][row % 3])
}

fn write_job(prefix: &Path, of: usize, layout: &Layout) {
    for shard in missing_shards(prefix, of, layout).expect("no shard of another job") {
        write_shard(prefix, shard, of, layout).expect("a shard");
    }
}

fn check_content(path: &Path, layout: &Layout, rows: Range<usize>) {
    let file = FeatureFile::open(path).expect("a feature file");
    assert_eq!(file.rows(), rows);
    assert_eq!(file.len(), rows.len());
    assert_eq!(file.views(), layout.views);
    assert_eq!(file.dtype(), layout.dtype);
    assert_eq!(file.provenance(), &layout.provenance);
    assert_eq!(file.keys(), layout.keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
    assert_eq!(file.labels().expect("labels"), rows.clone().map(label).collect::<Vec<_>>());
    assert_eq!(file.indices().expect("indices"), rows.clone().map(|row| row as u64).collect::<Vec<_>>());
    if file.version() > 1 && file.has_paths() {
        assert_eq!(
            file.paths(0..rows.len()).expect("paths"),
            rows.clone().map(image_path).collect::<Vec<_>>()
        );
        assert_eq!(
            file.paths(3..5).expect("paths"),
            [image_path(rows.start + 3), image_path(rows.start + 4)]
        );
    }
    for (place, (key, width)) in layout.keys.iter().enumerate() {
        assert_eq!(file.dim(key).expect("a width"), *width);
        for view in 0..layout.views {
            let expected = features(place, view, rows.clone(), *width);
            assert_eq!(file.read(key, view, 0..rows.len()).expect("features"), expected, "{key} view {view}");
            for begin in (0..rows.len()).step_by(10) {
                let block = begin..rows.len().min(begin + 10);
                let found = file.read(key, view, block.clone()).expect("features");
                assert_eq!(found, expected.slice(s![block, ..]));
            }
        }
    }
}

/// As [`super::merge`], without a stop.
fn merge(
    prefix: impl AsRef<Path>,
    of: usize,
    out: impl AsRef<Path>,
    mode: MergeMode,
) -> Result<(), FeatureError> {
    super::merge(prefix, of, out, mode, &AtomicBool::new(false))
}

fn remove_shards(prefix: &Path, of: usize) {
    (0..of).for_each(|shard| std::fs::remove_file(shard_path(prefix, shard, of)).expect("removed"));
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn message<T>(result: Result<T, FeatureError>) -> String {
    let text = result.map(drop).expect_err("an error").to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    text
}

#[test]
fn shards_and_joined_files_hold_what_was_written() {
    for dtype in [FeatureType::F32, FeatureType::F16] {
        for compression in [Compression::Off, Compression::Lzf, Compression::Zlib] {
            let folder = folder();
            let layout = Layout { dtype, compression, ..layout() };
            let prefix = folder.path().join("features").join("train");
            write_job(&prefix, 3, &layout);
            check_content(&shard_path(&prefix, 1, 3), &layout, 34..68);
            assert!(FeatureFile::open(shard_path(&prefix, 1, 3)).expect("a shard").has_paths());
            let copy = merged_path(&prefix);
            merge(&prefix, 3, &copy, MergeMode::Copy).expect("joined");
            let virtual_file = prefix.with_file_name("virtual.h5");
            merge(&prefix, 3, &virtual_file, MergeMode::Virtual).expect("joined");
            check_content(&copy, &layout, 0..103);
            check_content(&virtual_file, &layout, 0..103);
            for file in [&copy, &virtual_file] {
                assert!(FeatureFile::open(file).expect("a file").has_paths());
            }
            // Names alone: the whole folder can be moved. A copy stands alone.
            let moved = folder.path().with_extension("moved");
            std::fs::rename(folder.path(), &moved).expect("moved");
            check_content(&moved.join("features/virtual.h5"), &layout, 0..103);
            std::fs::rename(&moved, folder.path()).expect("moved back");
            remove_shards(&prefix, 3);
            assert_eq!(names(&folder.path().join("features")), ["train.h5", "virtual.h5"]);
            check_content(&copy, &layout, 0..103);
            let error = message(FeatureFile::open(&virtual_file));
            assert!(error.contains("train.0000-of-0003.h5: No such file"), "{error}");
        }
    }
}

/// [`FeatureFile`] reads a virtual file's shards itself; this is what h5py and others see.
#[test]
fn virtual_datasets_are_right_for_other_readers() {
    let folder = folder();
    let (layout, prefix) = (Layout { dtype: FeatureType::F16, ..layout() }, folder.path().join("train"));
    write_job(&prefix, 3, &layout);
    merge(&prefix, 3, merged_path(&prefix), MergeMode::Virtual).expect("joined");
    let file = hdf5::File::open(merged_path(&prefix)).expect("HDF5");
    for (place, (key, width)) in layout.keys.iter().enumerate() {
        for view in 0..layout.views {
            let found =
                file.dataset(&key.dataset()).expect("a dataset").read_slice_2d::<f32, _>(s![view, .., ..]);
            assert_eq!(found.expect("features"), features(place, view, 0..103, *width));
        }
    }
}

#[test]
fn a_job_resumes_where_it_stopped() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train.h5"));
    for shard in [0, 2] {
        write_shard(&prefix, shard, 4, &layout).expect("a shard");
    }
    assert_eq!(names(folder.path()), ["train.0000-of-0004.h5", "train.0002-of-0004.h5"]);
    assert_eq!(missing_shards(&prefix, 4, &layout).expect("shards"), [1, 3]);
    let error = message(merge(&prefix, 4, merged_path(&prefix), MergeMode::Copy));
    assert!(error.ends_with("train.0001-of-0004.h5: shards 1, 3 of 4 missing (counted from 0): run the job again, it adds them"), "{error}");
    write_job(&prefix, 4, &layout);
    assert_eq!(missing_shards(&prefix, 4, &layout).expect("shards"), [0; 0]);
    merge(&prefix, 4, merged_path(&prefix), MergeMode::Copy).expect("joined");
    check_content(&merged_path(&prefix), &layout, 0..103);
}

#[test]
fn joining_can_be_stopped() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 2, &layout);
    let stop = AtomicBool::new(true);
    let error = message(super::merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy, &stop));
    assert_eq!(error, "stopped; nothing was left half-written");
    assert_eq!(names(folder.path()), ["train.0000-of-0002.h5", "train.0001-of-0002.h5"]);
}

#[test]
fn shards_of_another_job_are_refused_until_removed() {
    let folder = folder();
    let (first, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 2, &first);
    let with = |name: &str, value: Value| {
        let mut attributes = provenance().attributes();
        attributes.insert(name.to_string(), value);
        Layout { provenance: with_attributes(attributes.into()), ..layout() }
    };
    let mut wider = layout();
    wider.keys[1].1 = 4;
    for (other, expected) in [
        (with("model", json!("sha256:77")), r#"model "sha256:12ab" where this job has "sha256:77""#),
        (with("seed", json!(5)), "seed 18446744073709551615 where this job has 5"),
        (with("published", json!(false)), "published true where this job has false"),
        (with("model_precision", json!("int8")), r#"model_precision "f32" where this job has "int8""#),
        (Layout { views: 1, ..layout() }, "number of views 2 where this job has 1"),
        (Layout { total: 104, ..layout() }, "number of rows 103 where this job has 104"),
        (Layout { dtype: FeatureType::F16, ..layout() }, "dtype f32 where this job has f16"),
        (
            wider,
            "list of datasets t11/out_6 [20], t2/up.5.res [3] where this job has t11/out_6 [20], t2/up.5.res [4]",
        ),
    ] {
        let error = message(missing_shards(&prefix, 2, &other));
        assert!(error.contains(&format!("train.0000-of-0002.h5 holds {expected}: choose")), "{error}");
    }
    // How the numbers are packed changes nothing in them.
    let packed = Layout { compression: Compression::Zlib, ..layout() };
    assert_eq!(missing_shards(&prefix, 2, &packed).expect("shards"), [0; 0]);
    remove_shards(&prefix, 2);
    assert_eq!(missing_shards(&prefix, 2, &with("seed", json!(5))).expect("shards"), [0, 1]);
}

#[test]
fn shards_of_different_jobs_do_not_join() {
    let folder = folder();
    let (mut layout, prefix) = (layout(), folder.path().join("train"));
    write_shard(&prefix, 0, 2, &layout).expect("a shard");
    layout.provenance.seed = Some(5);
    write_shard(&prefix, 1, 2, &layout).expect("a shard");
    for mode in [MergeMode::Copy, MergeMode::Virtual] {
        let error = message(merge(&prefix, 2, merged_path(&prefix), mode));
        assert!(error.contains("train.0001-of-0002.h5 holds seed 5 where this job has 184"), "{error}");
    }
    assert_eq!(names(folder.path()), ["train.0000-of-0002.h5", "train.0001-of-0002.h5"]);
}

/// Of shards of an older version and of this one, the joined file says what all of them say.
#[test]
fn what_only_some_shards_say_is_not_said_of_the_whole() {
    let folder = folder();
    let (old, prefix) = (layout(), folder.path().join("train"));
    write_shard(&prefix, 0, 2, &old).expect("a shard");
    let mut new = old.clone();
    new.provenance.graph_digest = Some("77".to_string());
    assert_eq!(missing_shards(&prefix, 2, &new).expect("shards"), [1]);
    write_shard(&prefix, 1, 2, &new).expect("a shard");
    for mode in [MergeMode::Copy, MergeMode::Virtual] {
        merge(&prefix, 2, merged_path(&prefix), mode).expect("joined");
        let file = FeatureFile::open(merged_path(&prefix)).expect("a file");
        assert_eq!(file.provenance(), &old.provenance);
        assert_eq!(file.provenance().unsaid(&new.provenance), ["graph_digest"]);
    }
}

#[test]
fn indices_name_the_images_of_a_subset() {
    let folder = folder();
    let (layout, prefix) = (Layout { total: 4, views: 1, ..layout() }, folder.path().join("subset"));
    let mut writer = ShardWriter::create(&prefix, 0, 1, 0..4, &layout).expect("a shard");
    for (place, (key, width)) in layout.keys.iter().enumerate() {
        writer.write(key, 0, 0, features(place, 0, 0..4, *width).view()).expect("written");
    }
    writer.write_labels(0, &[1, 2, 3, 4]).expect("written");
    writer.write_indices(1, &[50, 60, 70]).expect("written");
    let path = writer.finish().expect("a shard");
    assert_eq!(FeatureFile::open(path).expect("a file").indices().expect("indices"), [0, 50, 60, 70]);
}

/// Whether the folder holds a shard that is not finished, and nothing else.
fn is_in_work(folder: &Path) -> bool {
    let names = names(folder);
    let [partial, lock] = names.as_slice() else { return false };
    let digits =
        partial.strip_prefix("train.0000-of-0001.h5.").and_then(|rest| rest.strip_suffix(".partial"));
    digits.is_some_and(|digits| digits.len() == 16) && lock == "train.0000-of-0001.h5.lock"
}

#[test]
fn nothing_is_left_of_a_shard_that_is_not_finished() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    let mut writer = ShardWriter::create(&prefix, 0, 1, 0..103, &layout).expect("a shard");
    assert!(is_in_work(folder.path()));
    let (key, width) = &layout.keys[0];
    writer.write(key, 0, 0, features(0, 0, 0..103, *width).view()).expect("written");
    writer.write(key, 1, 0, features(0, 1, 0..50, *width).view()).expect("written");
    let error = message(writer.finish());
    assert!(error.contains("t11/out_6, view 1, rows 50..103 of the shard, were not written"), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
    drop(ShardWriter::create(&prefix, 0, 1, 0..103, &layout).expect("a shard"));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_second_writer_is_refused_and_leaves_the_first_alone() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    let first = ShardWriter::create(&prefix, 0, 1, 0..103, &layout).expect("begun");
    let error = message(ShardWriter::create(&prefix, 0, 1, 0..103, &layout));
    assert!(error.ends_with(
        "train.0000-of-0001.h5: another process is writing here; wait for it, or choose another output"
    ));
    assert!(is_in_work(folder.path()));
    drop(first);
    write_job(&prefix, 1, &layout);
}

#[test]
fn mistakes_of_the_caller_are_named() {
    let folder = folder();
    let (layout, prefix) = (Layout { dtype: FeatureType::F16, ..layout() }, folder.path().join("train"));
    let mut writer = ShardWriter::create(&prefix, 1, 2, 51..103, &layout).expect("a shard");
    let key = layout.keys[0].0.clone();
    let block = Array2::<f32>::zeros((4, 20));
    let unknown = FeatureKey::new(3, "mid");
    let error = message(writer.write(&unknown, 0, 0, block.view()));
    assert!(error.ends_with("has no features t3/mid; it has t11/out_6, t2/up.5.res"), "{error}");
    assert!(message(writer.write(&key, 2, 0, block.view())).contains("view 2 of 2"));
    assert!(
        message(writer.write(&key, 0, 49, block.view())).contains("4 rows from row 49 on do not fit in 52")
    );
    assert!(message(writer.write(&key, 0, usize::MAX, block.view())).contains("do not fit"));
    assert!(
        message(writer.write(&key, 0, 0, block.slice(s![.., 1..]))).contains("20 features, 19 were given")
    );
    assert!(message(writer.write_labels(50, &[0; 3])).contains("3 rows from row 50"));
    for (value, expected) in
        [(f32::NAN, "holds NaN: not a number"), (70_000.0, "holds 70000: too large for f16")]
    {
        let mut wrong = block.clone();
        wrong[[2, 5]] = value;
        let error = message(writer.write(&key, 1, 10, wrong.view()));
        assert!(error.contains("t11/out_6: view 1 of row 63") && error.contains(expected), "{error}");
    }
    // A view that is not contiguous is no mistake.
    writer.write(&key, 0, 0, Array2::zeros((20, 4)).t()).expect("written");

    for (shard, of, rows, expected) in [
        (0, 2, 0..50, "shard 0 of 2 of 103 rows holds rows 0..51, not 0..50"),
        (2, 2, 0..1, "shards count from 0 to 1"),
        (0, 104, 0..1, "give 1 to 103 shards"),
        (0, 0, 0..1, "give 1 to 103 shards"),
    ] {
        let error = message(ShardWriter::create(&prefix, shard, of, rows, &layout));
        assert!(error.contains(expected), "{error}");
    }
    let with = |keys: &[(&str, usize)]| {
        let keys = keys.iter().map(|&(tap, width)| (FeatureKey::new(1, tap), width)).collect();
        message(missing_shards(&prefix, 1, &Layout { keys, ..layout.clone() }))
    };
    assert!(with(&[]).contains("at least one of each"));
    assert!(with(&[("a/b", 1)]).contains(r#""a/b" cannot be the name of a tap"#));
    assert!(with(&[("a", 1), ("b", 0)]).contains("t1/b has no features"));
    assert!(with(&[("a", 1), ("a", 1)]).contains("t1/a is asked for twice"));
}

#[test]
fn reading_what_is_not_there_is_an_error() {
    let folder = folder();
    let (layout, prefix) = (layout(), folder.path().join("train"));
    write_job(&prefix, 1, &layout);
    let file = FeatureFile::open(shard_path(&prefix, 0, 1)).expect("a file");
    let key = &layout.keys[0].0;
    let unknown = FeatureKey::new(1, "out_9");
    assert!(
        message(file.read(&unknown, 0, 0..1))
            .ends_with("no features t1/out_9; it has t11/out_6, t2/up.5.res")
    );
    assert!(message(file.read(key, 2, 0..1)).ends_with("view 2 of 2 (counted from 0)"));
    assert!(message(file.read(key, 0, 100..104)).ends_with("rows 100..104 of 103"));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 5..4;
    assert!(message(file.read(key, 0, reversed)).ends_with("rows 5..4 of 103"));
    assert_eq!(file.read(key, 0, 7..7).expect("no rows").dim(), (0, 20));
}

#[test]
fn keys_are_written_and_read_alike() {
    for key in [FeatureKey::new(11, "out_6"), FeatureKey::new(-1, "layer-13"), FeatureKey::new(0, "up.5.res")]
    {
        assert_eq!(key.to_string().parse::<FeatureKey>().expect("a key"), key);
    }
    for text in ["", "out_6", "11/out_6", "t11", "t11/", "tx/out_6", "t1/a/b", "t1/.."] {
        let error = message(text.parse::<FeatureKey>());
        assert_eq!(
            error,
            format!("{text:?} is not a feature key: write a timestep and a tap, such as t11/out_6")
        );
    }
}

#[test]
fn rows_are_shared_out_evenly_and_completely() {
    for (total, of) in [(103, 4), (10, 10), (1, 1), (50_000, 7)] {
        let mut next = 0;
        for shard in 0..of {
            let rows = shard_rows(total, shard, of);
            assert_eq!(rows.start, next);
            assert!(rows.len().abs_diff(total / of) <= 1);
            next = rows.end;
        }
        assert_eq!(next, total);
    }
    assert!(shard_rows(10, 3, 3).is_empty());
    assert!(shard_rows(10, 0, 0).is_empty());
}
