//! SODA's networks, the noise-conditional classifiers and diffusers' UNet: sizes, initial weights, names, and what is said
//! of configurations that none of them can be.

use ddae_model::graph::{Graph, Init, Op};
use ddae_model::networks::{
    AttentionNames, Conventions, DiffusersConfig, EncoderConfig, NoiseMlpConfig, SodaConfig, UNetConfig,
    WideResNetConfig, decoder_graph, diffusers_sources, noise_mlp_graph, resnet_graph, unet_graph,
    wide_resnet_graph,
};
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::{published, stored};
use ddae_tests::{parameter_shapes, rule_values, rule_weights};
use serde_json::json;

const SODA: &str = "
encoder: {arch: 'resnet18', feature_dim: 128, cifar_small_image: False}
decoder:
  image_shape: [3, 32, 32]
  n_channels: 128
  ch_mults: [1, 2, 2, 2]
  is_attn: [False, True, False, False]
  dropout: 0.1
  n_blocks: 2
  use_res_for_updown: False
  z_channels: 128
";

#[test]
fn the_published_soda_configuration_is_read() {
    let config: SodaConfig = serde_norway::from_str(SODA).expect("a configuration");
    config.check().expect("networks that fit together");
    assert_eq!(config.decoder, UNetConfig { z_channels: 128, ..UNetConfig::ddpm() });
    assert_eq!(config.encoder.image_shape, [3, 32, 32]);

    let error = |change: &str, to: &str| {
        let text = SODA.replace(change, to);
        let config: Result<SodaConfig, _> = serde_norway::from_str(&text);
        config.map_err(|e| e.to_string()).and_then(|config| config.check()).expect_err(change)
    };
    assert_eq!(
        error("z_channels: 128", "z_channels: 64"),
        "encoder.feature_dim is 128 and decoder.z_channels 64; the decoder must take the encoder's latent"
    );
    assert_eq!(
        error("  z_channels: 128\n", ""),
        "decoder: z_channels is 0; a SODA decoder needs the length of its latent"
    );
    assert_eq!(
        error("z_channels: 128", "z_channels: 128\n  augment_dim: 9"),
        "decoder: augment_dim is 9; a SODA decoder takes no augmentation label"
    );
    assert_eq!(
        error("z_channels: 128", "z_channels: 128\n  z_parts: 5"),
        "decoder: z_parts is 5; it must be 1 to 4, the number of resolutions"
    );
    assert_eq!(
        error("z_channels: 128", "z_channels: 128\n  z_parts: 3"),
        "decoder: z_channels is 128, which does not split into z_parts: 3"
    );
    assert!(error("resnet18", "resnet50").contains("unknown variant `resnet50`"));
    assert!(error("z_channels", "z_chanels").contains("unknown field `z_chanels`"));
}

#[test]
fn only_a_decoder_takes_a_latent() {
    let config = UNetConfig { z_channels: 8, ..UNetConfig::ddpm() };
    assert_eq!(
        unet_graph(&config, false).expect_err("a latent").to_string(),
        "network: z_channels is 8; only a SODA decoder is guided by a latent"
    );
    assert_eq!(
        decoder_graph(&UNetConfig::ddpm()).expect_err("no latent").to_string(),
        "decoder: z_channels is 0; a SODA decoder needs the length of its latent"
    );
}

/// The sizes of a ResNet-18 for images of 224 x 224: torchvision counts 11,689,512 values with 1000 classes, the
/// running statistics of 4,800 channels not among them.
#[test]
fn the_large_encoder_is_torchvisions_resnet_18() {
    let json = json!({
        "arch": "resnet18", "feature_dim": 1000, "cifar_small_image": false, "image_shape": [3, 224, 224],
    });
    let config: EncoderConfig = serde_json::from_value(json).expect("an encoder");
    let graph = resnet_graph(&config).expect("a graph");
    let names = stored(&graph);
    let buffers = names.iter().filter(|(name, _)| name.contains(".running_"));
    let trained = names.iter().filter(|(name, _)| !name.contains(".running_"));
    let count = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>();
    assert_eq!(trained.map(count).sum::<usize>(), 11_689_512);
    assert_eq!(buffers.map(count).sum::<usize>(), 2 * 4_800);
    // The stages follow the pooling, which is child 3.
    for name in ["encoder.encoder.4.0.conv1.weight", "encoder.encoder.10.weight"] {
        assert!(names.iter().any(|(known, _)| known == name), "{name}");
    }
    let last =
        graph.nodes().iter().rfind(|node| matches!(node.op, Op::Conv2d { .. })).expect("a convolution");
    assert_eq!(last.shape.resolve(1), [1, 512, 7, 7]);
}

/// A decoder of three resolutions whose latent has three parts.
fn in_parts() -> UNetConfig {
    UNetConfig {
        image_shape: [1, 8, 8],
        n_channels: 32,
        ch_mults: vec![1, 1, 1],
        is_attn: vec![false; 3],
        n_blocks: 1,
        z_channels: 12,
        z_parts: 3,
        ..UNetConfig::ddpm()
    }
}

#[test]
fn each_part_of_the_latent_guides_its_own_resolution() {
    let graph = decoder_graph(&in_parts()).expect("a graph");
    let shape = |name: &str| {
        stored(&graph).into_iter().find(|(known, _)| known == name).map(|(_, shape)| shape).expect(name)
    };
    assert_eq!(shape("decoder.middle.res1.z_emb.1.weight"), [64, 4]);
    let sources: Vec<(String, usize)> = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Linear) && node.name.ends_with(".z_emb.1"))
        .map(|node| (node.name.clone(), part_of(&graph, node.inputs[0].index())))
        .collect();
    let part = |name: &str| -> usize {
        let name = format!("decoder.{name}.res.z_emb.1");
        sources.iter().find(|(known, _)| *known == name).map(|(_, part)| *part).expect("a block")
    };
    assert_eq!(["down.0", "down.2", "down.4"].map(part), [2, 1, 0]);
    assert_eq!(["up.0", "up.1", "up.3", "up.4", "up.6", "up.7"].map(part), [0, 0, 1, 1, 2, 2]);
    let middle = sources.iter().filter(|(name, _)| name.contains("middle"));
    assert!(middle.clone().count() == 2 && middle.into_iter().all(|(_, part)| *part == 0));
}

/// The part of the latent from which a node is computed: the first slice of `z` behind it.
fn part_of(graph: &Graph, mut at: usize) -> usize {
    loop {
        let node = &graph.nodes()[at];
        if let Op::Slice { start, length: 4, .. } = node.op {
            return start / 4;
        }
        at = node.inputs[0].index();
    }
}

#[test]
fn a_hidden_part_of_the_latent_has_no_influence() {
    let graph = decoder_graph(&in_parts()).expect("a graph");
    let weights = rule_weights(&graph);
    let result = |z: Vec<f32>, mask: [f32; 3]| {
        let inputs = [
            ("x", Tensor::f32(&[1, 1, 8, 8], rule_values("x", 64, -1.0, 1.0))),
            ("t", Tensor::f32(&[1], vec![0.5])),
            ("z", Tensor::f32(&[1, 12], z)),
            ("mask", Tensor::f32(&[1, 3], mask.to_vec())),
        ];
        run::<f32>(&graph, &weights, &inputs).expect("a run").remove(0).1
    };
    let z = rule_values("z", 12, -1.0, 1.0);
    let mut other = z.clone();
    other[4..8].fill(0.7);
    assert_eq!(result(z.clone(), [0.0, 1.0, 0.0]), result(other.clone(), [0.0, 1.0, 0.0]));
    assert_ne!(result(z, [0.0; 3]), result(other, [0.0; 3]));
}

#[test]
fn classifiers_refuse_sizes_that_do_not_fit() {
    let error = |config: WideResNetConfig| wide_resnet_graph(&config).expect_err("no network").to_string();
    let published = WideResNetConfig::default();
    assert_eq!(
        error(WideResNetConfig { image_shape: [3, 30, 32], ..published.clone() }),
        "network: image_shape is [3, 30, 32]; it must be [channels, height, width] with sides that are multiples of 4, up to 4096"
    );
    assert_eq!(
        error(WideResNetConfig { blocks_per_group: 0, ..published.clone() }),
        "network: blocks_per_group is 0; it must be 1 to 1000"
    );
    assert_eq!(
        noise_mlp_graph(&NoiseMlpConfig { dim: 20, classes: 10 }).expect_err("no head").to_string(),
        "network: dim is 20; it must be a multiple of 8 from 16 to 1048576 (dim / 8 sines and cosines)"
    );
    // WRN-28-10 has 36.5 M values; the embeddings of the noise level add to them.
    let count = wide_resnet_graph(&published).expect("a graph").parameter_count();
    assert!((36_500_000..42_000_000).contains(&count), "{count}");
}

#[test]
fn relu_networks_start_with_he_initialisation() {
    let init = |graph: &Graph, name: &str| {
        let node = graph.nodes().iter().find(|node| node.name == name).expect("a parameter");
        match &node.op {
            Op::Parameter { init: Init::Normal { std }, .. } => *std,
            other => panic!("{name}: {other:?}"),
        }
    };
    let wrn = wide_resnet_graph(&WideResNetConfig::default()).expect("a graph");
    assert_eq!(init(&wrn, "group2.blocks.0.conv1.weight"), (2.0 / (160.0 * 9.0f64)).sqrt());
    assert_eq!(init(&wrn, "final_linear.weight"), (2.0 / 640.0f64).sqrt());
    assert_eq!(init(&wrn, "time_emb.W"), 16.0);
    let encoder = published::soda_encoder().graph;
    assert_eq!(init(&encoder, "encoder.encoder.4.0.conv1.weight"), (2.0 / (128.0 * 9.0f64)).sqrt());
    // For small images the first layer is not torchvision's, and starts as PyTorch's do: uniform within 1/sqrt(fan in).
    let first =
        encoder.nodes().iter().find(|node| node.name == "encoder.encoder.0.weight").expect("a parameter");
    let bound = 1.0 / 27f64.sqrt();
    assert!(matches!(first.op, Op::Parameter { init: Init::Uniform { bound: found }, .. } if found == bound));
    let large = EncoderConfig { cifar_small_image: false, ..published::soda_config().encoder };
    let large = resnet_graph(&large).expect("a graph");
    assert_eq!(init(&large, "encoder.encoder.0.weight"), (2.0 / (64.0 * 49.0f64)).sqrt());
}

#[test]
fn every_tensor_of_diffusers_has_its_place() {
    let config = published::diffusers_config();
    assert_eq!(
        config,
        UNetConfig { dropout: 0.0, conventions: Conventions::diffusers_ddpm(), ..UNetConfig::ddpm() }
    );
    let mut stored = parameter_shapes("diffusers_ddpm");
    stored.sort();
    let names = || stored.iter().map(|(name, _)| name.as_str());
    assert_eq!(AttentionNames::among(names()), AttentionNames::Current);
    let sources = diffusers_sources(&config, AttentionNames::Current).expect("a name map");
    let mut used: Vec<&str> = sources.iter().flat_map(|s| &s.tensors).map(String::as_str).collect();
    used.sort();
    assert_eq!(used, names().collect::<Vec<_>>());
    for source in &sources {
        let count = |name: &String| {
            let (_, shape) = stored.iter().find(|(known, _)| known == name).expect("a stored tensor");
            shape.iter().product::<usize>()
        };
        let total: usize = source.tensors.iter().map(count).sum();
        assert_eq!(total, source.shape.iter().product::<usize>(), "{}", source.parameter);
    }

    let old = diffusers_sources(&config, AttentionNames::Old).expect("a name map");
    let tensors = |parameter: &str| {
        old.iter().find(|source| source.parameter == parameter).map(|source| source.tensors.join(" "))
    };
    let block = "down_blocks.1.attentions.1";
    assert_eq!(
        tensors("down.4.attn.projection.weight"),
        Some(format!("{block}.query.weight {block}.key.weight {block}.value.weight"))
    );
    assert_eq!(tensors("up.9.attn.output.bias"), Some("up_blocks.2.attentions.1.proj_attn.bias".to_string()));
    let names = old.iter().flat_map(|source| &source.tensors).map(String::as_str);
    assert_eq!(AttentionNames::among(names), AttentionNames::Old);

    let error =
        diffusers_sources(&UNetConfig::ddpmpp(), AttentionNames::Current).expect_err("no such network");
    assert_eq!(error.to_string(), "down.4.op.norm1.weight: diffusers' UNet2DModel has no such layer");
}

#[test]
fn other_networks_of_diffusers_are_refused() {
    let read = |change: serde_json::Value| -> Result<UNetConfig, String> {
        let mut config = ddae_tests::fixture("diffusers_ddpm").config["config"].clone();
        let object = config.as_object_mut().expect("an object");
        object.insert("_class_name".to_string(), json!("UNet2DModel"));
        object.insert("_diffusers_version".to_string(), json!("0.0.4"));
        object.extend(change.as_object().expect("an object").clone());
        serde_json::from_value::<DiffusersConfig>(config).map_err(|e| e.to_string())?.unet()
    };
    assert_eq!(read(json!({})), Ok(published::diffusers_config()));
    let heads = read(json!({"attention_head_dim": 8, "sample_size": [16, 32]})).expect("a network");
    assert_eq!((heads.attn_channels_per_head, heads.image_shape), (Some(8), [3, 16, 32]));
    let error = |change: serde_json::Value| read(change).expect_err("another network");
    assert_eq!(
        error(json!({"_class_name": "UNet2DConditionModel", "act_fn": "gelu"})),
        "_class_name is UNet2DConditionModel; only UNet2DModel is supported"
    );
    assert_eq!(error(json!({"act_fn": "gelu"})), "act_fn is gelu; only silu is supported");
    assert_eq!(error(json!({"out_channels": 6})), "out_channels is 6; only that of in_channels is supported");
    assert_eq!(
        error(json!({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]})),
        "down_block_types has 'SkipDownBlock2D'; only DownBlock2D and AttnDownBlock2D are supported"
    );
    assert_eq!(
        error(json!({"block_out_channels": [128, 192, 256, 256]})),
        "block_out_channels is [128, 192, 256, 256]; only multiples of the first number are supported"
    );
    assert_eq!(error(json!({"sample_size": null})), "sample_size is not given; set it to the images' side");
    assert!(error(json!({"encoder_hid_dim": 3})).starts_with("unknown field `encoder_hid_dim`"));
}

#[test]
fn conventions_are_checked_and_written_only_where_they_differ() {
    let error = |conventions: Conventions| {
        let config = UNetConfig { n_channels: 32, conventions, ..UNetConfig::ddpm() };
        config.check().expect_err("no network")
    };
    let published = Conventions::default();
    assert_eq!(
        error(Conventions { norm_groups: 24, ..published.clone() }),
        "n_channels is 32; it must be a multiple of 24 (GroupNorm has 24 groups)"
    );
    assert_eq!(
        error(Conventions { norm_eps: 0.0, ..published.clone() }),
        "conventions.norm_eps is 0; it must be above 0"
    );
    assert_eq!(
        error(Conventions { frequency_shift: 16.0, ..published }),
        "conventions.frequency_shift is 16; it must be at least 0 and below the 16 frequencies of n_channels 32"
    );
    let text = serde_norway::to_string(&UNetConfig::ddpm()).expect("YAML");
    assert!(!text.contains("conventions") && !text.contains("z_"), "{text}");
    let ours = published::diffusers_config();
    let text = serde_norway::to_string(&ours).expect("YAML");
    assert_eq!(serde_norway::from_str::<UNetConfig>(&text).expect("a network"), ours, "{text}");
}
