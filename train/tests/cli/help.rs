//! The help texts, word by word. `DDAE_UPDATE_GOLDEN=1 cargo test -p ddae-train` writes them anew.

use std::path::Path;
use std::process::Command;

fn check(arguments: &[&str], golden: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_ddae-train"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .expect("the program starts");
    assert!(output.status.success());
    let found = String::from_utf8(output.stdout).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    if std::env::var_os("DDAE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "the help differs from {}:\n{found}", path.display());
}

#[test]
fn short() {
    check(&["-h"], "help.txt");
    check(&["diffusion", "-h"], "diffusion_short.txt");
}

#[test]
fn long() {
    check(&["diffusion", "--help"], "diffusion_long.txt");
}
