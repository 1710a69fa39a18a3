//! Files for GPUs: the same numbers as the reference interpreter's, by their twins on the CPU.

mod onnx;

use ddae_export::lower::channels_last::{lower_for_gpu, portable_twin};
use ddae_export::lower::half_precision::compute_f16;
use ddae_model::graph::{Op, Shape};
use ddae_model::reference;
use ddae_model::tensor::{DType, Tensor};
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto};
use ddae_onnx::operators::{AVERAGE_POOL, DOMAIN, GROUP_NORM_SILU, UPSAMPLE_NEAREST};
use ddae_onnx::write::Model;
use ddae_tests::ops::{Case, cases, random_edm2_network, random_network};
use ddae_tests::{relative_error, tolerance};
use onnx::opened;

fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    if (ours.shape(), ours.dtype()) != (theirs.shape(), theirs.dtype()) {
        return f64::INFINITY;
    }
    let (ours, theirs) = (ours.to_f64_vec(), theirs.to_f64_vec());
    // 0 against 0 is no difference.
    if ours == theirs { 0.0 } else { relative_error(&ours, &theirs) }
}

fn check(case: &Case, half: bool, limit: f64) -> Result<(), String> {
    let inputs = case.inputs();
    let expected = reference::run::<f32>(&case.graph, &case.weights, &inputs).map_err(|e| e.to_string())?;
    let mut model = lower_for_gpu(&case.graph, &case.weights).map_err(|e| e.to_string())?.model;
    if half {
        compute_f16(&mut model).map_err(|e| e.to_string())?;
    }
    let found = opened(&portable_twin(&model)).run(&inputs).map_err(|e| e.to_string())?;
    for ((name, ours), (_, theirs)) in found.iter().zip(&expected) {
        let error = difference(ours, theirs);
        if error > limit {
            return Err(format!("{}, {name}: {error:.1e}", case.name));
        }
    }
    Ok(())
}

fn convolves(case: &Case) -> bool {
    case.graph.nodes().iter().any(|node| matches!(node.op, Op::Conv2d { .. }))
}

#[test]
fn operations_around_convolutions() {
    let cases: Vec<Case> = cases(1).into_iter().filter(convolves).collect();
    assert!(cases.len() > 20, "{}", cases.len());
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check(case, false, tolerance::CLOSE).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn random_networks() {
    let cases = (0..8).flat_map(|seed| [random_network(seed), random_edm2_network(seed)]);
    let failures: Vec<String> =
        cases.filter_map(|case| check(&case, false, tolerance::NETWORK).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn random_networks_in_half_precision() {
    let cases = (0..4).flat_map(|seed| [random_network(seed), random_edm2_network(seed)]);
    let failures: Vec<String> = cases.filter_map(|case| check(&case, true, 2e-2).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_graph_without_convolutions_is_refused() {
    let case = cases(1).into_iter().find(|case| !convolves(case)).expect("a case");
    let error = lower_for_gpu(&case.graph, &case.weights).expect_err("nothing to do").to_string();
    assert!(error.contains("--target cuda is for graphs that convolve images"), "{error}");
}

/// A graph of one operator of this project's own, with operands of these shapes in the order of its inputs; none where one
/// is left out.
fn single(operator: &str, groups: i64, shapes: &[Option<&[usize]>]) -> Model<'static> {
    let mut model = Model { name: "single".to_string(), ..Model::default() };
    let mut names = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        let name = shape.map_or(String::new(), |_| format!("x{i}"));
        model
            .inputs
            .extend(shape.map(|shape| ValueInfoProto::tensor(&name, DType::F32, &Shape::fixed(shape))));
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let attributes = vec![
        AttributeProto::int("groups", groups),
        AttributeProto::float("epsilon", 1e-5),
        AttributeProto::int("silu", 1),
    ];
    let attributes = if operator == GROUP_NORM_SILU { attributes } else { vec![] };
    let result = Shape::fixed(&[2, 4, 6]);
    model.outputs.push(ValueInfoProto::tensor("y", DType::F32, &result));
    model.nodes.push(NodeProto::new(operator, "op", &names, attributes, &["y"]).in_domain(DOMAIN));
    model
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let (x, c): (&[usize], &[usize]) = (&[2, 4, 6], &[6]);
    let cases: [(&str, i64, Vec<Option<&[usize]>>, &str); 7] = [
        (GROUP_NORM_SILU, 4, vec![Some(x), Some(c), Some(c)], "its channels are not 4 groups"),
        (
            GROUP_NORM_SILU,
            3,
            vec![Some(x), Some(&[5]), Some(c)],
            "an operand of [5] is not one number a channel",
        ),
        (
            GROUP_NORM_SILU,
            3,
            vec![Some(x), Some(c), Some(c), None, Some(&[3, 6])],
            "a shift of [3, 6] is not one number a channel",
        ),
        (
            GROUP_NORM_SILU,
            3,
            vec![Some(x), Some(c), Some(c), None, None, Some(&[2, 4, 3])],
            "a residual of [2, 4, 3] is not of its shape",
        ),
        (UPSAMPLE_NEAREST, 1, vec![Some(x)], "[2, 4, 6] is no image [N, H, W, C]"),
        (AVERAGE_POOL, 1, vec![Some(x)], "[2, 4, 6] is no image [N, H, W, C] of even sides"),
        (AVERAGE_POOL, 1, vec![Some(&[1, 3, 4, 2])], "[1, 3, 4, 2] is no image [N, H, W, C] of even sides"),
    ];
    for (operator, groups, shapes, wanted) in cases {
        let mut network = opened(&single(operator, groups, &shapes));
        let named: Vec<(String, Tensor)> = shapes
            .iter()
            .enumerate()
            .filter_map(|(i, shape)| Some((format!("x{i}"), (*shape)?)))
            .map(|(name, shape)| (name, Tensor::f32(shape, vec![1.0; shape.iter().product()])))
            .collect();
        let inputs: Vec<(&str, Tensor)> =
            named.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let error = network.run(&inputs).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
