//! Settings that cannot be, as several programs see them (each program's own are among its tests); and a run that comes
//! to nothing.

use crate::place::Place;
use crate::tiny::{TRAINING, ddpm, with};

/// Programs that read a configuration: they say the same about it.
const READERS: [&str; 2] = [
    "ddae-train diffusion --config bad.yaml --run new --data-root data --device cpu",
    "ddae-export --config bad.yaml --list-taps",
];

#[test]
fn keys_of_the_configuration() {
    let place = with(&["data"]);
    let good = ddpm();
    for (from, to, wanted) in [
        ("batch_size: 16\n", "batchsize: 16\n", "there is no such key; did you mean 'batch_size'?"),
        ("lrate: 1.0e-3\n", "", "the key 'lrate' is missing"),
        (
            "batch_size: 16\n",
            "batch_size: many\n",
            "batch_size: a whole number of 0 or more is wanted, and it is the text 'many'",
        ),
        (
            "  dropout: 0.1\n",
            "  dropuot: 0.1\n",
            "network.dropuot: there is no such key; did you mean 'dropout'?",
        ),
        ("  n_channels: 64\n", "", "network: the key 'n_channels' is missing"),
        ("n_channels: 64", "n_channels: 33", "network: n_channels is 33; it must be a multiple of 32"),
        ("dropout: 0.1", "dropout: 1.5", "network: dropout is 1.5; it must be in [0, 1)"),
        ("n_T: 100, ", "", "diffusion: the key 'n_T' is missing"),
        ("model_type: DDPM", "model_type: VAE", "'VAE' is not known; there are DDPM and EDM"),
        ("lrate: 1.0e-3\n", "lrate: -1\n", "lrate is -1"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?} is in the configuration");
        place.write("bad.yaml", bad);
        place.refuses(READERS.map(|line| (2, line, format!("bad.yaml: …{wanted}…"))));
    }
}

#[test]
fn a_layer_or_checkpoint_of_another_network() {
    let place = with(&["data", "ddpm.yaml", "run/checkpoints/latest.safetensors", "train.h5", "test.h5"]);
    let checkpoint = "run/checkpoints/latest.safetensors";
    let export = format!("ddae-export {checkpoint} -o out.onnx");
    let train = format!("ddae-train diffusion --config ddpm.yaml --init {checkpoint} --run new {TRAINING}");
    let all = "…'out_9'…out_1, out_2, out_3, out_4…";
    let wide = format!(
        "{checkpoint}: parameter 'time_emb.lin1.weight' is [256, 64] in the file and [384, 96] in the network…"
    );
    // One block more: its parameters are in the network and not in the file.
    let deeper = format!("{checkpoint}: parameter '…checkpoint of another architecture?…");
    place.refuses([
        (2, format!("{export} --graph features --taps out_2,out_9"), all),
        (2, format!("{export} --graph network --taps out_9"), all),
        (
            1,
            "ddae-probe knn --train train.h5 --test test.h5 --features t11/out_9".to_string(),
            "…no feature t11/out_9; it has t1/out_1, t1/out_2…",
        ),
        (1, format!("{export} --set network.n_channels=96"), &wide),
        (1, format!("{train} --set network.n_channels=96"), &wide),
        (1, format!("{export} --set network.n_blocks=2"), &deeper),
    ]);
}

#[test]
fn graphs_data_sets_and_devices_that_are_not_there() {
    let place = with(&["data", "ddpm.yaml", "features.onnx", "sampler.onnx", "network.onnx"]);
    let kind = "…network.onnx…network…--graph features…";
    place.refuses([(1, "ddae-infer features network.onnx --data-root data -o out", kind)]);
    let known = "…imagenet…fashion-sample, fashion-mnist, mnist, cifar10, cifar100, tiny, folder…";
    let lines = [
        "ddae-data info imagenet",
        "ddae-data preview imagenet -o sheet.png",
        "ddae-train diffusion --config ddpm.yaml --set dataset=imagenet --device cpu",
        "ddae-infer features features.onnx --data imagenet -o out",
        "ddae-probe knn --pixels imagenet",
    ];
    place.refuses(lines.map(|line| (2, line, known)));
    for line in [
        "ddae-train diffusion --config ddpm.yaml --data-root data",
        "ddae-infer features features.onnx --data-root data -o out",
        "ddae-infer sample sampler.onnx -o images",
    ] {
        place.refuses([(2, format!("{line} --device tpu"), "--device: 'tpu' is no device…")]);
        // More GPUs than any machine has.
        let cuda = format!("{line} --device cuda:99");
        place.refuses([(1, &cuda, "…")]);
        let error = place.run(&cuda).stderr.to_lowercase();
        assert!(error.contains("cuda") && error.contains("cpu"), "{error}");
    }
}

/// The run stops, its last good checkpoint stays and is good enough to go on from and to export.
#[test]
fn a_loss_that_is_no_number() {
    let place = with(&["data", "ddpm.yaml"]);
    let train = format!("ddae-train diffusion --config ddpm.yaml {TRAINING}");
    place.done(&train);
    let good = place.read("run/checkpoints/latest.safetensors");
    // Weights at the edge of what a float can hold, in a run that goes on from them.
    let line = format!(
        "{train} --init run/checkpoints/latest.safetensors --run mad --set lrate=1e37 --set warm_epoch=0"
    );
    let ended = place.run(&line);
    let error = ended.error(&[1]);
    assert!(error.contains("training diverged at step "), "{error}");
    assert!(
        error.contains("The last good checkpoint is mad/checkpoints/latest.safetensors (step 0)"),
        "{error}"
    );
    let names = place.names("mad/checkpoints");
    assert_eq!(names, ["epoch_0000.safetensors", "latest.safetensors"]);
    place.done("ddae-export mad --graph sampler -o sampler.onnx");
    assert!(place.path("sampler.onnx").is_file());
    assert!(place.read("run/checkpoints/latest.safetensors") == good);
}

#[test]
fn files_that_are_there_are_not_replaced_unasked() {
    let place = with(&["data", "ddpm.yaml", "run", "sampler.onnx"]);
    place.refuses([
        (1, format!("ddae-train diffusion --config ddpm.yaml {TRAINING}"), "…--force…"),
        (1, "ddae-export run --graph sampler -o sampler.onnx".to_string(), "…--force…"),
    ]);
}

/// Of these only the exit code and that there is one line: the words are among the answers of `answers.txt`.
#[test]
fn usage() {
    let place: Place = with(&["sampler.onnx", "features.onnx", "data", "train.h5", "test.h5"]);
    let lines = [
        "ddae-train diffusion",
        "ddae-train diffusion --config",
        "ddae-export x --graph everything",
        "ddae-infer features features.onnx --data-root data -o out --timesteps 0",
        "ddae-probe knn --train train.h5 --test test.h5 --votes three",
        "ddae-probe knn --train train.h5 --test test.h5 --features out_2",
    ];
    place.refuses(lines.map(|line| (2, line, "…")));
}
