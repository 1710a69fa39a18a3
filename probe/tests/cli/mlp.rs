//! `ddae-probe mlp`.

use serde_json::{Value, json};

use crate::files::{BOTH, folder};
use crate::{refuses, report};

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], BOTH.as_slice(), more].concat()
}

fn accuracy(report: &Value) -> f64 {
    report["accuracy"].as_f64().expect("an accuracy")
}

#[test]
fn two_layers_are_trained_as_one_is() {
    let folder = folder();
    let options = ["--features", "t21/out_7", "--lr", "0.02", "--seed", "3"];
    let found = report(folder.path(), &with("mlp", &options));
    assert!(accuracy(&found) > 0.8, "{}", found["accuracy"]);
    let protocol = &found["protocol"];
    assert_eq!((&found["probe"], &protocol["preset"]), (&json!("mlp"), &json!("ddae but for learning_rate")));
    assert_eq!((&protocol["hidden"], &protocol["activation"]), (&json!(24), &json!("silu")));
    assert_eq!((&protocol["epochs"], &protocol["steps"]), (&json!(15), &json!(60)));
    assert_eq!(protocol["training_seed"], 3);
    assert_eq!(report(folder.path(), &with("mlp", &options)), found);
    let narrow =
        report(folder.path(), &with("mlp", &[&options[..], &["--hidden", "5", "--preset", "soda"]].concat()));
    assert_eq!((&narrow["protocol"]["hidden"], &narrow["protocol"]["normalise"]), (&json!(5), &json!("l2")));
}

#[test]
fn widths_that_cannot_be_are_refused() {
    let line = |more| format!("mlp --train train.h5 --test test.h5 --features t21/out_7 {more}");
    let cases = [
        (2, line("--hidden 0"), "…a whole number of at least 1 is wanted…"),
        (
            1,
            line("--hidden 4000000000"),
            "…a hidden layer of 4000000000 units needs at least…give a smaller --hidden…",
        ),
    ];
    refuses(folder().path(), cases);
}
