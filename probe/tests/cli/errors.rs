//! What is refused, in which words.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use crate::files::{Features, folder};
use crate::{FILES, refuses};

const BOTH: &str = "--train train.h5 --test test.h5";

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let folder = folder();
    let cases = [
        ("logistic", "--c 0", "--c '0': a number above 0 is wanted, such as 1, or auto…"),
        ("logistic", "--c nan", "…a number above 0 is wanted…"),
        ("logistic", "--c 1e-320", "…a number above 0 is wanted…"),
        ("logistic", "--c -1", "--c '-1': a number above 0 is wanted…"),
        ("logistic", "--max-iterations 0", "…a whole number of at least 1 is wanted…"),
        ("logistic", "--solver sgd", "…newton or linfa is wanted…"),
        ("knn", "-k 0", "…a whole number of at least 1 is wanted…"),
        ("knn", "--k -3", "…a whole number of at least 1 is wanted…"),
        ("knn", "--metric manhattan", "…euclidean or cosine is wanted…"),
        ("knn", "--held-out 1", "…a number above 0 and below 1 is wanted…"),
        ("knn", "--votes three", "…"),
        ("knn", "--features out_6", "…\"out_6\" is not a feature; write them as t11/out_6…"),
        ("knn", "--pixels fashion-sample", "…excludes…"),
        ("knn", "--root x", "…excludes…"),
        ("knn", "--unknown", "…--unknown…"),
    ];
    refuses(
        folder.path(),
        cases.map(|(command, line, wanted)| (2, format!("{command} {BOTH} {line}"), wanted)),
    );
    refuses(
        folder.path(),
        [
            (2, "knn", "…--train FILE[:NAMES]…missing…"),
            (2, "knn --train train.h5", "…--test…"),
            (2, "knn --pixels nothing", "…nothing…fashion-sample…"),
        ],
    );
}

#[test]
fn files_that_are_no_feature_files_are_named() {
    let folder = folder();
    let whole = fs::read(folder.path().join("train.h5")).expect("a file");
    for (name, bytes) in [
        ("empty.h5", &[][..]),
        ("foreign.h5", b"PK\x03\x04 something else"),
        ("cut.h5", &whole[..whole.len() / 2]),
    ] {
        fs::write(folder.path().join(name), bytes).expect("written");
        let wanted = format!("…{name}…");
        refuses(
            folder.path(),
            [
                (1, format!("knn --train {name} --test test.h5"), &wanted),
                (1, format!("logistic --train train.h5 --test {name}"), &wanted),
            ],
        );
    }
    refuses(
        folder.path(),
        [(1, "knn --train absent.h5 --test test.h5", "…absent.h5…there is no such file or folder…")],
    );
}

#[test]
fn unknown_features_come_with_those_that_exist() {
    let folder = folder();
    Features::new(40, "test").keys(&[("t5/out_1", 1.0)]).write(folder.path(), "other");
    let wanted = "…train.h5…no feature t11/out_9…t11/out_6, t21/out_7…";
    refuses(
        folder.path(),
        [
            (1, format!("knn {BOTH} --features t11/out_9"), wanted),
            (1, format!("knn {BOTH} --features t11/out_6+t11/out_9"), wanted),
            (
                1,
                "knn --train train.h5 --test other.h5".to_string(),
                "…no feature in common…t11/out_6, t21/out_7…t5/out_1…",
            ),
        ],
    );
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = folder();
    let test = || Features::new(40, "test");
    for (name, features, wanted) in [
        ("wide", test().dim(13), "…t11/out_6 has 12 features in train.h5…13 in wide.h5…same model…"),
        ("labels", test().labels(|i| (i % 5) as i64), "…labels.h5…row 4 has label 4…0 to 3…"),
    ] {
        features.write(folder.path(), name);
        let files = format!("--train train.h5 --test {name}.h5 --features t11/out_6");
        refuses(folder.path(), ["knn", "logistic"].map(|command| (1, format!("{command} {files}"), wanted)));
    }
    let shard = Features::new(40, "test").write_shard(folder.path(), "part", 0, 3);
    let shard = shard.file_name().and_then(|name| name.to_str()).expect("a name").to_string();
    let wanted = format!("…{shard}…only rows 0 to 39 of 120…");
    refuses(folder.path(), [(1, format!("knn --train train.h5 --test {shard}"), wanted)]);
}

#[test]
fn training_sets_that_teach_nothing_are_refused() {
    let folder = folder();
    Features::new(40, "train").labels(|_| 2).write(folder.path(), "one");
    Features::new(41, "train").labels(|i| i64::from(i == 7)).write(folder.path(), "rare");
    Features::new(40, "test").labels(|i| (i % 2) as i64).write(folder.path(), "two");
    let one = "…all 40 training samples have the label 2…at least two classes…";
    refuses(
        folder.path(),
        [
            (1, "knn --train one.h5 --test test.h5 --features t11/out_6", one),
            (1, "logistic --train one.h5 --test test.h5 --features t11/out_6", one),
            (
                1,
                "logistic --train rare.h5 --test two.h5",
                "…class 1 has 1 training sample(s)…choosing C…--c 1…",
            ),
            (
                1,
                "knn --train train.h5 --test test.h5 --features t11/out_6 -k 401",
                "…k = 401…only 400 training rows…",
            ),
        ],
    );
}

#[test]
fn a_model_at_chance_is_an_error() {
    let folder = folder();
    for name in ["train.h5", "test.h5"] {
        overwrite(&folder.path().join(name), |values| values.fill(3.25));
    }
    let line = |solver| format!("logistic {BOTH} --features t11/out_6 --c 1 --solver {solver}");
    refuses(folder.path(), ["newton", "linfa"].map(|solver| (1, line(solver), "…at chance…1.386294…")));
}

#[test]
fn features_that_are_not_numbers_are_located() {
    let folder = folder();
    overwrite(&folder.path().join("test.h5"), |values| values[[0, 123, 5]] = f32::NAN);
    let line = |command| format!("{command} {BOTH} --features t21/out_7+t11/out_6");
    let wanted = "…test.h5: t11/out_6 is NaN in row 123, column 5, view 0…extract them again…";
    refuses(folder.path(), ["knn", "logistic"].map(|command| (1, line(command), wanted)));
}

#[test]
fn an_image_that_cannot_be_written_is_refused_before_the_work() {
    let cases = [
        ("absent/out.png", "…--confusion…folder absent…"),
        (".", "…--confusion…is a folder…"),
        ("train.h5/out.png", "…--confusion…train.h5…"),
    ];
    let line = |path| format!("knn {BOTH} --features t11/out_6 --confusion {path}");
    refuses(folder().path(), cases.map(|(path, wanted)| (1, line(path), wanted)));
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
