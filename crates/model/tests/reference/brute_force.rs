//! The operations that the interpreter turns into matrix products, against their formulas as plain loops.

use ddae_model::graph::{Conv, Graph, Path, QkvLayout, Shape};
use ddae_model::tensor::{DType, Tensor};
use ddae_tests::{relative_error, rule_values};
use proptest::prelude::*;

use crate::evaluate;

fn values(name: &str, shape: &[usize]) -> Tensor {
    Tensor::f32(shape, rule_values(name, shape.iter().product(), -1.5, 1.5))
}

fn at(tensor: &Tensor, index: &[usize]) -> f64 {
    let flat = index.iter().zip(tensor.shape()).fold(0, |flat, (i, size)| flat * size + i);
    f64::from(tensor.as_f32().expect("f32")[flat])
}

/// `y[b, o, y, x] = bias[o] + sum over c, i, j of weight[o, c, i, j] x[b, c, y s + i - top, x s + j - left]`.
fn convolution(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize, padding: [usize; 4]) -> Vec<f64> {
    let (&[batch, channels, height, width], &[outputs, _, rows, columns]) = (x.shape(), weight.shape())
    else {
        panic!("an image and a weight");
    };
    let [top, left, bottom, right] = padding;
    let mut result = Vec::new();
    for b in 0..batch {
        for o in 0..outputs {
            for y in (0..=height + top + bottom - rows).step_by(stride) {
                for x0 in (0..=width + left + right - columns).step_by(stride) {
                    let mut sum = at(bias, &[o]);
                    for c in 0..channels {
                        for i in 0..rows {
                            for j in 0..columns {
                                let (row, column) = ((y + i).checked_sub(top), (x0 + j).checked_sub(left));
                                if let (Some(row), Some(column)) = (row, column)
                                    && row < height
                                    && column < width
                                {
                                    sum += at(weight, &[o, c, i, j]) * at(x, &[b, c, row, column]);
                                }
                            }
                        }
                    }
                    result.push(sum);
                }
            }
        }
    }
    result
}

fn attention(qkv: &Tensor, heads: usize, layout: QkvLayout) -> Vec<f64> {
    let &[batch, tokens, packed] = qkv.shape() else { panic!("packed projections") };
    let d = packed / 3 / heads;
    let element = |b, token, part, head, i| {
        let channel = match layout {
            QkvLayout::HeadMajor => head * 3 * d + part * d + i,
            QkvLayout::QkvMajor => part * heads * d + head * d + i,
            QkvLayout::ChannelMajor => head * d * 3 + i * 3 + part,
        };
        at(qkv, &[b, token, channel])
    };
    let mut result = Vec::new();
    for b in 0..batch {
        for query in 0..tokens {
            for channel in 0..heads * d {
                let (head, i) = (channel / d, channel % d);
                let weight = |key| {
                    let score: f64 =
                        (0..d).map(|i| element(b, query, 0, head, i) * element(b, key, 1, head, i)).sum();
                    (score / (d as f64).sqrt()).exp()
                };
                let total: f64 = (0..tokens).map(weight).sum();
                result.push((0..tokens).map(|key| weight(key) / total * element(b, key, 2, head, i)).sum());
            }
        }
    }
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn conv2d_is_its_formula(
        (batch, channels, outputs) in (1usize..3, 1usize..5, 1usize..5),
        (height, width, stride) in (4usize..8, 4usize..8, 1usize..4),
        kernel in prop::array::uniform2(1usize..5),
        padding in prop::array::uniform4(0usize..3),
    ) {
        let x = values("x", &[batch, channels, height, width]);
        let weight = values("weight", &[outputs, channels, kernel[0], kernel[1]]);
        let bias = values("bias", &[outputs]);
        let build = |g: &mut Graph| {
            let x = g.input("x", DType::F32, Shape::batch(&[channels, height, width]))?;
            g.conv2d(&Path::root().at("c"), x, Conv { channels: outputs, kernel, stride, padding, bias: true })
        };
        let expected = convolution(&x, &weight, &bias, stride, padding);
        let weights = [("c.weight", weight), ("c.bias", bias)];
        let ours = evaluate::<f64>(build, &weights, &[("x", x)]).to_f64_vec();
        prop_assert!(relative_error(&ours, &expected) < 1e-13);
    }

    #[test]
    fn attention_is_its_formula(
        (batch, tokens, heads, d) in (1usize..3, 1usize..8, 1usize..5, 1usize..6),
        layout in 0usize..3,
    ) {
        let layout = [QkvLayout::HeadMajor, QkvLayout::QkvMajor, QkvLayout::ChannelMajor][layout];
        let qkv = values("qkv", &[batch, tokens, 3 * heads * d]);
        let build = |g: &mut Graph| {
            let qkv = g.input("qkv", DType::F32, Shape::batch(&[tokens, 3 * heads * d]))?;
            g.attention(&Path::root(), qkv, heads, layout)
        };
        let ours = evaluate::<f64>(build, &[], &[("qkv", qkv.clone())]).to_f64_vec();
        prop_assert!(relative_error(&ours, &attention(&qkv, heads, layout)) < 1e-13);
    }
}
