//! Settings that cannot be: keys, layers, architectures, data sets, devices; and a run that comes to nothing.

use std::fs;

use ddae_tests::programs::Ended;

use crate::place::Place;
use crate::tiny::{TRAINING, ddpm, trained, with};

/// The command fails with `code`, its error contains all of `wanted`, and nothing new is left.
#[track_caller]
fn refused(place: &Place, code: i32, line: &str, wanted: &[&str]) -> Ended {
    let before = place.names("");
    let ended = place.run(line);
    let error = ended.error(&[code]);
    for wanted in wanted {
        assert!(error.contains(wanted), "no {wanted:?} in: {ended}");
    }
    assert_eq!(place.names(""), before, "{ended}");
    ended
}

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
        ("batch_size: 16\n", "batchsize: 16\n", "unknown field `batchsize`"),
        ("lrate: 1.0e-3\n", "", "missing field `lrate`"),
        ("batch_size: 16\n", "batch_size: many\n", "batch_size: invalid type: string"),
        ("  dropout: 0.1\n", "  dropuot: 0.1\n", "network.dropuot: unknown field `dropuot`"),
        ("  n_channels: 64\n", "", "network: missing field `n_channels`"),
        ("n_channels: 64", "n_channels: 33", "network: n_channels is 33; it must be a multiple of 32"),
        ("dropout: 0.1", "dropout: 1.5", "network: dropout is 1.5; it must be in [0, 1)"),
        ("n_T: 100, ", "", "diffusion: missing field `n_T`"),
        (
            "model_type: DDPM",
            "model_type: VAE",
            "model_type: unknown variant `VAE`, expected `DDPM` or `EDM`",
        ),
        ("lrate: 1.0e-3\n", "lrate: -1\n", "lrate is -1"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?} is in the configuration");
        place.write("bad.yaml", bad);
        for line in READERS {
            refused(&place, 2, line, &["bad.yaml: ", wanted]);
        }
    }
}

#[test]
fn keys_set_on_the_command_line() {
    let place = with(&["data", "ddpm.yaml"]);
    for (set, wanted) in [
        ("network.widht=1", "unknown field `widht`"),
        ("network.n_channels=33", "network: n_channels is 33"),
        ("batch_size=500", "batch_size is 500, but folder/train has only 90 images"),
        ("no-equals-sign", "'no-equals-sign' is not key=value, as in network.dropout=0.2"),
    ] {
        refused(
            &place,
            2,
            &format!("ddae-train diffusion --config ddpm.yaml --set {set} {TRAINING}"),
            &[wanted],
        );
    }
}

#[test]
fn an_unknown_layer_is_answered_with_those_there_are() {
    let place = with(&["run/checkpoints/latest.safetensors", "train.h5", "test.h5"]);
    let export = "ddae-export run/checkpoints/latest.safetensors -o out.onnx --graph";
    let all = "out_1, out_2, out_3, out_4";
    refused(&place, 2, &format!("{export} features --taps out_2,out_9"), &["'out_9'", all]);
    refused(&place, 2, &format!("{export} network --taps out_9"), &["'out_9'", all]);
    let probe = "ddae-probe knn --train train.h5 --test test.h5 --features t11/out_9";
    let ended = place.run(probe);
    let error = ended.error(&[1, 2]);
    assert!(error.contains("no feature t11/out_9; it has t1/out_1, t1/out_2"), "{error}");
}

#[test]
fn a_checkpoint_of_another_architecture() {
    let place = with(&["data", "ddpm.yaml", "run/checkpoints/latest.safetensors"]);
    let checkpoint = "run/checkpoints/latest.safetensors";
    let wide = "--set network.n_channels=96";
    let wanted = [&format!(
        "{checkpoint}: parameter 'time_emb.lin1.weight' is [256, 64] in the file and [384, 96] in the network"
    )[..]];
    refused(&place, 1, &format!("ddae-export {checkpoint} {wide} -o out.onnx"), &wanted);
    let train =
        format!("ddae-train diffusion --config ddpm.yaml {wide} --init {checkpoint} --run new {TRAINING}");
    refused(&place, 1, &train, &wanted);
    // One block more: its parameters are in the network and not in the file.
    let deeper = format!("ddae-export {checkpoint} --set network.n_blocks=2 -o out.onnx");
    refused(&place, 1, &deeper, &[checkpoint, "parameter '", "checkpoint of another architecture?"]);
}

#[test]
fn a_graph_of_another_kind() {
    let place = with(&["data", "features.onnx", "sampler.onnx", "network.onnx"]);
    for graph in ["sampler", "network"] {
        let line = format!("ddae-infer features {graph}.onnx --data-root data -o out");
        refused(&place, 1, &line, &[&format!("{graph}.onnx"), graph, "--graph features"]);
    }
    refused(&place, 1, "ddae-infer sample features.onnx -o images", &["features.onnx", "--graph sampler"]);
}

#[test]
fn an_unknown_data_set_is_answered_with_those_there_are() {
    let place = with(&["data", "ddpm.yaml", "features.onnx"]);
    for line in [
        "ddae-data info imagenet",
        "ddae-data preview imagenet -o sheet.png",
        "ddae-train diffusion --config ddpm.yaml --set dataset=imagenet --device cpu",
        "ddae-infer features features.onnx --data imagenet -o out",
        "ddae-probe knn --pixels imagenet",
    ] {
        refused(
            &place,
            2,
            line,
            &["imagenet", "fashion-sample, fashion-mnist, mnist, cifar10, cifar100, tiny, folder"],
        );
    }
}

#[test]
fn devices() {
    let place = with(&["data", "ddpm.yaml", "features.onnx", "sampler.onnx"]);
    let train = "ddae-train diffusion --config ddpm.yaml --data-root data";
    let features = "ddae-infer features features.onnx --data-root data -o out";
    let sample = "ddae-infer sample sampler.onnx -o images";
    for line in [train, features, sample] {
        refused(&place, 2, &format!("{line} --device tpu"), &["'tpu'", "--device"]);
        // More GPUs than any machine has.
        let error = refused(&place, 1, &format!("{line} --device cuda:99"), &[]).stderr.to_lowercase();
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
fn usage() {
    let place = with(&["sampler.onnx", "features.onnx", "data", "train.h5", "test.h5"]);
    for line in [
        "ddae-data info",
        "ddae-data preview fashion-sample",
        "ddae-train diffusion",
        "ddae-train diffusion --config",
        "ddae-export",
        "ddae-export x --graph everything",
        "ddae-infer features features.onnx",
        "ddae-infer sample sampler.onnx -o images --seeds 9-1",
        "ddae-infer sample sampler.onnx -o images --steps 101",
        "ddae-infer features features.onnx --data-root data -o out --shard 2/2",
        "ddae-infer features features.onnx --data-root data -o out --timesteps 0",
        "ddae-infer features features.onnx --data-root data -o out --timesteps 101",
        "ddae-probe knn",
        "ddae-probe knn --train train.h5",
        "ddae-probe knn --train train.h5 --test test.h5 --votes three",
        "ddae-probe knn --train train.h5 --test test.h5 --features out_2",
    ] {
        refused(&place, 2, line, &[]);
    }
    // Not a setting that is wrong in itself, but one that these files do not have room for.
    let ended = place.run("ddae-probe knn --train train.h5 --test test.h5 -k 91 --features t1/out_1");
    assert!(ended.error(&[1, 2]).contains("k = 91, but there are only 90 training rows"), "{ended}");
}

#[test]
fn files_that_are_there_are_not_replaced_unasked() {
    let place = with(&["data", "ddpm.yaml", "run", "sampler.onnx"]);
    let before = place.snapshot();
    for (line, wanted) in [
        (format!("ddae-train diffusion --config ddpm.yaml {TRAINING}"), "--force"),
        ("ddae-export run --graph sampler -o sampler.onnx".to_string(), "--force"),
    ] {
        refused(&place, 1, &line, &[wanted]);
        assert!(place.snapshot() == before);
    }
    assert!(fs::metadata(trained().path("run")).is_ok());
}
