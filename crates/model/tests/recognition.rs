//! Networks recognised from the names and shapes of the published code's parameters.

use ddae_model::diffusion::feature_layers;
use ddae_model::graph::Graph;
use ddae_model::networks::recognition::{Given, Names, RecogniseError, Recognised, Shapes};
use ddae_model::networks::{Architecture, DecoderConfig, DiffusersConfig, UNetConfig, UNetGConfig};
use ddae_tests::{fixture, parameter_shapes};
use serde_json::Value;

fn shapes(case: &str) -> Shapes {
    parameter_shapes(case).into_iter().collect()
}

fn sized(height: usize, width: usize) -> Given {
    Given { image_size: Some([height, width]), ..Given::default() }
}

/// Every parameter of the graph is in the file, under the names and with the sizes that recognition says.
fn assert_all_there(recognised: &Recognised, graph: &Graph, file: &Shapes) {
    let map = recognised.name_map().expect("a name map");
    for (_, node) in graph.parameters() {
        let tensors = map.get(&node.name).map_or(vec![node.name.clone()], |source| source.tensors.clone());
        let sizes = tensors.iter().map(|name| {
            let stored = format!("{}{name}", recognised.prefix);
            let shape =
                file.get(&stored).unwrap_or_else(|| panic!("{} is not there as '{stored}'", node.name));
            shape.iter().product::<usize>()
        });
        assert_eq!(sizes.sum::<usize>(), node.shape.per_sample(), "{}", node.name);
    }
    let unused = recognised.architecture.unused(recognised.names, file).expect("a graph");
    assert_eq!(unused, [""; 0], "nothing is left");
}

fn recognise(case: &str, given: &Given) -> Recognised {
    let file = shapes(case);
    let recognised = Recognised::only(&file, given).unwrap_or_else(|e| panic!("{case}: {e}"));
    let graph = recognised.architecture.network_graph(true).expect("a graph");
    assert_all_there(&recognised, &graph, &file);
    recognised
}

fn unet_of(case: &str) -> UNetConfig {
    let mut config: UNetConfig =
        serde_json::from_value(fixture(case).config["network"].clone()).expect("a network");
    config.dropout = 0.0;
    config
}

#[test]
fn every_unet_of_the_published_code() {
    for (case, head_channels) in
        [("unet_ddpm", None), ("unet_ddpmpp_aug", None), ("unet_tiny", None), ("unet_tiny_pp", Some(16))]
    {
        let expected = unet_of(case);
        let [_, height, width] = expected.image_shape;
        let found = recognise(case, &Given { head_channels, ..sized(height, width) });
        assert_eq!(found.architecture, Architecture::UNet(expected), "{case}");
        assert_eq!((found.names, &*found.prefix), (Names::Published, ""), "{case}");
    }
    let words = recognise("unet_ddpmpp_aug", &sized(32, 32)).describe();
    assert_eq!(
        words,
        "UNet: 3x32x32 images, n_channels 128, ch_mults [2, 2, 2], n_blocks 4, attention at 16x16 with one head, \
         residual resampling, augmentation label of 9"
    );
}

/// Config G is told by its gains. C and E store the same, so neither is taken for the other.
#[test]
fn networks_of_edm2() {
    for (case, head_channels) in [("edm2g_tiny", Some(32)), ("edm2g_full", None)] {
        let mut network = fixture(case).config["network"].clone();
        network["dropout"] = 0.0.into();
        let expected: UNetGConfig = serde_json::from_value(network).expect("a network");
        let [_, height, width] = expected.0.image_shape;
        let found = recognise(case, &Given { head_channels, ..sized(height, width) });
        assert_eq!(found.architecture, Architecture::UNetG(expected), "{case}");
    }
    assert_eq!(
        recognise("edm2g_full", &sized(32, 32)).describe(),
        "UNetG: 3x32x32 images, n_channels 128, ch_mults [1, 2, 2, 2], n_blocks 3, attention at 16x16 with one head"
    );
    for case in ["edm2c_tiny", "edm2e_tiny"] {
        for given in [Given::default(), sized(16, 16)] {
            assert_eq!(
                message(case, &given),
                "it holds a UNet of EDM2 with 3 image channels, n_channels 32, ch_mults [1, 2], n_blocks 3: the weights of \
                 UNetC and UNetE have the same names and shapes, so it takes --config FILE with the net_type to tell which \
                 they are"
            );
        }
        // With the configuration, all is used.
        let file = shapes(case);
        let architecture = ddae_tests::cases::edm2::architecture(&fixture(case));
        assert_eq!(architecture.unused(Names::Published, &file).expect("a graph"), [""; 0]);
        let with = file.iter().map(|(name, shape)| (name.to_string(), shape.to_vec()));
        let with: Shapes =
            with.chain([("middle2.attn.output.weight".to_string(), vec![64, 64, 1, 1])]).collect();
        let unused = architecture.unused(Names::Published, &with).expect("a graph");
        assert_eq!(unused, ["middle2.attn.output.weight"]);
    }
    let without = |path: &str| -> Shapes {
        parameter_shapes("edm2g_tiny").into_iter().filter(|(name, _)| !name.starts_with(path)).collect()
    };
    assert_eq!(
        Recognised::only(&without("down.4"), &sized(16, 16)).unwrap_err().to_string(),
        "its names are those of a UNet of EDM2, but 4 modules 'down.…' and 7 'up.…' are those of no number of resolutions"
    );
}

#[test]
fn prefixes_are_found_and_said() {
    let prefixed: Shapes =
        parameter_shapes("unet_tiny").into_iter().map(|(n, s)| (format!("module.nn_model.{n}"), s)).collect();
    let found = Recognised::only(&prefixed, &sized(16, 16)).expect("a network");
    assert_eq!(found.prefix, "module.nn_model.");
    assert_all_there(&found, &found.architecture.network_graph(false).expect("a graph"), &prefixed);
    assert!(found.describe().ends_with("its names after 'module.nn_model.'"), "{}", found.describe());
}

#[test]
fn both_networks_of_a_soda() {
    let file = shapes("soda_net");
    let config = fixture("soda_net").config;
    let found = ddae_model::networks::recognition::find(&file).expect("networks");
    let [encoder, decoder] = [0, 1].map(|i| found[i].recognise(&file, &sized(32, 32)).expect("a network"));
    assert_eq!(found.len(), 2);
    for recognised in [&encoder, &decoder] {
        let graph = recognised.architecture.network_graph(false).expect("a graph");
        assert_all_there(recognised, &graph, &file);
    }
    let Architecture::SodaEncoder(sizes) = &encoder.architecture else { panic!("{encoder:?}") };
    assert_eq!(*sizes, serde_json::from_value(config["encoder"].clone()).expect("an encoder"));
    let Architecture::SodaDecoder(DecoderConfig(sizes)) = &decoder.architecture else {
        panic!("{decoder:?}")
    };
    let mut expected: UNetConfig = serde_json::from_value(config["decoder"].clone()).expect("a decoder");
    expected.dropout = 0.0;
    assert_eq!(*sizes, expected);
    let message = Recognised::only(&file, &sized(32, 32)).unwrap_err().to_string();
    assert!(message.contains("it holds others besides"), "{message}");
}

#[test]
fn a_dit_and_its_published_names() {
    let given = Given { heads: Some(4), ..Given::default() };
    let Architecture::DiT(found) = recognise("dit", &given).architecture else { panic!("a DiT") };
    let mut config = fixture("dit").config;
    config.as_object_mut().expect("an object").remove("note");
    config["stored_positions"] = Value::from(true);
    assert_eq!(found, serde_json::from_value(config).expect("a DiT"));
    assert!(message("dit", &Given::default()).ends_with("give --heads N, or --config FILE"));

    let xl = ddae_model::networks::DitConfig {
        stored_positions: true,
        ..ddae_model::networks::DitConfig::new(ddae_model::networks::DitSize::XL, 2, 32)
    };
    let graph = Architecture::DiT(xl.clone()).network_graph(true).expect("a graph");
    let file: Shapes = graph.parameters().map(|(_, n)| (n.name.clone(), n.shape.resolve(1))).collect();
    let found = Recognised::only(&file, &Given::default()).expect("a DiT");
    assert_eq!(found.architecture, Architecture::DiT(xl));
    assert_eq!(found.describe(), "DiT-XL/2: 4x32x32 latents, 16 heads, 1000 classes");
    let message = Recognised::only(&file, &sized(64, 64)).unwrap_err().to_string();
    assert!(message.contains("which is for latents of 32x32"), "{message}");
}

#[test]
fn classifiers() {
    let Architecture::WideResNet(found) = recognise("wrn_noise", &sized(32, 32)).architecture else {
        panic!("a WideResNet")
    };
    assert_eq!((found.blocks_per_group, found.channel_multiplier, found.classes), (1, 2, 10));
    assert_eq!(found.image_shape, [3, 32, 32]);

    let head = ddae_model::networks::NoiseMlpConfig { dim: 64, classes: 10 };
    let graph = Architecture::NoiseMlp(head.clone()).network_graph(false).expect("a graph");
    let file: Shapes = graph.parameters().map(|(_, n)| (n.name.clone(), n.shape.resolve(1))).collect();
    let found = Recognised::only(&file, &Given::default()).expect("a head");
    assert_eq!(found.architecture, Architecture::NoiseMlp(head));
}

#[test]
fn the_latent_encoder_under_both_names() {
    let published = recognise("vae_encoder", &Given::default());
    let expected = ddae_model::networks::VaeEncoderConfig::sd_vae_ft_mse(256, 256);
    assert_eq!(published.architecture, Architecture::VaeEncoder(expected));

    let renamed = |name: &str| {
        let pairs = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        pairs.iter().fold(name.to_string(), |name, (new, old)| {
            name.replace(&format!("attentions.0.{new}"), &format!("attentions.0.{old}"))
        })
    };
    let older: Shapes =
        parameter_shapes("vae_encoder").into_iter().map(|(name, shape)| (renamed(&name), shape)).collect();
    let found = Recognised::only(&older, &sized(64, 32)).expect("an encoder");
    assert_eq!(found.names, Names::OlderVae);
    assert_eq!(found.architecture.image_shape(), Some([3, 64, 32]));
    assert_all_there(&found, &found.architecture.network_graph(false).expect("a graph"), &older);
}

#[test]
fn the_inception_of_fid() {
    let found = recognise("fid_inception", &Given::default());
    assert_eq!(found.architecture.image_shape(), Some([3, 299, 299]));
    let found = recognise("fid_inception", &sized(32, 32));
    assert_eq!(found.architecture.image_shape(), Some([3, 32, 32]));
    // The published file has a classifier; one without it gives no logits.
    let layers = |found: &Recognised| feature_layers(&found.architecture).expect("layers");
    let logits = ("logits_unbiased".to_string(), vec![1008]);
    assert!(layers(&found).contains(&logits));
    let without: Shapes =
        parameter_shapes("fid_inception").into_iter().filter(|(name, _)| !name.starts_with("fc.")).collect();
    let found = Recognised::only(&without, &sized(32, 32)).expect("Inception");
    assert!(!layers(&found).contains(&logits));
}

#[test]
fn diffusers_unet_with_and_without_its_configuration() {
    let config: DiffusersConfig =
        serde_json::from_value(fixture("diffusers_ddpm").config["config"].clone()).expect("a config.json");
    let expected = config.unet().expect("a UNet");
    let with = recognise("diffusers_ddpm", &Given { diffusers: Some(config), ..Given::default() });
    assert_eq!(with.architecture, Architecture::UNet(expected.clone()));
    let without = recognise("diffusers_ddpm", &sized(32, 32));
    assert_eq!(without.architecture, Architecture::UNet(expected));
    assert!(without.describe().ends_with(", under diffusers' names"), "{}", without.describe());
    let message = message("diffusers_ddpm", &Given::default());
    assert!(message.contains("--image-size HxW"), "{message}");
}

/// Why a case is not recognised.
fn message(case: &str, given: &Given) -> String {
    Recognised::only(&shapes(case), given).unwrap_err().to_string()
}

/// Layers that a network was not understood to have would be left out in silence.
#[test]
fn what_is_left_over_is_named() {
    let with = |case: &str, added: &[&str]| -> Shapes {
        let added = added.iter().map(|name| (name.to_string(), vec![32]));
        parameter_shapes(case).into_iter().chain(added).collect()
    };
    for (case, added, left) in [
        // Attention in the first of two blocks only, another embedding, and what is no layer of anything.
        ("unet_ddpm", &["down.0.attn.norm.weight"][..], &["down.0.attn.norm.weight"][..]),
        ("diffusers_ddpm", &["class_embedding.weight"], &["class_embedding.weight"]),
        ("wrn_noise", &["head.bias", "init_conv.bias"], &["head.bias", "init_conv.bias"]),
        // The decoder is another network, and so is what stands beside a latent encoder.
        (
            "vae_encoder",
            &[
                "decoder.conv_in.weight",
                "encoder.down_blocks.0.attentions.0.to_q.weight",
                "post_quant_conv.bias",
            ],
            &["encoder.down_blocks.0.attentions.0.to_q.weight"],
        ),
        ("soda_net", &["encoder.encoder.1.num_batches_tracked"], &[]),
        ("fid_inception", &["fc.weight"], &[]),
    ] {
        let file = with(case, added);
        let found = ddae_model::networks::recognition::find(&file).expect("networks");
        for network in found {
            let recognised = network.recognise(&file, &sized(32, 32)).expect("a network");
            let unused = recognised.architecture.unused(recognised.names, &file).expect("a graph");
            assert_eq!(unused, left, "{case}");
        }
    }
}

#[test]
fn what_the_weights_do_not_tell_is_asked_for() {
    assert_eq!(
        message("unet_tiny", &Given::default()),
        "it holds the UNet of DDAE with 3 image channels, n_channels 32, ch_mults [1, 2], n_blocks 1; the weights do \
         not tell the size of its images: give --image-size HxW, or --config FILE"
    );
    assert!(message("wrn_noise", &Given::default()).contains("give --image-size HxW"));
    let message = message("unet_tiny", &sized(15, 16));
    assert!(message.starts_with("it holds a UNet, but 15x16 images cannot be halved"), "{message}");
}

#[test]
fn what_is_no_network_is_said() {
    let file: Shapes = [("a.weight".to_string(), vec![2]), ("b".to_string(), vec![])].into_iter().collect();
    assert_eq!(
        Recognised::only(&file, &Given::default()).unwrap_err(),
        RecogniseError::Unknown { count: 2, shown: "a.weight, b".to_string() }
    );
    let without = |path: &str| -> Shapes {
        let there = parameter_shapes("unet_tiny").into_iter().filter(|(name, _)| !name.starts_with(path));
        there.collect()
    };
    let message = Recognised::only(&without("down.0"), &sized(16, 16)).unwrap_err().to_string();
    assert!(message.starts_with("its names are those of the UNet of DDAE, but "), "{message}");
}

#[test]
fn sizes_of_nothing_and_of_everything_are_refused() {
    for shape in [vec![], vec![0, 0, 0, 0], vec![usize::MAX; 4], vec![usize::MAX, 1, 3, 3]] {
        let cases = ["unet_tiny", "edm2c_tiny", "edm2g_tiny", "dit", "wrn_noise", "vae_encoder", "soda_net"];
        for case in cases.into_iter().chain(["diffusers_ddpm"]) {
            for (name, _) in parameter_shapes(case) {
                let file: Shapes = parameter_shapes(case)
                    .into_iter()
                    .map(|(other, kept)| if other == name { (other, shape.clone()) } else { (other, kept) })
                    .collect();
                let Ok(found) = ddae_model::networks::recognition::find(&file) else { continue };
                for network in found {
                    // Whatever it says, it says it.
                    let _ = network.recognise(&file, &Given { heads: Some(4), ..sized(32, 32) });
                }
            }
        }
    }
}
