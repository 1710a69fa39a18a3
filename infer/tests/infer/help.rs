//! Help texts as golden files.

use ddae_tests::golden::assert_help;

#[test]
fn help_texts() {
    let lines = [
        ("ddae-infer", "--help"),
        ("features", "features --help"),
        ("features-short", "features -h"),
        ("sample", "sample --help"),
        ("sample-short", "sample -h"),
        ("reconstruct", "reconstruct --help"),
        ("reconstruct-short", "reconstruct -h"),
        ("fid", "fid --help"),
        ("merge", "merge --help"),
        ("inspect", "inspect --help"),
        ("convert", "convert --help"),
    ];
    assert_help(env!("CARGO_BIN_EXE_ddae-infer"), "tests/infer/help", &lines);
}
