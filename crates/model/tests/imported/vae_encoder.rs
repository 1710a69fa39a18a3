use ddae_model::config::ModelConfig;
use ddae_model::diffusion::latent_graph;
use ddae_model::graph::{Graph, Shape};
use ddae_model::networks::{
    Architecture, VAE_ENCODER_OLDER_NAMES, VaeEncoderConfig, posterior_sample, vae_encoder_graph,
};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;
use ddae_tests::{parameter_shapes, rule_weights};

use super::{assert_near, numbers, outputs};

/// The published layout at a size that costs nothing.
fn tiny(height: usize, width: usize) -> VaeEncoderConfig {
    VaeEncoderConfig {
        block_out_channels: vec![4, 8, 8, 8],
        layers_per_block: 1,
        norm_num_groups: 4,
        use_quant_conv: true,
        ..VaeEncoderConfig::sd_vae_ft_mse(height, width)
    }
}

/// `latent = 0.18215 * (mean + exp(log variance / 2) * noise)` of the moments of `2 * image - 1`.
#[test]
fn a_latent_is_a_scaled_sample_of_the_posterior() {
    let config = tiny(16, 24);
    let moments_graph = vae_encoder_graph(&config).expect("a graph");
    let weights = rule_weights(&moments_graph);
    let image = numbers("image", &[2, 3, 16, 24], 0.5);
    let shifted = |factor: f32, shift: f32| {
        let values = image.as_f32().expect("f32").iter().map(|v| factor * v + shift).collect();
        Tensor::f32(image.shape(), values)
    };
    let moments = outputs(&moments_graph, &weights, &[("x", shifted(2.0, 0.0))]).remove(0).1;
    assert_eq!(moments.shape(), [2, 8, 2, 3]);
    let noise = numbers("noise", &[2, 4, 2, 3], 1.7);

    let moments = moments.as_f32().expect("f32");
    let size = 4 * 2 * 3;
    let expected = noise.as_f32().expect("f32").iter().enumerate().map(|(i, n)| {
        let (sample, at) = (i / size, i % size);
        let mean = moments[2 * sample * size + at];
        let log_variance = moments[(2 * sample + 1) * size + at].clamp(-30.0, 20.0);
        0.18215 * (mean + (0.5 * log_variance).exp() * n)
    });
    let expected = Tensor::f32(noise.shape(), expected.collect());

    let model = ModelConfig::of(Architecture::VaeEncoder(config));
    let graph = latent_graph(&model, false).expect("a graph");
    let found = outputs(&graph, &weights, &[("image", shifted(1.0, 0.5)), ("noise", noise)]);
    assert_eq!(found[0].0, "latent");
    assert_near("latent", &found[0].1, &expected);
}

/// The published code keeps the logarithm of the variance in [-30, 20].
#[test]
fn extreme_variances_are_limited() {
    let config = VaeEncoderConfig { latent_channels: 2, scaling_factor: 1.0, ..tiny(8, 8) };
    let mut graph = Graph::new();
    let moments = graph.input("moments", DType::F32, Shape::batch(&[4, 1, 1])).expect("an input");
    let noise = graph.input("noise", DType::F32, Shape::batch(&[2, 1, 1])).expect("an input");
    let sample = posterior_sample(&mut graph, &config, moments, noise).expect("a sample");
    graph.output("sample", sample);
    let moments = Tensor::f32(&[1, 4, 1, 1], vec![0.0, 0.0, 100.0, -100.0]);
    let noise = Tensor::f32(&[1, 2, 1, 1], vec![1.0, 1.0]);
    let found = outputs(&graph, &Weights::new(), &[("moments", moments), ("noise", noise)]).remove(0).1;
    let found = found.as_f32().expect("f32");
    assert!((found[0] / 10f32.exp() - 1.0).abs() < 1e-6, "{found:?}");
    assert!((found[1] / (-15f32).exp() - 1.0).abs() < 1e-6, "{found:?}");
}

#[test]
fn a_latent_has_an_eighth_of_the_images_sides() {
    let config = VaeEncoderConfig::sd_vae_ft_mse(256, 320);
    assert_eq!(config.latent_shape(), [4, 32, 40]);
    let model = ModelConfig::of(Architecture::VaeEncoder(config));
    let graph = latent_graph(&model, false).expect("a graph");
    let (_, latent) = &graph.outputs()[0];
    assert_eq!(graph.shape(*latent).to_string(), "[B, 4, 32, 40]");
}

#[test]
fn older_names_lead_to_names_of_the_network() {
    let names: Vec<String> = parameter_shapes("vae_encoder").into_iter().map(|(name, _)| name).collect();
    for (older, ours) in VAE_ENCODER_OLDER_NAMES {
        for part in ["weight", "bias"] {
            assert!(names.contains(&format!("{ours}.{part}")), "{ours}");
            assert!(!names.contains(&format!("{older}.{part}")), "{older}");
        }
    }
}

#[test]
fn wrong_settings_are_named() {
    let message =
        |config: VaeEncoderConfig| vae_encoder_graph(&config).expect_err("a wrong setting").to_string();
    assert_eq!(
        message(tiny(20, 16)),
        "network: 20x16 images cannot be halved 3 times: make both sides multiples of 8"
    );
    assert_eq!(message(tiny(0, 16)), "network: image_size has 0; it must be 1 to 4096");
    assert_eq!(
        message(tiny(16, 1 << 62)),
        format!("network: image_size has {}; it must be 1 to 4096", 1u64 << 62)
    );
    assert_eq!(
        message(VaeEncoderConfig { block_out_channels: vec![4, 1 << 40], ..tiny(16, 16) }),
        "network: block_out_channels has 1099511627776; each must be at most 65536"
    );
    assert!(
        message(VaeEncoderConfig { layers_per_block: usize::MAX, ..tiny(16, 16) })
            .ends_with("it must be 1 to 1000")
    );
    assert_eq!(
        message(VaeEncoderConfig { norm_num_groups: 3, ..tiny(16, 16) }),
        "network: block_out_channels has 4, which does not split into 3 groups (norm_num_groups)"
    );
    assert_eq!(
        message(VaeEncoderConfig { block_out_channels: vec![], ..tiny(16, 16) }),
        "network: block_out_channels is empty; it needs one number per resolution"
    );
    assert_eq!(
        message(VaeEncoderConfig { scaling_factor: f64::NAN, ..tiny(16, 16) }),
        "network: scaling_factor is NaN; it must be a number other than 0"
    );
}
