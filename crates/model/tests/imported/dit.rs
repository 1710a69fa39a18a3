use ddae_model::config::{Betas, DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::ddpm::Tables;
use ddae_model::diffusion::{FeatureOptions, model_features_graph};
use ddae_model::graph::Op;
use ddae_model::networks::{Architecture, DitConfig, DitSize, dit_graph, position_table};
use ddae_model::tensor::Tensor;
use ddae_tests::cases::imported::{dit, dit_config};
use ddae_tests::{fixture, relative_error, rule_weights};

use super::{assert_near, numbers, outputs};

/// The process that the published networks were trained in.
fn process() -> DdpmConfig {
    DdpmConfig::of(1000, Betas::Linear([1e-4, 0.02]), Timesteps::Index)
}

fn model(config: DitConfig) -> ModelConfig {
    let process = Some(ProcessConfig::Ddpm(process()));
    ModelConfig { process, ..ModelConfig::of(Architecture::DiT(config)) }
}

#[test]
fn the_position_table_is_the_published_one() {
    let config = dit_config();
    let ours = position_table(config.grid(), config.hidden_size);
    let (shape, theirs) = fixture("dit").f32("output.pos_embed");
    assert_eq!(ours.shape(), shape);
    let error = relative_error(ours.as_f32().expect("f32"), &theirs);
    assert!(error < 1e-8, "relative error {error:e}");
}

#[test]
fn labels_choose_rows_of_the_table() {
    let mut case = dit(false, true);
    let mut run = |labels: [i64; 2]| {
        case.inputs[2] = ("label", Tensor::i64(&[2], labels.to_vec()));
        outputs(&case.graph, &case.weights, &case.inputs).remove(0).1
    };
    let (none, first) = (run([10, 10]), run([3, 10]));
    let (none, first) = (none.as_f32().expect("f32"), first.as_f32().expect("f32"));
    let half = none.len() / 2;
    assert!(relative_error(&first[..half], &none[..half]) > 1e-3, "another label, another result");
    assert_eq!(first[half..], none[half..], "the other sample keeps its own");
}

/// Sizes and costs as the paper's table 4 gives them, in millions and in 10^9 multiply-adds; the exact number is that
/// of the published XL/2 without its position table.
#[test]
fn sizes_and_costs_are_the_published_ones() {
    let published = [
        (DitSize::S, 2, 33.0, 6.06),
        (DitSize::S, 4, 33.0, 1.41),
        (DitSize::S, 8, 33.0, 0.36),
        (DitSize::B, 2, 130.0, 23.01),
        (DitSize::B, 4, 130.0, 5.56),
        (DitSize::B, 8, 131.0, 1.42),
        (DitSize::L, 2, 458.0, 80.71),
        (DitSize::L, 4, 458.0, 19.70),
        (DitSize::L, 8, 459.0, 5.01),
        (DitSize::XL, 2, 675.0, 118.64),
        (DitSize::XL, 4, 675.0, 29.05),
        (DitSize::XL, 8, 676.0, 7.39),
    ];
    for (size, patch, millions, giga) in published {
        let graph = dit_graph(&DitConfig::new(size, patch, 32), true).expect("a graph");
        let (count, cost) = (graph.parameter_count() as f64 / 1e6, graph.flops() as f64 / 2e9);
        assert!((count - millions).abs() < 1.0, "{size:?}/{patch}: {count} million");
        assert!((cost / giga - 1.0).abs() < 0.02, "{size:?}/{patch}: {cost}");
    }
    let largest = DitConfig { stored_positions: true, ..DitConfig::new(DitSize::XL, 2, 32) };
    assert_eq!(dit_graph(&largest, true).expect("a graph").parameter_count(), 675_129_632 - 256 * 1152);
}

#[test]
fn features_are_those_of_the_noised_latent() {
    let (config, model) = (dit_config(), model(dit_config()));
    let shape = [2, config.in_channels, config.input_size, config.input_size];
    let (latent, noise) = (numbers("latent", &shape, 1.7), numbers("noise", &shape, 1.7));
    let t = 121;
    let tables = Tables::training(&process());
    let (signal, spread) = (tables.sqrt_alpha_bar[t], tables.sqrt_one_minus_alpha_bar[t]);
    let pairs = latent.as_f32().expect("f32").iter().zip(noise.as_f32().expect("f32"));
    let noised = pairs.map(|(x, n)| signal * x + spread * n).collect();

    let network = dit(false, false).graph.keep(&["layer-1"]).expect("a feature");
    let weights = rule_weights(&network);
    let by_hand = [("x", Tensor::f32(&shape, noised)), ("t", Tensor::i64(&[2], vec![t as i64; 2]))];
    let expected = outputs(&network, &weights, &by_hand);

    let taps = vec!["layer-1".to_string()];
    let free = FeatureOptions { taps: taps.clone(), ..FeatureOptions::default() };
    let graph = model_features_graph(&model, &free).expect("a graph");
    let timestep = Tensor::i64(&[2], vec![t as i64; 2]);
    let inputs = [("latent", latent.clone()), ("noise", noise.clone()), ("timestep", timestep)];
    assert_near("free timestep", &outputs(&graph, &weights, &inputs)[0].1, &expected[0].1);

    let fixed = FeatureOptions { taps, timestep: Some(t as i64), ..FeatureOptions::default() };
    let graph = model_features_graph(&model, &fixed).expect("a graph");
    assert!(graph.nodes().iter().all(|node| !node.name.starts_with("blocks.2")), "pruned after layer 1");
    let inputs = [("latent", latent), ("noise", noise)];
    let found = outputs(&graph, &weights, &inputs);
    assert_eq!(found[0].0, "layer-1");
    assert_near("fixed timestep", &found[0].1, &expected[0].1);

    // The tokens themselves, of which the feature is the mean.
    let maps = model_features_graph(&model, &FeatureOptions { unpooled: true, ..fixed }).expect("a graph");
    let tokens = &outputs(&maps, &weights, &inputs)[0].1;
    let (shape, width) = (tokens.shape().to_vec(), expected[0].1.shape()[1]);
    assert_eq!((shape.len(), shape[0], shape[2]), (3, 2, width));
    let values = tokens.as_f32().expect("f32").chunks_exact(shape[1] * width);
    let means = values.flat_map(|tokens| {
        (0..width)
            .map(|d| tokens.iter().skip(d).step_by(width).sum::<f32>() / shape[1] as f32)
            .collect::<Vec<_>>()
    });
    assert_near("the mean of the tokens", &Tensor::f32(&[2, width], means.collect()), &expected[0].1);
}

#[test]
fn the_noise_schedule_is_the_published_one() {
    let Tables { sqrt_alpha_bar: signal, sqrt_one_minus_alpha_bar: spread, .. } =
        Tables::training(&process());
    assert_eq!((signal.len(), spread.len()), (1000, 1000));
    assert!((f64::from(signal[0]) - (1.0f64 - 1e-4).sqrt()).abs() < 1e-7);
    // alpha_bar of the last step of the 1000 linear variances from 1e-4 to 0.02.
    assert!((f64::from(signal[999]).powi(2) - 4.0358e-5).abs() < 1e-8, "{}", signal[999].powi(2));
    for (a, b) in signal.iter().zip(&spread) {
        assert!((a * a + b * b - 1.0).abs() < 1e-6);
    }
}

#[test]
fn wrong_settings_are_named() {
    let good = DitConfig::new(DitSize::S, 2, 32);
    let message = |config: DitConfig| dit_graph(&config, false).expect_err("a wrong setting").to_string();
    assert_eq!(
        message(DitConfig { patch_size: 3, ..good.clone() }),
        "network: input_size is 32; it must be a multiple of patch_size, 3"
    );
    assert_eq!(
        message(DitConfig { num_heads: 5, ..good.clone() }),
        "network: hidden_size is 384; it must be a multiple of num_heads, 5"
    );
    assert_eq!(
        message(DitConfig { hidden_size: 6, num_heads: 1, ..good.clone() }),
        "network: hidden_size is 6; it must be a multiple of 4 (sine and cosine of two axes)"
    );
    assert_eq!(message(DitConfig { depth: 0, ..good.clone() }), "network: depth is 0; it must be 1 to 1000");
    // What cannot be counted, or would fill any memory.
    for (config, key) in [
        (DitConfig { hidden_size: usize::MAX - 3, num_heads: 1, ..good.clone() }, "hidden_size"),
        (DitConfig { input_size: usize::MAX, patch_size: 1, ..good.clone() }, "input_size"),
        (DitConfig { in_channels: usize::MAX, ..good.clone() }, "in_channels"),
        (DitConfig { num_classes: usize::MAX, ..good.clone() }, "num_classes"),
        (DitConfig { depth: usize::MAX, ..good.clone() }, "depth"),
    ] {
        let message = message(config);
        assert!(
            message.starts_with(&format!("network: {key} is ")) && message.contains("must be 1 to"),
            "{message}"
        );
    }
    assert_eq!(
        message(DitConfig { input_size: 4096, patch_size: 1, ..good.clone() }),
        "network: input_size 4096 in patches of 1 is 16777216 tokens of hidden_size 384; together they must be at most \
         268435456 numbers"
    );
}

#[test]
fn a_computed_table_needs_nothing_from_the_file() {
    let graph = dit_graph(&DitConfig::new(DitSize::S, 8, 32), false).expect("a graph");
    assert!(graph.parameters().all(|(_, node)| node.name != "pos_embed"));
    assert!(
        graph.nodes().iter().any(|node| matches!(node.op, Op::Constant(_)) && node.shape.size(1) == Some(16))
    );
}

#[test]
fn wrong_options_of_features_are_named() {
    let model = model(DitConfig::new(DitSize::S, 2, 32));
    let features = |options| model_features_graph(&model, &options).expect_err("a wrong option").to_string();
    let taps = vec!["layer-11".to_string()];
    assert_eq!(
        features(FeatureOptions { taps: taps.clone(), timestep: Some(1000), ..FeatureOptions::default() }),
        "timestep: 1000 is outside 0..=999 of this process"
    );
    assert_eq!(
        features(FeatureOptions { taps, input_u8: true, ..FeatureOptions::default() }),
        "latent: latents are floats; bytes as input are for images"
    );
    let unknown = FeatureOptions { taps: vec!["out_6".to_string()], ..FeatureOptions::default() };
    let error = features(unknown);
    assert!(error.starts_with("no layer 'out_6' in this network; it has layer-0, layer-1"), "{error}");
}
