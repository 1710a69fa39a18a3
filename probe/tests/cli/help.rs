//! Help texts as golden files: what they say is reviewed like code.

use std::sync::PoisonError;

use ddae_tests::golden::assert_help;

use crate::FILES;

#[test]
fn help_texts() {
    let _nobody_writes = FILES.write().unwrap_or_else(PoisonError::into_inner);
    let lines = [
        ("short", "-h"),
        ("logistic", "logistic --help"),
        ("linear", "linear --help"),
        ("mlp", "mlp --help"),
        ("attention", "attention --help"),
        ("noise_mlp", "noise-mlp --help"),
        ("knn", "knn --help"),
        ("grid", "grid --help"),
        ("contrastive", "contrastive --help"),
        ("compare", "compare --help"),
        ("report", "report --help"),
    ];
    assert_help(env!("CARGO_BIN_EXE_ddae-probe"), "tests/cli/help", &lines);
}
