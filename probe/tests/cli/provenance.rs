//! Which feature files may be used together: every property in which they can differ, in one table.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use ddae_store::{FeatureType, MergeMode, Provenance};
use serde_json::{Value, json};

use crate::files::Features;
use crate::{FILES, probe, report};

/// What a file says that says everything. A new attribute does not compile here without its value, and its case below.
fn complete() -> Provenance {
    let text = |text: &str| Some(text.to_string());
    Provenance {
        model: text("0123abcd"),
        latents: Some(None),
        weights: Some(text("ema")),
        epoch: Some(Some(3)),
        step: Some(Some(300)),
        checkpoint: text("last.safetensors"),
        data_set: text("animals/train"),
        split: text("train"),
        images_digest: text("content:11"),
        seed: Some(0),
        noise: Some(text("keyed")),
        noise_stream: Some(text("chacha8")),
        views: Some(1),
        crop_padding: Some(0),
        flip: Some(false),
        resized_crop: Some(false),
        before_resize: Some(false),
        reading: Some(None),
        graph: text("features"),
        image_shape: Some([3, 32, 32]),
        pixels: text("[0,1]"),
        unit_length: Some(false),
        pooling: text("mean over the picture"),
        provider: text("CPUExecutionProvider"),
        precision: text("f32"),
        model_precision: text("f32"),
        calibration: Some(Value::Null),
        graph_digest: text("aaaa"),
        latents_digest: Some(None),
        latents_seed: Some(None),
        latents_noise: Some(None),
        latents_dtype: Some(None),
        latents_precision: Some(None),
        latents_provider: Some(None),
        edited: Some(false),
        tool: text("ddae-infer 0.1.0"),
        exporter: text("ddae-export 0.1.0"),
        timesteps: Some(vec![11]),
        taps: Some(vec!["out_6".to_string()]),
        tap_shapes: Some(None),
        classes: Some(["ant", "bee", "cat", "dog"].map(str::to_string).to_vec()),
        config: text("network: unet"),
        other: [("of_a_later_version".to_string(), json!(1))].into_iter().collect(),
    }
}

/// What differs matters between training and test features, and between two noisings of the same images.
const ALWAYS: [bool; 2] = [true, true];
/// Training and test images are different ones.
const NOISINGS: [bool; 2] = [false, true];
/// It changes nothing in what features mean.
const NEVER: [bool; 2] = [false, false];

/// A property, what the second file says of it, and where that is refused. Parts of one job must agree in all.
fn cases() -> Vec<(&'static str, Value, [bool; 2])> {
    vec![
        ("model", json!("ffff"), ALWAYS),
        ("latents", json!("ab12"), ALWAYS),
        ("weights", json!("model"), ALWAYS),
        ("epoch", json!(4), ALWAYS),
        ("step", json!(301), ALWAYS),
        ("checkpoint", json!("copy.safetensors"), NEVER),
        ("data_set", json!("plants/test"), NOISINGS),
        ("split", json!("test"), NOISINGS),
        ("images_digest", json!("content:22"), NOISINGS),
        ("seed", json!(1), NEVER),
        ("noise", json!("fixed"), ALWAYS),
        ("noise_stream", json!("philox"), ALWAYS),
        ("views", json!(2), NEVER),
        // Of test images alone: as published, it is the training images that are augmented.
        ("crop_padding", json!(4), ALWAYS),
        ("flip", json!(true), ALWAYS),
        ("resized_crop", json!(true), ALWAYS),
        ("before_resize", json!(true), ALWAYS),
        ("reading", json!("--resize adm"), ALWAYS),
        ("graph", json!("encoder"), ALWAYS),
        ("image_shape", json!([3, 64, 64]), ALWAYS),
        ("pixels", json!("latent"), ALWAYS),
        ("unit_length", json!(true), ALWAYS),
        ("pooling", json!("none"), ALWAYS),
        ("provider", json!("CUDAExecutionProvider"), NEVER),
        ("precision", json!("tf32"), ALWAYS),
        ("model_precision", json!("int8"), ALWAYS),
        ("calibration", json!({ "pictures": "animals/train" }), ALWAYS),
        ("graph_digest", json!("bbbb"), ALWAYS),
        ("latents_digest", json!("cccc"), ALWAYS),
        ("latents_seed", json!(7), NEVER),
        ("latents_noise", json!("none"), ALWAYS),
        ("latents_dtype", json!("f16"), ALWAYS),
        ("latents_precision", json!("tf32"), ALWAYS),
        ("latents_provider", json!("CUDAExecutionProvider"), NEVER),
        ("edited", json!(true), ALWAYS),
        ("tool", json!("ddae-infer 0.2.0"), NEVER),
        ("exporter", json!("ddae-export 0.2.0"), NEVER),
        ("timesteps", json!([11, 21]), NEVER),
        ("taps", json!(["out_6", "out_7"]), NEVER),
        ("tap_shapes", json!(["12x1x1"]), NEVER),
        ("classes", json!(["ant", "bee", "cat", "eel"]), ALWAYS),
        ("config", json!("network: dit"), ALWAYS),
        ("of_a_later_version", json!(2), ALWAYS),
    ]
}

fn features() -> Features {
    Features { attributes: complete().attributes(), ..Features::new(40, "train") }
}

const KNN: [&str; 9] =
    ["knn", "--train", "first.h5", "--test", "second.h5", "--features", "t11/out_6", "-k", "5"];
const CONTRASTIVE: [&str; 3] = ["contrastive", "first.h5", "second.h5"];

/// Runs `arguments`, which must be refused with this difference, or succeed where there is none.
#[track_caller]
fn check(folder: &Path, arguments: &[&str], difference: Option<String>) {
    let output = probe(folder, arguments);
    let message = &output.stderr;
    match difference {
        None => assert_eq!(output.code, Some(0), "{message}"),
        Some(difference) => {
            assert_eq!(output.code, Some(1), "{difference}: {message}");
            let wanted = format!(
                "error: first.h5 and second.h5 do not belong together: attribute {difference} in the second; extract \
                 both with the same model and options\n"
            );
            assert_eq!(*message, wanted);
        }
    }
}

/// Joins two shards of a job, which must be refused with this difference.
#[track_caller]
fn check_shards(folder: &Path, first: &Features, second: &Features, difference: &str) {
    first.write_shard(folder, "job", 0, 2);
    second.write_shard(folder, "job", 1, 2);
    let out = folder.join("job.h5");
    let _nobody_starts = FILES.read().unwrap_or_else(PoisonError::into_inner);
    let joined = ddae_store::merge(folder.join("job"), 2, &out, MergeMode::Copy, &AtomicBool::new(false));
    let message = joined.expect_err(difference).to_string();
    assert!(message.contains(&format!("job.0001-of-0002.h5 holds {difference}: choose")), "{message}");
    assert!(!out.exists());
}

#[test]
fn files_that_differ_in_what_matters_are_refused_by_its_name() {
    let (folder, first) = (tempfile::tempdir().expect("a folder"), features());
    let path = folder.path();
    first.write(path, "first");
    let names: Vec<String> = cases().iter().map(|(name, ..)| name.to_string()).collect();
    assert_eq!(names, first.attributes.keys().cloned().collect::<Vec<_>>());
    for (name, value, [with_test, with_noising]) in cases() {
        let (before, second) = (first.attributes[name].clone(), features().attribute(name, value.clone()));
        second.write(path, "second");
        let difference = format!("{name} is {before} in the first and {value}");
        check(path, &KNN, with_test.then(|| difference.clone()));
        check(path, &CONTRASTIVE, with_noising.then_some(difference));
        check_shards(path, &first, &second, &format!("{name} {value} where this job has {before}"));
    }
    let half = Features { dtype: FeatureType::F16, ..features() };
    half.write(path, "second");
    let difference = "dtype is f32 in the first and f16".to_string();
    check(path, &KNN, Some(difference.clone()));
    check(path, &CONTRASTIVE, Some(difference));
    check_shards(path, &first, &half, "dtype f16 where this job has f32");
}

#[test]
fn training_images_may_be_augmented_where_test_images_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    features().write(folder.path(), "second");
    for (name, value) in [("crop_padding", json!(4)), ("flip", json!(true)), ("resized_crop", json!(true))] {
        features().attribute(name, value).write(folder.path(), "first");
        check(folder.path(), &KNN, None);
    }
}

#[test]
fn another_data_set_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    features().write(folder.path(), "first");
    let other = features().attribute("data_set", json!("plants/test"));
    other.attribute("images_digest", json!("content:22")).write(folder.path(), "second");
    let report = report(folder.path(), &KNN);
    let expected = "first.h5 is of the data set animals and second.h5 of plants";
    assert_eq!(report["warnings"], json!([expected]));
}

/// A file of an older version is compared in what it says, and in what is known of that version.
#[test]
fn what_an_older_file_does_not_say_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut old = features();
    for name in ["resized_crop", "unit_length", "model_precision", "graph_digest", "image_shape", "seed"] {
        old.attributes.remove(name);
    }
    old.attribute("split", json!("test")).write(folder.path(), "second");
    features().write(folder.path(), "first");
    let expected = "first.h5 and second.h5 come from different versions of ddae-infer, and only one says its \
                    image_shape, graph_digest: not compared";
    for arguments in [&KNN[..], &["contrastive", "second.h5", "second.h5"]] {
        let warnings = report(folder.path(), arguments)["warnings"].clone();
        assert_eq!(warnings[0] == expected, arguments == KNN, "{warnings}");
    }
    let int8 = features().attribute("model_precision", json!("int8"));
    int8.write(folder.path(), "first");
    check(folder.path(), &KNN, Some("model_precision is \"int8\" in the first and \"f32\"".to_string()));
}

/// Earlier versions drew the same noise for training and test images of the same number.
#[test]
fn noise_that_is_shared_is_pointed_out_and_not_mixed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let old = |split: &str, seed: u64| {
        let mut old = features().attribute("split", json!(split)).attribute("seed", json!(seed));
        old.attributes.remove("noise_stream");
        old.attribute("images_digest", json!(format!("content:{split}")))
    };
    old("train", 0).write(path, "first");
    for (seed, is_shared) in [(0, true), (1, false)] {
        old("test", seed).write(path, "second");
        let warnings = report(path, &KNN)["warnings"].clone();
        let told = warnings.as_array().expect("a list").iter().filter_map(Value::as_str);
        assert_eq!(
            told.filter(|warning| warning.contains("share their noise")).count() == 1,
            is_shared,
            "{warnings}"
        );
    }
    let stream = "noise_stream is \"chacha8 of seed, image, view and timestep\" in the first and \"chacha8\"";
    features().attribute("split", json!("test")).write(path, "second");
    check(path, &KNN, Some(stream.to_string()));
    // Codes of images as they are have no noise, whatever the version.
    let code = |features: Features| features.attribute("graph", json!("encoder"));
    code(old("train", 0)).write(path, "first");
    code(features())
        .attribute("noise_stream", Value::Null)
        .attribute("split", json!("test"))
        .write(path, "second");
    check(path, &KNN, None);
}

/// Of two noisings of the same images, one may know them by their content and the other by their files.
#[test]
fn digests_of_two_kinds_say_nothing_of_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    features().write(folder.path(), "first");
    features().attribute("images_digest", json!("files:22")).write(folder.path(), "second");
    check(folder.path(), &CONTRASTIVE, None);
}
