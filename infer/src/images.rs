//! Images as graphs take them.

use ddae_data::interleave::interleave;
use ddae_model::tensor::{Data, Tensor};

/// `levels` of `[B, C, H, W]` = `shape` as the input `image`: f32 `[B, C, H, W]` in [0, 1], or bytes `[B, H, W, C]`.
///
/// # Panics
/// When the levels do not fill the shape.
pub(crate) fn image_input(levels: &[u8], shape: [usize; 4], bytes: bool) -> Tensor {
    if !bytes {
        return Tensor::f32(&shape, levels.iter().map(|&level| f32::from(level) / 255.0).collect());
    }
    let [batch, channels, height, width] = shape;
    let mut images = Vec::with_capacity(levels.len());
    for image in levels.chunks_exact(channels * height * width) {
        interleave(image, channels, &mut images);
    }
    Tensor::new(&[batch, height, width, channels], Data::U8(images)).expect("levels that fill the shape")
}
