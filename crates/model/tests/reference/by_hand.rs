//! Every operation on numbers small enough to check in the head.

use ddae_model::graph::{Conv, Dim, Graph, GraphError, Init, Path, QkvLayout, Shape, Value};
use ddae_model::tensor::{DType, Data, Tensor};

use crate::evaluate;

type Built = Result<Value, GraphError>;

fn input(g: &mut Graph, name: &str, sizes: &[usize]) -> Built {
    g.input(name, DType::F32, Shape::batch(sizes))
}

pub fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::f32(shape, values.to_vec())
}

/// `x` and what an operation on it gives, in f32 and in f64.
#[track_caller]
pub fn check(
    x: Tensor,
    build: impl Fn(&mut Graph, Value) -> Built,
    weights: &[(&str, Tensor)],
    shape: &[usize],
    expected: &[f64],
) {
    let graph = |g: &mut Graph| {
        let x = input(g, "x", &x.shape()[1..])?;
        build(g, x)
    };
    let inputs = [("x", x.clone())];
    let single = evaluate::<f32>(graph, weights, &inputs);
    let double = evaluate::<f64>(graph, weights, &inputs);
    assert_eq!((single.dtype(), double.dtype()), (DType::F32, DType::F64));
    for (result, tolerance) in [(single, 1e-6), (double, 1e-13)] {
        assert_eq!(result.shape(), shape);
        for (ours, theirs) in result.to_f64_vec().into_iter().zip(expected) {
            assert!((ours - theirs).abs() <= tolerance * (1.0 + theirs.abs()), "{ours}, expected {theirs}");
        }
    }
}

/// Without parameters.
#[track_caller]
pub fn check_plain(x: Tensor, build: impl Fn(&mut Graph, Value) -> Built, shape: &[usize], expected: &[f64]) {
    check(x, build, &[], shape, expected);
}

pub fn counting(shape: &[usize]) -> Tensor {
    Tensor::f32(shape, (1..=shape.iter().product::<usize>()).map(|n| n as f32).collect())
}

#[test]
fn conv2d() {
    let p = Path::root().at("c");
    // 1 2 3      1 10
    // 4 5 6   *  100 1000
    let weight = ("c.weight", f32s(&[1, 1, 2, 2], &[1.0, 10.0, 100.0, 1000.0]));
    let bias = ("c.bias", f32s(&[1], &[0.5]));
    let conv = Conv::same(1, 2).padding([0; 4]);
    let weights = [weight.clone(), bias];
    check(counting(&[1, 1, 2, 3]), |g, x| g.conv2d(&p, x, conv), &weights, &[1, 1, 1, 2], &[5421.5, 6532.5]);
    // Zeros at the bottom and right only, every second pixel.
    let conv = conv.stride(2).padding([0, 0, 1, 1]).without_bias();
    check(
        counting(&[1, 1, 2, 3]),
        |g, x| g.conv2d(&p, x, conv),
        std::slice::from_ref(&weight),
        &[1, 1, 1, 2],
        &[5421.0, 603.0],
    );
    // Two zeros at the top, one at the left.
    let conv = conv.stride(1).padding([2, 1, 0, 0]);
    let expected = [0.0, 0.0, 0.0, 1000.0, 2100.0, 3200.0, 4010.0, 5421.0, 6532.0];
    check(counting(&[1, 1, 2, 3]), |g, x| g.conv2d(&p, x, conv), &[weight], &[1, 1, 3, 3], &expected);
    // 1x1 over two channels into two, two images of one pixel.
    let weight = ("c.weight", f32s(&[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]));
    let conv = Conv::same(2, 1).without_bias();
    check(
        counting(&[2, 2, 1, 1]),
        |g, x| g.conv2d(&p, x, conv),
        &[weight],
        &[2, 2, 1, 1],
        &[5.0, 11.0, 11.0, 25.0],
    );
    // One row of three: each pixel with its neighbours to the left and right.
    let weight = ("c.weight", f32s(&[1, 1, 1, 3], &[1.0, 10.0, 100.0]));
    let conv = Conv::rect(1, [1, 3]).without_bias();
    let expected = [210.0, 321.0, 32.0, 540.0, 654.0, 65.0];
    check(counting(&[1, 1, 2, 3]), |g, x| g.conv2d(&p, x, conv), &[weight], &[1, 1, 2, 3], &expected);
}

#[test]
fn linear() {
    let p = Path::root().at("l");
    let weights = [
        ("l.weight", f32s(&[2, 3], &[1.0, 0.0, -1.0, 2.0, 2.0, 2.0])),
        ("l.bias", f32s(&[2], &[0.25, -1.0])),
    ];
    let build = |g: &mut Graph, x| g.linear(&p, x, 2, true);
    check(counting(&[1, 2, 3]), build, &weights, &[1, 2, 2], &[-1.75, 11.0, -1.75, 29.0]);
    let build = |g: &mut Graph, x| g.linear(&p, x, 2, false);
    check(counting(&[2, 3]), build, &weights, &[2, 2], &[-2.0, 12.0, -2.0, 30.0]);
}

#[test]
fn gather() {
    let build = |g: &mut Graph| {
        let table = g.parameter(&Path::root().at("table"), &[3, 2], Init::Zeros)?;
        let index = g.input("index", DType::I64, Shape::batch(&[]))?;
        g.gather(table, index)
    };
    let rows = evaluate::<f32>(
        build,
        &[("table", counting(&[3, 2]))],
        &[("index", Tensor::i64(&[4], vec![2, 0, 2, 1]))],
    );
    assert_eq!(rows, f32s(&[4, 2], &[5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0]));
}

#[test]
fn group_norm() {
    let p = Path::root().at("n");
    let weights = [("n.weight", f32s(&[2], &[2.0, 1.0])), ("n.bias", f32s(&[2], &[0.0, 10.0]))];
    // Two groups of one channel: mean 2, variance 1, and mean 6, variance 4. With eps 0 the values are whole.
    let build = |g: &mut Graph, x| g.group_norm(&p, x, 2, 0.0);
    check(
        f32s(&[1, 2, 1, 2], &[1.0, 3.0, 4.0, 8.0]),
        build,
        &weights,
        &[1, 2, 1, 2],
        &[-2.0, 2.0, 9.0, 11.0],
    );
    // One group of both: 1, 3, 5, 7, mean 4, variance 5; eps 4 makes the divisor 3. The second image is constant.
    let build = |g: &mut Graph, x| g.group_norm(&p, x, 1, 4.0);
    let x = f32s(&[2, 2, 1, 2], &[1.0, 3.0, 5.0, 7.0, 6.0, 6.0, 6.0, 6.0]);
    let expected = [-2.0, -2.0 / 3.0, 10.0 + 1.0 / 3.0, 11.0, 0.0, 0.0, 10.0, 10.0];
    check(x, build, &weights, &[2, 2, 1, 2], &expected);
}

#[test]
fn group_norm_of_a_image_far_from_zero() {
    let p = Path::root().at("n");
    let weights = [("n.weight", f32s(&[1], &[1.0])), ("n.bias", f32s(&[1], &[0.0]))];
    let build = |g: &mut Graph, x| g.group_norm(&p, x, 1, 0.0);
    // The mean of the squares minus the square of the mean would have lost the variance in f32.
    check(f32s(&[1, 1, 1, 2], &[10000.0, 10002.0]), build, &weights, &[1, 1, 1, 2], &[-1.0, 1.0]);
}

#[test]
fn batch_norm_takes_the_running_statistics() {
    let p = Path::root().at("n");
    let weights = [
        ("n.weight", f32s(&[2], &[2.0, 3.0])),
        ("n.bias", f32s(&[2], &[0.5, 0.0])),
        ("n.running_mean", f32s(&[2], &[1.0, -1.0])),
        ("n.running_var", f32s(&[2], &[3.0, 8.0])),
    ];
    // With eps 1 the divisors are 2 and 3.
    let build = |g: &mut Graph, x| g.batch_norm(&p, x, 1.0);
    let expected = [0.5, 1.5, 4.0, 5.0, 4.5, 5.5, 8.0, 9.0];
    check(counting(&[2, 2, 1, 2]), build, &weights, &[2, 2, 1, 2], &expected);
}

#[test]
fn layer_norm_is_along_the_last_axis() {
    let x = f32s(&[1, 2, 2], &[1.0, 3.0, 8.0, 4.0]);
    check_plain(x, |g, x| g.layer_norm(x, 0.0), &[1, 2, 2], &[-1.0, 1.0, 1.0, -1.0]);
    // 1, 3, 5, 7: mean 4, variance 5; eps 4 makes the divisor 3.
    let x = f32s(&[1, 4], &[1.0, 3.0, 5.0, 7.0]);
    check_plain(x, |g, x| g.layer_norm(x, 4.0), &[1, 4], &[-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0]);
}

#[test]
fn rms_norm_is_along_one_axis() {
    // Columns (3, 4) and (0, 0): mean squares 12.5 and 0, with 3.5 besides 16 and 3.5.
    let x = f32s(&[1, 2, 2], &[3.0, 0.0, 4.0, 0.0]);
    check_plain(x, |g, x| g.rms_norm(x, 1, 3.5), &[1, 2, 2], &[0.75, 0.0, 1.0, 0.0]);
}

#[test]
fn weight_norm_scales_rows() {
    // Rows of a root mean square of 2 and 0, to 3 where 1 is added to it first.
    let weight = ("l.weight", f32s(&[2, 4], &[2.0, -2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]));
    let p = Path::root().at("l");
    let layer = |g: &mut Graph, x: Value| {
        let weight = g.parameter(&p.at("weight"), &[2, 4], Init::Zeros)?;
        let weight = g.weight_norm(&p, weight, 1.0, 3.0)?;
        g.linear_with(&p, x, weight, None, 2)
    };
    check(f32s(&[1, 4], &[1.0, 10.0, 100.0, 1000.0]), layer, &[weight], &[1, 2], &[2182.0, 0.0]);
}

#[test]
fn a_group_norm_without_scale_and_shift() {
    let x = f32s(&[1, 2, 1, 2], &[1.0, 3.0, -4.0, 4.0]);
    check_plain(x, |g, x| g.plain_group_norm(x, 2, 0.0), &[1, 2, 1, 2], &[-1.0, 1.0, -1.0, 1.0]);
}

#[test]
fn attention() {
    let p = Path::root();
    // One head, d = 1: token 0 has q = 0 and weighs both values alike; token 1 has q = ln 3 over keys 0 and 1, so
    // the weights are 1/4 and 3/4.
    let ln3 = 3f64.ln();
    let qkv = [0.0, 0.0, 4.0, ln3 as f32, 1.0, 8.0];
    let build = |g: &mut Graph, x| g.attention(&p, x, 1, QkvLayout::HeadMajor);
    let weight = 1.0 / (1.0 + f64::from(ln3 as f32).exp());
    check(f32s(&[1, 2, 3], &qkv), build, &[], &[1, 2, 1], &[6.0, 4.0 * weight + 8.0 * (1.0 - weight)]);
    assert!((weight - 0.25).abs() < 1e-7);
}

#[test]
fn attention_scales_by_the_root_of_d() {
    let p = Path::root();
    // d = 4, q = (2, 0, 0, 0), keys 0 and (8, 0, 0, 0): the score 16 / sqrt 4 = 8.
    let token = |q: f32, k: f32, v: f32| [q, 0.0, 0.0, 0.0, k, 0.0, 0.0, 0.0, v, 0.0, 0.0, 0.0];
    let x = Tensor::f32(&[1, 2, 12], [token(2.0, 0.0, 0.0), token(0.0, 8.0, 1.0)].concat());
    let build = |g: &mut Graph, x| g.attention(&p, x, 1, QkvLayout::HeadMajor);
    let first = 1.0 / (1.0 + (-8f64).exp());
    check(x, build, &[], &[1, 2, 4], &[first, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn attention_survives_large_scores() {
    let p = Path::root();
    let build = |g: &mut Graph, x| g.attention(&p, x, 1, QkvLayout::QkvMajor);
    check(f32s(&[1, 2, 3], &[1e4, 1e4, 1.0, 1e4, 0.0, 2.0]), build, &[], &[1, 2, 1], &[1.0, 1.0]);
}

#[test]
fn attention_layouts_order_the_packed_axis() {
    let p = Path::root();
    // One token attends only to itself, so the result is its values: 3 and 6 where each head has its q, k, v side by
    // side, 5 and 6 where all values come last. A head of two channels tells that from the q, k, v of each channel.
    let x = || f32s(&[1, 1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    check_plain(x(), |g, x| g.attention(&p, x, 2, QkvLayout::HeadMajor), &[1, 1, 2], &[3.0, 6.0]);
    check_plain(x(), |g, x| g.attention(&p, x, 2, QkvLayout::QkvMajor), &[1, 1, 2], &[5.0, 6.0]);
    check_plain(x(), |g, x| g.attention(&p, x, 1, QkvLayout::HeadMajor), &[1, 1, 2], &[5.0, 6.0]);
    check_plain(x(), |g, x| g.attention(&p, x, 1, QkvLayout::ChannelMajor), &[1, 1, 2], &[3.0, 6.0]);
}

#[test]
fn functions() {
    let x = || f32s(&[1, 3], &[0.0, 1.0, -200.0]);
    check_plain(x(), |g, x| g.silu(x), &[1, 3], &[0.0, 1.0 / (1.0 + (-1f64).exp()), 0.0]);
    check_plain(x(), |g, x| g.relu(x), &[1, 3], &[0.0, 1.0, 0.0]);
    check_plain(x(), |g, x| g.exp(x), &[1, 3], &[1.0, 1f64.exp(), 0.0]);
    check_plain(f32s(&[1, 2], &[0.0, 2.25]), |g, x| g.sqrt(x), &[1, 2], &[0.0, 1.5]);
    // Computed with Python's math module.
    let gelu = [0.8411919906082768, -0.15880800939172324, 2.484915733910001, 0.0];
    check_plain(f32s(&[1, 4], &[1.0, -1.0, 2.5, -30.0]), |g, x| g.gelu_tanh(x), &[1, 4], &gelu);
    check_plain(x(), |g, x| g.sin(x), &[1, 3], &[0.0, 1f64.sin(), (-200f64).sin()]);
    check_plain(x(), |g, x| g.cos(x), &[1, 3], &[1.0, 1f64.cos(), (-200f64).cos()]);
    check_plain(x(), |g, x| g.affine(x, 0.5, 3.0), &[1, 3], &[3.0, 3.5, -97.0]);
    check_plain(x(), |g, x| g.dropout(x, 0.9), &[1, 3], &[0.0, 1.0, -200.0]);
    check_plain(
        f32s(&[1, 4], &[-2.0, -1.0, 0.5, 7.0]),
        |g, x| g.clamp(x, -1.0, 0.5),
        &[1, 4],
        &[-1.0, -1.0, 0.5, 0.5],
    );
}

#[test]
fn limits_keep_nan() {
    let limits: [fn(&mut Graph, Value) -> Built; 2] = [|g, x| g.clamp(x, -1.0, 1.0), |g, x| g.relu(x)];
    for limit in limits {
        let build = |g: &mut Graph| input(g, "x", &[1]).and_then(|x| limit(g, x));
        let result = evaluate::<f32>(build, &[], &[("x", f32s(&[1, 1], &[f32::NAN]))]);
        assert!(result.to_f64_vec()[0].is_nan());
    }
}

#[test]
fn arithmetic_broadcasts() {
    let build = |op: fn(&mut Graph, Value, Value) -> Built| {
        move |g: &mut Graph| {
            let a = g.input("a", DType::F32, Shape::batch(&[2]))?;
            let b = g.input("b", DType::F32, Shape::batch(&[1]))?;
            op(g, a, b)
        }
    };
    let inputs = [("a", f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])), ("b", f32s(&[2, 1], &[2.0, 4.0]))];
    let result = |op| evaluate::<f32>(build(op), &[], &inputs);
    assert_eq!(result(Graph::add), f32s(&[2, 2], &[3.0, 4.0, 7.0, 8.0]));
    assert_eq!(result(Graph::sub), f32s(&[2, 2], &[-1.0, 0.0, -1.0, 0.0]));
    assert_eq!(result(Graph::mul), f32s(&[2, 2], &[2.0, 4.0, 12.0, 16.0]));
    assert_eq!(result(Graph::div), f32s(&[2, 2], &[0.5, 1.0, 0.75, 1.0]));
    // The operand of fewer axes first: its axes are the last ones.
    let build = |g: &mut Graph| {
        let row = g.constant(f32s(&[2], &[10.0, 20.0]))?;
        let x = g.input("x", DType::F32, Shape::batch(&[2, 2]))?;
        g.sub(row, x)
    };
    let result = evaluate::<f32>(build, &[], &[("x", counting(&[1, 2, 2]))]);
    assert_eq!(result, f32s(&[1, 2, 2], &[9.0, 18.0, 7.0, 16.0]));
}

#[test]
fn shaping() {
    check_plain(
        counting(&[2, 4]),
        |g, x| g.reshape(x, Shape::batch(&[2, 2])),
        &[2, 2, 2],
        &[1., 2., 3., 4., 5., 6., 7., 8.],
    );
    let doubled = Shape::of(vec![Dim::Batch(2), Dim::Size(1)]);
    check_plain(counting(&[2, 2]), |g, x| g.reshape(x, doubled.clone()), &[4, 1], &[1., 2., 3., 4.]);
    check_plain(
        counting(&[1, 2, 3]),
        |g, x| g.transpose(x, &[0, 2, 1]),
        &[1, 3, 2],
        &[1., 4., 2., 5., 3., 6.],
    );
    // Output axis 0 is input axis 2, and so on: not the inverse order.
    check_plain(
        counting(&[1, 2, 3]),
        |g, x| g.transpose(x, &[2, 0, 1]),
        &[3, 1, 2],
        &[1., 4., 2., 5., 3., 6.],
    );
    let concat = |g: &mut Graph, x| {
        let negative = g.affine(x, -1.0, 0.0)?;
        g.concat(&[x, negative], 1)
    };
    check_plain(counting(&[2, 2]), concat, &[2, 4], &[1., 2., -1., -2., 3., 4., -3., -4.]);
    check_plain(counting(&[2, 4]), |g, x| g.slice(x, 1, 1, 2), &[2, 2], &[2., 3., 6., 7.]);
    check_plain(
        counting(&[2, 2]),
        |g, x| g.pad(x, 1, 1, 2),
        &[2, 5],
        &[0., 1., 2., 0., 0., 0., 3., 4., 0., 0.],
    );
    check_plain(counting(&[1, 2, 1]), |g, x| g.pad(x, 1, 0, 1), &[1, 3, 1], &[1., 2., 0.]);
}

/// One value of type `from` as type `to`.
fn cast(from: Tensor, to: DType) -> Tensor {
    let (shape, dtype) = (from.shape()[1..].to_vec(), from.dtype());
    let build = |g: &mut Graph| {
        let x = g.input("x", dtype, Shape::batch(&shape))?;
        g.cast(x, to)
    };
    evaluate::<f32>(build, &[], &[("x", from)])
}

#[test]
fn casts() {
    let floats = f32s(&[1, 5], &[-1.9, 1.9, 254.5, 1e30, f32::NAN]);
    assert_eq!(cast(floats.clone(), DType::I64), Tensor::i64(&[1, 5], vec![-1, 1, 254, i64::MAX, 0]));
    assert_eq!(cast(floats, DType::U8).data(), &Data::U8(vec![0, 1, 254, 255, 0]));
    let large = Tensor::i64(&[1, 2], vec![i64::MAX - 1, -3]);
    assert_eq!(cast(large.clone(), DType::I64), large);
    assert_eq!(cast(large, DType::U8).data(), &Data::U8(vec![255, 0]));
    let bytes = Tensor::new(&[1, 2], Data::U8(vec![7, 255])).unwrap();
    assert_eq!(cast(bytes, DType::F32), f32s(&[1, 2], &[7.0, 255.0]));
    assert_eq!(cast(Tensor::f64(&[1, 1], vec![0.1]), DType::F32), f32s(&[1, 1], &[0.1]));
}

#[test]
fn f64_values_are_computed_in_f64_whatever_the_float_type() {
    let build = |g: &mut Graph| {
        let x = g.input("x", DType::F64, Shape::batch(&[]))?;
        g.affine(x, 1.0, 1e-12)
    };
    let x = [("x", Tensor::f64(&[1], vec![1.0]))];
    let exact = Tensor::f64(&[1], vec![1.0 + 1e-12]);
    assert_eq!(evaluate::<f32>(build, &[], &x), exact);
    assert_eq!(evaluate::<f64>(build, &[], &x), exact);
    // A detour over the graph's f32 rounds in f32 and not in f64.
    let build = |g: &mut Graph| {
        let x = g.input("x", DType::F64, Shape::batch(&[]))?;
        let x = g.cast(x, DType::F32)?;
        g.cast(x, DType::F64)
    };
    let x = [("x", Tensor::f64(&[1], vec![0.1]))];
    assert_eq!(evaluate::<f32>(build, &[], &x), Tensor::f64(&[1], vec![f64::from(0.1f32)]));
    assert_eq!(evaluate::<f64>(build, &[], &x), Tensor::f64(&[1], vec![0.1]));
}
