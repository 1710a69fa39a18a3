//! `ddae-probe contrastive`.

use serde_json::{Value, json};

use crate::files::Features;
use crate::{probe, refuses, report};

/// `noise.h5`: two features of 300 images at three views, of which `t21/out_7` is moved far less by noise.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [("t11/out_6", 0.5), ("t21/out_7", 9.0)];
    Features::new(300, "train").keys(&keys).views(3).write(folder.path(), "noise");
    folder
}

fn values(report: &Value, name: &str) -> Vec<f64> {
    let features = report["features"].as_array().expect("features");
    features.iter().map(|features| features[name].as_f64().expect("a number")).collect()
}

#[test]
fn every_feature_is_measured() {
    let folder = folder();
    let found = report(folder.path(), &["contrastive", "noise.h5"]);
    assert_eq!(found["features"][0]["features"], "t11/out_6");
    let (alignment, uniformity) = (values(&found, "alignment"), values(&found, "uniformity"));
    // Noise of twelve numbers beside a distance of 9: two noisings of an image hardly differ, nor do images of a class.
    assert!(alignment[0] > 1.0 && alignment[1] < 0.3, "{alignment:?}");
    assert!(uniformity[0] < -3.0 && uniformity[1] > -2.5, "{uniformity:?}");
    assert_eq!((&found["pictures"], &found["batch"]), (&json!(300), &json!(128)));
    assert_eq!(found["noisings"], "the first two of 3 views of noise.h5");
    assert_eq!(found["warnings"], json!([]));
    assert_eq!(found["attributes"]["model"], "0123abcd");

    let one = report(folder.path(), &["contrastive", "noise.h5", "--features", "t21/out_7"]);
    assert_eq!(values(&one, "alignment"), [alignment[1]]);
    let joined = report(folder.path(), &["contrastive", "noise.h5", "--features", "t11/out_6+t21/out_7"]);
    assert_eq!(joined["features"][0]["dim"], 24);
}

/// 300 images in batches of 130, by hand: the values of batches are averaged by their number of images, as the published
/// code does.
#[test]
fn batches_count_by_their_images() {
    use ddae_probe::contrastive::of_batch;
    use ddae_probe::source::samples::Samples;
    let folder = folder();
    let whole =
        report(folder.path(), &["contrastive", "noise.h5", "--features", "t11/out_6", "--batch", "130"]);
    let file = ddae_store::FeatureFile::open(folder.path().join("noise.h5")).expect("a file");
    let samples = Samples::of_file(file).expect("samples");
    let features = ddae_probe::source::feature_set::FeatureSet::parse_list("t11/out_6").expect("a feature");
    let (mut alignment, mut uniformity) = (0.0, 0.0);
    for range in [0..130, 130..260, 260..300] {
        let view = |view| samples.read(&features[0], view, range.clone()).expect("rows");
        let value = of_batch(view(0).view(), view(1).view());
        let share = view(0).nrows() as f64 / 300.0;
        alignment += value.alignment * share;
        uniformity += value.uniformity * share;
    }
    assert!((values(&whole, "alignment")[0] - alignment).abs() < 1e-12);
    assert!((values(&whole, "uniformity")[0] - uniformity).abs() < 1e-12);
}

#[test]
fn two_files_are_two_noisings() {
    let folder = folder();
    Features::new(300, "train").keys(&[("t21/out_7", 9.0)]).write(folder.path(), "other");
    let found = report(folder.path(), &["contrastive", "noise.h5", "other.h5"]);
    assert_eq!(found["features"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["noisings"], "the first views of noise.h5 and other.h5");
    let alignment = values(&found, "alignment")[0];
    assert!(alignment > 0.01 && alignment < 0.3, "{alignment}");
    // A file beside itself.
    let found = report(folder.path(), &["contrastive", "other.h5", "other.h5"]);
    assert_eq!(values(&found, "alignment"), [0.0]);
    let warning = found["warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("both noisings have the same features"), "{warning}");
}

#[test]
fn what_is_not_as_published_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let features = Features::new(257, "train").views(2);
    features
        .attribute("flip", json!(true))
        .attribute("crop_padding", json!(0))
        .write(folder.path(), "flipped");
    let found = report(folder.path(), &["contrastive", "flipped.h5"]);
    let warnings: Vec<&str> =
        found["warnings"].as_array().expect("warnings").iter().filter_map(Value::as_str).collect();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("the views were augmented (flip): as published"), "{warnings:?}");
    assert!(warnings[1].starts_with("the last image is left out"), "{warnings:?}");
    assert_eq!(found["pictures"], 256);
}

#[test]
fn the_table() {
    let folder = folder();
    let ended = probe(folder.path(), &["contrastive", "noise.h5"]);
    let table = ended.success();
    for part in [
        "alignment and uniformity of 300 images at two noisings\n\n  features   alignment  uniformity\n  t11/out_6  ",
        "    noisings: the first two of 3 views of noise.h5\n    batch: 128\n",
        "    data set: animals\n    split: train\n    model: 0123abcd\n",
    ] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }
    assert!(ended.stderr.contains("next: ddae-probe linear --train noise.h5 --test TEST.h5"));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = folder();
    Features::new(300, "train").write(folder.path(), "one");
    Features::new(299, "train").write(folder.path(), "fewer");
    Features::new(300, "test").write(folder.path(), "test");
    Features::new(300, "train").attribute("model", json!("ffff")).write(folder.path(), "model");
    Features::new(300, "train").dim(13).write(folder.path(), "wide");
    Features::new(1, "train").views(2).write(folder.path(), "single");
    Features::new(300, "train").attribute("noise", json!("none")).write(folder.path(), "silent");
    let cases = [
        (1, "one.h5", "…one.h5: there is one view of each image, and alignment compares two noisings…"),
        (1, "one.h5 fewer.h5", "…do not hold the same images: the first has 300 and the second 299…"),
        (1, "one.h5 test.h5", "…attribute split is \"train\" in the first and \"test\" in the second…"),
        (1, "one.h5 model.h5", "…one.h5 and model.h5 do not belong together: attribute model…"),
        (1, "one.h5 wide.h5", "…t11/out_6 has 12 features in one.h5 and 13 in wide.h5…"),
        (1, "single.h5", "…single.h5: there is one image…"),
        (
            1,
            "silent.h5 silent.h5",
            "…silent.h5: it was extracted with --noise none, and alignment compares two noisings…",
        ),
        (1, "noise.h5 --features t11/out_9", "…there is no feature t11/out_9; it has t11/out_6, t21/out_7…"),
        (2, "noise.h5 --features out_6", "…\"out_6\" is not a feature…"),
        (2, "noise.h5 --batch 1", "…a whole number from 2 to 4096 is wanted…"),
        (1, "absent.h5", "…absent.h5…"),
        (2, "", "FILE is missing…"),
    ];
    refuses(folder.path(), cases.map(|(code, line, wanted)| (code, format!("contrastive {line}"), wanted)));
}
