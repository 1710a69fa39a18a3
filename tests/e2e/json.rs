//! Results for machines: which keys each command's object has, as a golden file, and that `docs/json.md` lists them.

use std::fmt::Write;
use std::fs;

use ddae_tests::golden::assert_golden;
use ddae_tests::programs::repository;
use serde_json::Value;

use crate::pipeline::classifier;
use crate::tiny::{TRAINING, with};

/// Commands in an order in which each finds what it needs.
fn lines() -> Vec<String> {
    let features = "ddae-infer features features.onnx --data-root data --timesteps 11 --threads 1";
    [
        "ddae-data info fashion-sample",
        "ddae-data prepare fashion-sample",
        "ddae-data preview fashion-sample -o sheet.png --rows 1 --columns 2",
        &format!("ddae-train diffusion --config ddpm.yaml --run new --epochs 1 --set n_sample=0 {TRAINING}"),
        &format!("ddae-train classifier --config classifier.yaml --run wide --epochs 1 {TRAINING}"),
        &format!("ddae-train finetune --config finetune.yaml --init run --run tuned --epochs 1 {TRAINING}"),
        "ddae-train list .",
        "ddae-train compare run new",
        "ddae-export run --list-taps",
        "ddae-export run --graph network -o out.onnx",
        "ddae-export inspect features.onnx",
        "ddae-export inspect run/checkpoints/latest.safetensors",
        &format!("{features} --split test -o whole"),
        &format!("{features} --split test --shard 0/2 -o part"),
        &format!("{features} --split test --views 2 -o views"),
        &format!("{features} --split test -o whole --format parquet"),
        "ddae-infer merge whole",
        "ddae-infer convert whole.h5 --format safetensors",
        "ddae-infer inspect whole.h5",
        "ddae-infer inspect whole.h5 --row 0",
        "ddae-infer inspect features.onnx",
        "ddae-infer sample sampler.onnx --seeds 0-1 --steps 2 -o images",
        "ddae-probe knn --train train.h5 --test test.h5 --features t11/out_2",
        "ddae-probe logistic --train train.h5 --test test.h5 --features t11/out_2 --c 1",
        "ddae-probe linear --train train.h5 --test test.h5 --features t11/out_2 --epochs 1 --seeds 2 --predictions a.parquet",
        "ddae-probe knn --train train.h5 --test test.h5 --features t11/out_2 -k 5,20 --compare a.parquet",
        "ddae-probe compare a.parquet a.parquet",
        "ddae-infer features features.onnx --data-root data --timesteps 1,11 --threads 1 --split test -o noised",
        "ddae-probe noise-mlp --train noised.h5 --test noised.h5 --tap out_2 --epochs 1",
        "ddae-probe contrastive views.h5 --features t11/out_2",
        "ddae-probe grid run --data-root data --timesteps 11 --layers out_2,out_3",
        "ddae-probe report run --train train.h5 --test test.h5 --features t11/out_2 --samples 12",
        "ddae-probe knn --train absent.h5 --test test.h5",
    ]
    .into_iter()
    .map(str::to_string)
    .collect()
}

#[test]
fn every_object_has_its_schema_and_keys() {
    let place = with(&["data", "ddpm.yaml", "run", "features.onnx", "sampler.onnx", "train.h5", "test.h5"]);
    place.write("classifier.yaml", classifier::CONFIG);
    place.write("finetune.yaml", classifier::FINE_TUNING);
    let documented = fs::read_to_string(repository().join("docs/json.md")).expect("docs/json.md");
    let of_all = documented.split("\n## ").next().unwrap_or_default();
    let mut found = String::new();
    for line in lines() {
        let ended = place.run(&format!("{line} --json"));
        assert_eq!(ended.stdout.lines().count(), 1, "one line: {ended}");
        let object: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended}"));
        let keys = object.as_object().unwrap_or_else(|| panic!("an object: {ended}"));
        assert_eq!(keys.keys().next().map(String::as_str), Some("schema"), "{ended}");
        let schema = keys["schema"].as_str().unwrap_or_default();
        let section = documented.split("\n## ").find(|section| section.starts_with(&format!("`{schema}`")));
        let section = section.unwrap_or_else(|| panic!("docs/json.md has no section on {schema}"));
        writeln!(found, "$ {line} --json\n{schema}").expect("text");
        for (key, value) in keys.iter().skip(1) {
            let is_listed = [section, of_all].iter().any(|text| text.contains(&format!("`{key}`")));
            assert!(is_listed, "docs/json.md does not list {key} of {schema}");
            writeln!(found, "  {key}: {}", kind(value)).expect("text");
        }
        found.push('\n');
    }
    assert_golden("e2e/json_keys.txt", &found);
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
