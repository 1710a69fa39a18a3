//! Help texts as golden files. Set `UPDATE_GOLDEN=1` to write them anew.

use std::path::Path;

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
        ("merge", "merge --help"),
    ] {
        let golden = here.join(format!("tests/infer/help/{name}.txt"));
        let help = done(here, line);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &help).expect("a writable source tree");
        }
        assert_eq!(help, std::fs::read_to_string(&golden).unwrap_or_default(), "{}", golden.display());
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
