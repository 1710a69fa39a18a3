//! Files of published layouts, as PyTorch wrote them.

use std::collections::BTreeSet;

use ddae_checkpoint::{Checkpoint, ElementType, Format, LayoutKind, WeightSet};
use ddae_model::graph::Graph;
use ddae_model::networks::unet_graph;
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::{fixture, fixtures, relative_error, tolerance};
use half::f16;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixtures().join(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn network() -> Graph {
    unet_graph(&fixture("ddae_checkpoint").network(), false).expect("a network")
}

/// How far the network with `weights` is from a recorded output.
fn distance(weights: &Weights, output: &str) -> f64 {
    let case = fixture("ddae_checkpoint");
    let inputs = ["x", "t"].map(|name| (name, case.tensor(&format!("input.{name}"))));
    let outputs = run::<f32>(&network(), weights, &inputs).expect("a run");
    relative_error(outputs[0].1.as_f32().expect("f32"), &case.f32(&format!("output.{output}")).1)
}

#[test]
fn a_published_checkpoint_computes_what_it_computed_there() {
    let file = open("ddae_checkpoint.pth");
    assert_eq!((file.format(), file.layout().kind()), (Format::PyTorch, LayoutKind::Ddae));
    assert_eq!(file.weight_sets(), [WeightSet::Ema, WeightSet::Model]);
    assert_eq!(
        file.layout().to_string(),
        "checkpoint of the published DDAE code, EMA weights under 'EMA.ema_model.nn_model.', weights in training under \
         'MODEL.module.nn_model.'"
    );
    for (set, output, other) in [(WeightSet::Ema, "y_ema", "y_model"), (WeightSet::Model, "y_model", "y_ema")]
    {
        let weights = file.weights(set, &network()).expect("the network's weights");
        assert!(distance(&weights, output) <= tolerance::NETWORK, "{output}");
        assert!(distance(&weights, other) > 10.0 * tolerance::NETWORK, "the two sets differ");
    }
}

#[test]
fn everything_in_a_published_checkpoint_is_listed() {
    let file = open("ddae_checkpoint.pth");
    let shape = |name: &str| file.find(name).map(|tensor| (tensor.element(), tensor.shape().to_vec()));
    let weight = Some((ElementType::F32, vec![32, 3, 3, 3]));
    for name in ["MODEL.module.nn_model", "EMA.online_model.nn_model", "EMA.ema_model.nn_model"] {
        assert_eq!(shape(&format!("{name}.image_proj.weight")), weight, "{name}");
    }
    assert_eq!(shape("opt.state.0.exp_avg_sq"), weight);
    assert_eq!(shape("EMA.initted"), Some((ElementType::Bool, vec![])));
    assert_eq!(shape("EMA.step"), Some((ElementType::I64, vec![])));
    // 70 parameters thrice, their two moments and steps, and the average's own two.
    assert_eq!(file.tensors().len(), 70 * 6 + 2);
    let value = |name: &str| file.values().iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!(value("opt.param_groups.0.lr"), Some("0.0001"));
    assert_eq!(value("opt.param_groups.0.betas"), Some("(0.9, 0.999)"));
    assert_eq!(value("opt.param_groups.0.amsgrad"), Some("False"));
    assert_eq!(value("opt.param_groups.0.foreach"), Some("None"));
    assert_eq!(value("opt.param_groups.0.params"), Some("(0, 1, 2, 3, 4, 5, 6, 7, …) of 70 values"));

    // The parameters of a set are those of the network, under its names.
    let listed = file.parameters(WeightSet::Ema).expect("the set");
    let listed: BTreeSet<(&str, &[usize])> =
        listed.iter().map(|(name, tensor)| (*name, tensor.shape())).collect();
    let graph = network();
    let wanted: Vec<(String, Vec<usize>)> =
        graph.parameters().map(|(_, node)| (node.name.clone(), node.shape.resolve(1))).collect();
    assert_eq!(listed, wanted.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect());
}

/// Both files hold the averaged weights of the checkpoint in float16.
#[test]
fn bare_state_dicts_in_half_precision_of_both_formats() {
    let exact = open("ddae_checkpoint.pth").weights(WeightSet::Ema, &network()).expect("weights");
    let rounded: Weights = exact
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.as_f32().expect("f32").iter().map(|&value| f16::from_f32(value).to_f32());
            (name.to_string(), Tensor::f32(tensor.shape(), values.collect()))
        })
        .collect();
    for (name, format) in
        [("bare_half_state_dict.pt", Format::PyTorch), ("legacy_state_dict.pt", Format::PyTorchLegacy)]
    {
        let file = open(name);
        assert_eq!((file.format(), file.layout().kind()), (format, LayoutKind::StateDict), "{name}");
        assert!(file.tensors().iter().all(|tensor| tensor.element() == ElementType::F16), "{name}");
        let weights = file.weights(WeightSet::Ema, &network()).expect("weights");
        assert_eq!(weights, rounded, "{name}");
        // A half has 11 bits.
        assert!(distance(&weights, "y_ema") <= 1e-3, "{name}");
    }
}

#[test]
fn a_malicious_file_is_refused_with_the_name_of_what_it_wanted() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("malicious.pth");
    std::fs::copy(fixtures().join("malicious.pth"), &path).expect("a copy");
    let message = Checkpoint::open(&path).err().expect("it is refused").to_string();
    assert_eq!(
        message,
        format!(
            "{}: holds no tensors, but refers to the Python object 'posix.system', which is not known here: nothing was \
             run; take a file that holds tensors (a state dict)",
            path.display()
        )
    );
    // What it would have run leaves a file in the folder where it runs.
    assert!(!std::path::Path::new("PWNED").exists() && !place.path().join("PWNED").exists());
}
