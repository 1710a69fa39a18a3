//! What is refused, and what ends on request.

use ddae_infer::fid::{Statistics, archive};
use ddae_tests::programs::Running;
use ndarray::{Array1, Array2};

use super::line;
use crate::scene::{command, done, refuses};

#[test]
fn what_would_be_wrong_is_refused_before_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let kept = |name: &str, count: Option<u64>| {
        let (mean, covariance) = (Array1::zeros(3), Array2::eye(3));
        let statistics = Statistics { mean, covariance, count, network: Some("aa".to_string()) };
        archive::write(&root.join(name), &statistics).expect("written");
    };
    kept("unknown.npz", None);
    kept("fifty.npz", Some(50_000));
    kept("fewer.npz", Some(49_999));
    let cases = [
        (
            "fid unknown.npz fewer.npz --metrics fid-50k",
            2,
            "FID-50k is of 50,000 generated images, and here are 49999",
        ),
        ("fid fifty.npz unknown.npz --metrics fid-50k", 2, "it is not known how many are meant here"),
        ("fid REAL FAKE --inception INCEPTION --metrics fid-50k", 2, "and here are 24; ask for fid"),
        (
            "fid unknown.npz fifty.npz --metrics kid",
            1,
            "unknown.npz: it holds a mean and a covariance, which do not give kid and prc",
        ),
        ("fid REAL FAKE --inception INCEPTION --metrics kid", 1, "100 subsets of 1000 images"),
        ("fid REAL FAKE --inception INCEPTION --metrics is --splits 25", 1, "25 splits of 24 images"),
        (
            "fid REAL FAKE --inception INCEPTION --metrics prc --neighbours 24",
            1,
            "the nearest neighbour number 24",
        ),
        ("fid REAL FAKE --inception SMALL --metrics is", 1, "it does not give logits_unbiased"),
        ("fid REAL FAKE --inception INCEPTION --seed 3", 2, "--seed is for --metrics kid or is"),
        ("fid REAL FAKE --inception INCEPTION --kid-subsets 3", 2, "--kid-subsets is for --metrics kid"),
        (
            "fid REAL FAKE --inception INCEPTION --layer pool",
            2,
            "--inception excludes --layer; leave one out",
        ),
        // Also with --dry-run, and where the number of one set is not known.
        (
            "fid REAL FAKE --inception INCEPTION --metrics fid-50k --dry-run",
            2,
            "and here are 24; ask for fid",
        ),
        ("fid REAL none.npz --inception INCEPTION --metrics kid --dry-run", 1, "100 subsets of 1000 images"),
        (
            "fid none.npz FAKE --inception INCEPTION --metrics is --splits 25 --dry-run",
            1,
            "25 splits of 24 images",
        ),
        (
            "fid REAL FAKE --inception INCEPTION --like clean-fid --resize stretch",
            2,
            "--like clean-fid says how images are resized",
        ),
        ("fid unknown.npz fifty.npz --like clean-fid", 2, "--like is for images"),
    ];
    refuses(root, cases.map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))));
}

/// Kernel distances, precision and recall take long, and end when they are told to.
#[test]
fn metrics_of_features_end_with_ctrl_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, "features FEATURES --data-root DATA --split test --timesteps 11 -o set");
    let long = "fid set.h5 set.h5 --layer t11/out_1 --save-fake kept.npz --metrics kid --kid-subset-size 9 \
                --kid-subsets 4000000000";
    // What is kept comes before what takes long.
    let running = Running::start(&mut command(root, long)).wait_until(|| root.join("kept.npz").is_file());
    let ended = running.interrupt().wait();
    assert_eq!(
        ended.error(&[130]),
        "error: interrupted; nothing is kept of kernel distances, precision and recall"
    );
    assert!(ended.stderr.contains("kernel distance, 4000000000 subsets of 9 images\n"), "{ended}");
}
