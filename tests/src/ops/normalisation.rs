//! Group, batch, layer and root-mean-square normalisation, normalised weights, and means.

use ddae_model::graph::{Conv, Graph, Init, Path, Shape};
use ddae_model::tensor::DType;

use super::suite::Suite;
use super::windows::image;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    groups(suite);
    plain_groups(suite);
    batches(suite);
    layers(suite);
    root_mean_squares(suite);
    weights(suite);
    means(suite);
}

fn groups(suite: &mut Suite) {
    let sizes = [
        (1, 1, 3, 3),
        (1, 6, 3, 2),
        (2, 4, 5, 3),
        (3, 9, 2, 2),
        (8, 32, 3, 3),
        (8, 8, 2, 3),
        (32, 32, 4, 3),
        (32, 128, 1, 1),
    ];
    for (groups, channels, height, width) in sizes {
        for eps in [1e-5, 1e-3] {
            suite.add(
                format!("GroupNorm {groups} groups of {channels}x{height}x{width} eps {eps}"),
                |g, _| {
                    let x = image(g, channels, height, width)?;
                    g.group_norm(&Path::root().at("norm"), x, groups, eps)
                },
            );
        }
    }
    for (groups, channels, height, width) in [(32, 64, 3, 4), (8, 32, 5, 5)] {
        suite.add(format!("GroupNorm {groups} groups of {channels} then Silu"), |g, _| {
            let x = image(g, channels, height, width)?;
            let x = g.group_norm(&Path::root().at("norm"), x, groups, 1e-5)?;
            g.silu(x)
        });
    }
    suite.add("GroupNorm then Silu, the norm an output too", |g, _| {
        let x = image(g, 8, 4, 3)?;
        let x = g.group_norm(&Path::root().at("norm"), x, 4, 1e-6)?;
        g.output("normalised", x);
        g.silu(x)
    });
}

/// Without scale and shift of its own.
fn plain_groups(suite: &mut Suite) {
    for (groups, channels, height, width) in [(1, 1, 3, 3), (2, 4, 5, 3), (8, 8, 2, 3), (32, 64, 1, 2)] {
        suite.add(format!("GroupNorm {groups} groups of {channels}x{height}x{width} alone"), |g, _| {
            let x = image(g, channels, height, width)?;
            g.plain_group_norm(x, groups, 1e-5)
        });
    }
    // What comes of an image's channels after the norm, and where the scale is computed.
    for (name, scale_first, shifted, sizes) in [
        ("a scale of each image", true, false, [8, 1, 1]),
        ("a shift and a scale of each image", true, true, [8, 1, 1]),
        ("a scale that is computed later", false, false, [8, 1, 1]),
        ("a scale of each pixel", true, false, [1, 3, 5]),
    ] {
        suite.add(format!("GroupNorm alone with {name}, Silu and Dropout"), |g, _| {
            let mut x = image(g, 8, 3, 5)?;
            let by = g.input("by", DType::F32, Shape::batch(&sizes))?;
            let scale = |g: &mut Graph| g.affine(by, 1.0, 1.0);
            let first = if scale_first { Some(scale(g)?) } else { None };
            if shifted {
                let shift = g.input("shift", DType::F32, Shape::batch(&[8, 1, 1]))?;
                x = g.add(x, shift)?;
            }
            let x = g.plain_group_norm(x, 4, 1e-5)?;
            let scale = match first {
                Some(scale) => scale,
                None => scale(g)?,
            };
            let x = g.mul(scale, x)?;
            let x = g.silu(x)?;
            g.dropout(x, 0.2)
        });
    }
    suite.add("GroupNorm alone, scaled and an output too", |g, _| {
        let x = image(g, 8, 4, 3)?;
        let scale = g.input("scale", DType::F32, Shape::batch(&[8, 1, 1]))?;
        let x = g.plain_group_norm(x, 4, 1e-6)?;
        g.output("normalised", x);
        g.mul(x, scale)
    });
    suite.add("GroupNorm with Silu, then a scale of each image", |g, _| {
        let x = image(g, 8, 4, 3)?;
        let scale = g.input("scale", DType::F32, Shape::batch(&[8, 1, 1]))?;
        let x = g.plain_group_norm(x, 4, 1e-6)?;
        let x = g.silu(x)?;
        g.mul(x, scale)
    });
}

fn batches(suite: &mut Suite) {
    for (channels, height, width) in [(1, 3, 2), (5, 4, 3), (8, 1, 1), (16, 5, 5)] {
        for eps in [1e-5, 1e-3] {
            suite.add(format!("BatchNorm of {channels}x{height}x{width} eps {eps}"), |g, _| {
                let x = image(g, channels, height, width)?;
                g.batch_norm(&Path::root().at("bn"), x, eps)
            });
        }
    }
    for (bias, kernel) in [(true, [3, 3]), (false, [3, 3]), (false, [1, 5])] {
        suite.add(format!("Conv2d {kernel:?} bias {bias} then BatchNorm and Relu"), |g, _| {
            let x = image(g, 6, 5, 6)?;
            let conv = Conv { bias, ..Conv::rect(8, kernel) };
            let x = g.conv2d(&Path::root().at("conv"), x, conv)?;
            let x = g.batch_norm(&Path::root().at("bn"), x, 1e-5)?;
            g.relu(x)
        });
    }
    suite.add("Conv2d then BatchNorm, the convolution an output too", |g, _| {
        let x = image(g, 3, 4, 4)?;
        let x = g.conv2d(&Path::root().at("conv"), x, Conv::same(8, 3))?;
        g.output("map", x);
        g.batch_norm(&Path::root().at("bn"), x, 1e-5)
    });
    suite.add("UpsampleNearest, Conv2d and BatchNorm", |g, _| {
        let x = image(g, 4, 3, 5)?;
        let x = g.upsample_nearest(x, 2)?;
        let x = g.conv2d(&Path::root().at("conv"), x, Conv::same(8, 3))?;
        g.batch_norm(&Path::root().at("bn"), x, 1e-5)
    });
}

fn layers(suite: &mut Suite) {
    let shapes: [&[usize]; 4] = [&[8], &[5, 12], &[2, 3, 7], &[4, 96]];
    for sizes in shapes {
        for eps in [1e-6, 1e-3] {
            suite.add(format!("LayerNorm of [B, {sizes:?}] eps {eps}"), |g, _| {
                let x = g.input("x", DType::F32, Shape::batch(sizes))?;
                g.layer_norm(x, eps)
            });
        }
    }
    let shapes: [&[usize]; 3] = [&[10], &[1], &[5, 12]];
    for sizes in shapes {
        suite.add(format!("LogSoftmax of [B, {sizes:?}]"), |g, _| {
            let x = g.input("x", DType::F32, Shape::batch(sizes))?;
            let x = g.affine(x, 10.0, 0.0)?;
            g.log_softmax(x)
        });
    }
    suite.add("the logarithm of a class's probability", |g, s| {
        let x = g.input("x", DType::F32, Shape::batch(&[4]))?;
        let label = g.input("label", DType::I64, Shape::batch(&[]))?;
        let table = s.constant(g, &[4, 4])?;
        let (logs, rows) = (g.log_softmax(x)?, g.gather(table, label)?);
        let chosen = g.mul(logs, rows)?;
        g.mean(chosen, &[1])
    });
    suite.add("LayerNorm scaled and shifted for each sample", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[5, 12]))?;
        let both = g.input("both", DType::F32, Shape::batch(&[24]))?;
        let (scale, shift) = (g.slice(both, 1, 0, 12)?, g.slice(both, 1, 12, 12)?);
        let scale = g.affine(scale, 1.0, 1.0)?;
        let (scale, shift) =
            (g.reshape(scale, Shape::batch(&[1, 12]))?, g.reshape(shift, Shape::batch(&[1, 12]))?);
        let x = g.layer_norm(x, 1e-6)?;
        let x = g.mul(x, scale)?;
        g.add(x, shift)
    });
}

fn root_mean_squares(suite: &mut Suite) {
    let shapes: [(&[usize], usize); 5] =
        [(&[6], 1), (&[5, 12], 2), (&[7, 3, 4], 1), (&[4, 9, 8], 3), (&[2, 5, 1], 2)];
    for (sizes, axis) in shapes {
        for eps in [1e-8, 1e-2] {
            suite.add(format!("RmsNorm of [B, {sizes:?}] along axis {axis} eps {eps}"), |g, _| {
                let x = g.input("x", DType::F32, Shape::batch(sizes))?;
                g.rms_norm(x, axis, eps)
            });
        }
    }
    suite.add("RmsNorm of pixels between convolutions", |g, _| {
        let x = image(g, 3, 4, 5)?;
        let x = g.conv2d(&Path::root().at("conv1"), x, Conv::same(8, 3))?;
        let x = g.rms_norm(x, 1, 1e-8)?;
        let h = g.silu(x)?;
        let h = g.conv2d(&Path::root().at("conv2"), h, Conv::same(8, 3).without_bias())?;
        g.add(x, h)
    });
}

/// Layers whose weights are computed from parameters.
fn weights(suite: &mut Suite) {
    for (outputs, kernel, eps) in [(6, 3, 1e-4), (1, 1, 1e-4), (4, 3, 0.1)] {
        suite.add(
            format!("WeightNorm of a {kernel}x{kernel} Conv2d to {outputs} channels eps {eps}"),
            |g, _| {
                let p = Path::root().at("conv");
                let x = image(g, 5, 4, 3)?;
                let weight = g.parameter(&p.at("weight"), &[outputs, 5, kernel, kernel], Init::Ones)?;
                let weight = g.weight_norm(&p, weight, eps, 0.2)?;
                g.conv2d_with(&p, x, weight, Conv::same(outputs, kernel).without_bias())
            },
        );
    }
    suite.add("WeightNorm of a Conv2d with bias after UpsampleNearest", |g, _| {
        let p = Path::root().at("conv");
        let x = image(g, 5, 2, 3)?;
        let large = g.upsample_nearest(x, 2)?;
        let weight = g.parameter(&p.at("weight"), &[4, 5, 3, 3], Init::Ones)?;
        let weight = g.weight_norm(&p, weight, 1e-4, 1.0)?;
        g.conv2d_with(&p, large, weight, Conv::same(4, 3))
    });
    let shapes: [&[usize]; 2] = [&[10], &[3, 10]];
    for sizes in shapes {
        suite.add(format!("WeightNorm of a Linear on [B, {sizes:?}]"), |g, _| {
            let p = Path::root().at("linear");
            let x = g.input("x", DType::F32, Shape::batch(sizes))?;
            let weight = g.parameter(&p.at("weight"), &[7, 10], Init::Ones)?;
            let weight = g.weight_norm(&p, weight, 1e-4, 0.3)?;
            g.linear_with(&p, x, weight, None, 7)
        });
    }
    suite.add("a gain that is a single number", |g, _| {
        let x = image(g, 3, 2, 2)?;
        let gain = g.parameter(&Path::root().at("gain").at("g"), &[], Init::Ones)?;
        g.mul(x, gain)
    });
}

fn means(suite: &mut Suite) {
    let means: [(&[usize], &[usize]); 7] = [
        (&[3, 4, 5], &[2, 3]),
        (&[3, 4, 5], &[1]),
        (&[3, 4, 5], &[3]),
        (&[3, 4, 5], &[1, 2, 3]),
        (&[3, 4, 5], &[1, 3]),
        (&[7, 6], &[1]),
        (&[5], &[1]),
    ];
    for (sizes, axes) in means {
        suite.add(format!("Mean of [B, {sizes:?}] over {axes:?}"), |g, _| {
            let x = g.input("x", DType::F32, Shape::batch(sizes))?;
            g.mean(x, axes)
        });
    }
    suite.add("Mean over the first axis of a parameter", |g, _| {
        let table = g.parameter(&Path::root().at("table"), &[3, 4], Init::Zeros)?;
        g.mean(table, &[0])
    });
    suite.add("Mean of an image, the image an output too", |g, _| {
        let x = image(g, 6, 3, 3)?;
        let x = g.silu(x)?;
        g.output("map", x);
        g.pool(x)
    });
}
