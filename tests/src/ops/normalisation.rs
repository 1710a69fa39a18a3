//! Group, batch and layer normalisation, and means.

use ddae_model::graph::{Conv, Init, Path, Shape};
use ddae_model::tensor::DType;

use super::suite::Suite;
use super::windows::image;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    groups(suite);
    batches(suite);
    layers(suite);
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
