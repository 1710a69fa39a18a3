//! Help texts as golden files.

use std::path::Path;

use ddae_tests::golden::assert_golden;

use crate::scene::done;

#[test]
fn help_texts() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, line) in [
        ("ddae-infer", "--help"),
        ("features", "features --help"),
        ("features-short", "features -h"),
        ("sample", "sample --help"),
        ("sample-short", "sample -h"),
        ("reconstruct", "reconstruct --help"),
        ("reconstruct-short", "reconstruct -h"),
        ("fid", "fid --help"),
        ("merge", "merge --help"),
    ] {
        let help = done(here, line);
        assert_golden(here.join(format!("tests/infer/help/{name}.txt")), &help);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
