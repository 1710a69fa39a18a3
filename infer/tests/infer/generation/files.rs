//! Features from files.

use std::path::Path;

use ddae_infer::fid::{KernelOptions, inception_score, kernel_distance, precision_recall};
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::fixture;
use ndarray::Array2;
use serde_json::json;

use super::{PLACE, close, line, number, stored};
use crate::scene::{done, infer, refuses};

fn rows(path: &Path, tap: &str) -> Array2<f32> {
    let file = FeatureFile::open(path).expect("a file");
    file.read(&FeatureKey::new(0, tap), 0, 0..file.len()).expect("rows")
}

/// Features that were extracted are measured as the images are.
#[test]
fn features_of_inception() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for set in ["real", "fake"] {
        done(root, &line(&format!("features SMALL --data {} -o {set}", PLACE.path().join(set).display())));
    }
    let pool = infer(root, "fid real.h5 fake.h5 --json --metrics fid,kid,prc --kid-subset-size 12").json();
    // The graph for 32x32 resizes within, as pytorch-fid does.
    let theirs = stored(&fixture("generation"), "run.24.pytorch-fid.fid");
    close("pytorch-fid fid from files", &[number(&pool, "/fid")], &theirs);
    assert_eq!((&pool["like"], &pool["resize"]), (&json!("pytorch-fid"), &json!(null)));
    let (real, fake) = (rows(&root.join("real.h5"), "pool"), rows(&root.join("fake.h5"), "pool"));
    let options = KernelOptions { subset_size: 12, ..KernelOptions::default() };
    let kernel = kernel_distance(real.view(), fake.view(), options, |_| true).expect("a distance");
    close("kid from files", &[number(&pool, "/kid/mean")], &[kernel.mean]);
    let found = precision_recall(real.view(), fake.view(), 3, |_| true).expect("both");
    let ours = ["/prc/precision", "/prc/recall"].map(|path| number(&pool, path));
    close("precision and recall from files", &ours, &[found.precision, found.recall]);
    let named = infer(root, "fid real.h5 fake.h5 --json --layer t0/pool").json();
    assert_eq!((&named["fid"], &named["name"]), (&pool["fid"], &json!("FID")));
    refuses(
        root,
        [
            ("fid real.h5 fake.h5 --layer t11/out_6", 1, "it has t0/pool and not t11/out_6"),
            ("fid real.h5 fake.h5 --metrics is", 1, "--taps pool,logits_unbiased"),
            ("fid real.h5 fake.h5 --metrics kid", 1, "100 subsets of 1000 images"),
            // Also where one of the numbers is not known yet.
            ("fid real.h5 none.npz --metrics kid", 1, "100 subsets of 1000 images"),
        ]
        .map(|(text, code, wanted)| (code, text.to_string(), format!("…{wanted}…"))),
    );
}

#[test]
fn logits_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let fake = PLACE.path().join("fake");
    done(root, &line(&format!("features INCEPTION --data {} -o fake", fake.display())));
    let found = infer(root, "fid fake.h5 fake.h5 --metrics is --splits 3 --json").json();
    let logits = rows(&root.join("fake.h5"), "logits_unbiased");
    let expected = inception_score(logits.view(), 3, Some(2020)).expect("a score");
    let ours = ["/inception_score/mean", "/inception_score/deviation"].map(|path| number(&found, path));
    close("is from files", &ours, &[expected.mean, expected.deviation]);
    assert!(expected.mean > 1.01, "images of several classes: {expected:?}");
}

/// Views of an image are not images.
#[test]
fn several_views_are_as_many_images_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, "features FEATURES --data-root DATA --split test --timesteps 11 --views 2 -o views");
    let found = infer(root, "fid views.h5 views.h5 --layer t11/out_1 --json").json();
    assert_eq!((&found["fake"]["pictures"], &found["name"]), (&json!(10), &json!("FD")));
    let cases = ["kid", "prc", "is", "fid-50k"].map(|metric| {
        let text = format!("fid views.h5 views.h5 --layer t11/out_1 --metrics {metric}");
        (
            2,
            text,
            format!("views.h5 holds 2 views of each of 10 images, and {metric} is of images as they are…"),
        )
    });
    refuses(root, cases);
}
