//! Badly wired graphs are refused while they are built, with the layer's path and the numbers.

use ddae_model::graph::{Conv, Graph, GraphError, Init, Path, QkvLayout, Shape, Value, Window};
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
fn layers_want_images_of_floats() {
    let p = Path::root().at("down").at(0);
    let (mut g, x) = with_input(DType::I64, Shape::batch(&[3, 8, 8]));
    assert_eq!(message(g.conv2d(&p, x, Conv::same(4, 3))), "down.0: wants f32, got i64");
    assert_eq!(message(g.silu(x)), "Silu: wants f32 or f64, got i64");
    let (mut g, x) = with_input(DType::F64, Shape::batch(&[6, 12]));
    assert_eq!(message(g.attention(&p, x, 2, QkvLayout::HeadMajor)), "down.0: wants f32, got f64");
    assert_eq!(message(g.linear(&p, x, 4, true)), "down.0: wants f32, got f64");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[3]));
    assert_eq!(message(g.conv2d(&p, x, Conv::same(4, 3))), "down.0: wants [B, C, H, W], got [B, 3]");
    assert_eq!(message(g.batch_norm(&p, x, 1e-5)), "down.0: wants [B, C, H, W], got [B, 3]");
    let (mut g, t) = with_input(DType::F32, Shape::batch(&[]));
    assert_eq!(message(g.layer_norm(t, 1e-6)), "LayerNorm: wants [.., features], got [B]");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let p = Path::root().at("conv1");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[12, 7, 8]));
    let weight = g.parameter(&p.at("weight"), &[4, 3, 3, 3], Init::Zeros).unwrap();
    assert_eq!(
        message(g.conv2d_with(&p, x, weight, Conv::same(4, 3))),
        "conv1: wants a weight of [4, 12, 3, 3], got [4, 3, 3, 3]"
    );
    let rows = g.mean(x, &[2]).unwrap();
    assert_eq!(
        message(g.linear_with(&p, rows, weight, None, 4)),
        "conv1: wants a weight of [4, 8], got [4, 3, 3, 3]"
    );
    // What training overwrites is a parameter.
    let again = g.weight_norm(&p, weight, 1e-4, 1.0).unwrap();
    assert_eq!(
        message(g.weight_norm(&p, again, 1e-4, 1.0)),
        "conv1: wants a parameter of two axes or more, got WeightNorm [4, 3, 3, 3]"
    );
    let gain = g.parameter(&p.at("gain"), &[4], Init::Ones).unwrap();
    assert!(message(g.weight_norm(&p, gain, 1e-4, 1.0)).ends_with("got Parameter [4]"));
    let table = g.buffer(&p.at("table"), &[4, 2], Init::Ones).unwrap();
    assert!(message(g.weight_norm(&p, table, 1e-4, 1.0)).ends_with("got Buffer [4, 2]"));
    assert_eq!(message(g.rms_norm(x, 0, 1e-8)), "RmsNorm: axis 0 of [B, 12, 7, 8] has no fixed size");
    assert_eq!(message(g.rms_norm(x, 4, 1e-8)), "RmsNorm: axis 4 of [B, 12, 7, 8] has no fixed size");
    let message = message(g.plain_group_norm(x, 8, 1e-5));
    assert_eq!(message, "GroupNorm: 12 channels do not split into 8 groups");
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let p = Path::root().at("norm");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[12, 7, 8]));
    assert_eq!(message(g.group_norm(&p, x, 8, 1e-5)), "norm: 12 channels do not split into 8 groups");
    let wide = Conv::same(1, 9).padding([0; 4]);
    assert_eq!(message(g.conv2d(&p, x, wide)), "norm: a 9x9 kernel with stride 1 does not fit 7x8");
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[12, 7, 8]));
    assert!(message(g.conv2d(&p, x, Conv::same(1, 0))).contains("a 0x0 kernel"));
    let long = Conv::rect(1, [1, 9]).padding([0; 4]);
    assert_eq!(
        message(g.conv2d(&p.at("long"), x, long)),
        "norm.long: a 1x9 kernel with stride 1 does not fit 7x8"
    );
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    assert_eq!(
        message(g.max_pool(x, window(8, 1, 0))),
        "MaxPool: windows of 8x8, stride 1, padding 0 do not fit 7x8"
    );
    for wrong in [window(0, 1, 0), window(2, 0, 0), window(3, 1, 2)] {
        let text = message(g.avg_pool_window(x, wrong, false));
        assert!(text.ends_with("and the padding at most half the kernel"), "{text}");
    }
    assert_eq!(message(g.resize_bilinear(x, 0, 5)), "ResizeBilinear: 7x8 cannot become 0x5");
    assert_eq!(message(g.pad(x, 0, 1, 1)), "Pad: axis 0 of [B, 12, 7, 8] has no fixed size");
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

#[test]
fn only_parameters_are_initialised_and_filled_whole() {
    let (mut g, x) = with_input(DType::F32, Shape::batch(&[4]));
    let p = Path::root().at("lin1");
    g.linear(&p, x, 2, true).unwrap();
    let mut say = |path: &Path, init| g.initialise(path, init).unwrap_err().to_string();
    assert_eq!(
        say(&p.at("scale"), Init::Ones),
        "lin1.scale: there is no parameter of this name to initialise"
    );
    assert_eq!(say(&p, Init::Ones), "lin1: is no parameter but Linear, and cannot be initialised");
    let three = Init::Values([1.0, 2.0, 3.0].into());
    assert_eq!(say(&p.at("weight"), three.clone()), "lin1.weight: 3 initial values do not fill [2, 4]");
    assert_eq!(
        message(g.buffer(&p.at("table"), &[2], three)),
        "lin1.table: 3 initial values do not fill [2]"
    );
}
