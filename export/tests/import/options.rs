//! What is said of files that are recognised only in part, or not at all.

use ddae_model::tensor::Tensor;
use ddae_tests::cases::imported::dit;
use ddae_tests::cases::published::{noise_mlp, soda_encoder};

use crate::place::{Place, named};

#[test]
fn what_the_weights_do_not_tell_is_asked_for() {
    let place = Place::new();
    let (encoder, network) = (soda_encoder(), dit(true, false));
    place.safetensors("soda.safetensors", named(&encoder));
    place.safetensors("dit.safetensors", named(&network));
    place.safetensors("mlp.safetensors", named(&noise_mlp()));
    for (arguments, message) in [
        ("soda.safetensors", "the weights do not tell the size of its images: give --image-size HxW"),
        ("soda.safetensors --image-size 32 --graph encoder", "give --statistics cifar10, cifar100 or tiny"),
        (
            "soda.safetensors --image-size 32 --graph features",
            "this is the encoder of a SODA, which has graphs of kind network, encoder",
        ),
        (
            "soda.safetensors --image-size 32 --graph encoder --statistics 0.5/0.5",
            "is for 1 channels, the images have 3",
        ),
        ("soda.safetensors --image-size 32 --normalise", "--normalise is for --graph encoder, not network"),
        ("soda.safetensors --image-size 32 --process ddpm", "--process: the encoder of a SODA has none"),
        ("soda.safetensors --image-size 32 --label", "--label: the encoder of a SODA takes no label"),
        ("soda.safetensors --image-size 32 --heads 4", "--heads is for a DiT; this is the encoder of a SODA"),
        (
            "mlp.safetensors --head-channels 4",
            "--head-channels is for UNets; this is a noise-conditional MLP head",
        ),
        ("dit.safetensors --heads 4 --head-channels 4", "--head-channels is for UNets; this is a DiT"),
        ("mlp.safetensors --image-size 32", "--image-size: a noise-conditional MLP head takes no images"),
        ("dit.safetensors", "the number of attention heads: give --heads N"),
        ("dit.safetensors --heads 5", "hidden_size is 96; it must be a multiple of num_heads, 5"),
        ("dit.safetensors --heads 4 --image-size 64", "which is for latents of 16x16"),
        ("dit.safetensors --heads 4 --statistics cifar10", "--statistics is for encoders; this is a DiT"),
        (
            "dit.safetensors --heads 4 --graph features",
            "give the layers with --taps; there are layer-0, layer-1, layer-2",
        ),
        ("dit.safetensors --heads 4 --graph features --taps layer-0 --input u8", "latents are floats"),
        ("dit.safetensors --heads 4 --graph loss", "--graph loss needs the configuration of a training run"),
        ("mlp.safetensors --weights model", "is a plain file of weights and holds only one set"),
        ("mlp.safetensors --set network.dim=7", "network: dim is 7"),
        ("mlp.safetensors --set nonsense=7", "nonsense"),
    ] {
        // What is impossible, rather than missing, is a failure.
        let code = place.run(arguments).status.code().unwrap_or(0);
        assert!([1, 2].contains(&code), "{arguments}");
        place.fail(arguments, code, message);
    }
    for wrong in
        ["--image-size 0x3", "--image-size big", "--statistics 1,2/3", "--statistics mnist", "--heads 0"]
    {
        assert_eq!(place.run(&format!("mlp.safetensors {wrong}")).status.code(), Some(2), "{wrong}");
    }
}

/// A layer that the network was not understood to have, told by the weights or by a configuration.
#[test]
fn weights_that_would_be_left_out_are_refused() {
    let place = Place::new();
    let (network, case) = (dit(true, false), noise_mlp());
    let more = Tensor::f32(&[2], vec![0.0; 2]);
    let norms = ["blocks.0.attn.k_norm.weight", "blocks.0.attn.q_norm.weight"].map(|name| (name, &more));
    place.safetensors("dit.safetensors", named(&network).into_iter().chain(norms));
    let message = "dit.safetensors: it holds 'blocks.0.attn.k_norm.weight' and 1 other tensor, which a DiT does not have \
                   (DiT of 3 layers of width 96, patches of 2: 4x16x16 latents, 4 heads, 10 classes): that would be \
                   another network than the file's";
    place.fail("dit.safetensors --heads 4", 1, message);
    place.safetensors("mlp.safetensors", named(&case).into_iter().chain([("cls.3.weight", &more)]));
    std::fs::write(place.path("mlp.yaml"), "{net_type: NoiseMlp, network: {dim: 64, classes: 10}}")
        .expect("a file");
    for configuration in ["", "--config mlp.yaml"] {
        let message = "it holds 'cls.3.weight', which a noise-conditional MLP head does not have";
        place.fail(&format!("mlp.safetensors {configuration}"), 1, message);
    }
}

/// A configuration without weights has no use for what is said of weights.
#[test]
fn layers_of_a_configuration() {
    let place = Place::new();
    let config = "{net_type: UNet, network: {image_shape: [3, 8, 8], n_channels: 32, ch_mults: [1], is_attn: [False], \
                  n_blocks: 1, dropout: 0.0, use_res_for_updown: False}}";
    std::fs::write(place.path("unet.yaml"), config).expect("a file");
    assert_eq!(place.done("--config unet.yaml --list-taps"), "out_1    32x8x8\nout_2    32x8x8\n");
    let larger = place.done("--config unet.yaml --list-taps --image-size 16x12");
    assert_eq!(larger, "out_1    32x16x12\nout_2    32x16x12\n");
    for option in ["--weights ema", "--heads 4", "--head-channels 4", "--process edm", "--statistics cifar10"]
    {
        let name = option.split(' ').next().unwrap_or_default();
        let message = format!("{name} is for weights; here is a configuration alone");
        place.fail(&format!("--config unet.yaml --list-taps {option}"), 2, &message);
    }
}

/// What `--process` says must be what is known already.
#[test]
fn a_process_that_contradicts_the_configuration_is_refused() {
    let place = Place::new();
    place.safetensors("dit.safetensors", named(&dit(true, false)));
    let features = "dit.safetensors --heads 4 --graph features --taps layer-0 --dry-run --process ddpm";
    assert!(place.run(features).status.success(), "DiT's is the published one");
    let message = "--process: the process is known already; change it with --set diffusion.KEY=VALUE";
    place.fail(&format!("{features} --set diffusion.n_T=100"), 2, message);
}

#[test]
fn names_cannot_steer_a_terminal() {
    let place = Place::new();
    let tensor = Tensor::f32(&[1], vec![0.0]);
    place.safetensors("odd.safetensors", [("\u{1b}[2J\nw", &tensor), ("\u{9b}x", &tensor)]);
    let said = place.done("inspect odd.safetensors");
    assert!(said.contains("\\u{1b}[2J\\nw  f32") && said.contains("\\u{9b}x"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
}

#[test]
fn weights_of_no_known_network_are_said_to_be_so() {
    let place = Place::new();
    let tensor = Tensor::f32(&[2, 2], vec![0.0; 4]);
    place.safetensors("other.safetensors", [("layers.0.weight", &tensor), ("layers.1.weight", &tensor)]);
    place.fail(
        "other.safetensors",
        1,
        "other.safetensors: its 2 tensors (layers.0.weight, layers.1.weight) are of no network known here; \
         docs/import.md lists what can be imported",
    );
    let parts = named(&noise_mlp()).into_iter().map(|(n, t)| (n.to_string(), t.clone())).collect::<Vec<_>>();
    let twice: Vec<(String, Tensor)> = ["a.", "b."]
        .iter()
        .flat_map(|p| parts.iter().map(move |(n, t)| (format!("{p}{n}"), t.clone())))
        .collect();
    place.safetensors("two.safetensors", twice.iter().map(|(n, t)| (n.as_str(), t)));
    place.fail(
        "two.safetensors",
        1,
        "more than one set could be meant; choose with --weights NAME: it holds 2 sets of weights, 'a', 'b'",
    );
}
