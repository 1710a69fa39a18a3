//! Pooling and other sizes of images, on numbers small enough to check in the head.

use ddae_model::graph::{Graph, Shape, Window};
use ddae_model::tensor::DType;

use crate::by_hand::{check_plain, counting, f32s};
use crate::evaluate;

fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel, stride, padding }
}

#[test]
fn resampling() {
    let upsampled = [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.];
    check_plain(counting(&[1, 1, 2, 2]), |g, x| g.upsample_nearest(x, 2), &[1, 1, 4, 4], &upsampled);
    check_plain(counting(&[1, 1, 2, 4]), |g, x| g.avg_pool(x, 2), &[1, 1, 1, 2], &[3.5, 5.5]);
    check_plain(counting(&[1, 2, 2, 2]), |g, x| g.pool(x), &[1, 2], &[2.5, 6.5]);
    check_plain(counting(&[1, 2, 2, 2]), |g, x| g.mean(x, &[1, 3]), &[1, 2], &[3.5, 5.5]);
}

#[test]
fn max_pool() {
    let x = || counting(&[1, 1, 3, 3]);
    check_plain(x(), |g, x| g.max_pool(x, window(2, 1, 0)), &[1, 1, 2, 2], &[5.0, 6.0, 8.0, 9.0]);
    check_plain(x(), |g, x| g.max_pool(x, window(3, 2, 1)), &[1, 1, 2, 2], &[5.0, 6.0, 8.0, 9.0]);
    // Below zero the padding would win if it counted.
    let negative = f32s(&[1, 1, 3, 3], &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0]);
    check_plain(negative, |g, x| g.max_pool(x, window(3, 2, 1)), &[1, 1, 2, 2], &[-1.0, -2.0, -4.0, -5.0]);
    // The last column fits no whole window.
    check_plain(counting(&[1, 1, 2, 3]), |g, x| g.max_pool(x, window(2, 2, 0)), &[1, 1, 1, 1], &[5.0]);
    let build = |g: &mut Graph| {
        let x = g.input("x", DType::F32, Shape::batch(&[1, 1, 3]))?;
        g.max_pool(x, window(1, 2, 0))
    };
    let result = evaluate::<f32>(build, &[], &[("x", f32s(&[1, 1, 1, 3], &[f32::NAN, 0.0, 1.0]))]);
    assert!(result.to_f64_vec()[0].is_nan());
}

#[test]
fn avg_pool_counts_the_padding_or_not() {
    let x = || counting(&[1, 1, 2, 2]);
    let corners = window(2, 2, 1);
    let counted = [0.25, 0.5, 0.75, 1.0];
    check_plain(x(), |g, x| g.avg_pool_window(x, corners, true), &[1, 1, 2, 2], &counted);
    check_plain(x(), |g, x| g.avg_pool_window(x, corners, false), &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let row = || counting(&[1, 1, 1, 4]);
    // A window of 3x3 at each pixel: of the nine places only those of the row are in the image.
    let thirds = [3.0 / 9.0, 6.0 / 9.0, 1.0, 7.0 / 9.0];
    check_plain(row(), |g, x| g.avg_pool_window(x, window(3, 1, 1), true), &[1, 1, 1, 4], &thirds);
    check_plain(
        row(),
        |g, x| g.avg_pool_window(x, window(3, 1, 1), false),
        &[1, 1, 1, 4],
        &[1.5, 2.0, 3.0, 3.5],
    );
}

#[test]
fn resize_bilinear() {
    // The new centres are at -1/4, 1/4, 3/4 and 5/4 of the old ones.
    let x = f32s(&[1, 1, 1, 2], &[0.0, 4.0]);
    check_plain(x, |g, x| g.resize_bilinear(x, 1, 4), &[1, 1, 1, 4], &[0.0, 1.0, 3.0, 4.0]);
    let x = f32s(&[1, 1, 2, 1], &[0.0, 4.0]);
    check_plain(x, |g, x| g.resize_bilinear(x, 4, 1), &[1, 1, 4, 1], &[0.0, 1.0, 3.0, 4.0]);
    check_plain(counting(&[1, 1, 2, 2]), |g, x| g.resize_bilinear(x, 1, 1), &[1, 1, 1, 1], &[2.5]);
    check_plain(counting(&[1, 1, 1, 4]), |g, x| g.resize_bilinear(x, 1, 2), &[1, 1, 1, 2], &[1.5, 3.5]);
    // At 1.5 and 5.5: the peak between them is passed over, since nothing is smoothed.
    let peak = f32s(&[1, 1, 1, 8], &[0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 2.0]);
    check_plain(peak, |g, x| g.resize_bilinear(x, 1, 2), &[1, 1, 1, 2], &[0.0, 0.0]);
}
