//! Help texts as golden files: what they say is reviewed like code.

use std::path::Path;

use ddae_tests::golden::assert_golden;

use crate::{probe, text};

#[test]
fn help_texts_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, arguments) in [
        ("short", &["-h"][..]),
        ("logistic", &["logistic", "--help"]),
        ("linear", &["linear", "--help"]),
        ("knn", &["knn", "--help"]),
        ("contrastive", &["contrastive", "--help"]),
    ] {
        let output = probe(folder, arguments);
        assert!(output.status.success());
        assert_golden(folder.join(format!("tests/cli/help/{name}.txt")), &text(&output.stdout));
    }
}
