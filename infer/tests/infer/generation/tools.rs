//! Whole runs, against those of the tools.

use std::fs;

use ddae_infer::fid::{Accumulator, Statistics, archive};
use ddae_tests::fixture;
use ndarray::{Array2, ArrayView2};
use serde_json::json;

use super::{PLACE, close, line, number, stored};
use crate::scene::{done, infer};

/// Whole runs on 24 generated pictures against 24 others.
#[test]
fn runs_give_the_numbers_of_the_tools() {
    let (case, folder) = (fixture("generation"), tempfile::tempdir().expect("a folder"));
    let run = |tool: &str, options: &str| {
        let text = format!(
            "fid REAL FAKE --inception INCEPTION --like {tool} --save-real {tool}.npz --json {options}"
        );
        infer(folder.path(), &line(&text)).json()
    };
    let theirs = |tool: &str, name: &str| stored(&case, &format!("run.24.{tool}.{name}"))[0];

    let kid = "--kid-subsets 20 --kid-subset-size 12";
    let found = run("torch-fidelity", &format!("--metrics fid,kid,prc,is --splits 2 {kid}"));
    for (path, name) in [
        ("/fid", "frechet_inception_distance"),
        ("/kid/mean", "kernel_inception_distance_mean"),
        ("/kid/deviation", "kernel_inception_distance_std"),
        ("/prc/precision", "precision"),
        ("/prc/recall", "recall"),
        ("/prc/f_score", "f_score"),
        ("/inception_score/mean", "inception_score_mean"),
        ("/inception_score/deviation", "inception_score_std"),
    ] {
        close(&format!("torch-fidelity {name}"), &[number(&found, path)], &[theirs("torch-fidelity", name)]);
    }
    assert_eq!(
        (&found["like"], &found["name"], &found["kid"]["seed"]),
        (&json!("torch-fidelity"), &json!("FID"), &json!(2020))
    );
    assert_eq!(found["weights"]["published"], false);
    let other = run("torch-fidelity", &format!("--metrics kid --seed 1 {kid}"));
    assert_ne!(other["kid"]["mean"], found["kid"]["mean"]);
    assert_eq!(other.get("fid"), None, "what is not asked for");

    let found = run("pytorch-fid", "");
    close("pytorch-fid fid", &[number(&found, "/fid")], &[theirs("pytorch-fid", "fid")]);
    let found = run("clean-fid", &format!("--metrics fid,kid {kid}"));
    close("clean-fid fid", &[number(&found, "/fid")], &[theirs("clean-fid", "fid")]);
    close("clean-fid kid", &[number(&found, "/kid/mean")], &[theirs("clean-fid", "kid")]);
    let found = run("clean-fid", "--metrics kid --kid-subsets 1");
    assert_eq!(found["kid"]["subset_size"], 24, "no more than there are, as clean-fid");

    // Statistics of one convention are not those of another.
    let error = infer(folder.path(), "fid pytorch-fid.npz clean-fid.npz").error(&[1]).to_string();
    assert!(error.contains("/clean-fid: distances are between features of the same weights"), "{error}");
}

/// The features themselves, by the tools' own network.
#[test]
fn features_are_those_of_the_tools() {
    let (case, folder) = (fixture("generation"), tempfile::tempdir().expect("a folder"));
    let root = folder.path();
    fs::create_dir(root.join("three")).expect("a folder");
    for index in 0..3 {
        let name = format!("three/{index}.png");
        fs::copy(PLACE.path().join(format!("real/00{index}.png")), root.join(name)).expect("a copy");
    }
    for tool in ["torch-fidelity", "clean-fid"] {
        done(
            root,
            &line(&format!("fid three three --inception INCEPTION --like {tool} --save-real {tool}.npz")),
        );
        let kept = archive::read(&root.join(format!("{tool}.npz"))).expect("statistics");
        let (shape, pool) = case.f32(&format!("output.pool.{tool}"));
        let mut moments = Accumulator::new(shape[1]);
        moments.add(ArrayView2::from_shape((3, shape[1]), &pool).expect("rows")).expect("finite");
        let Statistics { mean, covariance, .. } = moments.finish().expect("statistics");
        let slice = |values: &Array2<f64>| values.iter().copied().collect::<Vec<_>>();
        close(&format!("{tool} mean"), &kept.mean.to_vec(), &mean.to_vec());
        close(&format!("{tool} covariance"), &slice(&kept.covariance), &slice(&covariance));
    }
}
