//! Linear layers and attention.

use ddae_model::graph::{Path, QkvLayout, Shape};
use ddae_model::tensor::DType;

use super::suite::Suite;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    let shapes: [&[usize]; 4] = [&[5], &[1], &[7, 6], &[3, 2, 8]];
    for sizes in shapes {
        for bias in [true, false] {
            suite.add(format!("Linear of [B, {sizes:?}] bias {bias}"), |g, suite| {
                let x = g.input("x", DType::F32, Shape::batch(sizes))?;
                let features = suite.between(1, 9);
                g.linear(&Path::root().at("linear"), x, features, bias)
            });
        }
    }
    suite.add("Linear of a constant", |g, suite| {
        let x = suite.constant(g, &[1, 6])?;
        g.linear(&Path::root().at("linear"), x, 4, true)
    });
    suite.add("Linear twice", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[6]))?;
        let x = g.linear(&Path::root().at("lin1"), x, 12, true)?;
        let x = g.silu(x)?;
        g.linear(&Path::root().at("lin2"), x, 5, true)
    });

    for layout in [QkvLayout::HeadMajor, QkvLayout::QkvMajor, QkvLayout::ChannelMajor] {
        for (heads, d, tokens) in [(1, 8, 6), (2, 4, 9), (4, 1, 5), (3, 5, 1), (8, 16, 4), (1, 32, 17)] {
            suite.add(format!("Attention {heads} heads of {d}, {tokens} tokens, {layout:?}"), |g, _| {
                let qkv = g.input("qkv", DType::F32, Shape::batch(&[tokens, heads * 3 * d]))?;
                g.attention(&Path::root().at("attn"), qkv, heads, layout)
            });
        }
        suite.add(format!("Attention between linear layers, {layout:?}"), |g, _| {
            let p = Path::root().at("attn");
            let x = g.input("x", DType::F32, Shape::batch(&[10, 12]))?;
            let qkv = g.linear(&p.at("projection"), x, 36, true)?;
            let x = g.attention(&p, qkv, 3, layout)?;
            g.linear(&p.at("output"), x, 12, true)
        });
    }
}
