//! Group normalisation and means.

use ddae_model::graph::{Init, Path, Shape};
use ddae_model::tensor::DType;

use super::suite::Suite;
use super::windows::picture;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
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
                    let x = picture(g, channels, height, width)?;
                    g.group_norm(&Path::root().at("norm"), x, groups, eps)
                },
            );
        }
    }
    for (groups, channels, height, width) in [(32, 64, 3, 4), (8, 32, 5, 5)] {
        suite.add(format!("GroupNorm {groups} groups of {channels} then Silu"), |g, _| {
            let x = picture(g, channels, height, width)?;
            let x = g.group_norm(&Path::root().at("norm"), x, groups, 1e-5)?;
            g.silu(x)
        });
    }
    suite.add("GroupNorm then Silu, the norm an output too", |g, _| {
        let x = picture(g, 8, 4, 3)?;
        let x = g.group_norm(&Path::root().at("norm"), x, 4, 1e-6)?;
        g.output("normalised", x);
        g.silu(x)
    });
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
    suite.add("Mean of a picture, the picture an output too", |g, _| {
        let x = picture(g, 6, 3, 3)?;
        let x = g.silu(x)?;
        g.output("map", x);
        g.pool(x)
    });
}
