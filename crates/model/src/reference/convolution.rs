//! Convolution of images `[B, C, H, W]`.

use ndarray::{Array2, Array4, ArrayView1, ArrayView3, ArrayView4, Axis};

use super::{Real, from_elements};

/// Cross-correlation of `x [B,C,H,W]` with `weight [O,C,kh,kw]`: `[B, O, H', W']`, one matrix product per image.
/// `padding` is in zeros at the top, left, bottom and right.
pub fn conv2d<F: Real>(
    x: ArrayView4<F>,
    weight: ArrayView4<F>,
    bias: Option<ArrayView1<F>>,
    stride: usize,
    padding: [usize; 4],
) -> Array4<F> {
    let (batch, channels, height, width) = x.dim();
    let (outputs, _, rows, columns) = weight.dim();
    let [top, left, bottom, right] = padding;
    let out_height = (height + top + bottom - rows) / stride + 1;
    let out_width = (width + left + right - columns) / stride + 1;
    let weight = weight.to_shape((outputs, channels * rows * columns)).expect("the weight's own size");

    let mut result = Vec::with_capacity(batch * outputs * out_height * out_width);
    for image in x.axis_iter(Axis(0)) {
        let product =
            weight.dot(&windows(image, (rows, columns), stride, (top, left), (out_height, out_width)));
        for (channel, row) in product.axis_iter(Axis(0)).enumerate() {
            let bias = bias.map_or(F::zero(), |b| b[channel]);
            result.extend(row.iter().map(|&sum| sum + bias));
        }
    }
    from_elements(ndarray::Dim([batch, outputs, out_height, out_width]), result)
}

/// What the kernel sees of an image `[C,H,W]`: row `(c, i, j)`, column `(y, x)` holds the pixel under weight
/// `[c, i, j]` when the window stands at `(y, x)`, 0 outside of the image.
fn windows<F: Real>(
    image: ArrayView3<F>,
    (rows, columns): (usize, usize),
    stride: usize,
    (top, left): (usize, usize),
    (out_height, out_width): (usize, usize),
) -> Array2<F> {
    let (channels, height, width) = image.dim();
    let mut result = Array2::zeros((channels * rows * columns, out_height * out_width));
    let places =
        (0..channels).flat_map(|c| (0..rows).flat_map(move |i| (0..columns).map(move |j| (c, i, j))));
    for ((c, i, j), mut row) in places.zip(result.outer_iter_mut()) {
        for out_y in 0..out_height {
            let y = out_y * stride + i;
            if y < top || y - top >= height {
                continue;
            }
            for out_x in 0..out_width {
                let x = out_x * stride + j;
                if x >= left && x - left < width {
                    row[out_y * out_width + out_x] = image[[c, y - top, x - left]];
                }
            }
        }
    }
    result
}
