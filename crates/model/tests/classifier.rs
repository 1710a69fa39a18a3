//! Classifiers of noised images: what is noised how far, and what their loss is, by hand.

use ddae_model::config::{AnyConfig, ClassifierRun, ProcessConfig, RunConfig};
use ddae_model::diffusion::ddpm::Tables;
use ddae_model::diffusion::{ClassifierOptions, classifier_graph, edm, loss_graph, training_logits_graph};
use ddae_model::graph::{Graph, GraphKind};
use ddae_model::networks::{Architecture, BlockDepths, FineTunedConfig};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::{relative_error, rule_values, rule_weights};

const BATCH: usize = 3;
const SIZE: usize = 64;

const WIDE: &str =
    "net_type: WideResNet\nnetwork: {image_shape: [1, 8, 8], blocks_per_group: 1, channel_multiplier: 1}\n";
const CUT: &str = "net_type: FineTuned
network:
  denoiser: {net_type: UNet, network: {image_shape: [1, 8, 8], n_channels: 32, ch_mults: [1, 1], is_attn: [False, True],
    dropout: 0.1, n_blocks: 1, use_res_for_updown: False}}
  layer: out_3
";
const DDPM: &str = "model_type: DDPM\ndiffusion: {n_T: 1000, betas: [1.0e-4, 0.02]}\n";
const EDM: &str = "model_type: EDM
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007}
";
const REST: &str = "dataset: folder\nclasses: 5\nn_epoch: 1\nbatch_size: 2\nlrate: 0.1\nsave_dir: run\n";

fn config(network: &str, process: &str) -> ClassifierRun {
    ClassifierRun::parse(&format!("{REST}{network}{process}"), "the test", &[]).expect("a configuration")
}

fn run(graph: &Graph, weights: &Weights, inputs: &[(&str, Tensor)]) -> Vec<f32> {
    let outputs = reference::run::<f32>(graph, weights, inputs).expect("a run");
    outputs[0].1.as_f32().expect("f32").to_vec()
}

/// Images in [0, 1] and noise.
fn images() -> (Tensor, Tensor) {
    let shape = [BATCH, 1, 8, 8];
    let of = |name, lo, hi| Tensor::f32(&shape, rule_values(name, BATCH * SIZE, lo, hi));
    (of("image", 0.0, 1.0), of("noise", -1.7, 1.7))
}

/// `signal (2 image - 1) + spread noise`, with factors for each image.
fn noised(signal: [f32; BATCH], spread: [f32; BATCH]) -> Tensor {
    let (image, noise) = images();
    let (image, noise) = (image.as_f32().expect("f32").to_vec(), noise.as_f32().expect("f32").to_vec());
    let values = (0..BATCH * SIZE)
        .map(|i| signal[i / SIZE] * (2.0 * image[i] - 1.0) + spread[i / SIZE] * noise[i])
        .collect();
    Tensor::f32(&[BATCH, 1, 8, 8], values)
}

/// What the bare network makes of them.
fn logits(config: &ClassifierRun, weights: &Weights, x: Tensor, t: [f32; BATCH]) -> Vec<f32> {
    let graph = config.network.network_graph(false).expect("a graph");
    run(&graph, weights, &[("x", x), ("t", Tensor::f32(&[BATCH], t.to_vec()))])
}

fn same(ours: &[f32], theirs: &[f32], what: &str) {
    let error = relative_error(ours, theirs);
    assert!(error < 1e-5, "{what}: {error:e}");
}

#[test]
fn a_ddpm_noises_to_the_timestep_and_tells_its_share() {
    let timesteps = [1i64, 400, 1000];
    for network in [WIDE, CUT] {
        let config = config(network, DDPM);
        let ProcessConfig::Ddpm(ddpm) = &config.process else { panic!("a DDPM") };
        let graph =
            classifier_graph(&config.model(), &ClassifierOptions::default()).expect("a classifier graph");
        let weights = rule_weights(&graph);
        let tables = Tables::training(ddpm);
        let of = |table: &[f32]| timesteps.map(|t| table[t as usize]);
        let x = noised(of(&tables.sqrt_alpha_bar), of(&tables.sqrt_one_minus_alpha_bar));
        let expected = logits(&config, &weights, x, timesteps.map(|t| t as f32 / 1000.0));
        let (image, noise) = images();
        let inputs = |name| {
            [
                ("image", image.clone()),
                ("noise", noise.clone()),
                (name, Tensor::i64(&[BATCH], timesteps.to_vec())),
            ]
        };
        same(&run(&graph, &weights, &inputs("timestep")), &expected, network);
        let training = training_logits_graph(&config, false).expect("a graph");
        same(&run(&training, &weights, &inputs("level")), &expected, network);
    }
}

#[test]
fn an_edm_noises_images_by_sigma() {
    let normal = [-1.5f32, 0.0, 2.0];
    let sigmas = normal.map(|z| (1.2 * z - 1.2).exp());
    for (network, is_preconditioned) in [(WIDE, false), (CUT, true)] {
        let config = config(network, EDM);
        let ProcessConfig::Edm(process) = &config.process else { panic!("an EDM") };
        let seen = |sigmas: [f32; BATCH]| {
            let levels = sigmas.map(|sigma| edm::Preconditioning::at(process, sigma));
            match is_preconditioned {
                true => {
                    let c_in = levels.map(|level| level.c_in);
                    let spread = std::array::from_fn(|i| c_in[i] * sigmas[i]);
                    (noised(c_in, spread), levels.map(|level| level.c_noise))
                }
                false => (noised([1.0; BATCH], sigmas), sigmas.map(f32::ln)),
            }
        };
        let training = training_logits_graph(&config, false).expect("a graph");
        let weights = rule_weights(&training);
        let (image, noise) = images();
        let inputs = |level| [("image", image.clone()), ("noise", noise.clone()), level];
        let level = ("level", Tensor::f32(&[BATCH], normal.to_vec()));
        let (x, t) = seen(sigmas);
        same(&run(&training, &weights, &inputs(level)), &logits(&config, &weights, x, t), network);
        // On the grid.
        let steps = [1i64, 9, 18];
        let grid = edm::feature_sigmas(process);
        let (x, t) = seen(steps.map(|k| grid[k as usize] as f32));
        let graph =
            classifier_graph(&config.model(), &ClassifierOptions::default()).expect("a classifier graph");
        let timestep = ("timestep", Tensor::i64(&[BATCH], steps.to_vec()));
        same(&run(&graph, &weights, &inputs(timestep)), &logits(&config, &weights, x, t), network);
    }
}

#[test]
fn the_loss_is_the_cross_entropy() {
    let config = config(WIDE, DDPM);
    let training = training_logits_graph(&config, false).expect("a graph");
    let weights = rule_weights(&training);
    let (image, noise) = images();
    let labels = [4i64, 0, 2];
    let mut inputs =
        vec![("image", image), ("noise", noise), ("level", Tensor::i64(&[BATCH], vec![5, 50, 500]))];
    let logits = run(&training, &weights, &inputs);
    let expected: Vec<f64> = logits
        .chunks_exact(5)
        .zip(labels)
        .map(|(row, label)| {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            sum.ln() - f64::from(row[label as usize])
        })
        .collect();
    inputs.push(("label", Tensor::i64(&[BATCH], labels.to_vec())));
    let run_config: RunConfig = config.clone().into();
    let graph = loss_graph(&run_config, false).expect("a graph");
    let losses = run(&graph, &weights, &inputs);
    let error = relative_error(&losses, &expected);
    assert!(error < 1e-5, "{losses:?} and {expected:?}");
    // A label that is no class is an error, and no loss.
    inputs[3].1 = Tensor::i64(&[BATCH], vec![0, 5, 0]);
    assert!(reference::run::<f32>(&graph, &weights, &inputs).is_err());
}

#[test]
fn a_fixed_timestep_is_part_of_the_graphs() {
    let at = config(&format!("{CUT}  timestep: 11\n"), DDPM);
    let names = |graph: &Graph| {
        let mut names: Vec<String> = graph.inputs().map(|(_, node)| node.name.clone()).collect();
        names.sort();
        names
    };
    let loss = loss_graph(&at.clone().into(), false).expect("a graph");
    assert_eq!(names(&loss), ["image", "label", "noise"]);
    let options = ClassifierOptions { timestep: Some(11), input_u8: false };
    let graph = classifier_graph(&at.model(), &options).expect("a graph");
    assert_eq!(names(&graph), ["image", "noise"]);
    let training = training_logits_graph(&at, false).expect("a graph");
    let weights = rule_weights(&graph);
    let (image, noise) = images();
    let inputs = [("image", image), ("noise", noise)];
    same(&run(&graph, &weights, &inputs), &run(&training, &weights, &inputs), "at 11");
    // What comes after the layer is no part of it.
    let names: Vec<&str> = graph.parameters().map(|(_, node)| node.name.as_str()).collect();
    assert!(names.contains(&"up.3.res.conv1.weight") && names.contains(&"linear_head.bias"), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with("up.4") && !name.starts_with("final")), "{names:?}");
    let error = classifier_graph(&at.model(), &ClassifierOptions { timestep: Some(1001), input_u8: false });
    assert!(error.unwrap_err().to_string().contains("1001 is outside 1..=1000 of this process"));
}

/// In the order of computation, whatever the family; nothing of the denoiser is left out.
#[test]
fn blocks_are_counted_from_the_head_down() {
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let edm2 =
        "embedding image_proj down.0 down.1 down.2 down.3 down.4 middle1 middle2 up.0 up.1 linear_head";
    for (name, layer, expected) in [
        (
            "demo",
            "out_2",
            "embedding image_proj down.0 down.1 down.2 down.3 down.4 middle.res1 middle.attn middle.res2 up.0 up.1 linear_head",
        ),
        (
            "demo_songunet",
            "out_3",
            "embedding enc.28x28_conv enc.28x28_block0 enc.14x14_down enc.14x14_aux_residual enc.14x14_block0 enc.7x7_down \
             enc.7x7_aux_residual enc.7x7_block0 dec.7x7_in0 dec.7x7_in1 dec.7x7_block0 dec.7x7_block1 dec.14x14_up \
             dec.14x14_block0 linear_head",
        ),
        ("demo_unetc", "out_2", edm2),
        ("demo_unetg", "out_2", edm2),
        ("demo_dit", "layer-2", "embedding x_embedder blocks.0 blocks.1 blocks.2 linear_head"),
    ] {
        let donor = ddae_model::config::Config::read(&configs.join(format!("{name}.yaml")));
        let denoiser = Box::new(donor.expect("a configuration").network);
        let tuned = FineTunedConfig { denoiser, layer: layer.to_string(), timestep: None, classes: 10 };
        let graph = Architecture::FineTuned(tuned).network_graph(false).expect("a graph");
        let depths = BlockDepths::of(&graph);
        assert_eq!(depths.names().join(" "), expected, "{name}");
        let last = depths.count() - 1;
        for (place, block) in depths.names().iter().enumerate().skip(1) {
            assert_eq!(depths.after(&format!("{block}.weight")), last - place, "{name}: {block}");
        }
        let first = graph.parameters().filter(|(_, node)| depths.after(&node.name) == last);
        let first: Vec<&str> = first.map(|(_, node)| node.name.as_str()).collect();
        assert!(first.len() > 1, "the embedding is one block: {first:?}");
    }
}

#[test]
fn the_published_classifiers_are_what_was_published() {
    let configs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    for (name, is_vp) in [("WRN_vp", true), ("WRN_ve", false)] {
        let config =
            ClassifierRun::read_with(&configs.join(format!("{name}.yaml")), &[]).expect("a configuration");
        assert_eq!(matches!(config.process, ProcessConfig::Ddpm(_)), is_vp);
        let training = &config.training;
        assert_eq!((training.n_epoch, training.batch_size, training.warm_epoch), (200, 128, 5));
        assert_eq!(
            (training.lrate, training.optim.name(), training.optim_args.momentum),
            (0.1, "SGD", Some(0.9))
        );
        assert_eq!((training.optim_args.weight_decay, training.grad_clip_norm), (5e-4, f64::INFINITY));
        assert_eq!((config.crop, config.flip, training.ema), (4, true, 0.0));
        assert_eq!(config.network.describe(), "noise-conditional WRN-28-10: 3x32x32 images, 10 classes");
        // What is written is read again.
        let again = AnyConfig::parse(&config.to_yaml(), "again", &[]).expect("a configuration");
        assert_eq!(again, config.clone().into());
        assert_eq!(again.model_for(GraphKind::Classifier).process, Some(config.process));
    }
    // An EDM that was trained with augmentation is fine-tuned without.
    let donor =
        ddae_model::config::Config::read(&configs.join("EDM_ddpmpp_aug.yaml")).expect("a configuration");
    let folder = std::env::temp_dir().join(format!("ddae-finetune-{}.yaml", std::process::id()));
    let text = format!("{REST}net_type: FineTuned\nnetwork: {{layer: out_7, timestep: 4}}\nema: 0.99\n");
    std::fs::write(&folder, &text).expect("written");
    let tuned = ClassifierRun::read_fine_tuning(&folder, &[], Some(&donor));
    std::fs::write(&folder, format!("{text}{DDPM}")).expect("written");
    let other = ClassifierRun::read_fine_tuning(&folder, &[], Some(&donor));
    std::fs::remove_file(&folder).expect("removed");
    let tuned = tuned.expect("a configuration");
    let ProcessConfig::Edm(process) = &tuned.process else { panic!("an EDM") };
    assert_eq!((process.augment_prob, tuned.training.ema, tuned.layer_decay), (0.0, 0.99, 1.0));
    assert_eq!(*tuned.network.fine_tuned().expect("cut").denoiser, donor.network);
    let error = other.expect_err("another process").to_string();
    assert!(
        error.contains("diffusion is not that of the checkpoint that --init names: leave it out"),
        "{error}"
    );
}
