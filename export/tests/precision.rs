//! Files in 16-bit floats and 8-bit integers.

use std::collections::HashMap;
use std::path::Path;

use ddae_export::comparison::Comparison;
use ddae_export::lower::half_precision::{compute_f16, store_bf16};
use ddae_export::lower::lower;
use ddae_export::precision::PrecisionOptions;
use ddae_export::quantize::calibration::{Calibrator, MEMORY};
use ddae_export::quantize::histogram::RangeRule;
use ddae_export::quantize::samples::{ImageSource, Samples};
use ddae_export::quantize::selection::Selection;
use ddae_model::config::{Config, Override};
use ddae_model::diffusion::{FeatureOptions, features_graph};
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_onnx::messages::{GraphProto, data_type};
use ddae_onnx::metadata::{OutputError, Precision};
use ddae_onnx::read;
use ddae_onnx::runtime::{OnnxNetwork, integers, optimized_copy};
use ddae_onnx::write::{LARGEST_MESSAGE, Model, data_file};
use ddae_tests::cases::{imported, published};
use ddae_tests::rule_weights;

fn config() -> Config {
    let small = ["network.n_channels=32", "network.ch_mults=[1, 2]", "network.is_attn=[False, True]"];
    let overrides: Vec<Override> = small.iter().map(|text| text.parse().expect("key=value")).collect();
    Config::parse(include_str!("../../configs/demo.yaml"), "demo.yaml", &overrides).expect("a config")
}

/// Features of grey 28 x 28 images, which the built-in data set has.
fn features(timestep: Option<i64>) -> (Graph, Weights) {
    let taps = vec!["out_2".to_string(), "out_3".to_string()];
    let options = FeatureOptions { taps, timestep, input_u8: false, label: false, unpooled: false };
    let graph = features_graph(&config(), &options).expect("a graph");
    let weights = rule_weights(&graph);
    (graph, weights)
}

fn numbers(precision: Precision) -> PrecisionOptions {
    PrecisionOptions { precision, ..PrecisionOptions::default() }
}

fn samples(graph: &Graph) -> Samples {
    Samples::open(graph, &ImageSource::default(), vec![11], 1..=1000).expect("images")
}

/// Writes the graph in float32 and in a precision; gives the file of the latter and its errors against the former.
fn exported(
    folder: &Path,
    graph: &Graph,
    weights: &Weights,
    numbers: &PrecisionOptions,
) -> (GraphProto, Vec<OutputError>) {
    let [float32, other, scratch] = ["f32.onnx", "other.onnx", "scratch.onnx"].map(|name| folder.join(name));
    let samples = samples(graph);
    let mut model = lower(graph, weights).expect("an ONNX graph");
    model.write(&float32, &[], LARGEST_MESSAGE).expect("a file");
    let calibration = numbers.convert(&mut model, graph, &samples, &scratch).expect("a conversion");
    assert_eq!(calibration.is_some(), numbers.precision == Precision::Int8);
    model.write(&other, &[], LARGEST_MESSAGE).expect("a file");
    let errors = numbers.compare(graph, &samples, &float32, &other).expect("errors");
    assert_eq!(errors.inputs, "fashion-sample/train");
    (read::model(&other).expect("a file").graph.expect("a graph"), errors.outputs)
}

/// Element types by name of everything in a file that has one.
fn types(graph: &GraphProto) -> HashMap<&str, i32> {
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let values = values.map(|value| (value.name.as_str(), value.element_type()));
    values.chain(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor.data_type))).collect()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file").len()
}

#[test]
fn f16_is_for_products_and_what_lies_between() {
    let folder = tempfile::tempdir().expect("a folder");
    let (graph, weights) = features(None);
    let (file, errors) = exported(folder.path(), &graph, &weights, &numbers(Precision::F16));
    let types = types(&file);
    for value in file.input.iter().chain(&file.output) {
        assert_ne!(value.element_type(), data_type::FLOAT16, "{}", value.name);
    }
    let (mut halves, mut embeddings) = (0, 0);
    for node in &file.node {
        let found = types.get(node.input[0].as_str()).copied().unwrap_or_default();
        match node.op_type.as_str() {
            "Conv" | "MatMul" => {
                assert_eq!(found, data_type::FLOAT16, "{}", node.name);
                halves += 1;
            }
            // The embedding of the timestep and its uses.
            "Gemm" => {
                assert_eq!(found, data_type::FLOAT, "{}", node.name);
                embeddings += 1;
            }
            "InstanceNormalization" | "BatchNormalization" | "Softmax" | "GlobalAveragePool" => {
                assert_eq!(found, data_type::FLOAT, "{}", node.name);
            }
            _ => {}
        }
    }
    assert!(halves > 10 && embeddings > 3, "{halves} {embeddings}");
    // Kernels and matrices take half the room, whoever uses them.
    let large = file.initializer.iter().filter(|tensor| tensor.dims.iter().product::<i64>() > 5000);
    assert!(large.clone().count() > 10 && large.clone().all(|tensor| tensor.data_type == data_type::FLOAT16));
    assert!(size(&folder.path().join("other.onnx")) < size(&folder.path().join("f32.onnx")) * 55 / 100);
    for error in errors {
        assert!((1e-6..2e-3).contains(&error.relative) && error.cosine > 0.9999, "{error:?}");
    }
}

#[test]
fn a_sampler_steps_in_float32() {
    let config = config();
    let graph = ddae_model::diffusion::sampler_graph(&config).expect("a graph");
    let weights = rule_weights(&graph);
    let mut model = lower(&graph, &weights).expect("an ONNX graph");
    compute_f16(&mut model).expect("a conversion");
    let last_half = model.nodes.iter().rposition(|node| {
        let name = node.output[0].as_str();
        model.values.iter().any(|value| value.name == name && value.element_type() == data_type::FLOAT16)
    });
    let after: Vec<&str> =
        model.nodes[last_half.expect("products") + 1..].iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(model.nodes[last_half.expect("products")].op_type, "Conv");
    assert!(after.contains(&"Clip") && after.contains(&"Div"), "{after:?}");
    let folder = tempfile::tempdir().expect("a folder");
    model.write(&folder.path().join("sampler.onnx"), &[], LARGEST_MESSAGE).expect("a file");
    OnnxNetwork::open(&folder.path().join("sampler.onnx"), 1).expect("a file that loads");
}

#[test]
fn networks_of_every_kind_run_in_16_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    for case in [
        published::soda_encoder(),
        published::wrn_noise(),
        published::noise_mlp(),
        imported::dit(false, true),
        imported::vae_encoder(),
        imported::fid_inception(),
    ] {
        for (convert, tolerance) in [(compute_f16 as fn(&mut Model) -> _, 1e-2), (store_bf16, 5e-2)] {
            let mut model = lower(&case.graph, &case.weights).expect("an ONNX graph");
            convert(&mut model).expect("a conversion");
            model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
            let mut network = OnnxNetwork::open(&path, 2).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let mut comparison = Comparison::default();
            comparison.add(&network.run(&case.inputs).expect("outputs"), &case.expected);
            for error in comparison.errors() {
                let error_is_right = error.relative > 1e-6 && error.relative < tolerance;
                assert!(error_is_right, "{}: {error:?}", case.name);
            }
        }
    }
}

#[test]
fn bf16_is_how_weights_are_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let (graph, weights) = features(Some(11));
    let (file, errors) = exported(folder.path(), &graph, &weights, &numbers(Precision::Bf16));
    let large = file.initializer.iter().filter(|tensor| tensor.dims.iter().product::<i64>() > 5000);
    assert!(
        large.clone().count() > 10 && large.clone().all(|tensor| tensor.data_type == data_type::BFLOAT16)
    );
    let types = types(&file);
    for node in file.node.iter().filter(|node| node.op_type != "Cast") {
        for name in &node.input {
            assert_ne!(types.get(name.as_str()), Some(&data_type::BFLOAT16), "{}", node.name);
        }
    }
    assert!(size(&folder.path().join("other.onnx")) < size(&folder.path().join("f32.onnx")) * 55 / 100);
    for error in errors {
        assert!((1e-5..2e-2).contains(&error.relative) && error.cosine > 0.999, "{error:?}");
    }
}

#[test]
fn int8_runs_on_integers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (graph, weights) = features(Some(11));
    let model = lower(&graph, &weights).expect("an ONNX graph");
    let selected = Selection::of(&model).len();
    let convolutions = model.nodes.iter().filter(|node| node.op_type == "Conv").count();
    let (_, errors) = exported(folder.path(), &graph, &weights, &numbers(Precision::Int8));
    let optimized = folder.path().join("optimized.onnx");
    optimized_copy(&folder.path().join("other.onnx"), &optimized).expect("what the runtime makes of it");
    let optimized = read::model(&optimized).expect("a file").graph.expect("a graph");
    let count = |operator: &str| optimized.node.iter().filter(|node| node.op_type == operator).count();
    // All but the first.
    assert_eq!((selected, count("QLinearConv")), (convolutions - 1, convolutions - 1));
    assert_eq!(count("Conv") + count("FusedConv"), 1);
    assert!(size(&folder.path().join("other.onnx")) < size(&folder.path().join("f32.onnx")) * 35 / 100);
    for error in errors {
        assert!((1e-4..0.1).contains(&error.relative) && error.cosine > 0.95, "{error:?}");
    }
}

#[test]
fn integer_convolutions_are_the_same_as_matrix_products() {
    let folder = tempfile::tempdir().expect("a folder");
    let (graph, weights) = features(Some(11));
    exported(folder.path(), &graph, &weights, &numbers(Precision::Int8));
    let [float32, int8, as_products] =
        ["f32.onnx", "other.onnx", "products.onnx"].map(|name| folder.path().join(name));
    assert_eq!(integers::as_products(&float32).expect("a file"), None);
    let products = integers::as_products(&int8).expect("a file").expect("integers");
    std::fs::write(&as_products, products).expect("a file");
    let inputs = samples(&graph).inputs(&graph, 0..3).expect("inputs");
    let inputs: Vec<(&str, Tensor)> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let results = [&int8, &as_products].map(|path| {
        let mut network = OnnxNetwork::open(path, 1).expect("a network");
        let names: Vec<String> = network.inputs().iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["image", "noise"]);
        network.run(&inputs).expect("features")
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn tokens_are_multiplied_in_integers() {
    // Products with weights that are not convolutions, as DiT has them.
    let mut g = Graph::new();
    let root = ddae_model::graph::Path::root();
    let shape = ddae_model::graph::Shape::batch(&[1, 28, 28]);
    let x = g.input("image", ddae_model::tensor::DType::F32, shape).expect("an input");
    let x = g.reshape(x, ddae_model::graph::Shape::batch(&[28, 28])).expect("rows");
    let mut h = g.linear(&root.at("first"), x, 32, true).expect("a layer");
    for i in 0..2 {
        let inner = g.linear(&root.at(i), h, 64, true).expect("a layer");
        let inner = g.silu(inner).expect("an activation");
        h = g.linear(&root.at(i + 10), inner, 32, true).expect("a layer");
    }
    let pooled = g.mean(h, &[1]).expect("a mean");
    g.output("layer", pooled);
    let folder = tempfile::tempdir().expect("a folder");
    let (_, errors) = exported(folder.path(), &g, &rule_weights(&g), &numbers(Precision::Int8));
    let optimized = folder.path().join("optimized.onnx");
    optimized_copy(&folder.path().join("other.onnx"), &optimized).expect("what the runtime makes of it");
    let nodes = read::model(&optimized).expect("a file").graph.expect("a graph").node;
    let count = |operator: &str| nodes.iter().filter(|node| node.op_type == operator).count();
    assert_eq!((count("MatMulIntegerToFloat"), count("MatMul")), (4, 1));
    assert!(errors[0].relative < 0.05, "{errors:?}");
}

#[test]
fn little_memory_changes_no_range() {
    let (graph, weights) = features(Some(11));
    let samples = samples(&graph);
    let folder = tempfile::tempdir().expect("a folder");
    let ranges = |memory: u64| {
        let mut model = lower(&graph, &weights).expect("an ONNX graph");
        let activations = Selection::of(&model).activations[..6].to_vec();
        let before = model.clone();
        let calibrator = Calibrator { graph: &graph, samples: &samples, count: 3, memory };
        let scratch = folder.path().join("scratch.onnx");
        let found = calibrator.histograms(&mut model, &activations, &scratch).expect("ranges");
        assert!(model == before && !scratch.exists());
        activations.into_iter().map(|name| found[&name].range(RangeRule::MinMax)).collect::<Vec<_>>()
    };
    let (whole, parts) = (ranges(MEMORY), ranges(1));
    for (a, b) in whole.iter().zip(&parts) {
        let width = a.max - a.min;
        assert!(width > 0.0);
        // Other batches, other kernels: the last bits may differ.
        assert!(
            (a.min - b.min).abs() <= 1e-5 * width && (a.max - b.max).abs() <= 1e-5 * width,
            "{a:?} {b:?}"
        );
    }
}

#[test]
fn samples_are_images_of_many_classes_the_same_every_time() {
    let (graph, _) = features(None);
    let samples = Samples::open(&graph, &ImageSource::default(), vec![3, 11], 1..=1000).expect("images");
    let inputs = |range| samples.inputs(&graph, range).expect("inputs");
    let (all, again) = (inputs(0..8), inputs(0..8));
    assert_eq!(all, again);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["image", "noise", "timestep"]);
    let image = all[0].1.as_f32().expect("floats");
    assert!(image.iter().all(|x| (0.0..=1.0).contains(x)) && image.iter().any(|x| *x > 0.9));
    assert_eq!(all[2].1.as_i64(), Some(&[3, 11, 3, 11, 3, 11, 3, 11][..]));
    // A later part shows the same images.
    let later = inputs(2..4);
    assert_eq!(later[0].1.as_f32().expect("floats"), &image[2 * 784..4 * 784]);
    let noise =
        |inputs: &[(String, ddae_model::tensor::Tensor)]| inputs[1].1.as_f32().expect("floats").to_vec();
    assert_eq!(noise(&later), noise(&all)[2 * 784..4 * 784]);
    let bytes = FeatureOptions {
        taps: vec!["out_2".to_string()],
        timestep: None,
        input_u8: true,
        label: false,
        unpooled: false,
    };
    let bytes = features_graph(&config(), &bytes).expect("a graph");
    let bytes = samples.inputs(&bytes, 0..1).expect("inputs");
    assert_eq!(bytes[0].1.to_f64_vec()[300] as f32 / 255.0, image[300]);
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let graph = config().network.network_graph(false).expect("a graph");
    let asked = ImageSource { asked: Some("fashion-sample".to_string()), trained_on: None };
    let open = |graph: &Graph, source: &ImageSource| match Samples::open(graph, source, vec![], 1..=1000) {
        Ok(samples) => samples.name().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(open(&graph, &asked).contains("takes no images"), "{}", open(&graph, &asked));
    let (graph, _) = features(None);
    let missing = ImageSource { asked: Some("no-such-set".to_string()), trained_on: None };
    assert!(open(&graph, &missing).contains("no-such-set"), "{}", open(&graph, &missing));
    // Data that is not here is no reason to fail, unless it was asked for.
    let elsewhere = ImageSource { asked: None, trained_on: Some("tiny".to_string()) };
    assert_eq!(open(&graph, &elsewhere), "fashion-sample/train");
}

#[test]
fn external_data_is_stored_in_any_precision() {
    let (graph, weights) = features(Some(11));
    let folder = tempfile::tempdir().expect("a folder");
    let samples = samples(&graph);
    let inputs = samples.inputs(&graph, 0..2).expect("inputs");
    let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    for precision in [Precision::F16, Precision::Bf16] {
        let mut model = lower(&graph, &weights).expect("an ONNX graph");
        numbers(precision).convert(&mut model, &graph, &samples, Path::new("unused")).expect("a conversion");
        let [inside, outside] = ["inside.onnx", "outside.onnx"].map(|name| folder.path().join(name));
        model.write(&inside, &[], LARGEST_MESSAGE).expect("a file");
        model.write(&outside, &[], 0).expect("two files");
        assert!(size(&outside) < size(&data_file(&outside)));
        let run = |path: &Path| {
            OnnxNetwork::open(path, 1).expect("a file that loads").run(&inputs).expect("outputs")
        };
        let mut comparison = Comparison::default();
        comparison.add(&run(&outside), &run(&inside));
        assert!(comparison.errors().iter().all(|error| error.relative == 0.0), "{:?}", comparison.errors());
    }
}
