//! Latents of a split, as k-NN and the linear probe of SODA's training get them.

use ddae_base::Stop;
use ddae_data::Split;
use ddae_data::augment::Augmentation;
use ddae_data::loader::{Loader, LoaderOptions};
use ddae_model::config::ChannelStatistics;
use ddae_model::networks::{EncoderArch, EncoderConfig, resnet_graph};
use ddae_model::reference;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use ddae_tests::{relative_error, rule_values, rule_weights, tolerance};
use ddae_train::ranks::Division;
use ddae_train::soda::encoder::{Encoder, Latents, Preparation};
use ddae_train::torch::{Layout, Parameters, Precision};
use ddae_train::training::Place;
use tch::{Device, Kind};

const COUNT: usize = 10;
const SHAPE: [usize; 3] = [3, 8, 8];

fn config() -> EncoderConfig {
    EncoderConfig { arch: EncoderArch::ResNet18, feature_dim: 6, cifar_small_image: true, image_shape: SHAPE }
}

fn split() -> Split {
    let size: usize = SHAPE.iter().product();
    let levels = rule_values("levels", COUNT * size, 0.0, 256.0).into_iter().map(|level| level as u8);
    let labels = (0..COUNT as u32).map(|i| i % 2).collect();
    let classes = vec!["a".to_string(), "b".to_string()];
    Split::in_memory("data", classes, labels, SHAPE, levels.collect()).expect("a split")
}

fn statistics() -> ChannelStatistics {
    ChannelStatistics { mean: vec![0.2, 0.5, 0.7], std: vec![0.3, 0.2, 0.4] }
}

fn weights() -> Weights {
    rule_weights(&resnet_graph(&config()).expect("a graph"))
}

/// Latents by libtorch, and whether the running statistics stayed what they were.
fn latents(crops: Option<(u64, u64)>, batch: usize, workers: usize) -> Latents {
    let place = Place { device: Device::Cpu, layout: Layout::ChannelsLast, precision: Precision::Full };
    let graph = resnet_graph(&config()).expect("a graph");
    let parameters = Parameters::new(&graph, &weights(), place.device, Kind::Float, place.layout, false)
        .expect("parameters");
    let encoder = Encoder::new(&config(), place).expect("an encoder");
    let stop = Stop::new();
    let preparation = Preparation { normalisation: &statistics(), crops, batch, workers };
    let latents =
        encoder.split(&parameters, &split(), &preparation, Division::alone(&stop)).expect("latents");
    assert_eq!(parameters.to_weights().expect("weights"), weights(), "evaluation moves no statistics");
    latents.expect("no interrupt")
}

/// The latents of images by the reference interpreter.
fn expected(images: &[f32]) -> Vec<f32> {
    let graph = resnet_graph(&config()).expect("a graph");
    let x = Array::f32(&[COUNT, SHAPE[0], SHAPE[1], SHAPE[2]], images.to_vec());
    let outputs = reference::run::<f32>(&graph, &weights(), &[("x", x)]).expect("a run");
    outputs[0].1.as_f32().expect("f32").to_vec()
}

#[track_caller]
fn assert_close(found: &Latents, expected: &[f32]) {
    let found = found.latents.as_slice().expect("row-major");
    let error = relative_error(found, expected);
    assert!(error <= tolerance::NETWORK, "relative error {error:e}");
}

#[test]
fn latents_are_those_of_the_normalised_images() {
    let (split, statistics) = (split(), statistics());
    let mut normalised = Vec::new();
    let mut levels = vec![0; split.image_len()];
    for position in 0..COUNT {
        split.read(position, &mut levels).expect("an image");
        for (channel, plane) in levels.chunks_exact(64).enumerate() {
            let (mean, std) = (statistics.mean[channel] as f32, statistics.std[channel] as f32);
            normalised.extend(plane.iter().map(|&level| (f32::from(level) / 255.0 - mean) / std));
        }
    }
    let expected = expected(&normalised);
    for (batch, workers) in [(4, 0), (COUNT, 2), (64, 1)] {
        let found = latents(None, batch, workers);
        assert_close(&found, &expected);
        assert_eq!(found.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    }
}

#[test]
fn training_images_are_cropped_by_seed_and_epoch() {
    let options = LoaderOptions { batch: COUNT, seed: 3, epoch: 7, ..LoaderOptions::default() };
    let cropped = Loader::normalised(&split(), &options, Augmentation::ResizedCrop, &statistics());
    let cropped = cropped.expect("sensible options").next();
    let cropped = cropped.expect("one batch").expect("readable").images;
    let found = latents(Some((3, 7)), 4, 1);
    assert_close(&found, &expected(&cropped));
    assert_ne!(found, latents(None, 4, 1));
    assert_ne!(found, latents(Some((3, 8)), 4, 1));
    assert_ne!(found, latents(Some((4, 7)), 4, 1));
}
