//! Images as graphs take them.

use ddae_data::interleave::interleave;
use ort::value::{DynValue, Tensor};

/// `levels` of `[B, C, H, W]` = `shape` as the input `image`: f32 `[B, C, H, W]` in [0, 1], or bytes `[B, H, W, C]`.
///
/// # Errors
/// When the levels do not fill the shape.
pub(crate) fn image_input(levels: &[u8], shape: [usize; 4], bytes: bool) -> ort::Result<DynValue> {
    if !bytes {
        let floats: Vec<f32> = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
        return Ok(Tensor::from_array((shape, floats))?.into_dyn());
    }
    let [batch, channels, height, width] = shape;
    let mut images = Vec::with_capacity(levels.len());
    for image in levels.chunks_exact(channels * height * width) {
        interleave(image, channels, &mut images);
    }
    Ok(Tensor::from_array(([batch, height, width, channels], images))?.into_dyn())
}
