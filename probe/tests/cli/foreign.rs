//! Features that others computed, from files that their own programs wrote (`tests/foreign/make.py`): every form gives what
//! our own feature file of the same numbers gives.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ddae_store::{Compression, FeatureKey, FeatureType, Layout, Provenance, ShardWriter, shard_path};
use ndarray::Array2;
use serde_json::{Value, json};

use crate::{FILES, probe, refuses, report};

/// What scikit-learn 1.9.1's `KNeighborsClassifier(5)` gives for these rows, divided by their lengths.
const CONFUSION: [[u64; 4]; 4] = [[4, 0, 1, 0], [2, 2, 0, 1], [0, 0, 5, 0], [1, 0, 3, 1]];

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// The numbers of the fixtures as feature files of our own, `train.h5` and `test.h5`.
fn own_files(folder: &Path, keys: &[&str]) {
    let _nobody_starts = FILES.read().unwrap_or_else(PoisonError::into_inner);
    for (name, rows) in [("train", 40), ("test", 20)] {
        let bytes = std::fs::read(files().join(format!("{name}.f4.npy"))).expect("an array");
        let numbers = bytes[bytes.len() - rows * 6 * 4..].as_chunks::<4>().0;
        let numbers = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        let numbers = Array2::from_shape_vec((rows, 6), numbers).expect("a matrix");
        let keys: Vec<FeatureKey> = keys.iter().map(|key| key.parse().expect("a key")).collect();
        let layout = Layout {
            keys: keys.iter().map(|key| (key.clone(), 6)).collect(),
            views: 1,
            total: rows,
            dtype: FeatureType::F32,
            compression: Compression::Off,
            provenance: Provenance {
                classes: Some(["ant", "bee", "cat", "dog"].map(str::to_string).to_vec()),
                split: Some(name.to_string()),
                data_set: Some(format!("animals/{name}")),
                ..Provenance::default()
            },
        };
        let mut writer = ShardWriter::create(folder.join(name), 0, 1, 0..rows, &layout).expect("a shard");
        for key in &keys {
            writer.write(key, 0, 0, numbers.view()).expect("written");
        }
        writer.write_labels(0, &(0..rows).map(|i| (i % 4) as i64).collect::<Vec<_>>()).expect("written");
        writer.finish().expect("finished");
        std::fs::rename(shard_path(folder.join(name), 0, 1), folder.join(format!("{name}.h5")))
            .expect("renamed");
    }
}

/// Options with `NAME` for train and test.
fn both(pattern: &str) -> String {
    let [train, test] = ["train", "test"].map(|name| pattern.replace("NAME", name));
    format!("--train {train} --test {test}")
}

fn knn(line: &str) -> Value {
    let words: Vec<&str> = ["knn", "-k", "5"].into_iter().chain(line.split_whitespace()).collect();
    report(&files(), &words)
}

/// A form of file: its options, how numbers are stored, and what must be said of it beside that nothing describes it.
const FORMS: [(&str, &str, &[&str]); 34] = [
    ("NAME.f2.npy LABELS.y.npy", "f16", &[]),
    ("NAME.f4.npy LABELS.y.npy", "f32", &[]),
    ("NAME.be_f4.npy LABELS.y.npy", "f32", &[]),
    ("NAME.f8.npy LABELS.y.npy", "f64", &[]),
    ("NAME.i1.npy LABELS.y.npy", "i8", &[]),
    ("NAME.u1.npy LABELS.y.npy", "u8", &[]),
    ("NAME.i2.npy LABELS.y.npy", "i16", &[]),
    ("NAME.be_u2.npy LABELS.y.npy", "u16", &[]),
    ("NAME.i4.npy LABELS.y.npy", "i32", &[]),
    ("NAME.u4.npy LABELS.y.npy", "u32", &[]),
    ("NAME.i8.npy LABELS.y.npy", "i64", &[]),
    ("NAME.u8.npy LABELS.y.npy", "u64", &[]),
    ("NAME.fortran.npy LABELS.y.npy", "f32", &[]),
    ("NAME.f4.npy LABELS.y_column.npy", "f32", &[]),
    (
        "NAME.f4.npy LABELS.y_text.npy",
        "f32",
        &["4 classes are numbered from 0 in sorted order (ant, bee, cat, dog)"],
    ),
    ("NAME.f4.npy LABELS.y_bytes.npy", "f32", &["texts"]),
    ("NAME.f4.npy LABELS.y.txt", "f32", &["texts"]),
    ("NAME.f4.npy LABELS.y.csv", "f32", &["texts"]),
    ("NAME.f4.npy LABELS.plain.npz", "f32", &[]),
    ("NAME.f4.npy LABELS.groups.h5:/deep/er/y_ascii", "f32", &["texts"]),
    ("NAME.plain.npz", "f32", &[]),
    ("NAME.packed.npz", "f64", &["texts"]),
    ("NAME.named.npz:pool,cls", "f32", &["4 numbers from 1 to 4 (1, 2, 3, 4): each is a class"]),
    ("NAME.csv", "decimal text", &["texts", "'' (row numbers, by its name), 'path' (texts)"]),
    ("NAME.csv:f*,label", "decimal text", &["texts"]),
    ("NAME.tsv", "decimal text", &["texts"]),
    ("NAME.savetxt.csv --label-column -1", "decimal text", &["its first line holds no names of columns"]),
    ("NAME.savetxt.txt LABELS.y.npy", "decimal text", &["its first line holds no names of columns"]),
    ("NAME.columns.parquet", "f32", &["texts", "'path' (texts)"]),
    ("NAME.lists.parquet", "f32", &["texts", "'path' (texts)"]),
    ("NAME.halves.parquet:emb,cls", "f16", &["4 numbers from -2 to 1 (-2, -1, 0, 1)"]),
    ("NAME.safetensors", "f32", &[]),
    ("NAME.bf16.safetensors", "bf16", &[]),
    ("NAME.plain.h5", "f32", &[]),
];

#[test]
fn every_form_gives_what_our_own_file_gives() {
    let more = [
        ("NAME.groups.h5", "f64", &["texts"][..]),
        ("NAME.groups.h5:/deep/er/x,/deep/er/y", "f64", &["texts"]),
        ("NAME.groups.h5:deep/er/half,deep/er/y_ascii", "f16", &["texts"]),
        ("NAME.groups.h5:/deep/er/x LABELS.y.npy", "f64", &[]),
    ];
    for (form, stored_as, said) in FORMS.into_iter().chain(more) {
        let (file, options) = form.split_once(' ').unwrap_or((form, ""));
        let labels = match options.strip_prefix("LABELS") {
            Some(ending) => format!("--labels train{ending} --test-labels test{ending}"),
            None => options.to_string(),
        };
        let found = knn(&format!("{} {labels}", both(file)));
        assert_eq!(found["confusion"], json!(CONFUSION), "{form}");
        assert_eq!(found["protocol"]["stored_as"], stored_as, "{form}");
        assert_eq!((&found["dim"], &found["train"]["samples"]), (&json!(6), &json!(40)), "{form}");
        let warnings: Vec<&str> =
            found["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let unknown =
            warnings.iter().filter(|warning| warning.contains("nothing says how these features were made"));
        assert_eq!(unknown.count(), 1, "{form}: {warnings:?}");
        assert_eq!(
            found["train"]["attributes"]["made"], "nothing says how these features were made",
            "{form}"
        );
        for said in said {
            assert!(
                warnings.iter().any(|warning| warning.contains(said)),
                "{form}: {said:?} in {warnings:?}"
            );
        }
        let about_labels = warnings.iter().filter(|warning| warning.starts_with("the labels of")).count();
        let expected = said.iter().filter(|said| said.contains("texts") || said.contains("number")).count();
        assert!(about_labels <= 2 * expected, "{form}: {warnings:?}");
    }
}

#[test]
fn our_own_file_of_the_numbers_gives_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    own_files(folder.path(), &["t11/out_6", "t21/out_7"]);
    let run = |line: &str| {
        let words: Vec<&str> = ["knn", "-k", "5"].into_iter().chain(line.split_whitespace()).collect();
        report(folder.path(), &words)
    };
    let own = run("--train train.h5 --test test.h5 --features t11/out_6");
    assert_eq!(own["confusion"], json!(CONFUSION));
    assert_eq!(own["warnings"], json!([]));
    assert_eq!(own["protocol"].get("read_as"), None);
    // One feature of a file, and labels from elsewhere.
    let named = run("--train train.h5:t11/out_6 --test test.h5:/features/t11/out_6");
    assert_eq!((&named["confusion"], &named["features"]), (&json!(CONFUSION), &json!("t11/out_6")));
    let labels = files().join("train.y.txt");
    let test_labels = files().join("test.y.txt");
    let (labels, test_labels) = (labels.display(), test_labels.display());
    let relabelled = run(&format!(
        "--train train.h5:t11/out_6 --test test.h5:t11/out_6 --labels {labels} --test-labels {test_labels}"
    ));
    assert_eq!(relabelled["confusion"], json!(CONFUSION));
    // Beside a file of another's, whose texts are the names of our classes.
    let other = files().join("test.tsv");
    let mixed = run(&format!("--train train.h5:t11/out_6 --test {}", other.display()));
    assert_eq!((&mixed["confusion"], &mixed["classes"][1]["name"]), (&json!(CONFUSION), &json!("bee")));
    let warnings = mixed["warnings"].to_string();
    assert!(warnings.contains("test.tsv: nothing says how these features were made"), "{warnings}");
    assert!(warnings.contains("train.h5:t11/out_6 stores its features as f32 and"), "{warnings}");
}

#[test]
fn all_probes_take_them() {
    let folder = tempfile::tempdir().expect("a folder");
    own_files(folder.path(), &["t11/out_6"]);
    for command in ["logistic --c 1", "linear --epochs 3", "knn"] {
        let run = |folder: &Path, files: &str| {
            let words = format!("{command} {files}");
            report(folder, &words.split_whitespace().collect::<Vec<_>>())
        };
        let own = run(folder.path(), &both("NAME.h5"));
        for form in ["NAME.plain.npz", "NAME.safetensors", "NAME.lists.parquet", "NAME.csv", "NAME.plain.h5"]
        {
            let found = run(&files(), &both(form));
            assert_eq!(found["confusion"], own["confusion"], "{command} {form}");
        }
    }
    // The same images at two noisings need no labels.
    let run = |first: &str, second: &str| {
        let found = report(&files(), &["contrastive", first, second, "--batch", "20"]);
        let number = |name: &str| found["features"][0][name].as_f64().expect("a number");
        (number("alignment"), number("uniformity"), found.clone())
    };
    let (alignment, uniformity, found) = run("train.f4.npy", "train.plain.npz");
    assert_eq!((alignment, found["features"][0]["dim"].as_u64()), (0.0, Some(6)));
    assert!(uniformity < -0.5, "{uniformity}");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("from the same images in the same order, is not compared"), "{warnings}");
    assert_eq!(run("train.lists.parquet", "train.csv").1, uniformity);
}

#[test]
fn the_report_says_that_nothing_describes_them() {
    let line =
        "knn --train train.f8.npy --test test.f8.npy --labels train.y.npy --test-labels test.y.npy -k 5";
    let ended = probe(&files(), &line.split_whitespace().collect::<Vec<_>>());
    let table = ended.success();
    for part in [
        "k-nearest neighbours on features (6 features)",
        "    stored as: f64\n    read as: f32, each number rounded to the nearest\n",
        "    made: nothing says how these features were made\n",
        "warning: train.f8.npy and test.f8.npy: nothing says how these features were made; whether both come from the same \
         model, and from different images, is not compared\n",
    ] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }
    let next = "next: ddae-probe logistic --train train.f8.npy --test test.f8.npy --labels train.y.npy --test-labels \
                test.y.npy --confusion logistic.png";
    assert!(ended.stderr.contains(next), "{ended}");
}

#[test]
fn maps_are_flattened_where_that_is_said() {
    let labels = "--labels train.y.npy --test-labels test.y.npy --flatten";
    for form in ["NAME.maps.npy", "NAME.groups.h5:/deep/er/maps"] {
        let found = knn(&format!("{} {labels}", both(form)));
        assert_eq!((&found["confusion"], &found["dim"]), (&json!(CONFUSION), &json!(6)), "{form}");
    }
}

#[test]
fn datasets_that_others_added_are_named_and_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    own_files(folder.path(), &["t11/out_6"]);
    {
        let _nobody_starts = FILES.read().unwrap_or_else(PoisonError::into_inner);
        let file = hdf5::File::open_rw(folder.path().join("train.h5")).expect("a file");
        let group = file.create_group("umap").expect("a group");
        group.new_dataset::<f32>().shape((40, 2)).create("xy").expect("a dataset");
        file.link_external("elsewhere.h5", "x", "outside").expect("a link");
    }
    let found = report(folder.path(), &["knn", "-k", "5", "--train", "train.h5", "--test", "test.h5"]);
    assert_eq!(found["confusion"], json!(CONFUSION));
    let said = "train.h5 also holds /outside, /umap/xy, which ddae-infer did not write: not read";
    assert_eq!(found["warnings"], json!([said]));
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_its_owner() {
    let labels = "--labels train.y.npy --test-labels test.y.npy";
    let test = "--test test.plain.npz";
    let cases: Vec<(i32, String, &str)> = [
        (1, "train.f4.npy", "train.f4.npy: it holds features alone; give their labels with --labels FILE…"),
        (1, "train.f4.npy:x", "…train.f4.npy: it is a single array and has none called 'x'…"),
        (1, "none.npz", "…none.npz: there is no such file…"),
        (1, ".", "….: it is a folder; the file with the features is wanted…"),
        (1, "make.py", "…make.py: …"),
        (1, "train.y_object.npy", "…it holds Python objects, which are pickles and are not run; save texts with…"),
        (1, "bad.complex.npy --labels train.y.npy", "…its numbers are of the type <c8; save them as float32…"),
        (1, "train.y.npy --labels train.y.npy", "…train.y.npy: it has the shape [40]; features are [N, D]…"),
        (1, "train.maps.npy --labels train.y.npy", "…it has the shape [40, 2, 3]; features are [N, D]…--flatten…"),
        (1, "train.f4.npy --labels bad.short_y.npy", "…it has 40 rows of features, and there are 39 labels of bad.short_y.npy…"),
        (1, "train.f4.npy --labels bad.onehot.npy", "…bad.onehot.npy: it has the shape [40, 4]; labels are [N]…save array.argmax(1)…"),
        (1, "train.f4.npy --labels bad.fractions.npy", "…row 0 has the label 0.5; wanted are whole numbers or texts…"),
        (1, "train.f4.npy --labels train.csv --label-column what", "…train.csv: there is no column 'what'; it has '', 'f0'…"),
        (1, "bad.nan.npy --labels train.y.npy", "…bad.nan.npy: features is NaN in row 7, column 3 (both counted from 0)…"),
        (1, "bad.large.npy --labels train.y.npy", "…row 7, column 3 holds 1e300, which float32 cannot hold…"),
        (1, "bad.two.npz", "…bad.two.npz: several arrays could be the features (features, x): name one as in FILE:FEATURES…"),
        (1, "bad.unnamed.npz", "…no array has a usual name of features (features, …); it holds arr_0 [40, 6], arr_1 [40]: name them as in…"),
        (1, "train.named.npz:pool", "…no array has a usual name of labels…it holds pool [40, 6], other [40, 2], cls [40]…FILE:pool,LABELS, or give --labels FILE…"),
        (1, "train.named.npz:nothing,cls", "…there is no array 'nothing'; it holds pool [40, 6]…"),
        (2, "train.plain.npz --label-column y", "…--label-column names a column of a table, and train.plain.npz is none…"),
        (2, "train.plain.npz --features t11/out_6", "…--features names features of files that ddae-infer wrote…FILE:NAME…"),
        (1, "bad.empty.csv", "…bad.empty.csv: row 2 (line 4), column 'a' is empty; a number is wanted in every cell…"),
        (1, "bad.two_labels.csv", "…several columns could be the label (label, y); name one with --label-column…"),
        (1, "bad.no_numbers.csv", "…it has no column of numbers beside the label; it has 'path', 'label'…"),
        (1, "bad.ragged.csv", "…bad.ragged.csv: line 3 has 2 columns, and the lines before it 3…"),
        (1, "train.savetxt.csv", "…its first line holds no names of columns; give the number of the label's…--label-column…"),
        (1, "train.csv:nothing", "…there is no column 'nothing'; it has '', 'f0'…"),
        (1, "train.csv:path", "…the column 'path' holds texts; features are numbers…"),
        (1, "bad.ragged.parquet", "…column 'emb': row 1 has a list of 1 numbers, and row 0 of 2; each row needs the same…"),
        (1, "bad.null.parquet", "…column 'a': row 1 is empty (null); a value is wanted in every row…"),
        (1, "bad.outside.h5", "…'x' is an external link, to another file; what lies elsewhere is not read…"),
        (1, "bad.unwritten.h5", "…x promises 5 chunks and has 0…"),
        (1, "bad.records.h5", "…holds a table of records (a compound type); wanted are numbers…"),
        (1, "train.groups.h5:/link,/deep/er/y", "…'link' is a soft link; what lies elsewhere is not read…"),
        (2, "train.packed.npz", "…the labels of test.plain.npz are numbers and those of train.packed.npz texts…"),
    ]
    .into_iter()
    .map(|(code, line, wanted)| (code, format!("knn --train {line} {test}"), wanted))
    .collect();
    refuses(&files(), cases);
    refuses(
        &files(),
        [
            (
                1,
                "contrastive train.f4.npy",
                "…train.f4.npy: it holds one row for each image, and alignment compares two noisings: give a second file…",
            ),
            (
                1,
                "contrastive train.f4.npy test.f4.npy",
                "…do not hold the same images: the first has 40 and the second 20…",
            ),
            (
                2,
                "contrastive train.f4.npy train.f8.npy --features t11/out_6",
                "…--features names features of files that ddae-infer wrote…",
            ),
        ],
    );
    let wide = format!("knn --train train.named.npz:other --test test.f4.npy {labels}");
    refuses(&files(), [(1, wide, "…features has 2 features in train.named.npz:other and 6 in test.f4.npy…")]);
}

/// Endings are only names: files under each other's, and files that are something else.
#[test]
fn files_are_told_by_their_content() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["train", "test"] {
        let copy = |from: &str, to: &str| {
            std::fs::copy(files().join(format!("{name}.{from}")), folder.path().join(format!("{name}.{to}")))
                .expect("copied");
        };
        copy("plain.npz", "h5");
        copy("tsv", "npy");
        copy("safetensors", "csv");
        copy("lists.parquet", "bin");
    }
    for form in ["NAME.h5", "NAME.npy", "NAME.csv", "NAME.bin"] {
        let words = format!("knn -k 5 {}", both(form));
        let found = report(folder.path(), &words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(found["confusion"], json!(CONFUSION), "{form}");
    }
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (name, bytes, wanted) in [
        (
            "a.npy",
            &png[..],
            "…a.npy: it is a PNG image; features are read from HDF5, .npy, .npz, safetensors…",
        ),
        ("b.npz", b"\x1f\x8b\x08\0\0\0\0\0", "…b.npz: it is gzip-compressed; unpack it first…"),
        ("c.pkl", b"\x80\x04\x95\0\0\0\0\0", "…c.pkl: it is a Python pickle, which is not run…"),
        ("d.feather", b"ARROW1\0\0\0\0", "…d.feather: it is an Arrow (Feather) file: write it as parquet…"),
        ("e.csv", b"", "…e.csv: it is empty…"),
        ("f.bin", b"\x01\x02\x03\xff\xfe", "…f.bin: it is nothing that is known here…"),
        (
            "g.zip",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "…g.zip: it is a zip archive without a NumPy array…",
        ),
    ] {
        std::fs::write(folder.path().join(name), bytes).expect("written");
        refuses(folder.path(), [(1, format!("knn --train {name} --test test.h5"), wanted)]);
    }
}
