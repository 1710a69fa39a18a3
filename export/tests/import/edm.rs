//! EDM's pickles, from the file to ONNX to the published numbers.

use ddae_model::config::EdmConfig;
use ddae_model::diffusion::edm::Preconditioning;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::song::{PREFIX, classes, model, weights};
use ddae_tests::{Fixture, fixture, fixtures, relative_error, tolerance};

use crate::place::{Place, distance};

fn with_pickle(name: &str) -> Place {
    let place = Place::new();
    let file = format!("{name}.pkl");
    std::fs::copy(fixtures().join(&file), place.path(&file)).expect("a copy");
    place
}

fn image(x: &[f32], shape: &[usize]) -> Tensor {
    Tensor::f32(shape, x.iter().map(|x| (x.clamp(-1.0, 1.0) + 1.0) / 2.0).collect())
}

/// The sampler's step of image `i` whose `next` is what the network finds, clipped.
fn denoised(
    place: &Place,
    file: &str,
    case: &Fixture,
    edm: &EdmConfig,
    i: usize,
    label: Option<i64>,
) -> Vec<f64> {
    let (_, x) = case.f32("input.x");
    let size = x.len() / 2;
    let x: Vec<f64> = x[i * size..][..size].iter().map(|&x| x.into()).collect();
    let p = Preconditioning::at(edm, case.f32("input.sigma").1[i]);
    let shape = [1, 3, 16, 16];
    let mut inputs = vec![
        ("x", Tensor::f64(&shape, x.clone())),
        ("noise", Tensor::f32(&shape, vec![0.0; size])),
        ("t", Tensor::f32(&[1], vec![p.c_noise])),
        ("preconditioning", Tensor::f32(&[3], vec![p.c_in, p.c_skip, p.c_out])),
        ("coefficients", Tensor::f64(&[7], vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        ("carry", Tensor::f64(&shape, x)),
    ];
    inputs.extend(label.map(|label| ("label", Tensor::i64(&[1], vec![label]))));
    place.outputs(file, &inputs)[0].1.to_f64_vec()
}

#[test]
fn pickles_become_every_graph() {
    for name in ["edm_vp_tiny", "edm_ve_tiny"] {
        let (place, case) = (with_pickle(name), fixture(name));
        let pickle = format!("{name}.pkl");
        let class = classes(&case);
        let said = place.done(&format!("inspect {pickle}"));
        assert!(said.starts_with("Python pickle, ") && said.contains("\nnetworks  a SongUNet\n"), "{said}");

        // The network with its layers: maps, whose means were recorded.
        let out = place.done(&format!("{pickle} --graph network --label --taps all -o network.onnx"));
        let form = if name == "edm_vp_tiny" { "DDPM++" } else { "NCSN++" };
        assert!(
            out.starts_with(&format!("SongUNet ({form}): 3x16x16 images"))
                && out.contains(", preconditioned by EDMPrecond"),
            "{out}"
        );
        let inputs = |augment: Tensor| {
            let mut inputs = vec![
                ("x", case.tensor("input.x")),
                ("t", case.tensor("input.t")),
                ("augment_label", augment),
            ];
            inputs.extend(class.clone().map(|class| ("label", class)));
            inputs
        };
        // No augmentation is a label of zeros.
        let plain = place.outputs("network.onnx", &inputs(Tensor::f32(&[2, 9], vec![0.0; 18])));
        let names: Vec<&str> = plain.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["y", "out_1", "out_2", "out_3", "out_4"]);
        assert!(distance(&plain[0].1, &case.tensor("output.y")) <= tolerance::NETWORK, "{name}");
        for (tap, map) in &plain[1..] {
            let pixels: usize = map.shape()[2..].iter().product();
            let means: Vec<f64> = map
                .to_f64_vec()
                .chunks_exact(pixels)
                .map(|map| map.iter().sum::<f64>() / pixels as f64)
                .collect();
            let (_, expected) = case.f32(&format!("output.pooled.{tap}"));
            let error = relative_error(&means, &expected);
            assert!(error <= tolerance::NETWORK, "{name} {tap}: {error:e}");
        }
        let augmented = place.outputs("network.onnx", &inputs(case.tensor("input.augment_label")));
        assert!(distance(&augmented[0].1, &case.tensor("output.with_label")) <= tolerance::NETWORK, "{name}");

        // The sampler, told a class where there are classes.
        place.done(&format!("{pickle} --graph sampler -o sampler.onnx"));
        let (_, theirs) = case.f32("output.denoised");
        let size = theirs.len() / 2;
        for i in 0..2 {
            let label = class.as_ref().map(|classes| classes.to_f64_vec()[i] as i64);
            let ours = denoised(&place, "sampler.onnx", &case, &EdmConfig::published(), i, label);
            let theirs: Vec<f32> = theirs[i * size..][..size].iter().map(|x| x.clamp(-1.0, 1.0)).collect();
            let error = relative_error(&ours, &theirs);
            assert!(error <= tolerance::NETWORK, "{name} {i}: {error:e}");
        }

        // Features: those of the reference interpreter on the weights by rule, with and without a class.
        let label = if class.is_some() { "--label" } else { "" };
        place.done(&format!(
            "{pickle} --graph features --taps out_2,out_4 --timestep 4 {label} -o features.onnx"
        ));
        let (shape, x) = case.f32("input.x");
        let mut inputs = vec![("image", image(&x, &shape)), ("noise", case.tensor("input.x"))];
        inputs.extend(class.clone().map(|class| ("label", class)));
        let options = ddae_model::diffusion::FeatureOptions {
            taps: vec!["out_2".to_string(), "out_4".to_string()],
            timestep: Some(4),
            label: class.is_some(),
            ..Default::default()
        };
        let graph = ddae_model::diffusion::model_features_graph(&model(&case), &options).expect("a graph");
        let expected = ddae_model::reference::run::<f32>(&graph, &weights(&graph), &inputs).expect("outputs");
        for ((tap, ours), (_, theirs)) in place.outputs("features.onnx", &inputs).iter().zip(&expected) {
            let error = distance(ours, theirs);
            assert!(error <= tolerance::NETWORK, "{name} {tap}: {error:e}");
        }
    }
    let place = with_pickle("edm_vp_tiny");
    place.fail(
        "edm_vp_tiny.pkl --graph features --taps out_1 --label",
        2,
        "--label: a SongUNet is told of no class",
    );
    place.fail("edm_vp_tiny.pkl --graph sampler --process vp", 2, "--process: the process is known already");
    place.fail("edm_vp_tiny.pkl --image-size 32", 1, "--image-size 32x32 does not fit its names");
}

/// State dicts do not tell the preconditioning: it is asked for, and reaches the file.
#[test]
fn weights_alone_need_the_preconditioning() {
    let (place, case) = (Place::new(), fixture("edm_vp_tiny"));
    let graph = model(&case).architecture.network_graph(true).expect("a graph");
    let stored = weights(&graph);
    let prefixed: Vec<(String, Tensor)> =
        stored.iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.clone())).collect();
    let named = |tensors: &[(String, Tensor)], file: &str| {
        place.safetensors(file, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)));
    };
    named(&prefixed, "w.safetensors");
    place.fail(
        "w.safetensors --graph sampler",
        2,
        "needs the diffusion process, which the weights do not tell",
    );
    for (process, keys) in
        [("edm", None), ("vp", Some("preconditioning: vp")), ("ve", Some("preconditioning: ve"))]
    {
        place.done(&format!("w.safetensors --graph sampler --process {process} -o {process}.onnx"));
        let said = place.done(&format!("inspect {process}.onnx"));
        match keys {
            Some(keys) => assert!(said.contains(keys), "{said}"),
            None => assert!(!said.contains("preconditioning:"), "{said}"),
        }
    }
    // A filter that is another one is not computed with in silence; one that is missing leaves nothing to say.
    let filter = format!("{PREFIX}dec.16x16_up.skip.resample_filter");
    let mut other = prefixed.clone();
    for (name, tensor) in &mut other {
        if *name == filter {
            *tensor = Tensor::f32(&[1, 1, 2, 2], vec![0.4, 0.2, 0.2, 0.2]);
        }
    }
    named(&other, "filter.safetensors");
    place.fail(
        "filter.safetensors --graph sampler --process edm",
        1,
        "its 'dec.16x16_up.skip.resample_filter' has other values than SongUNet",
    );
    let without: Vec<_> = prefixed.into_iter().filter(|(name, _)| *name != filter).collect();
    named(&without, "without.safetensors");
    place.done("without.safetensors --graph sampler --process edm -o without.onnx");
}
