//! What is computed does not depend on how the work is divided: bit for bit on the CPU.

use std::path::Path;
use std::sync::Arc;

use ddae_base::random::{Purpose, stream, stream_key};
use ddae_infer::device::Device;
use ddae_infer::engine::{Engine, Keep, Noise, Value};
use ddae_model::tensor::{Data, Tensor};

use crate::scene::{Content, MODELS, content, done};

const JOB: &str =
    "features FEATURES --data-root DATA --timesteps 3,100 --views 2 --crop --flip --seed 5 -o out";

fn features(options: &str) -> Content {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("{JOB} {options}"));
    content(&folder.path().join("out.h5"))
}

#[test]
fn features_are_the_same_for_any_batch_size_threads_and_shards() {
    let expected = features("--batch 16 --threads 1");
    for options in [
        "--batch 1 --threads 1",
        "--batch 3 --threads 2",
        "--batch 16 --threads 2 --shards 4",
        "--batch 7 --threads 2 --shards 42",
        "--batch 1000",
        "",
    ] {
        assert!(features(options) == expected, "{options}");
    }
}

#[test]
fn a_image_keeps_its_features_when_others_are_left_out() {
    let (all, some) = (features(""), features("--limit 5"));
    let width = all.2[0].1[0].len() / all.0.len();
    assert_eq!((some.0.len(), &some.0[..], &some.1[..]), (5, &all.0[..5], &all.1[..5]));
    for ((key, all), (_, some)) in all.2.iter().zip(&some.2) {
        for (all, some) in all.iter().zip(some) {
            assert_eq!(some[..], all[..5 * width], "{key}");
        }
    }
}

#[test]
fn views_timesteps_and_seeds_have_noise_of_their_own() {
    let base = "features FEATURES --data-root DATA --limit 12 -o out";
    let of = |options: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        done(folder.path(), &format!("{base} {options}"));
        content(&folder.path().join("out.h5")).2
    };
    let both = of("--timesteps 7,9 --views 2");
    assert_eq!(both.len(), 4);
    assert!(both[0].1[0] != both[0].1[1], "views");
    assert!(both[0].1[0] != of("--timesteps 7 --seed 1")[0].1[0], "seeds");
    // What else is extracted makes no difference.
    let alone = of("--timesteps 9");
    assert_eq!(alone[0].0, both[2].0);
    assert!(alone[0].1[0] == both[2].1[0]);
    // Crop and flip change the image, not the noise.
    assert!(of("--timesteps 9 --crop")[0].1[0] != alone[0].1[0]);
    assert!(of("--timesteps 9 --flip")[0].1[0] != alone[0].1[0]);
}

#[test]
fn a_graph_of_one_timestep_and_bytes_gives_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), "features FEATURES --data-root DATA --timesteps 11 --flip -o general");
    done(folder.path(), "features FIXED --data-root DATA --flip -o fixed");
    let (general, fixed) =
        (content(&folder.path().join("general.h5")), content(&folder.path().join("fixed.h5")));
    assert_eq!(fixed.2.len(), 1);
    assert_eq!(fixed.2[0].0, general.2[1].0);
    let values = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    // The graph's arithmetic is not the same to the last bit: bytes are scaled in one step.
    let error = ddae_tests::relative_error(&values(&fixed.2[0].1[0]), &values(&general.2[1].1[0]));
    assert!(error < ddae_tests::tolerance::NETWORK, "{error:e}");
}

fn images(model: &str, options: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("sample {model} --seeds 0-8 --steps 4 -o out {options}"));
    let read = |seed: u64| {
        let path = folder.path().join(format!("out/{seed:06}.png"));
        image::open(path).expect("an image").into_luma8().into_raw()
    };
    (0..9).map(read).collect()
}

#[test]
fn images_are_the_same_for_any_batch_size_and_threads() {
    for (model, noise) in [("DDPM", "--eta 0.7"), ("EDM", "--eta 1")] {
        let expected = images(model, &format!("{noise} --batch 9 --threads 1"));
        for options in ["--batch 1 --threads 2", "--batch 4 --threads 1", "--batch 3 --threads 2", ""] {
            assert!(images(model, &format!("{noise} {options}")) == expected, "{model} {options}");
        }
        assert!(expected[0] != expected[1]);
    }
}

#[test]
fn a_image_is_the_same_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), "sample DDPM --seeds 7,2 --steps 4 -o out --eta 0.7");
    let expected = images("DDPM", "--eta 0.7");
    for seed in [2, 7] {
        let image = image::open(folder.path().join(format!("out/{seed:06}.png"))).expect("an image");
        assert_eq!(image.into_luma8().into_raw(), expected[seed]);
    }
}

/// Values of one output for 12 images, in batches of `batch`; `named` gives the inputs of images `first..`.
fn outputs(path: &Path, batch: usize, is_sampler: bool) -> Vec<f32> {
    let mut engine = Engine::open(path, Device::Cpu).expect("a session");
    let size = 144;
    let tensor = |shape: &[usize], values: Vec<f32>| Value::from(Tensor::f32(shape, values));
    let mut all = Vec::new();
    for first in (0..12).step_by(batch) {
        let values = |variant: u64| {
            let mut values = vec![0f32; batch * size];
            for (i, values) in values.chunks_exact_mut(size).enumerate() {
                stream(0, Purpose::Noise, (first + i) as u64, variant).fill_normal(values);
            }
            tensor(&[batch, 1, 12, 12], values)
        };
        let (x, noise, carry) = (values(0), values(1), values(2));
        let timestep = Value::from(Tensor::i64(&[batch], vec![11; batch]));
        let (t, scale) = (tensor(&[1], vec![0.5]), tensor(&[2], vec![0.8, 0.6]));
        let coefficients = tensor(&[5], vec![0.1, 0.5, 0.4, 0.1, 0.2]);
        let inputs = match is_sampler {
            true => vec![
                ("x", &x),
                ("noise", &noise),
                ("carry", &carry),
                ("t", &t),
                ("preconditioning", &scale),
                ("coefficients", &coefficients),
            ],
            false => vec![("image", &x), ("noise", &noise), ("timestep", &timestep)],
        };
        let results = engine.run(&inputs, Keep::Host).expect("outputs");
        all.extend_from_slice(results[0].floats().expect("floats").1);
    }
    all
}

/// The ground of the others: the runtime computes each image of a batch by itself.
#[test]
fn the_runtime_gives_the_same_bits_for_any_batch_size() {
    for (path, is_sampler) in [(&MODELS.features, false), (&MODELS.ddpm, true)] {
        let expected = outputs(path, 12, is_sampler);
        for batch in [1, 2, 3, 4, 6] {
            let found = outputs(path, batch, is_sampler);
            let same = found.iter().zip(&expected).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
            assert_eq!(same, expected.len(), "batch {batch}, sampler {is_sampler}");
        }
    }
}

/// Noise that is drawn where it is used is what is drawn ahead.
#[test]
fn noise_is_the_same_wherever_it_is_drawn() {
    let keys: Vec<[u8; 32]> = (0..3).map(|i| stream_key(4, Purpose::Noise, i, 11)).collect();
    // The last image of the batch has no key, and zeros.
    let noise = Noise { keys: keys.clone(), shape: vec![4, 1, 12, 12] };
    let drawn = noise.drawn();
    let values = drawn.as_f32().expect("floats");
    for (i, values) in values.chunks_exact(144).enumerate() {
        let mut expected = [0f32; 144];
        if i < keys.len() {
            stream(4, Purpose::Noise, i as u64, 11).fill_normal(&mut expected);
        }
        assert_eq!(values, expected, "image {i}");
    }
    let mut engine = Engine::open(&MODELS.fixed, Device::Cpu).expect("a session");
    let image = Tensor::new(&[4, 12, 12, 1], Data::U8((0..576).map(|i| (i % 251) as u8).collect()));
    let image = Value::from(image.expect("an image"));
    let mut features = |noise: Value| {
        let results = engine.run(&[("image", &image), ("noise", &noise)], Keep::Host).expect("outputs");
        results[0].floats().expect("floats").1.to_vec()
    };
    assert_eq!(features(Value::Noise(Arc::new(noise))), features(drawn.into()));
}
