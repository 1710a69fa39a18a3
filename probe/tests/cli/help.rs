//! Help texts as golden files: what they say is reviewed like code.

use std::path::Path;

use crate::{probe, text};

/// Compares with `tests/cli/help/NAME.txt`; with `UPDATE_GOLDEN=1` in the environment it writes it.
fn golden(name: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = probe(folder, arguments);
    assert!(output.status.success());
    let path = folder.join("tests/cli/help").join(format!("{name}.txt"));
    let printed = text(&output.stdout);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &printed).expect("written");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file");
    assert_eq!(
        printed,
        expected,
        "{}: run the test with UPDATE_GOLDEN=1 if the change is wanted",
        path.display()
    );
}

#[test]
fn help_texts_are_as_reviewed() {
    golden("short", &["-h"]);
    golden("logistic", &["logistic", "--help"]);
    golden("knn", &["knn", "--help"]);
}
