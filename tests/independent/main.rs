//! Exported files through a runtime that has nothing in common with ONNX Runtime: tract, written in Rust. The numbers
//! are those of the published code for the network of each fixture, and the reference interpreter's for graphs of
//! other kinds.

mod runtime;

use ddae_export::lower::half_precision::compute_f16;
use ddae_model::config::{
    ChannelStatistics, ClassifierRun, Config, DdpmConfig, EdmConfig, ModelConfig, Override, ProcessConfig,
    Timesteps,
};
use ddae_model::diffusion::{
    ClassifierOptions, FeatureOptions, classifier_graph, encoder_graph, features_graph, latent_graph,
    loss_graph, model_features_graph, model_sampler_graph, sampler_graph,
};
use ddae_model::graph::{Graph, Node};
use ddae_model::networks::{
    Architecture, EncoderArch, EncoderConfig, SongUNetConfig, VaeEncoderConfig, WideResNetConfig,
};
use ddae_model::reference;
use ddae_model::tensor::{DType, Data, Tensor};
use ddae_onnx::write::{LARGEST_MESSAGE, data_file};
use ddae_tests::cases::samplers::soda_sample;
use ddae_tests::cases::{Case, imported, published, song};
use ddae_tests::{fixture, relative_error, rule_values, rule_weights, tolerance};
use runtime::{Batch, through_tract, through_tract_as};

fn check(case: &Case) {
    case.check(&through_tract(&case.graph, &case.weights, &case.inputs, Batch::Free));
}

#[test]
fn unet() {
    check(&published::diffusers_ddpm());
}

#[test]
fn soda() {
    check(&published::soda_encoder());
    check(&published::soda_decoder());
}

#[test]
fn noise_conditional_classifiers() {
    check(&published::wrn_noise());
    check(&published::noise_mlp());
}

#[test]
fn dit() {
    check(&imported::dit(false, true));
}

#[test]
fn latent_encoder() {
    check(&imported::vae_encoder());
}

#[test]
fn fid_inception() {
    let case = imported::fid_inception();
    case.check(&through_tract(&case.graph, &case.weights, &case.inputs, Batch::Fixed));
}

/// Configurations of two processes with a small network.
fn configs() -> [Config; 2] {
    let small = ["network.image_shape=[3, 8, 8]", "network.ch_mults=[1, 2]", "network.is_attn=[False, True]"];
    let edm = ["network.use_res_for_updown=True"];
    let read = |text: &str, overrides: &[&str]| {
        let overrides: Vec<Override> =
            overrides.iter().map(|text| text.parse().expect("key=value")).collect();
        Config::parse(text, "the configuration", &overrides).expect("a configuration")
    };
    let narrow = [&small[..], &["network.n_channels=32", "network.n_blocks=1"]].concat();
    [
        read(include_str!("../../configs/demo.yaml"), &small),
        read(include_str!("../../configs/EDM_ddpmpp.yaml"), &[&narrow[..], &edm].concat()),
    ]
}

/// Inputs by rule.
fn inputs(graph: &Graph, batch: usize) -> Vec<(&str, Tensor)> {
    let input = |node: &Node| {
        let shape = node.shape.resolve(batch);
        let count = shape.iter().product();
        let values = rule_values(&node.name, count, 0.1, 1.0);
        match node.dtype {
            DType::F32 => Tensor::f32(&shape, values),
            DType::F64 => Tensor::f64(&shape, values.into_iter().map(f64::from).collect()),
            DType::I64 => Tensor::i64(&shape, vec![11; count]),
            DType::U8 => {
                let bytes = values.into_iter().map(|x| (255.0 * x) as u8).collect();
                Tensor::new(&shape, Data::U8(bytes)).expect("as many as the shape holds")
            }
        }
    };
    graph.inputs().map(|(_, node)| (node.name.as_str(), input(node))).collect()
}

/// Checks outputs against others, within a relative error.
fn assert_near(found: &[(String, Tensor)], expected: &[(String, Tensor)], limit: f64) {
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let as_f32 = |tensor: &Tensor| tensor.to_f64_vec().into_iter().map(|x| x as f32).collect::<Vec<_>>();
        let error = relative_error(&as_f32(found), &as_f32(expected));
        assert!(error <= limit, "{name}: {error:e}");
    }
}

/// Compares the outputs of a graph in tract with the reference interpreter's, for inputs by rule.
fn compare(graph: &Graph) {
    let weights = rule_weights(graph);
    for batch in [2, 1] {
        let inputs = inputs(graph, batch);
        let expected = reference::run::<f32>(graph, &weights, &inputs).expect("outputs");
        let found = through_tract(graph, &weights, &inputs, Batch::Free);
        assert_near(&found, &expected, tolerance::NETWORK);
    }
}

#[test]
fn features() {
    for config in configs() {
        for (timestep, input_u8) in [(None, false), (Some(11), true)] {
            let options = FeatureOptions {
                taps: vec!["out_2".to_string()],
                timestep,
                input_u8,
                label: false,
                unpooled: false,
            };
            compare(&features_graph(&config, &options).expect("a graph"));
        }
    }
}

#[test]
fn sampler_steps_and_losses() {
    for config in configs() {
        compare(&sampler_graph(&config).expect("a graph"));
        compare(&loss_graph(&config.into(), true).expect("a graph"));
    }
}

/// Both forms, told a class.
#[test]
fn graphs_of_songunets() {
    for name in ["edm_vp_tiny", "edm_ve_tiny"] {
        let network = SongUNetConfig { label_dim: 16, ..song::config(&fixture(name)) };
        let process = Some(ProcessConfig::Edm(EdmConfig::published()));
        let model = ModelConfig { process, ..ModelConfig::of(Architecture::SongUNet(network)) };
        compare(&model.architecture.network_graph(true).expect("a graph"));
        compare(&model_sampler_graph(&model).expect("a graph"));
        let options = FeatureOptions {
            taps: vec!["out_3".to_string()],
            timestep: Some(11),
            input_u8: true,
            label: true,
        };
        compare(&model_features_graph(&model, &options).expect("a graph"));
    }
}

#[test]
fn guided_sampler_steps() {
    compare(&soda_sample().graph);
}

#[test]
fn features_of_latents() {
    let process = Some(ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index)));
    let model = ModelConfig { process, ..ModelConfig::of(Architecture::DiT(imported::dit_config())) };
    for timestep in [None, Some(121)] {
        let options = FeatureOptions {
            taps: vec!["layer-1".to_string()],
            timestep,
            input_u8: false,
            label: false,
            unpooled: false,
        };
        compare(&model_features_graph(&model, &options).expect("a graph"));
    }
}

#[test]
fn classifiers() {
    let network = WideResNetConfig {
        image_shape: [1, 8, 8],
        blocks_per_group: 1,
        channel_multiplier: 1,
        ..WideResNetConfig::default()
    };
    let ddpm = ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Fraction));
    for (process, timestep) in [(ddpm, None), (ProcessConfig::Edm(EdmConfig::published()), Some(4))] {
        let model = ModelConfig { process: Some(process), ..ModelConfig::of(network.clone().into()) };
        let options = ClassifierOptions { timestep, input_u8: timestep.is_some() };
        compare(&classifier_graph(&model, &options).expect("a graph"));
    }
    let run = concat!(
        "{dataset: folder, classes: 12, model_type: DDPM, diffusion: {n_T: 1000, betas: [1.0e-4, 0.02]}, n_epoch: 1, ",
        "net_type: WideResNet, network: {image_shape: [1, 8, 8], blocks_per_group: 1, channel_multiplier: 1}, ",
        "batch_size: 1, lrate: 0.1, save_dir: run}",
    );
    let run = ClassifierRun::parse(run, "the test", &[]).expect("a configuration");
    compare(&loss_graph(&run.into(), true).expect("a graph"));
}

#[test]
fn codes_and_latents() {
    let encoder = EncoderConfig {
        arch: EncoderArch::ResNet18,
        feature_dim: 8,
        cifar_small_image: true,
        image_shape: [3, 8, 8],
    };
    let normalisation = ChannelStatistics::published("cifar10");
    let encoder = ModelConfig { normalisation, ..ModelConfig::of(Architecture::SodaEncoder(encoder)) };
    compare(&encoder_graph(&encoder, true, true).expect("a graph"));
    let vae = VaeEncoderConfig {
        block_out_channels: vec![8, 8, 16, 16],
        norm_num_groups: 4,
        use_quant_conv: true,
        ..VaeEncoderConfig::sd_vae_ft_mse(24, 40)
    };
    compare(&latent_graph(&ModelConfig::of(Architecture::VaeEncoder(vae)), false).expect("a graph"));
}

/// Weights in a file of their own, and in float16 (tract knows no bfloat16).
#[test]
fn files_of_other_forms() {
    let [config, _] = configs();
    let options = FeatureOptions {
        taps: vec!["out_2".to_string()],
        timestep: None,
        input_u8: false,
        label: false,
        unpooled: false,
    };
    let graph = features_graph(&config, &options).expect("a graph");
    let (weights, inputs) = (rule_weights(&graph), inputs(&graph, 2));
    let expected = reference::run::<f32>(&graph, &weights, &inputs).expect("outputs");
    let found = through_tract_as(&graph, &weights, &inputs, Batch::Free, |model, path| {
        model.write(path, &[], 0).expect("files");
        assert!(data_file(path).exists());
    });
    assert_near(&found, &expected, tolerance::NETWORK);
    let found = through_tract_as(&graph, &weights, &inputs, Batch::Free, |model, path| {
        compute_f16(model).expect("a conversion");
        model.write(path, &[], LARGEST_MESSAGE).expect("a file");
    });
    assert_near(&found, &expected, 1e-2);
}
