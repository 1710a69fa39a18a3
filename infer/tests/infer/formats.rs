//! `features --format`, `ddae-infer convert`, and `features --noise`.

use std::fs;

use ddae_store::FeatureFile;
use ndarray::Array3;
use serde_json::json;

use crate::scene::{TEST, content, done, infer, names, result};

const JOB: &str = "features FEATURES --data-root DATA --split test --timesteps 11 -o out";

#[test]
fn another_format_is_made_of_the_joined_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for (format, path, files) in [
        ("parquet", "out.parquet", vec!["out.parquet"]),
        ("safetensors", "out.safetensors", vec!["out.parquet", "out.safetensors"]),
    ] {
        let printed = done(root, &format!("{JOB} --format {format}"));
        assert!(printed.contains(&format!("\nthe same in {path}\nnext: ")), "{printed}");
        let mut wanted = vec!["out.h5"];
        wanted.extend(files);
        assert_eq!(names(root), wanted);
    }
    let before = fs::read(root.join("out.parquet")).expect("a table");
    fs::remove_file(root.join("out.parquet")).expect("removed");
    // The same of a job that is complete.
    done(root, &format!("{JOB} --format parquet"));
    assert!(fs::read(root.join("out.parquet")).expect("a table") == before);
    let object = infer(root, &format!("{JOB} --format npy --json")).json();
    assert_eq!((&object["npy"], &object["images"]), (&json!("out"), &json!(0)));
    let found: Array3<f32> = ndarray_npy::read_npy(root.join("out/t11/out_1.npy")).expect("an array");
    assert_eq!(found.dim(), (1, TEST, 32));
    let bits: Vec<u32> = found.iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, content(&root.join("out.h5")).2[0].1[0]);
    let printed = done(root, &format!("{JOB} --format npy --dry-run"));
    assert!(
        printed.ends_with("0 of 1 shards to compute (0 images) for out.h5\nthen out of it\n"),
        "{printed}"
    );
}

#[test]
fn converting_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, JOB);
    assert_eq!(
        done(root, "convert out.h5 --format safetensors"),
        format!("out.safetensors: {TEST} images\n")
    );
    let again = done(root, "convert out.h5 --format safetensors");
    assert_eq!(again, format!("out.safetensors is complete already, {TEST} images\n"));
    done(root, &format!("{JOB} --seed 1 --overwrite"));
    let message = infer(root, "convert out.h5 --format safetensors").error(&[1]).to_string();
    assert_eq!(
        message,
        "error: out.safetensors: holds other features: choose another output, or give --overwrite"
    );
    let object = result(root, "convert out.h5 --format npy -o a/b --json");
    let wanted = json!({ "schema": "ddae.convert/1", "file": "a/b", "format": "npy", "images": TEST, "written": true });
    assert_eq!(object, wanted);
    assert!(root.join("a/b/provenance.json").is_file());
    let message = infer(root, "convert out.h5 --format h5").error(&[1, 2]).to_string();
    assert!(message.starts_with("error: "), "{message}");
    // The same file under HDF5's longer ending: nothing is written in its place.
    fs::rename(root.join("out.h5"), root.join("other.hdf5")).expect("renamed");
    assert_eq!(done(root, "convert other.hdf5 --format npy"), format!("other: {TEST} images\n"));
    let message = infer(root, "convert other.hdf5 --format parquet -o ./other.hdf5 --overwrite")
        .error(&[1])
        .to_string();
    assert_eq!(message, "error: ./other.hdf5: is the feature file itself: choose another output");
    FeatureFile::open(root.join("other.hdf5")).expect("it is what it was");
}

/// A job of hours is not begun for an output that cannot be written.
#[test]
fn what_stands_in_the_way_is_said_before_the_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir(root.join("out")).expect("a folder");
    fs::write(root.join("out.parquet"), "something").expect("written");
    fs::create_dir(root.join("out.safetensors")).expect("a folder");
    let there = names(root);
    let choose = "choose another output, or give --overwrite";
    for (format, wanted) in [
        ("npy", format!("out: is something else: {choose}")),
        ("parquet", format!("out.parquet: is something else: {choose}")),
        (
            "npy --overwrite",
            "out: is something else than a folder of features: choose another output".to_string(),
        ),
        ("safetensors --overwrite", "out.safetensors: is a folder: choose another output".to_string()),
    ] {
        for more in ["", " --dry-run"] {
            let message = infer(root, &format!("{JOB} --format {format}{more}")).error(&[1]).to_string();
            assert_eq!(message, format!("error: {wanted}"));
            assert_eq!(names(root), there, "{format}{more}");
        }
    }
    // Features of a job with other datasets.
    fs::remove_file(root.join("out.parquet")).expect("removed");
    done(root, &format!("{JOB} --format parquet"));
    fs::remove_file(root.join("out.h5")).expect("removed");
    let message = infer(root, &format!("{JOB} --format parquet --views 2")).error(&[1]).to_string();
    assert_eq!(message, format!("error: out.parquet: holds other features: {choose}"));
    assert!(!root.join("out.h5").exists());
}

#[test]
fn noise_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let job = |noise: &str, out: &str| {
        done(
            root,
            &format!(
                "features FEATURES --data-root DATA --split test --timesteps 11 --noise {noise} -o {out}"
            ),
        );
        let file = FeatureFile::open(root.join(format!("{out}.h5"))).expect("a feature file");
        (
            file.attributes()["noise"].clone(),
            file.attributes()["noise_stream"].clone(),
            content(file.path()).2,
        )
    };
    done(root, &format!("{JOB}-default"));
    let default = content(&root.join("out-default.h5")).2;
    let (keyed, fixed, none) = (job("keyed", "keyed"), job("fixed", "fixed"), job("none", "none"));
    assert!(keyed.2 == default && fixed.2 != default && none.2 != default && none.2 != fixed.2);
    assert_eq!((&keyed.0, &fixed.0, &none.0), (&json!("keyed"), &json!("fixed"), &json!("none")));
    assert!(keyed.1.is_string() && fixed.1.is_string() && none.1.is_null());
    let line = |options: &str| {
        format!("features FEATURES --data-root DATA --split test --timesteps 11 -o keyed {options}")
    };
    assert_eq!(
        infer(root, &line("--noise none")).error(&[1]),
        "error: keyed.h5 holds noise \"keyed\" where this job has \"none\": choose another output with -o, or give --overwrite"
    );
    for (noise, why) in [
        ("none", "with --noise none there is no noise"),
        ("fixed", "with --noise fixed all have the same noise"),
    ] {
        assert_eq!(
            infer(root, &line(&format!("--noise {noise} --views 2"))).error(&[2]),
            format!(
                "error: --views 2: {why}, and all views would be alike; add --resized-crop, or --crop and --flip"
            )
        );
    }
    let message = infer(root, &line("--noise loud")).error(&[2]).to_string();
    assert!(message.contains("keyed, none or fixed"), "{message}");
    let printed = done(root, &line("--noise fixed --dry-run --overwrite"));
    assert!(printed.starts_with("images    10 of folder/test, 1 view each, noise fixed\n"), "{printed}");
}
