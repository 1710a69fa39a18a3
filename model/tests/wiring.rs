//! Badly wired graphs are refused while they are built, with the layer's path and the numbers.

use ddae_model::graph::{Conv, Graph, GraphError, Path, QkvLayout, Shape, Value};
use ddae_model::tensor::{DType, Tensor};

fn with_input(dtype: DType, shape: Shape) -> (Graph, Value) {
    let mut g = Graph::new();
    let x = g.input("x", dtype, shape).unwrap();
    (g, x)
}

fn message(result: Result<Value, GraphError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn layers_want_pictures_of_floats() {
    let p = Path::root().at("down").at(0);
    let (mut g, x) = with_input(DType::I64, Shape::batch(&[3, 8, 8]));
    assert_eq!(message(g.conv2d(&p, x, Conv::same(4, 3))), "down.0: wants f32, got i64");
    assert_eq!(message(g.silu(x)), "Silu: wants f32 or f64, got i64");
    let (mut g, x) = with_input(DType::F64, Shape::batch(&[6, 12]));
    assert_eq!(message(g.attention(&p, x, 2, QkvLayout::HeadMajor)), "down.0: wants f32, got f64");
    assert_eq!(message(g.linear(&p, x, 4, true)), "down.0: wants f32, got f64");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[3]));
    assert_eq!(message(g.conv2d(&p, x, Conv::same(4, 3))), "down.0: wants [B, C, H, W], got [B, 3]");
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let p = Path::root().at("norm");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[12, 7, 8]));
    assert_eq!(message(g.group_norm(&p, x, 8, 1e-5)), "norm: 12 channels do not split into 8 groups");
    let wide = Conv { channels: 1, kernel: 9, stride: 1, padding: [0; 4], bias: true };
    assert_eq!(message(g.conv2d(&p, x, wide)), "norm: a 9x9 kernel with stride 1 does not fit 7x8");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[12, 7, 8]));
    let none = Conv { channels: 1, kernel: 0, stride: 1, padding: [0; 4], bias: true };
    assert!(message(g.conv2d(&p, x, none)).contains("a 0x0 kernel"));
    assert_eq!(message(g.avg_pool(x, 2)), "AvgPool: 7x8 is no multiple of 2x2");
    assert_eq!(message(g.slice(x, 1, 10, 4)), "Slice: 10..14 is outside axis 1 of [B, 12, 7, 8]");
    assert_eq!(message(g.mean(x, &[0])), "Mean: the axes [0] do not fit [B, 12, 7, 8]");
    assert_eq!(
        message(g.reshape(x, Shape::batch(&[12, 7]))),
        "Reshape: [B, 12, 7, 8] does not fill [B, 12, 7]"
    );
    let other = g.constant(Tensor::f32(&[5], vec![0.0; 5])).unwrap();
    let text = message(g.add(x, other));
    assert!(text.starts_with("Add: f32 [B, 12, 7, 8] and f32 [5] do not broadcast"), "{text}");
    assert_eq!(message(g.concat(&[x, other], 1)), "Concat: [B, 12, 7, 8] and [5] do not join along axis 1");
}

#[test]
fn two_layers_cannot_share_a_name() {
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[4]));
    let p = Path::root().at("lin1");
    g.linear(&p, x, 4, true).unwrap();
    assert_eq!(message(g.linear(&p, x, 4, true)), "lin1.weight: a node of this name exists already");
}
