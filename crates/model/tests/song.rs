//! EDM's SongUNets: sizes, recognition, resampling, initial weights, preconditionings and labels.

use ddae_model::config::{
    AnyConfig, Config, EdmConfig, ModelConfig, Override, Preconditioner, ProcessConfig,
};
use ddae_model::diffusion::edm::Preconditioning;
use ddae_model::diffusion::{FeatureOptions, loss_graph, model_features_graph, model_sampler_graph};
use ddae_model::graph::{Graph, Init, Node, Op};
use ddae_model::networks::recognition::{Given, Recognised, Shapes};
use ddae_model::networks::{Architecture, SongUNetConfig, song_unet_graph};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::song::{CASES, PREFIX, config, model, weights};
use ddae_tests::cases::stored;
use ddae_tests::{fixture, parameter_shapes, relative_error};

fn shapes(case: &str) -> Shapes {
    parameter_shapes(case).into_iter().collect()
}

/// Numbers that are trained: filters and frequencies are not.
fn trained(graph: &Graph) -> usize {
    let trained = |node: &Node| matches!(node.op, Op::Parameter { trained: true, .. });
    graph.parameters().filter(|(_, node)| trained(node)).map(|(_, node)| node.shape.per_sample()).sum()
}

#[test]
fn published_networks_are_recognised_by_shapes_alone() {
    for name in CASES {
        let case = fixture(name);
        let expected = config(&case);
        let file = shapes(name);
        let found = Recognised::only(&file, &Given::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(found.prefix, PREFIX);
        assert_eq!(
            found.architecture,
            Architecture::SongUNet(SongUNetConfig { dropout: 0.0, ..expected }),
            "{name}"
        );
        let graph = found.architecture.network_graph(true).expect("a graph");
        let of_file: Vec<_> = {
            let mut names: Vec<_> =
                parameter_shapes(name).into_iter().map(|(n, s)| (n[PREFIX.len()..].to_string(), s)).collect();
            names.sort();
            names
        };
        assert_eq!(stored(&graph), of_file, "{name}");
        assert_eq!(found.architecture.unused(found.names, &file).expect("a graph"), [""; 0], "{name}");
        assert_eq!(case.config["parameters"].as_u64(), Some(trained(&graph) as u64), "{name}");
    }
    let words = Recognised::only(&shapes("edm_ve_tiny"), &Given::default()).expect("a network").describe();
    assert_eq!(
        words,
        "SongUNet (NCSN++): 3x16x16 images, model_channels 16, channel_mult [1, 2], num_blocks 1, attention at 8x8, \
         augmentation label of 9, 10 classes, its names after 'model.'"
    );
    for (name, published) in
        [("edm_vp_full", SongUNetConfig::ddpmpp()), ("edm_ve_full", SongUNetConfig::ncsnpp())]
    {
        assert_eq!(config(&fixture(name)), published);
    }
}

#[test]
fn what_is_another_network_is_named() {
    let with = |added: &[(&str, &[usize])]| -> Shapes {
        let added = added.iter().map(|(name, shape)| (format!("{PREFIX}{name}"), shape.to_vec()));
        let kept = parameter_shapes("edm_vp_tiny")
            .into_iter()
            .filter(|(name, _)| !added.clone().any(|(other, _)| other == *name));
        kept.chain(added.clone()).collect()
    };
    let message = |shapes: &Shapes, given: Given| match Recognised::only(shapes, &given) {
        Ok(found) => found.architecture.unused(found.names, shapes).expect("a graph").join(", "),
        Err(error) => error.to_string(),
    };
    for (shapes, expected) in [
        (
            with(&[("out_conv.weight", &[3, 16, 3, 3])]),
            "its names are those of EDM's SongUNet, but 'out_conv.weight' is of a DhariwalUNet (ADM), which is not known here",
        ),
        (
            with(&[("dec.8x8_aux_up.weight", &[16, 16, 3, 3])]),
            "its names are those of EDM's SongUNet, but 'dec.8x8_aux_up.weight' is of an encoder or a decoder of the type \
             'skip', which is not known here",
        ),
        (
            with(&[("enc.8x8_down.conv0.resample_filter", &[1, 1, 3, 3])]),
            "its names are those of EDM's SongUNet, but its resample_filter [1, 1, 3, 3] is of no filter known here",
        ),
        (
            with(&[("map_layer0.weight", &[64, 24])]),
            "its names are those of EDM's SongUNet, but the noise level's embedding has 24 channels, no multiple of the first \
             layer's 16",
        ),
        (with(&[("enc.16x16_block0.qkv.extra", &[4])]), "model.enc.16x16_block0.qkv.extra"),
    ] {
        let found = message(&shapes, Given::default());
        assert!(found.contains(expected), "{found}");
    }
    let sized = Given { image_size: Some([32, 32]), ..Given::default() };
    assert_eq!(
        message(&shapes("edm_vp_tiny"), sized),
        "its names are those of EDM's SongUNet, but --image-size 32x32 does not fit its names, which are for images of 16x16"
    );
}

#[test]
fn sizes_that_cannot_be_are_named() {
    let published = SongUNetConfig::ddpmpp;
    for (config, message) in [
        (SongUNetConfig { num_blocks: 0, ..published() }, "num_blocks is 0; it must be 1 to 1000"),
        (
            SongUNetConfig { model_channels: 126, ..published() },
            "model_channels is 126; it must be a multiple of 4 (the channels of a group of GroupNorm)",
        ),
        (
            SongUNetConfig { channel_mult: vec![2, 0], ..published() },
            "channel_mult is [2, 0]; it needs one number above 0 per resolution",
        ),
        (
            SongUNetConfig { img_resolution: 30, ..published() },
            "30x30 images cannot be halved 2 times (3 numbers in channel_mult)",
        ),
        (
            SongUNetConfig { attn_resolutions: vec![14], ..published() },
            "attn_resolutions has 14; the network's resolutions are [32, 16, 8]",
        ),
        (
            SongUNetConfig { channel_mult_emb: 1 << 16, ..published() },
            "model_channels 128 is multiplied to 8388608 channels; it must be at most 65536",
        ),
        (SongUNetConfig { dropout: 1.0, ..published() }, "dropout is 1; it must be in [0, 1)"),
    ] {
        assert_eq!(config.check().unwrap_err(), message);
    }
    let filter =
        "net_type: SongUNet\nnetwork: {img_resolution: 8, img_channels: 1, resample_filter: [1, 2, 1]}\n";
    let error = AnyConfig::parse(filter, "c.yaml", &[]).unwrap_err().to_string();
    assert!(
        error.contains("the filter [1.0, 2.0, 1.0] is not known here; [1, 1] and [1, 3, 3, 1] are"),
        "{error}"
    );
    let odd = SongUNetConfig { label_dim: 0, augment_dim: 0, ..published() };
    let error = song_unet_graph(&odd, false, true).unwrap_err().to_string();
    assert_eq!(error, "network: this SongUNet takes no class (label_dim is 0)");
    let size = Architecture::SongUNet(published()).resized([64, 64]).unwrap_err();
    assert_eq!(size, "a SongUNet is tied to its images of 32x32");
}

/// Glorot's interval, and almost nothing where a block ends (arXiv 2206.00364's code begins so).
#[test]
fn new_weights_begin_as_published() {
    let graph = song_unet_graph(&SongUNetConfig::ncsnpp(), true, false).expect("a graph");
    let init = |name: &str| {
        let found = graph.parameters().find(|(_, node)| node.name == name);
        let Op::Parameter { init, trained } = &found.expect("a parameter").1.op else { panic!("{name}") };
        (init.clone(), *trained)
    };
    let glorot = |fan_in: usize, fan_out: usize, gain: f64| Init::Uniform {
        bound: gain * (6.0 / (fan_in + fan_out) as f64).sqrt(),
    };
    for (name, expected) in [
        ("enc.32x32_conv.weight", glorot(27, 1152, 1.0)),
        ("enc.32x32_block0.conv0.weight", glorot(128 * 9, 256 * 9, 1.0)),
        ("enc.32x32_block0.conv1.weight", glorot(256 * 9, 256 * 9, 1e-5)),
        ("enc.32x32_block0.affine.weight", glorot(512, 256, 1.0)),
        ("dec.8x8_in0.qkv.weight", glorot(256, 768, 0.2f64.sqrt())),
        ("dec.8x8_in0.proj.weight", glorot(256, 256, 1e-5)),
        ("dec.32x32_aux_conv.weight", glorot(256 * 9, 27, 1e-5)),
        ("map_augment.weight", glorot(9, 256, 1.0)),
        ("dec.8x8_in0.qkv.bias", Init::Zeros),
    ] {
        assert_eq!(init(name), (expected, true), "{name}");
    }
    assert_eq!(init("map_noise.freqs"), (Init::Normal { std: 16.0 }, false));
    let (Init::Values(filter), false) = init("enc.16x16_down.skip.resample_filter") else {
        panic!("a table")
    };
    assert_eq!(filter[..6], [1.0, 3.0, 3.0, 1.0, 3.0, 9.0].map(|x| x / 64.0));
}

/// Table 1 of arXiv 2206.00364, at noise levels where it can be said by hand.
#[test]
fn preconditionings() {
    let at = |preconditioning, sigma: f32| {
        Preconditioning::at(&EdmConfig { preconditioning, ..EdmConfig::published() }, sigma)
    };
    let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() <= 2e-6 * b.abs().max(1e-3), "{a} and {b}");
    for sigma in [0.02f32, 0.5, 2.0, 80.0] {
        let s = f64::from(sigma);
        let edm = at(Preconditioner::Edm, sigma);
        close(edm.c_skip, 0.25 / (s * s + 0.25));
        close(edm.c_out, s * 0.5 / (s * s + 0.25).sqrt());
        close(edm.c_in, 1.0 / (s * s + 0.25).sqrt());
        close(edm.c_noise, s.ln() / 4.0);
        let vp = at(Preconditioner::Vp, sigma);
        assert_eq!((vp.c_skip, vp.c_out), (1.0, -sigma));
        close(vp.c_in, 1.0 / (s * s + 1.0).sqrt());
        // Where t is the time, sigma(t) = sqrt(exp(19.9 t^2 / 2 + 0.1 t) - 1). In float32 a small sigma's time is coarse.
        let t = f64::from(vp.c_noise) / 999.0;
        let back = ((19.9 * t * t / 2.0 + 0.1 * t).exp() - 1.0).sqrt();
        assert!((back - s).abs() <= 2e-4 * s, "sigma {s}: {back}");
        let ve = at(Preconditioner::Ve, sigma);
        assert_eq!((ve.c_skip, ve.c_out, ve.c_in), (1.0, sigma, 1.0));
        close(ve.c_noise, (s / 2.0).ln());
    }
}

fn run(graph: &Graph, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
    reference::run::<f32>(graph, &weights(graph), inputs).expect("outputs")
}

/// One step of the sampler whose `next` is the denoised image and nothing else, of each image by itself.
fn denoised(model: &ModelConfig, x: &[f32], sigma: f32, label: Option<i64>) -> Vec<f64> {
    let Some(ProcessConfig::Edm(edm)) = &model.process else { panic!("an EDM") };
    let graph = model_sampler_graph(model).expect("a graph");
    let p = Preconditioning::at(edm, sigma);
    let shape = [1, 3, 16, 16];
    let state = || Tensor::f64(&shape, x.iter().map(|&x| x.into()).collect());
    let mut inputs = vec![
        ("x", state()),
        ("noise", Tensor::f32(&shape, vec![0.0; x.len()])),
        ("t", Tensor::f32(&[1], vec![p.c_noise])),
        ("preconditioning", Tensor::f32(&[3], vec![p.c_in, p.c_skip, p.c_out])),
        ("coefficients", Tensor::f64(&[7], vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        ("carry", state()),
    ];
    inputs.extend(label.map(|label| ("label", Tensor::i64(&[1], vec![label]))));
    run(&graph, &inputs)[0].1.to_f64_vec()
}

#[test]
fn sampler_steps_denoise_as_published() {
    for name in ["edm_vp_tiny", "edm_ve_tiny"] {
        let case = fixture(name);
        let model = model(&case);
        let classes = ddae_tests::cases::song::classes(&case).map(|t| t.to_f64_vec());
        let (_, x) = case.f32("input.x");
        let (_, theirs) = case.f32("output.denoised");
        let size = x.len() / 2;
        for (i, sigma) in case.f32("input.sigma").1.into_iter().enumerate() {
            let label = classes.as_ref().map(|classes| classes[i] as i64);
            let ours = denoised(&model, &x[i * size..][..size], sigma, label);
            // The sampler clips what it finds.
            let theirs: Vec<f32> = theirs[i * size..][..size].iter().map(|x| x.clamp(-1.0, 1.0)).collect();
            let error = relative_error(&ours, &theirs);
            assert!(error <= 1e-5, "{name} {i}: {error:e}");
            assert!(ours.iter().any(|x| x.abs() < 1.0), "{name}: not all is clipped");
        }
    }
}

/// With another preconditioning the same network is another denoiser, by table 1, in sampler and features alike.
#[test]
fn other_preconditionings_reach_every_graph() {
    let case = fixture("edm_vp_tiny");
    let (_, x) = case.f32("input.x");
    let x = &x[..x.len() / 2];
    for (preconditioning, scales) in
        [(Preconditioner::Vp, [1.0, -0.5, 1.0 / 1.25f64.sqrt()]), (Preconditioner::Ve, [1.0, 0.5, 1.0])]
    {
        let mut model = model(&case);
        let edm = EdmConfig { preconditioning, sigma_max: 50.0, ..EdmConfig::published() };
        let c_noise = Preconditioning::at(&edm, 0.5).c_noise;
        model.process = Some(ProcessConfig::Edm(edm));
        let [skip, out, input] = scales;
        let network = model.architecture.network_graph(false).expect("a graph");
        let scaled: Vec<f32> = x.iter().map(|&x| (f64::from(x) * input) as f32).collect();
        let f = run(
            &network,
            &[("x", Tensor::f32(&[1, 3, 16, 16], scaled)), ("t", Tensor::f32(&[1], vec![c_noise]))],
        );
        let expected: Vec<f64> = x
            .iter()
            .zip(f[0].1.to_f64_vec())
            .map(|(&x, f)| (skip * f64::from(x) + out * f).clamp(-1.0, 1.0))
            .collect();
        let error = relative_error(&denoised(&model, x, 0.5, None), &expected);
        assert!(error <= 1e-5, "{preconditioning:?}: {error:e}");

        // At the last step of the grid sigma is 50; the features are those of the network on what it is shown there.
        let options = FeatureOptions {
            taps: vec!["out_2".to_string()],
            timestep: Some(18),
            ..FeatureOptions::default()
        };
        let graph = model_features_graph(&model, &options).expect("a graph");
        let image: Vec<f32> = x.iter().map(|x| (x.clamp(-1.0, 1.0) + 1.0) / 2.0).collect();
        let noise: Vec<f32> = x.iter().rev().copied().collect();
        let shape = [1, 3, 16, 16];
        let ours = run(
            &graph,
            &[("image", Tensor::f32(&shape, image)), ("noise", Tensor::f32(&shape, noise.clone()))],
        );
        let c_in = if preconditioning == Preconditioner::Vp { 1.0 / 2501f64.sqrt() } else { 1.0 };
        let shown = x
            .iter()
            .zip(&noise)
            .map(|(x, n)| ((f64::from(x.clamp(-1.0, 1.0)) + 50.0 * f64::from(*n)) * c_in) as f32);
        let ProcessConfig::Edm(edm) = model.process.as_ref().expect("a process") else { panic!("an EDM") };
        let t = Preconditioning::at(edm, 50.0).c_noise;
        let mut pooled = network.clone();
        let map = pooled.find_tap("out_2").expect("a layer");
        let mean = pooled.pool(map).expect("a map");
        pooled.output("mean", mean);
        let theirs =
            run(&pooled, &[("x", Tensor::f32(&shape, shown.collect())), ("t", Tensor::f32(&[1], vec![t]))]);
        let error = relative_error(&ours[0].1.to_f64_vec(), &theirs[1].1.to_f64_vec());
        assert!(error <= 1e-5, "{preconditioning:?}: features {error:e}");
    }
}

/// A class is an input of every graph, and being told of none is being told the number of classes.
#[test]
fn classes_are_inputs() {
    let case = fixture("edm_ve_tiny");
    let model = model(&case);
    let options =
        FeatureOptions { taps: vec!["out_3".to_string()], timestep: Some(4), ..FeatureOptions::default() };
    let (shape, x) = case.f32("input.x");
    let inputs = |label: Option<i64>| {
        let image = x.iter().map(|x| (x.clamp(-1.0, 1.0) + 1.0) / 2.0).collect();
        let mut inputs =
            vec![("image", Tensor::f32(&shape, image)), ("noise", Tensor::f32(&shape, x.clone()))];
        inputs.extend(label.map(|label| ("label", Tensor::i64(&[2], vec![label; 2]))));
        inputs
    };
    let untold = run(&model_features_graph(&model, &options).expect("a graph"), &inputs(None));
    let told =
        model_features_graph(&model, &FeatureOptions { label: true, ..options.clone() }).expect("a graph");
    assert_eq!(run(&told, &inputs(Some(10))), untold);
    let difference =
        relative_error(&run(&told, &inputs(Some(3)))[0].1.to_f64_vec(), &untold[0].1.to_f64_vec());
    assert!(difference > 1e-3, "{difference:e}");
    let unconditional = self::model(&fixture("edm_vp_tiny"));
    let error = model_features_graph(&unconditional, &FeatureOptions { label: true, ..options }).unwrap_err();
    assert_eq!(error.to_string(), "label: a SongUNet is told of no class here");
    assert!(
        model_sampler_graph(&unconditional).expect("a graph").inputs().all(|(_, node)| node.name != "label")
    );
}

#[test]
fn training_is_by_configuration() {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let read = |name: &str, set: &[&str]| {
        let set: Vec<Override> = set.iter().map(|text| text.parse().expect("a key")).collect();
        Config::read_with(&std::path::Path::new(configs).join(name), &set)
    };
    for (name, parameters, network) in [
        ("songunet_cifar10_vp.yaml", 55_733_891, SongUNetConfig::ddpmpp()),
        ("songunet_cifar10_ve.yaml", 56_397_827, SongUNetConfig::ncsnpp()),
    ] {
        let config = read(name, &[]).expect("a configuration");
        assert_eq!(config.network, Architecture::SongUNet(network));
        assert_eq!(
            config.process,
            ProcessConfig::Edm(EdmConfig { augment_prob: 0.12, ..EdmConfig::published() })
        );
        assert_eq!(config.training.grad_clip_norm, f64::INFINITY);
        let loss = loss_graph(&config.into(), false).expect("a graph");
        assert_eq!(trained(&loss), parameters, "{name}");
    }
    let conditional = read("songunet_cifar10_vp.yaml", &["network.label_dim=10"]).expect("a configuration");
    let loss = loss_graph(&conditional.into(), true).expect("a graph");
    let names: Vec<&str> = loss.inputs().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(names, ["image", "augment_label", "label", "noise", "level"]);
    for (set, message) in [
        (
            "network.label_dim=7",
            "network.label_dim is 7 and classes 10; they must be the same, or label_dim 0 for a network that is not told the class",
        ),
        (
            "diffusion.preconditioning=vp",
            "vp is for weights from elsewhere, its loss is not known here; training takes edm",
        ),
        ("network.augment_dim=0", "diffusion.augment_prob needs network.augment_dim: 9, which is 0"),
    ] {
        let error = read("songunet_cifar10_vp.yaml", &[set]).unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
    }
    let error =
        read("songunet_cifar10_vp.yaml", &["diffusion.preconditioning=iddpm"]).unwrap_err().to_string();
    assert!(error.ends_with("'iddpm' is not known; there are edm, vp and ve"), "{error}");
}
