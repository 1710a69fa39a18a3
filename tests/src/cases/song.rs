//! EDM's SongUNets: the output with and without labels, the layers, and the denoised image.

use ddae_model::config::{EdmConfig, ModelConfig, ProcessConfig};
use ddae_model::diffusion::edm::Preconditioning;
use ddae_model::graph::{Graph, Shape};
use ddae_model::networks::{Architecture, Conditions, SongUNetConfig, song_unet, song_unet_graph};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;

use super::{Case, stored};
use crate::{Fixture, fixture, parameter_shapes, rule_values, rule_weight};

/// The cases.
pub const CASES: [&str; 4] = ["edm_vp_tiny", "edm_ve_tiny", "edm_vp_full", "edm_ve_full"];

/// What the names of a case's parameters begin with.
pub const PREFIX: &str = "model.";

/// The network of a case.
pub fn config(case: &Fixture) -> SongUNetConfig {
    let mut config = case.config.clone();
    let keys = config.as_object_mut().expect("an object");
    for (key, known) in [("precond", "EDMPrecond"), ("model_type", "SongUNet"), ("decoder_type", "standard")]
    {
        assert_eq!(keys.remove(key).expect("a key"), known);
    }
    keys.remove("parameters");
    keys.remove("note");
    serde_json::from_value(config).expect("a SongUNet")
}

/// The network of a case in EDM's process.
pub fn model(case: &Fixture) -> ModelConfig {
    let process = Some(ProcessConfig::Edm(EdmConfig::published()));
    ModelConfig { process, ..ModelConfig::of(Architecture::SongUNet(config(case))) }
}

/// The rule's weights under the names of a wrapped network.
pub fn weights(graph: &Graph) -> Weights {
    let value = |name: &str, shape: &[usize]| {
        let full = format!("{PREFIX}{name}");
        match (name.rsplit('.').next(), shape) {
            (Some("resample_filter"), [1, 1, n, _]) => filter(*n),
            (Some("freqs"), _) => rule_values(&full, shape[0], -16.0, 16.0),
            _ => rule_weight(&full, shape),
        }
    };
    graph
        .parameters()
        .map(|(_, node)| {
            let shape = node.shape.resolve(1);
            (node.name.clone(), Tensor::f32(&shape, value(&node.name, &shape)))
        })
        .collect()
}

fn filter(side: usize) -> Vec<f32> {
    let taps: &[f32] = if side == 2 { &[1.0, 1.0] } else { &[1.0, 3.0, 3.0, 1.0] };
    let sum: f32 = taps.iter().sum();
    taps.iter().flat_map(|a| taps.iter().map(move |b| a * b / (sum * sum))).collect()
}

/// The classes of a case, if it has them.
pub fn classes(case: &Fixture) -> Option<Tensor> {
    let count = config(case).label_dim;
    (count > 0).then(|| {
        let (_, rows) = case.f32("input.class_label");
        let class = |row: &[f32]| row.iter().position(|&value| value == 1.0).expect("a class") as i64;
        let classes: Vec<i64> = rows.chunks_exact(count).map(class).collect();
        Tensor::i64(&[classes.len()], classes)
    })
}

/// Everything that is stored of a case.
fn song(name: &str) -> Vec<Case> {
    let case = fixture(name);
    let config = config(&case);
    let class = classes(&case);
    let network = |what: &str, augmented: bool, told: bool, output: &str| {
        let graph = song_unet_graph(&config, augmented, told).expect("a graph");
        let mut inputs = vec![("x", case.tensor("input.x")), ("t", case.tensor("input.t"))];
        if augmented {
            inputs.push(("augment_label", case.tensor("input.augment_label")));
        }
        inputs.extend(class.clone().filter(|_| told).map(|class| ("label", class)));
        Case {
            name: format!("{name}{what}"),
            weights: weights(&graph),
            inputs,
            expected: vec![("y".to_string(), case.tensor(output))],
            graph,
            of_batch: false,
        }
    };
    let is_told = class.is_some();
    let mut plain = network("", false, is_told, "output.y");
    for (tap, map) in plain.graph.taps().to_vec() {
        let pooled = plain.graph.pool(map).expect("a feature map");
        plain.graph.output(&tap, pooled);
        plain.expected.push((tap.clone(), case.tensor(&format!("output.pooled.{tap}"))));
    }
    let mut cases = vec![plain, network(", augmentation label", true, is_told, "output.with_label")];
    cases.extend(is_told.then(|| network(", no class", false, false, "output.without_class")));
    cases.push(denoised(name, &case, class.as_ref()));

    // What a network that takes all labels stores is what the published one does.
    let mut published: Vec<_> = parameter_shapes(name)
        .into_iter()
        .map(|(name, shape)| (name.strip_prefix(PREFIX).expect("the prefix").to_string(), shape))
        .collect();
    published.sort();
    assert_eq!(stored(&cases[1].graph), published, "{name}");
    let compared: usize = cases.iter().map(|case| case.expected.len()).sum();
    assert_eq!(compared, case.names("output.").len(), "{name}: every stored output is compared");
    cases
}

/// `D(x; sigma)`, in which every image has a noise level of its own.
fn denoised(name: &str, case: &Fixture, class: Option<&Tensor>) -> Case {
    let (shape, sigmas) = case.f32("input.sigma");
    let edm = EdmConfig::published();
    let levels: Vec<Preconditioning> = sigmas.iter().map(|&sigma| Preconditioning::at(&edm, sigma)).collect();
    let column = |f: fn(&Preconditioning) -> f32| Tensor::f32(&shape, levels.iter().map(f).collect());
    let mut inputs = vec![
        ("x", case.tensor("input.x")),
        ("t", column(|p| p.c_noise)),
        ("c_in", column(|p| p.c_in)),
        ("c_skip", column(|p| p.c_skip)),
        ("c_out", column(|p| p.c_out)),
    ];
    let mut g = Graph::new();
    let mut values = Vec::new();
    for (name, tensor) in &inputs {
        values.push(g.input(name, DType::F32, Shape::batch(&tensor.shape()[1..])).expect("an input"));
    }
    let label = class.map(|_| g.input("label", DType::I64, Shape::batch(&[])).expect("an input"));
    inputs.extend(class.map(|class| ("label", class.clone())));
    let mut build = || {
        let (x, t) = (values[0], values[1]);
        let [c_in, c_skip, c_out] =
            [g.per_image(values[2])?, g.per_image(values[3])?, g.per_image(values[4])?];
        let input = g.mul(x, c_in)?;
        let conditions = Conditions { class: label, ..Conditions::default() };
        let f = song_unet(&mut g, &config(case), input, t, conditions)?;
        let (skipped, found) = (g.mul(x, c_skip)?, g.mul(f, c_out)?);
        g.add(skipped, found)
    };
    let result = build().unwrap_or_else(|error: ddae_model::graph::GraphError| panic!("{name}: {error}"));
    g.output("denoised", result);
    Case {
        name: format!("{name}, denoised"),
        weights: weights(&g),
        inputs,
        expected: vec![("denoised".to_string(), case.tensor("output.denoised"))],
        graph: g,
        of_batch: false,
    }
}

/// Small networks of both forms.
pub fn tiny() -> Vec<Case> {
    [song("edm_vp_tiny"), song("edm_ve_tiny")].concat()
}

/// The published networks of both forms.
pub fn full() -> Vec<Case> {
    [song("edm_vp_full"), song("edm_ve_full")].concat()
}
