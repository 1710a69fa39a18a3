//! The sampler step of a SODA decoder: guidance, in one doubled batch.

use ddae_model::config::{Betas, DdpmConfig, EdmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::model_sampler_graph;
use ddae_model::diffusion::sampler::ddim;
use ddae_model::networks::{Architecture, DecoderConfig, UNetConfig, decoder_graph};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::Run;
use ddae_tests::cases::samplers::Calls;
use ddae_tests::{relative_error, rule_values, rule_weights, tolerance};

/// A decoder of grey images of 8x8 whose latent has `z_parts` parts.
fn decoder(z_parts: usize) -> UNetConfig {
    UNetConfig {
        image_shape: [1, 8, 8],
        n_channels: 32,
        ch_mults: vec![1, 1],
        is_attn: vec![false, true],
        n_blocks: 1,
        z_channels: 8,
        z_parts,
        ..UNetConfig::ddpm()
    }
}

fn model(decoder: &UNetConfig, process: ProcessConfig) -> ModelConfig {
    ModelConfig {
        process: Some(process),
        ..ModelConfig::of(Architecture::SodaDecoder(DecoderConfig(decoder.clone())))
    }
}

fn ddpm(betas: Betas) -> DdpmConfig {
    DdpmConfig { betas, ..DdpmConfig::published(Timesteps::Fraction) }
}

const BATCH: usize = 3;

fn images(name: &str) -> Tensor {
    Tensor::f32(&[BATCH, 1, 8, 8], rule_values(name, BATCH * 64, -1.0, 1.0))
}

fn latents() -> Tensor {
    Tensor::f32(&[BATCH, 8], rule_values("z", BATCH * 8, -1.0, 1.0))
}

/// What the graph takes for the noise: its result where the noise alone counts and nothing was clipped.
fn noise_of(z_parts: usize, guidance: f32) -> Vec<f32> {
    let model = model(&decoder(z_parts), ProcessConfig::Ddpm(ddpm(Betas::Cosine)));
    let graph = model_sampler_graph(&model).expect("a graph");
    // x is divided by so much that nothing is clipped, and multiplied by it again.
    let inputs = [
        ("x", images("x")),
        ("noise", images("noise")),
        ("t", Tensor::f32(&[1], vec![0.25])),
        ("preconditioning", Tensor::f32(&[2], vec![10.0, 1.0])),
        ("coefficients", Tensor::f32(&[5], vec![0.0, 0.0, 1.0, 0.0, 0.0])),
        ("carry", images("carry")),
        ("z", latents()),
        ("guidance", Tensor::f32(&[1], vec![guidance])),
    ];
    let outputs = reference::run::<f32>(&graph, &rule_weights(&graph), &inputs).expect("a run");
    outputs[0].1.as_f32().expect("f32").to_vec()
}

/// What the decoder finds, with its latents or with all of them hidden.
fn found(z_parts: usize, hidden: f32) -> Vec<f32> {
    let graph = decoder_graph(&decoder(z_parts)).expect("a graph");
    let mask = if z_parts > 1 { vec![BATCH, z_parts] } else { vec![BATCH] };
    let inputs = [
        ("x", images("x")),
        ("t", Tensor::f32(&[BATCH], vec![0.25; BATCH])),
        ("z", latents()),
        ("mask", Tensor::f32(&mask, vec![hidden; BATCH * z_parts])),
    ];
    let outputs = reference::run::<f32>(&graph, &rule_weights(&graph), &inputs).expect("a run");
    outputs[0].1.as_f32().expect("f32").to_vec()
}

#[test]
fn guidance_leads_from_without_a_latent_past_with_one() {
    for z_parts in [1, 2] {
        let (with, without) = (found(z_parts, 0.0), found(z_parts, 1.0));
        assert!(relative_error(&with, &without) > 0.01, "the latent has no influence");
        for guidance in [-1.0, 0.0, 0.3, 2.0] {
            let expected: Vec<f32> = with
                .iter()
                .zip(&without)
                .map(|(with, without)| (1.0 + guidance) * with - guidance * without)
                .collect();
            let error = relative_error(&noise_of(z_parts, guidance), &expected);
            assert!(error <= tolerance::NETWORK, "{z_parts} parts, guidance {guidance}: {error:e}");
        }
    }
}

#[test]
fn every_schedule_can_be_sampled() {
    for betas in [Betas::Linear([1e-4, 0.02]), Betas::Cosine, Betas::Inverted] {
        let process = ddpm(betas);
        for (steps, eta) in [(4, 0.5), (1000, 0.0)] {
            let plan = ddim(&process, steps, eta).expect("a plan");
            let finite = plan.steps.iter().all(|step| {
                let scales = step.preconditioning.iter().all(|&scale| scale > 0.0 && scale <= 1.0);
                scales && step.coefficients.iter().all(|c| c.is_finite())
            });
            assert!(finite, "{betas:?}");
        }
        let graph = model_sampler_graph(&model(&decoder(1), ProcessConfig::Ddpm(process.clone())));
        let graph = graph.expect("a graph");
        let weights = rule_weights(&graph);
        let plan = ddim(&process, 4, 0.5).expect("a plan");
        let mut run: Run =
            Box::new(move |inputs| reference::run::<f32>(&graph, &weights, inputs).expect("a step"));
        let noise = |draw: usize, values: &mut [f32]| {
            values.copy_from_slice(&rule_values(&format!("draw {draw}"), BATCH * 64, -1.7, 1.7));
        };
        let guides = [("z", latents()), ("guidance", Tensor::f32(&[1], vec![0.3]))];
        let drawn = plan.run(&mut Calls(&mut run), [BATCH, 1, 8, 8], &guides, noise).expect("images");
        assert!(drawn.iter().all(|x| (-0.2..1.2).contains(x)), "{betas:?}: {drawn:?}");
    }
}

#[test]
fn what_cannot_be_sampled_is_named() {
    let message = |model: &ModelConfig| model_sampler_graph(model).expect_err("no graph").to_string();
    let edm = model(&decoder(1), ProcessConfig::Edm(EdmConfig::published()));
    assert_eq!(message(&edm), "sampler: the decoder of a SODA is sampled as a DDPM; its model_type is EDM");
    let unknown = ModelConfig::of(Architecture::SodaDecoder(DecoderConfig(decoder(1))));
    assert_eq!(message(&unknown), "sampler: the diffusion process of the decoder of a SODA is not known");
}
