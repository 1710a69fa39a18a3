//! Operators of this project's own, in files for a [`Target`](crate::metadata::Target).
//!
//! A session knows them when it was made with [`crate::runtime::operators`] (on the CPU, to check such files) or with
//! `ddae-infer`'s own kernels (on CUDA). Images are channels-last, `[N, H, W, C]`, or tokens `[N, P, C]`.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`GROUP_NORM_SILU`] | `sum = x + residual + bias`, `y = silu(weight * normalised(sum + shift) + beta)` |
//! | [`UPSAMPLE_NEAREST`] | every pixel of an image, 2x2 times |
//! | [`AVERAGE_POOL`] | the means of 2x2 pixels |

/// Their domain, in its first version.
pub const DOMAIN: &str = "ai.ddae";

/// The domain of operators that ONNX Runtime adds to the specification.
pub const RUNTIME_DOMAIN: &str = "com.microsoft";

/// Normalisation over groups of channels, with what stands before and after it.
///
/// | input | shape | type | |
/// | --- | --- | --- | --- |
/// | 0 `x` | `[N, …, C]` | f32 or f16 | |
/// | 1 `weight` | `[C]` | f32 | |
/// | 2 `beta` | `[C]` | f32 | |
/// | 3 `bias` | `[C]` | f32 | optional |
/// | 4 `shift` | `[N, C]` or `[1, C]` | f32 | optional |
/// | 5 `residual` | as `x` | as `x` | optional |
///
/// Outputs: 0 `y` and 1 `sum`, both like `x`. `sum` may be left out where there is no residual. Attributes: `groups` (int), `epsilon` (float, added
/// to the variance), `silu` (int, 1 for `y = z * sigmoid(z)` of the norm's result `z`, 0 for `z` itself). Statistics are
/// computed in float32 or better whatever the type of `x`.
pub const GROUP_NORM_SILU: &str = "GroupNormSilu";

/// Each pixel of `x [N, H, W, C]` (f32 or f16) twice along both axes: `[N, 2 H, 2 W, C]`.
pub const UPSAMPLE_NEAREST: &str = "UpsampleNearest";

/// The means of 2x2 pixels of `x [N, H, W, C]` (f32 or f16), H and W even: `[N, H / 2, W / 2, C]`, computed in float32 or
/// better.
pub const AVERAGE_POOL: &str = "AveragePool2x2";

/// ONNX Runtime's convolution of images `[N, H, W, C]` with kernels `[O, h, w, C]`, in [`RUNTIME_DOMAIN`]. Attributes as
/// those of the standard `Conv`.
pub const NHWC_CONV: &str = "NhwcConv";

/// ONNX Runtime's attention between tokens `[N, P, C]`, in [`RUNTIME_DOMAIN`].
pub const MULTI_HEAD_ATTENTION: &str = "MultiHeadAttention";

/// The inputs of a [`GROUP_NORM_SILU`], by position.
pub mod group_norm_input {
    /// The image.
    pub const X: usize = 0;
    /// Multiplies the normalised image.
    pub const WEIGHT: usize = 1;
    /// Is added to it.
    pub const BETA: usize = 2;
    /// Is added to the image first, to each channel.
    pub const BIAS: usize = 3;
    /// Is added to what is normalised, to each channel of each image.
    pub const SHIFT: usize = 4;
    /// Is added to the image, element by element.
    pub const RESIDUAL: usize = 5;
}
