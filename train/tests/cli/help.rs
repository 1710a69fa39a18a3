//! The help texts, word by word.

use ddae_tests::golden::assert_help;

#[test]
fn help_texts() {
    let lines = [
        ("help", "-h"),
        ("diffusion_short", "diffusion -h"),
        ("diffusion_long", "diffusion --help"),
        ("soda_short", "soda -h"),
        ("soda_long", "soda --help"),
        ("classifier_short", "classifier -h"),
        ("classifier_long", "classifier --help"),
        ("finetune_short", "finetune -h"),
        ("finetune_long", "finetune --help"),
        ("list", "list --help"),
        ("compare", "compare --help"),
    ];
    assert_help(env!("CARGO_BIN_EXE_ddae-train"), "tests/golden", &lines);
}
