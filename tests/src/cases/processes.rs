//! Losses and features of diffusion processes.

use ddae_model::config::{Config, RunConfig, SodaRun};
use ddae_model::diffusion::ddpm::Tables;
use ddae_model::diffusion::{FeatureOptions, features_graph, loss_graph};
use ddae_model::tensor::Tensor;

use super::published::soda_config;
use super::{Case, rule_weights};
use crate::{Fixture, fixture, rule_values};

/// The features of a case at a timestep, which the graph takes or has fixed.
fn features(name: &str, noise: &str, key: &str) -> Vec<Case> {
    let fixture = fixture(name);
    let config = fixture.run_config();
    let timestep = fixture.config[key].as_i64().expect("a timestep");
    let taps: Vec<String> =
        fixture.names("output.feature.").iter().map(|name| name.replace("output.feature.", "")).collect();
    assert!(!taps.is_empty());
    let (image, noise) = (fixture.tensor("input.image"), fixture.tensor(noise));
    let count = image.shape()[0];
    let case = |fixed: Option<i64>| {
        let options = FeatureOptions {
            taps: taps.clone(),
            timestep: fixed,
            input_u8: false,
            label: false,
            unpooled: false,
        };
        let graph = features_graph(&config, &options).expect("a graph");
        let mut inputs = vec![("image", image.clone()), ("noise", noise.clone())];
        if fixed.is_none() {
            inputs.push(("timestep", Tensor::i64(&[count], vec![timestep; count])));
        }
        let theirs = |tap: &String| (tap.clone(), fixture.tensor(&format!("output.feature.{tap}")));
        Case {
            name: format!("{name}, features, timestep fixed: {fixed:?}"),
            weights: rule_weights(&graph),
            inputs,
            expected: taps.iter().map(theirs).collect(),
            graph,
            of_batch: false,
        }
    };
    vec![case(None), case(Some(timestep))]
}

/// DDPM's.
pub fn ddpm_features() -> Vec<Case> {
    features("ddpm_loss_features", "input.noise", "feature_timestep")
}

/// EDM's.
pub fn edm_features() -> Vec<Case> {
    features("edm_loss_features", "input.feature_noise.0", "feature_step")
}

/// The loss of a run. What the published code gives is its mean over the batch.
pub fn mean_loss(name: &str, config: &RunConfig, inputs: Vec<(&'static str, Tensor)>, expected: f32) -> Case {
    let graph = loss_graph(config, false).expect("a graph");
    let losses = graph.outputs()[0].1;
    assert_eq!(graph.shape(losses).to_string(), "[B]");
    let expected = vec![("loss".to_string(), Tensor::f32(&[1], vec![expected]))];
    Case {
        name: format!("{name}, loss"),
        weights: rule_weights(&graph),
        inputs,
        expected,
        graph,
        of_batch: true,
    }
}

/// The published loss.
fn published_loss(fixture: &Fixture) -> f32 {
    fixture.f32("output.loss").1[0]
}

/// An augmentation label of zeros where the network of a run takes one.
fn label(config: &Config, count: usize) -> Option<(&'static str, Tensor)> {
    let dim = config.augment_dim();
    (dim > 0).then(|| ("augment_label", Tensor::f32(&[count, dim], vec![0.0; count * dim])))
}

/// DDPM's.
pub fn ddpm_loss() -> Vec<Case> {
    let fixture = fixture("ddpm_loss_features");
    let (config, (shape, timesteps)) = (fixture.run_config(), fixture.i64("input.t"));
    let mut inputs = vec![
        ("image", fixture.tensor("input.image")),
        ("noise", fixture.tensor("input.noise")),
        ("level", Tensor::i64(&shape, timesteps)),
    ];
    inputs.extend(label(&config, shape[0]));
    vec![mean_loss("ddpm_loss_features", &config.into(), inputs, published_loss(&fixture))]
}

/// EDM's.
pub fn edm_loss() -> Vec<Case> {
    let fixture = fixture("edm_loss_features");
    let (config, (shape, level)) = (fixture.run_config(), fixture.f32("input.noise.0"));
    let count = shape[0];
    let mut inputs = vec![
        ("image", fixture.tensor("input.image")),
        ("noise", fixture.tensor("input.noise.1")),
        ("level", Tensor::f32(&[count], level)),
    ];
    inputs.extend(label(&config, count));
    vec![mean_loss("edm_loss_features", &config.into(), inputs, published_loss(&fixture))]
}

/// SODA's, from what the published networks make of a noised image `x`: for any noise there is an image that it was
/// added to, and the loss is the mean square of the noise less what was found. So many timesteps that the case's `t`,
/// any numbers, are among them to float32's precision.
pub fn soda_loss() -> Vec<Case> {
    const TIMESTEPS: usize = 1_000_000;
    let fixture = fixture("soda_net");
    let networks = soda_config();
    let text = serde_json::json!({
        "dataset": "cifar10", "encoder": networks.encoder, "decoder": networks.decoder,
        "diffusion": { "n_T": TIMESTEPS, "betas": [1e-8, 2e-6], "drop_prob": 0.1 },
        "lrate_ratio": 1, "save_per": 1, "n_epoch": 1, "batch_size": 2, "lrate": 1e-4, "ema": 0.9999,
        "n_sample": 0, "save_dir": "unused",
    });
    // JSON is YAML.
    let config = SodaRun::parse(&text.to_string(), "the case", &[]).expect("a configuration");
    let (shape, x) = fixture.f32("input.x");
    let (_, t) = fixture.f32("input.t");
    let (_, eps) = fixture.f32("output.eps");
    let noise = rule_values("soda_loss.noise", x.len(), -1.7, 1.7);
    let tables = Tables::training(&config.diffusion.process());
    let levels: Vec<i64> = t.iter().map(|t| (f64::from(*t) * TIMESTEPS as f64).round() as i64).collect();
    let size = x.len() / levels.len();
    let image = |i: usize| {
        let level = levels[i / size] as usize;
        let signed =
            (x[i] - tables.sqrt_one_minus_alpha_bar[level] * noise[i]) / tables.sqrt_alpha_bar[level];
        (signed + 1.0) / 2.0
    };
    let squares = noise.iter().zip(&eps).map(|(a, b)| f64::from(a - b).powi(2));
    let expected = (squares.sum::<f64>() / x.len() as f64) as f32;
    let inputs = vec![
        ("source", fixture.tensor("input.source")),
        ("image", Tensor::f32(&shape, (0..x.len()).map(image).collect())),
        ("mask", fixture.tensor("input.mask")),
        ("noise", Tensor::f32(&shape, noise.clone())),
        ("level", Tensor::i64(&[levels.len()], levels.clone())),
    ];
    vec![mean_loss("soda_net", &config.into(), inputs, expected)]
}
