//! The help texts, word by word.

use std::path::Path;
use std::process::Command;

use ddae_tests::golden::assert_golden;

fn check(arguments: &[&str], golden: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_ddae-train"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .expect("the program starts");
    assert!(output.status.success());
    let found = String::from_utf8(output.stdout).expect("text");
    assert_golden(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden), &found);
}

#[test]
fn short() {
    check(&["-h"], "help.txt");
    check(&["diffusion", "-h"], "diffusion_short.txt");
    check(&["soda", "-h"], "soda_short.txt");
}

#[test]
fn long() {
    check(&["diffusion", "--help"], "diffusion_long.txt");
    check(&["soda", "--help"], "soda_long.txt");
}
