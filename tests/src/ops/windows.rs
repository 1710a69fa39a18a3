//! Convolution and upsampling.

use ddae_model::graph::{Conv, Graph, Path, Shape, Value};
use ddae_model::tensor::DType;

use super::suite::{Built, Suite};

/// An input `x [B, channels, height, width]`.
pub fn image(g: &mut Graph, channels: usize, height: usize, width: usize) -> Built {
    g.input("x", DType::F32, Shape::batch(&[channels, height, width]))
}

/// `image` of a random size with sides from `low` to `high`.
pub fn random_image(g: &mut Graph, suite: &mut Suite, low: usize, high: usize) -> Built {
    let channels = suite.between(1, 8);
    let (height, width) = (suite.between(low, high), suite.between(low, high));
    image(g, channels, height, width)
}

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    let paddings = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [2, 0, 1, 3]];
    for kernel in [1, 3] {
        for stride in [1, 2, 3] {
            for padding in paddings {
                for bias in [true, false] {
                    // A 1x1 convolution with padding occurs in no network; one such case is enough.
                    if kernel == 1 && padding != [0; 4] && (padding != paddings[4] || stride == 3 || bias) {
                        continue;
                    }
                    let name =
                        format!("Conv2d {kernel}x{kernel} stride {stride} padding {padding:?} bias {bias}");
                    suite.add(name, |g, suite| {
                        let x = random_image(g, suite, 3, 9)?;
                        let channels = suite.between(1, 8);
                        let conv = Conv { channels, kernel: [kernel; 2], stride, padding, bias };
                        g.conv2d(&Path::root().at("conv"), x, conv)
                    });
                }
            }
        }
    }
    for (kernel, padding) in [(2, [0, 0, 1, 1]), (4, [1, 1, 1, 1]), (5, [2, 2, 2, 2]), (7, [3, 3, 3, 3])] {
        suite.add(format!("Conv2d {kernel}x{kernel}"), |g, suite| {
            let x = random_image(g, suite, 4, 8)?;
            let channels = suite.between(1, 6);
            g.conv2d(&Path::root().at("conv"), x, Conv::same(channels, kernel).padding(padding))
        });
    }
    for (channels, outputs) in [(32, 64), (64, 32), (3, 33), (17, 1)] {
        suite.add(format!("Conv2d 3x3 {channels} to {outputs} channels"), |g, _| {
            let x = image(g, channels, 7, 5)?;
            g.conv2d(&Path::root().at("conv"), x, Conv::same(outputs, 3))
        });
    }
    for (kernel, stride) in [([1, 7], 1), ([7, 1], 1), ([3, 1], 2), ([2, 3], 1), ([1, 3], 3)] {
        suite.add(format!("Conv2d {}x{} stride {stride}", kernel[0], kernel[1]), |g, suite| {
            let x = random_image(g, suite, 2, 8)?;
            let conv = Conv::rect(suite.between(1, 6), kernel).stride(stride).without_bias();
            g.conv2d(&Path::root().at("conv"), x, conv)
        });
    }
    suite.add("Conv2d 2x5 with four paddings", |g, suite| {
        let x = random_image(g, suite, 3, 6)?;
        g.conv2d(&Path::root().at("conv"), x, Conv::rect(4, [2, 5]).padding([1, 0, 2, 3]))
    });
    for factor in [1, 2, 3] {
        suite.add(format!("UpsampleNearest x{factor}"), |g, suite| {
            let x = random_image(g, suite, 1, 5)?;
            g.upsample_nearest(x, factor)
        });
    }
    for (channels, height, width) in [(1, 5, 3), (8, 4, 4), (12, 1, 7), (32, 3, 5)] {
        suite.add(
            format!("UpsampleNearest x2 then Conv2d 3x3 of {channels}x{height}x{width}"),
            |g, suite| {
                let x = image(g, channels, height, width)?;
                let large = g.upsample_nearest(x, 2)?;
                let outputs = suite.between(1, 16);
                g.conv2d(&Path::root().at("conv"), large, Conv::same(outputs, 3))
            },
        );
    }
    unlike_the_upsampler(suite);
}

/// Graphs that look like an upsampling layer and are none: whoever fuses that layer must leave these alone.
fn unlike_the_upsampler(suite: &mut Suite) {
    type Next = fn(&mut Graph, Value) -> Built;
    let nexts: [(&str, usize, Next); 7] = [
        ("without bias", 2, |g, x| g.conv2d(&Path::root().at("conv"), x, Conv::same(5, 3).without_bias())),
        ("with stride 2", 2, |g, x| g.conv2d(&Path::root().at("conv"), x, Conv::same(5, 3).stride(2))),
        ("without padding", 2, |g, x| {
            g.conv2d(&Path::root().at("conv"), x, Conv::same(5, 3).padding([0; 4]))
        }),
        ("3x1", 2, |g, x| g.conv2d(&Path::root().at("conv"), x, Conv::rect(5, [3, 1]).padding([1; 4]))),
        ("1x3", 2, |g, x| g.conv2d(&Path::root().at("conv"), x, Conv::rect(5, [1, 3]).padding([1; 4]))),
        ("by 3", 3, |g, x| g.conv2d(&Path::root().at("conv"), x, Conv::same(5, 3))),
        ("used twice", 2, |g, x| {
            g.output("large", x);
            g.conv2d(&Path::root().at("conv"), x, Conv::same(5, 3))
        }),
    ];
    for (name, factor, next) in nexts {
        suite.add(format!("UpsampleNearest then Conv2d {name}"), |g, suite| {
            let x = random_image(g, suite, 2, 5)?;
            let large = g.upsample_nearest(x, factor)?;
            next(g, large)
        });
    }
}
