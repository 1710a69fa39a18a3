//! What is said of files that are recognised only in part, or not at all.

use ddae_model::tensor::Tensor;
use ddae_tests::imported::dit;
use ddae_tests::published::{noise_mlp, soda_encoder};

use crate::place::{Place, named};

#[test]
fn what_the_weights_do_not_tell_is_asked_for() {
    let place = Place::new();
    let (encoder, network) = (soda_encoder(), dit(true, false));
    place.safetensors("soda.safetensors", named(&encoder));
    place.safetensors("dit.safetensors", named(&network));
    place.safetensors("mlp.safetensors", named(&noise_mlp()));
    for (arguments, message) in [
        ("soda.safetensors", "the weights do not tell the size of its pictures: give --image-size HxW"),
        ("soda.safetensors --image-size 32 --graph encoder", "give --statistics cifar10, cifar100 or tiny"),
        (
            "soda.safetensors --image-size 32 --graph features",
            "this is the encoder of a SODA, which has graphs of kind network, encoder",
        ),
        (
            "soda.safetensors --image-size 32 --graph encoder --statistics 0.5/0.5",
            "is for 1 channels, the pictures have 3",
        ),
        ("soda.safetensors --image-size 32 --normalise", "--normalise is for --graph encoder, not network"),
        ("soda.safetensors --image-size 32 --process ddpm", "--process: the encoder of a SODA has none"),
        ("soda.safetensors --image-size 32 --label", "--label: the encoder of a SODA takes no label"),
        ("dit.safetensors", "the number of attention heads: give --heads N"),
        ("dit.safetensors --heads 5", "hidden_size is 96; it must be a multiple of num_heads, 5"),
        ("dit.safetensors --heads 4 --image-size 64", "which is for latents of 16x16"),
        ("dit.safetensors --heads 4 --statistics cifar10", "--statistics is for encoders; this is a DiT"),
        (
            "dit.safetensors --heads 4 --graph features",
            "give the layers with --taps; there are layer-0, layer-1, layer-2",
        ),
        ("dit.safetensors --heads 4 --graph features --taps layer-0 --input u8", "latents are floats"),
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
        "it holds a noise-conditional MLP head ('a.'), a noise-conditional MLP head ('b.')",
    );
}
