//! Pooling, and images in another size.

use ddae_model::graph::{Conv, Path, Window};

use super::suite::Suite;
use super::windows::{image, random_image};

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    for kernel in [1, 2, 3, 4] {
        suite.add(format!("AvgPool {kernel}x{kernel}"), |g, suite| {
            let (height, width) = (kernel * suite.between(1, 3), kernel * suite.between(1, 3));
            let channels = suite.between(1, 8);
            let x = image(g, channels, height, width)?;
            g.avg_pool(x, kernel)
        });
    }
    // Also windows that overlap, that leave pixels out, and that do not reach the end.
    let windows = [
        (1, 2, 0),
        (2, 1, 0),
        (2, 1, 1),
        (2, 2, 0),
        (2, 2, 1),
        (2, 3, 0),
        (3, 1, 1),
        (3, 2, 0),
        (3, 2, 1),
        (5, 3, 2),
    ];
    for (kernel, stride, padding) in windows {
        let window = Window { kernel, stride, padding };
        suite.add(format!("MaxPool {window}"), |g, suite| {
            let x = random_image(g, suite, 5, 9)?;
            g.max_pool(x, window)
        });
        for count_include_pad in [true, false] {
            suite.add(format!("AvgPool {window} counted {count_include_pad}"), |g, suite| {
                let x = random_image(g, suite, 5, 9)?;
                g.avg_pool_window(x, window, count_include_pad)
            });
        }
    }
    let window = Window { kernel: 3, stride: 2, padding: 1 };
    suite.add("MaxPool of values below zero", |g, _| {
        let x = image(g, 3, 5, 6)?;
        let x = g.affine(x, 1.0, -10.0)?;
        g.max_pool(x, window)
    });
    suite.add("MaxPool and AvgPool after a convolution, joined", |g, _| {
        let x = image(g, 4, 7, 8)?;
        let x = g.conv2d(&Path::root().at("conv"), x, Conv::same(8, 3))?;
        let (largest, mean) = (g.max_pool(x, window)?, g.avg_pool_window(x, window, false)?);
        g.concat(&[largest, mean], 1)
    });

    let sizes = [
        ([4, 6], [4, 6]),
        ([3, 5], [7, 9]),
        ([4, 4], [8, 8]),
        ([9, 7], [4, 3]),
        ([8, 8], [2, 2]),
        ([5, 3], [3, 8]),
        ([1, 4], [3, 1]),
        ([6, 1], [1, 2]),
        ([10, 10], [93, 94]),
    ];
    for ([height, width], [to_height, to_width]) in sizes {
        suite.add(format!("ResizeBilinear {height}x{width} to {to_height}x{to_width}"), |g, suite| {
            let channels = suite.between(1, 5);
            let x = image(g, channels, height, width)?;
            g.resize_bilinear(x, to_height, to_width)
        });
    }
    suite.add("ResizeBilinear between convolutions", |g, _| {
        let x = image(g, 3, 5, 6)?;
        let x = g.conv2d(&Path::root().at("first"), x, Conv::same(8, 3))?;
        let x = g.resize_bilinear(x, 9, 11)?;
        g.conv2d(&Path::root().at("second"), x, Conv::same(4, 3))
    });
}
