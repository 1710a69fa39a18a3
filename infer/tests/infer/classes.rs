//! Networks that are told a class: in sampling one that is drawn or asked for, in features none.

use std::fs;

use ddae_infer::sample::image_class;
use ddae_model::config::Config;
use ddae_model::networks::SongUNetConfig;
use serde_json::json;

use crate::scene::{Export, MODELS, done, edm_process, export, infer, tiny};

/// A SongUNet of 3 classes for grey images of 12x12.
fn told() -> Config {
    let network = json!({
        "img_resolution": 12, "img_channels": 1, "label_dim": 3, "model_channels": 8, "channel_mult": [1],
        "num_blocks": 1, "attn_resolutions": [], "dropout": 0,
    });
    let network: SongUNetConfig = serde_json::from_value(network).expect("a network");
    let mut config = tiny(edm_process());
    config.classes = 3;
    config.network = network.into();
    config
}

#[test]
fn classes_are_drawn_or_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let model = export(root, "told", &told(), Export::sampler());
    let model = model.to_str().expect("a path");
    let line = |more: &str| format!("sample {model} --steps 2 --seeds 0-5 {more}");
    let array = |name: &str| fs::read(root.join(name)).expect("an array");
    let image = |array: &[u8], i: usize| array[array.len() - (6 - i) * 144..][..144].to_vec();

    done(root, &line("--no-png --npy drawn.npy"));
    let drawn = array("drawn.npy");
    let classes: Vec<i64> = (0..6).map(|seed| image_class(seed, 3)).collect();
    assert!(
        classes.iter().any(|class| *class != classes[0])
            && classes.iter().all(|class| (0..3).contains(class))
    );
    let mut of_class = Vec::new();
    for class in 0..=3 {
        done(root, &line(&format!("--class {class} --no-png --npy {class}.npy")));
        of_class.push(array(&format!("{class}.npy")));
    }
    // What is drawn for a seed is what that class alone gives, whatever batch it is in.
    for (i, class) in classes.iter().enumerate() {
        assert!(image(&drawn, i) == image(&of_class[*class as usize], i), "seed {i} of class {class}");
    }
    for a in 0..4 {
        for b in 0..a {
            assert!(of_class[a] != of_class[b], "classes {a} and {b} look alike");
        }
    }

    // A folder holds images of one choice.
    done(root, &line("--class 1 -o images"));
    let record = fs::read_to_string(root.join("images/run.json")).expect("a record");
    assert!(record.contains("\"class\": \"1\""), "{record}");
    for other in ["-o images", "--class 2 -o images"] {
        let message = infer(root, &line(other)).error(&[1]).to_string();
        assert!(message.contains("class"), "{message}");
    }
    let plan = done(root, &line("--no-png --npy x.npy --dry-run"));
    assert!(plan.contains("class     one of 3, drawn from each seed"), "{plan}");
    let plan = done(root, &line("--no-png --npy x.npy --dry-run --class 3"));
    assert!(plan.contains("class     none"), "{plan}");

    let message = infer(root, &line("--class 4 --no-png --npy x.npy")).error(&[1, 2]).to_string();
    assert!(message.contains("--class 4: the network is told of 0 to 2, and 3 for none"), "{message}");
    let untold = MODELS.edm.to_str().expect("a path");
    let message =
        infer(root, &format!("sample {untold} --class 1 --no-png --npy x.npy")).error(&[1, 2]).to_string();
    assert!(message.contains("--class: the network of this graph is told of no class"), "{message}");
}

/// Features that know the class would tell a probe what it asks.
#[test]
fn features_are_not_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let features = Export::features(&["out_2"]);
    let model = export(folder.path(), "told", &told(), Export { label: true, ..features.clone() });
    let message = infer(folder.path(), &format!("features {} --timesteps 4 -o f", model.display()))
        .error(&[1, 2])
        .to_string();
    assert!(message.contains("this graph is told the class of each image ('label')"), "{message}");
    let model = export(folder.path(), "untold", &told(), features);
    let printed = done(
        folder.path(),
        &format!("features {} --timesteps 4 --data-root DATA --dry-run -o f", model.display()),
    );
    assert!(printed.contains("t4/out_2"), "{printed}");
}
