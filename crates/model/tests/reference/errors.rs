//! What the interpreter says to inputs, parameters and graphs that it cannot take.

use ddae_model::graph::{Graph, Init, Path, Shape, Value};
use ddae_model::reference::{RunError, run};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;

/// `(x [B, 2] + w [2]) * scale [B, 1]`.
fn graph() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[2])).unwrap();
    let scale = g.input("scale", DType::F32, Shape::batch(&[1])).unwrap();
    let w = g.parameter(&Path::root().at("w"), &[2], Init::Zeros).unwrap();
    let sum = g.add(x, w).unwrap();
    let y = g.mul(sum, scale).unwrap();
    g.output("y", y);
    g
}

fn weights() -> Weights {
    [("w".to_string(), Tensor::f32(&[2], vec![1.0, 2.0]))].into_iter().collect()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::f32(shape, vec![0.0; shape.iter().product()])
}

#[track_caller]
fn message(weights: &Weights, inputs: &[(&str, Tensor)]) -> String {
    run::<f32>(&graph(), weights, inputs).expect_err("an error").to_string()
}

#[test]
fn wrong_inputs_are_named() {
    let scale = ("scale", zeros(&[3, 1]));
    let x = ("x", zeros(&[3, 2]));
    assert!(run::<f32>(&graph(), &weights(), &[x.clone(), scale.clone()]).is_ok());
    let say = |inputs: &[(&str, Tensor)]| message(&weights(), inputs);
    assert_eq!(say(std::slice::from_ref(&x)), "input 'scale' f32 [B, 1] is missing");
    assert_eq!(
        say(&[x.clone(), scale.clone(), ("noise", zeros(&[1]))]),
        "'noise' is no input of this graph; it has x, scale"
    );
    assert_eq!(say(&[x.clone(), x.clone(), scale.clone()]), "input 'x' is given twice");
    assert_eq!(
        say(&[("x", zeros(&[3, 5])), scale.clone()]),
        "input 'x' is [3, 5]; the graph wants [B, 2] with B at least 1"
    );
    assert_eq!(
        say(&[("x", zeros(&[3, 2, 1])), scale.clone()]),
        "input 'x' is [3, 2, 1]; the graph wants [B, 2] with B at least 1"
    );
    assert_eq!(
        say(&[("x", zeros(&[0, 2])), scale.clone()]),
        "input 'x' is [0, 2]; the graph wants [B, 2] with B at least 1"
    );
    assert_eq!(
        say(&[("x", Tensor::i64(&[3, 2], vec![0; 6])), scale.clone()]),
        "input 'x' is i64; the graph wants f32"
    );
    assert_eq!(
        say(&[x, ("scale", zeros(&[2, 1]))]),
        "input 'scale' is [2, 1] with a batch of 2, input 'x' is [3, 2] with 3"
    );
}

#[test]
fn wrong_parameters_are_named() {
    let inputs = [("x", zeros(&[3, 2])), ("scale", zeros(&[3, 1]))];
    assert!(
        message(&Weights::new(), &inputs).starts_with("parameter 'w' [2] of the network is not in the file")
    );
    let mut wrong = Weights::new();
    wrong.insert("w", zeros(&[3]));
    assert!(message(&wrong, &inputs).starts_with("parameter 'w' is [3] in the file and [2] in the network"));
    wrong.insert("w", Tensor::i64(&[2], vec![0; 2]));
    let text = "parameter 'w' is i64; it must be f32 (f16 and bf16 are read as f32)";
    assert_eq!(message(&wrong, &inputs), text);
}

#[test]
fn f64_stands_for_f32_only_where_f64_is_computed() {
    let double = |shape: &[usize]| Tensor::f64(shape, vec![0.1; shape.iter().product()]);
    let weights: Weights = [("w".to_string(), double(&[2]))].into_iter().collect();
    let inputs = [("x", double(&[1, 2])), ("scale", double(&[1, 1]))];
    let y = &run::<f64>(&graph(), &weights, &inputs).unwrap()[0].1;
    assert_eq!(y, &Tensor::f64(&[1, 2], vec![(0.1 + 0.1) * 0.1; 2]));
    let error = run::<f32>(&graph(), &weights, &inputs).unwrap_err();
    assert_eq!(error.to_string(), "input 'x' is f64; the graph wants f32");
}

#[test]
fn an_index_outside_its_table_is_named() {
    let mut g = Graph::new();
    let table = g.parameter(&Path::root().at("labels"), &[4, 1], Init::Zeros).unwrap();
    let index = g.input("y", DType::I64, Shape::batch(&[])).unwrap();
    let rows = g.gather(table, index).unwrap();
    g.output("rows", rows);
    let weights: Weights = [("labels".to_string(), zeros(&[4, 1]))].into_iter().collect();
    let run = |index| run::<f32>(&g, &weights, &[("y", Tensor::i64(&[2], vec![0, index]))]);
    assert!(run(3).is_ok());
    for index in [4, -1, i64::MAX] {
        let error = run(index).unwrap_err().to_string();
        assert_eq!(error, format!("'y' holds {index}, but the table 'labels' has 4 rows, counted from 0"));
    }
}

#[test]
fn an_operation_on_integers_that_has_none_is_named() {
    let mut g = Graph::new();
    let x = g.input("x", DType::I64, Shape::batch(&[2])).unwrap();
    let y = g.mean(x, &[1]).unwrap();
    g.output("y", y);
    let error = run::<f32>(&g, &Weights::new(), &[("x", Tensor::i64(&[1, 2], vec![0, 1]))]).unwrap_err();
    assert_eq!(error.to_string(), "Mean_1: Mean is not defined on i64");
    assert!(matches!(error, RunError::Type { op: "Mean", .. }));
}

#[test]
fn only_what_the_outputs_need_is_asked_for() {
    let mut g = graph();
    let x = g.inputs().next().map(|(value, _): (Value, _)| value).unwrap();
    g.tap("x", x);
    let pruned = g.keep(&["x"]).unwrap();
    let outputs =
        run::<f32>(&pruned, &Weights::new(), &[("x", Tensor::f32(&[1, 2], vec![3.0, 4.0]))]).unwrap();
    assert_eq!(outputs, [("x".to_string(), Tensor::f32(&[1, 2], vec![3.0, 4.0]))]);
}
