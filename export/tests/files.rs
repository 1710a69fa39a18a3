//! ONNX files as such: what is in them, data files, damaged files.

mod onnx;

use std::collections::BTreeMap;

use ddae_export::inspect::onnx_report;
use ddae_export::lower::{LowerError, lower, lower_plainly};
use ddae_model::graph::{Conv, Graph, Path as Layer, Shape};
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::tensor::DType;
use ddae_model::weights::Weights;
use ddae_onnx::read;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_onnx::write::{LARGEST_MESSAGE, Model, data_file, metadata_suffix};
use ddae_tests::ops::{Case, random_network};
use ddae_tests::rule_weights;
use onnx::{load, through_onnx};
use proptest::prelude::*;

fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    counted(&lower(graph, &Weights::initial(graph, 0)).expect("an ONNX graph"))
}

fn counted(model: &Model) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in &model.nodes {
        *counts.entry(node.op_type.clone()).or_insert(0) += 1;
    }
    counts
}

/// The DDPM network of `ch_mults` 1,2 with attention at the second resolution.
fn small_network() -> Graph {
    let config = UNetConfig {
        image_shape: [3, 16, 16],
        n_channels: 32,
        ch_mults: vec![1, 2],
        is_attn: vec![false, true],
        n_blocks: 1,
        ..UNetConfig::ddpm()
    };
    unet_graph(&config, false).expect("a graph")
}

#[test]
fn layers_are_joined_where_that_is_faster() {
    let graph = small_network();
    let weights = Weights::initial(&graph, 0);
    let plain = lower_plainly(&graph, &weights).expect("an ONNX graph");
    let (fused, plain) = (operators(&graph), counted(&plain));
    let count = |counts: &BTreeMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
    // The upsampling became four convolutions; four attentions lost their linear layers (MatMul) for convolutions.
    assert_eq!((count(&fused, "Resize"), count(&plain, "Resize")), (0, 1));
    assert_eq!((count(&fused, "DepthToSpace"), count(&plain, "DepthToSpace")), (1, 0));
    assert_eq!((count(&fused, "MatMul"), count(&plain, "MatMul")), (8, 16));
    assert_eq!(count(&fused, "Conv") - count(&plain, "Conv"), 3 + 8);
    // No dropout, and never the group norm operator.
    for name in ["Dropout", "GroupNormalization"] {
        assert_eq!((count(&fused, name), count(&plain, name)), (0, 0), "{name}");
    }
}

#[test]
fn a_layer_that_is_asked_for_is_not_joined_away() {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[2, 3, 3])).expect("an input");
    let large = g.upsample_nearest(x, 2).expect("an upsampling");
    let y = g.conv2d(&Layer::root().at("conv"), large, Conv::same(2, 3)).expect("a convolution");
    g.output("large", large);
    g.output("y", y);
    let counts = operators(&g);
    assert_eq!((counts.get("Resize"), counts.get("Conv")), (Some(&1), Some(&1)));
}

#[test]
fn a_constant_part_is_computed_once() {
    let mut graph = small_network();
    let t = graph.inputs().find(|(_, node)| node.name == "t").map(|(value, _)| value).expect("t");
    assert_eq!(graph.node(t).dtype, DType::F32);
    // With a free timestep there are sinusoids and linear layers; a features graph with a fixed one has none.
    let config = include_str!("../../configs/demo.yaml");
    let config = ddae_model::config::Config::parse(config, "demo.yaml", &[]).expect("a config");
    let counts = |timestep| {
        let options = ddae_model::diffusion::FeatureOptions {
            taps: vec!["out_2".to_string()],
            timestep,
            input_u8: false,
            label: false,
            unpooled: false,
        };
        let graph = ddae_model::diffusion::features_graph(&config, &options).expect("a graph");
        operators(&graph)
    };
    let (free, fixed) = (counts(None), counts(Some(11)));
    for name in ["Sin", "Cos", "Gemm", "Gather"] {
        assert!(free.contains_key(name) && !fixed.contains_key(name), "{name}: {free:?} {fixed:?}");
    }
    graph.clear_results();
    assert!(matches!(lower(&graph, &Weights::new()), Err(LowerError::NoOutputs)));
}

#[test]
fn an_input_or_a_constant_can_be_an_output() {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[2])).expect("an input");
    let c = g.constant(ddae_model::tensor::Tensor::f32(&[2], vec![1.0, 2.0])).expect("a constant");
    let doubled = g.add(c, c).expect("a sum");
    let sum = g.add(x, doubled).expect("a sum");
    for (name, value) in [("same", x), ("doubled", doubled), ("sum", sum), ("again", sum)] {
        g.output(name, value);
    }
    let input = ddae_model::tensor::Tensor::f32(&[1, 2], vec![10.0, 20.0]);
    let outputs = through_onnx(&g, &Weights::new(), &[("x", input)]);
    let found: Vec<(&str, &[f32])> =
        outputs.iter().map(|(name, tensor)| (name.as_str(), tensor.as_f32().expect("f32"))).collect();
    let expected: [(&str, &[f32]); 4] =
        [("same", &[10.0, 20.0]), ("doubled", &[2.0, 4.0]), ("sum", &[12.0, 24.0]), ("again", &[12.0, 24.0])];
    assert_eq!(found, expected);
}

#[test]
fn names_that_onnx_cannot_tell_apart_are_refused() {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[2])).expect("an input");
    let y = g.silu(x).expect("a value");
    g.output("x", y);
    let message = lower(&g, &Weights::new()).expect_err("a clash").to_string();
    assert!(message.contains("'x' names two values"), "{message}");
}

#[test]
fn large_constants_can_lie_in_a_file_of_their_own() {
    let case = random_network(5);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.onnx");
    let model = lower(&case.graph, &case.weights).expect("an ONNX graph");
    let files = model.write(&path, &[], 0).expect("two files");
    assert_eq!(files, [path.clone(), data_file(&path)]);
    let size = |path| std::fs::metadata(path).expect("a file").len();
    assert!(size(&path) < size(&data_file(&path)));
    let outputs =
        OnnxNetwork::open(&path, 2).expect("a file that loads").run(&case.inputs()).expect("outputs");
    let inside = through_onnx(&case.graph, &case.weights, &case.inputs());
    assert_eq!(outputs, inside);
}

#[test]
fn the_batch_is_free() {
    let case = random_network(2);
    let mut network = load(&case.graph, &case.weights);
    for batch in [1, 2, 5] {
        let inputs: Vec<_> = case
            .graph
            .inputs()
            .map(|(_, node)| {
                let shape = node.shape.resolve(batch);
                let count = shape.iter().product();
                (node.name.as_str(), ddae_model::tensor::Tensor::f32(&shape, vec![0.5; count]))
            })
            .collect();
        for (_, tensor) in network.run(&inputs).expect("outputs") {
            assert_eq!(tensor.shape()[0], batch);
        }
    }
}

fn file_bytes(case: &Case) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("graph.onnx");
    let model = lower(&case.graph, &case.weights).expect("an ONNX graph");
    let entry = |key: &str, value: &str| (key.to_string(), value.to_string());
    model.write(&path, &[entry("first", "1")], LARGEST_MESSAGE).expect("a file");
    let mut bytes = std::fs::read(path).expect("the file");
    bytes.extend(metadata_suffix(&[entry("second", "2")]));
    bytes
}

#[test]
fn a_file_is_read_back() {
    let graph = small_network();
    let graph = graph.keep(&["y", "out_2"]).expect("the outputs");
    let weights = rule_weights(&graph);
    let case = Case { name: String::new(), graph, weights, inputs: vec![], differentiable: vec![] };
    let bytes = file_bytes(&case);
    let model = read::parse(&bytes).expect("a model");
    // ONNX wants graphs and operations to have names.
    let graph = model.graph.as_ref().expect("a graph");
    assert!(!graph.name.is_empty() && graph.node.iter().all(|node| !node.name.is_empty()));
    let report = onnx_report(&model, bytes.len() as u64);
    let names = |values: &[ddae_export::inspect::ValueReport]| {
        values.iter().map(|v| format!("{} {} [{}]", v.name, v.dtype, v.shape.join(","))).collect::<Vec<_>>()
    };
    assert_eq!(names(&report.inputs), ["x f32 [batch,3,16,16]", "t f32 [batch]"]);
    assert_eq!(names(&report.outputs), ["y f32 [batch,3,16,16]", "out_2 f32 [batch,64,8,8]"]);
    assert_eq!(report.opsets, BTreeMap::from([("ai.onnx".to_string(), 21)]));
    assert_eq!(report.ir_version, 10);
    // Entries that were appended are entries like the others.
    assert_eq!((report.metadata["first"].as_str(), report.metadata["second"].as_str()), ("1", "2"));
    // Fewer operations than the network's: the upsampled convolution and the attentions are cheaper here.
    let flops = report.flops.expect("known shapes");
    assert!(
        flops < case.graph.flops() && flops > case.graph.flops() / 2,
        "{flops} of {}",
        case.graph.flops()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_file_is_described_or_refused(
        cut in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        is_cut in any::<bool>(),
    ) {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = BYTES.get_or_init(|| {
            // A graph of few weights, so that damage hits what is described.
            let mut g = Graph::new();
            let x = g.input("x", DType::F32, Shape::batch(&[2, 4, 4])).expect("an input");
            let y = g.conv2d(&Layer::root().at("conv"), x, Conv::same(2, 3)).expect("a convolution");
            let y = g.group_norm(&Layer::root().at("norm"), y, 2, 1e-5).expect("a norm");
            let y = g.silu(y).expect("an activation");
            g.output("y", y);
            let weights = Weights::initial(&g, 0);
            file_bytes(&Case { name: String::new(), graph: g, weights, inputs: vec![], differentiable: vec![] })
        }).clone();
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (at, value) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        match read::parse(&bytes) {
            Ok(model) => {
                serde_json::to_string(&onnx_report(&model, bytes.len() as u64)).expect("JSON");
            }
            Err(message) => prop_assert!(!message.contains('\n')),
        }
    }
}
