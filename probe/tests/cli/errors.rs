//! What is refused, in which words.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use crate::files::{BOTH, Features, folder};
use crate::{FILES, probe, text};

/// Runs the binary, which must fail with `code`, print nothing on stdout, and name `parts` in one line.
fn refused(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let output = probe(folder, arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let line = message
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap_or_else(|| panic!("no error in {message}"));
    for part in parts {
        // clap explains itself in several lines.
        let searched = if code == 2 { &message } else { line };
        assert!(searched.contains(part), "{part:?} in {message}");
    }
}

fn both<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], BOTH.as_slice(), more].concat()
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let folder = folder();
    let cases: [(&[&str], &str); 12] = [
        (&["logistic", "--c", "0"], "must be a number above 0, such as 1, or auto"),
        (&["logistic", "--c", "nan"], "must be a number above 0"),
        (&["logistic", "--c", "1e-320"], "must be a number above 0"),
        (&["logistic", "--max-iterations", "0"], "0 is not in 1.."),
        (&["logistic", "--solver", "sgd"], "newton, linfa"),
        (&["knn", "-k", "0"], "0 is not in 1.."),
        (&["knn", "--metric", "manhattan"], "euclidean, cosine"),
        (&["knn", "--held-out", "1"], "must be above 0 and below 1"),
        (&["knn", "--features", "out_6"], "\"out_6\" is not a feature; write them as t11/out_6"),
        (&["knn", "--pixels", "fashion-sample"], "cannot be used with"),
        (&["knn", "--root", "x"], "cannot be used with"),
        (&["knn", "--unknown"], "--unknown"),
    ];
    for (arguments, part) in cases {
        refused(folder.path(), &both(arguments[0], &arguments[1..]), 2, &[part]);
    }
    refused(folder.path(), &["knn"], 2, &["--train <FILE.h5>"]);
    refused(folder.path(), &["knn", "--train", "train.h5"], 2, &["--test"]);
    refused(folder.path(), &["knn", "--pixels", "nothing"], 2, &["nothing", "fashion-sample"]);
}

#[test]
fn files_that_are_no_feature_files_are_named() {
    let folder = folder();
    let whole = fs::read(folder.path().join("train.h5")).expect("a file");
    for (name, bytes) in
        [("empty", &[][..]), ("foreign", b"PK\x03\x04 something else"), ("cut", &whole[..whole.len() / 2])]
    {
        let name = format!("{name}.h5");
        fs::write(folder.path().join(&name), bytes).expect("written");
        for arguments in [
            ["knn", "--train", &name, "--test", "test.h5"],
            ["logistic", "--train", "train.h5", "--test", &name],
        ] {
            refused(folder.path(), &arguments, 1, &[&name]);
        }
    }
    refused(
        folder.path(),
        &["knn", "--train", "absent.h5", "--test", "test.h5"],
        1,
        &["absent.h5", "No such file"],
    );
}

#[test]
fn unknown_features_come_with_those_that_exist() {
    let folder = folder();
    let parts = ["train.h5", "no feature t11/out_9", "t11/out_6, t21/out_7"];
    refused(folder.path(), &both("knn", &["--features", "t11/out_9"]), 1, &parts);
    refused(folder.path(), &both("knn", &["--features", "t11/out_6+t11/out_9"]), 1, &parts);
    Features::new(40, "test").keys(&[("t5/out_1", 1.0)]).write(folder.path(), "other");
    let arguments = ["knn", "--train", "train.h5", "--test", "other.h5"];
    refused(folder.path(), &arguments, 1, &["no feature in common", "t11/out_6, t21/out_7", "t5/out_1"]);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = folder();
    let cases = [
        (
            "wide",
            Features::new(40, "test").dim(13),
            ["t11/out_6 has 12 features in train.h5", "13 in wide.h5", "same model"],
        ),
        (
            "labels",
            Features::new(40, "test").labels(|i| (i % 5) as i64),
            ["row 4 has label 4", "0 to 3", "labels.h5"],
        ),
    ];
    for (name, features, parts) in cases {
        features.write(folder.path(), name);
        let name = format!("{name}.h5");
        for command in ["knn", "logistic"] {
            let arguments = [command, "--train", "train.h5", "--test", &name, "--features", "t11/out_6"];
            refused(folder.path(), &arguments, 1, &[&parts[..], &[&name]].concat());
        }
    }
    let shard = Features::new(40, "test").write_shard(folder.path(), "part", 0, 3);
    let shard = shard.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
    refused(
        folder.path(),
        &["knn", "--train", "train.h5", "--test", &shard],
        1,
        &[&shard, "only rows 0 to 39 of 120"],
    );
}

#[test]
fn training_sets_that_teach_nothing_are_refused() {
    let folder = folder();
    Features::new(40, "train").labels(|_| 2).write(folder.path(), "one");
    Features::new(41, "train").labels(|i| i64::from(i == 7)).write(folder.path(), "rare");
    let against = |train, command, more: &[&str], parts: &[&str]| {
        let arguments =
            [&[command, "--train", train, "--test", "test.h5", "--features", "t11/out_6"], more].concat();
        refused(folder.path(), &arguments, 1, parts);
    };
    for command in ["knn", "logistic"] {
        against(
            "one.h5",
            command,
            &[],
            &["all 40 training samples have the label 2", "at least two classes"],
        );
    }
    Features::new(40, "test").labels(|i| (i % 2) as i64).write(folder.path(), "two");
    let rare = ["logistic", "--train", "rare.h5", "--test", "two.h5"];
    refused(folder.path(), &rare, 1, &["class 1 has 1 training sample(s)", "choosing C", "--c 1"]);
    refused(
        folder.path(),
        &both("knn", &["--features", "t11/out_6", "-k", "401"]),
        1,
        &["k = 401", "only 400 training rows"],
    );
}

#[test]
fn a_model_at_chance_is_an_error() {
    let folder = folder();
    for name in ["train.h5", "test.h5"] {
        overwrite(&folder.path().join(name), |values| values.fill(3.25));
    }
    for solver in ["newton", "linfa"] {
        let arguments = both("logistic", &["--features", "t11/out_6", "--c", "1", "--solver", solver]);
        refused(folder.path(), &arguments, 1, &["at chance", "1.386294"]);
    }
}

#[test]
fn features_that_are_not_numbers_are_located() {
    let folder = folder();
    overwrite(&folder.path().join("test.h5"), |values| values[[0, 123, 5]] = f32::NAN);
    for command in ["knn", "logistic"] {
        let arguments = both(command, &["--features", "t21/out_7+t11/out_6"]);
        let parts = ["test.h5: t11/out_6 is NaN in row 123, column 5, view 0", "extract them again"];
        refused(folder.path(), &arguments, 1, &parts);
    }
}

#[test]
fn a_image_that_cannot_be_written_is_refused_before_the_work() {
    let folder = folder();
    let before = fs::read_dir(folder.path()).expect("a folder").count();
    for (path, part) in
        [("absent/out.png", "folder absent"), (".", "is a folder"), ("train.h5/out.png", "train.h5")]
    {
        let arguments = both("knn", &["--features", "t11/out_6", "--confusion", path]);
        refused(folder.path(), &arguments, 1, &["--confusion", part]);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), before);
}

/// Changes the stored values of `t11/out_6`, which the writer of feature files would refuse.
fn overwrite(path: &Path, change: impl Fn(&mut ndarray::Array3<f32>)) {
    let _nobody_starts = FILES.read().unwrap_or_else(PoisonError::into_inner);
    let file = hdf5::File::open_rw(path).expect("a file");
    let dataset = file.dataset("features/t11/out_6").expect("a dataset");
    let shape = dataset.shape();
    let values = dataset.read_raw::<f32>().expect("values");
    let mut values =
        ndarray::Array3::from_shape_vec((shape[0], shape[1], shape[2]), values).expect("three axes");
    change(&mut values);
    dataset.write(&values).expect("written");
}
