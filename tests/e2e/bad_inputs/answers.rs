//! What a new user gets wrong, and what the programs answer, as a golden file that is read like prose.

use std::fmt::Write;

use ddae_tests::golden::assert_golden;

use crate::tiny::{ddpm, with};

/// Command lines that are wrong, each in one thing.
const LINES: [&str; 61] = [
    // Data sets and their images.
    "ddae-data inof fashion-sample",
    "ddae-data info cifar11",
    "ddae-data info folder",
    "ddae-data info folder --root dat",
    "ddae-data preview fashion-sample",
    "ddae-data preview fashion-sample -o sheet.png --rows ten",
    "ddae-data preview fashion-sample -o sheet.png --edm-augment 0,12",
    "ddae-data preview fashion-sample -o sheet.png --splt test",
    "ddae-data preview fashion-sample -o sheet.png --split tset",
    "ddae-data preview fashion-sample -o sheets/sheet.png",
    "ddae-data prepare cifar-10.zip",
    "ddae-data completions tcsh",
    // Training.
    "ddae-train diffusion",
    "ddae-train diffusion --config ddpm.yml",
    "ddae-train diffusion --config config/ddpm.yaml",
    "ddae-train diffusion --config data",
    "ddae-train diffusion --config slip.yaml",
    "ddae-train diffusion --config tab.yaml",
    "ddae-train diffusion --config open.yaml",
    "ddae-train diffusion --config twice.yaml",
    "ddae-train diffusion --config word.yaml",
    "ddae-train diffusion --config ddpm.yaml --set batch_size=many",
    "ddae-train diffusion --config ddpm.yaml --set network.dropuot=0.2",
    "ddae-train diffusion --config ddpm.yaml --set network.n_channels=33",
    "ddae-train diffusion --config ddpm.yaml --set dropout",
    "ddae-train diffusion --config ddpm.yaml --epochs 1e3",
    "ddae-train diffusion --config ddpm.yaml --epochs -5",
    "ddae-train diffusion --config ddpm.yaml --device gpu",
    "ddae-train diffusion --config ddpm.yaml --batch-size 32",
    "ddae-train diffusion --config ddpm.yaml --resume --force",
    "ddae-train diffusion --run nowhere --resume",
    "ddae-train diffusion --config ddpm.yaml --run new --data-root data --set batch_size=5000",
    // Exports.
    "ddae-export",
    "ddae-export rum",
    "ddae-export run --graph feature",
    "ddae-export run --graph features --taps out_9",
    "ddae-export run --graph features --timestep 2000",
    "ddae-export run --image-size big",
    "ddae-export run -o graphs/network.onnx",
    "ddae-export inspect train.h5",
    // Features and images.
    "ddae-infer features feature.onnx --data-root data -o out",
    "ddae-infer features sampler.onnx --data-root data -o out",
    "ddae-infer features features.onnx --data-root data -o out --timesteps 0",
    "ddae-infer features features.onnx --data-root data -o out --timesteps 101:11:10",
    "ddae-infer features features.onnx --data-root data -o out --timesteps 11;21",
    "ddae-infer features features.onnx --data-root data -o out --shard 4/4",
    "ddae-infer features features.onnx --data-root data -o out --threads 0",
    "ddae-infer sample sampler.onnx",
    "ddae-infer sample sampler.onnx -o images --steps 5000",
    "ddae-infer sample sampler.onnx -o images --seeds 9-1",
    "ddae-infer sample sampler.onnx -o images --eta -1",
    "ddae-infer merge out",
    "ddae-infer fid data images",
    // Probes.
    "ddae-probe knn --train train.h5",
    "ddae-probe knn --train tarin.h5 --test test.h5",
    "ddae-probe knn --train train.h5 --test test.h5 --k 0",
    "ddae-probe logistic --train train.h5 --test test.h5 --c -1",
    "ddae-probe knn --train train.h5 --test test.h5 --features out_2",
    "ddae-probe knn --train train.h5 --test test.h5 --features t11/out_9",
    "ddae-probe knn --train run/config.yaml --test test.h5",
    "ddae-probe contrastive train.h5",
];

#[test]
fn a_person_would_call_them_helpful() {
    let place = with(&["data", "ddpm.yaml", "run", "features.onnx", "sampler.onnx", "train.h5", "test.h5"]);
    let good = ddpm();
    place.write("slip.yaml", good.replace("batch_size: 16", "batchsize: 16"));
    place.write("word.yaml", good.replace("  n_blocks: 1", "  n_blocks: one"));
    place.write("tab.yaml", good.replace("  dropout", "\tdropout"));
    place.write("open.yaml", good.replace("[1, 8, 8]", "[1, 8, 8"));
    place.write("twice.yaml", good.replace("flip: True", "flip: True\nclasses: 3"));
    let before = place.snapshot();
    let mut answers = String::new();
    for line in LINES {
        let ended = place.run(line);
        let error = ended.error(&[1, 2]);
        assert!(error.len() < 400, "more than a line: {ended}");
        assert_eq!(ended.stdout, "", "{ended}");
        let code = ended.code.unwrap_or_default();
        writeln!(answers, "$ {line}\n{error}\n[{code}]\n").expect("text");
        // The same for machines.
        let json = place.run(&format!("{line} --json"));
        let takes_json = !json.stderr.contains("'--json'") && !line.contains("completions");
        if takes_json && !json.stderr.contains("excludes") {
            let object: serde_json::Value =
                serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json}"));
            assert_eq!(object["schema"], "ddae.error/1", "{json}");
            assert_eq!(
                Some(format!("error: {}", object["error"].as_str().expect("text"))),
                Some(error.to_string())
            );
            assert_eq!((&object["exit_code"], json.code), (&code.into(), Some(code)), "{json}");
        }
    }
    assert!(place.snapshot() == before, "nothing is left by what was refused");
    assert_golden("e2e/bad_inputs/answers.txt", &answers);
}
