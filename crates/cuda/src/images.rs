//! What images go through besides norms.

use crate::{CudaError, Element, Kernels, Pointer, Stream};

/// Threads of a block.
const THREADS: usize = 256;

impl Kernels {
    /// Puts on `stream`: every pixel of `x [N, H, W, C]`, elements of `size` bytes (an even number), twice along both axes
    /// of `y [N, 2 H, 2 W, C]`.
    ///
    /// # Safety
    /// Both must be of this device, of that size, aligned to 16 bytes, and alive until the stream has come past it.
    ///
    /// # Errors
    /// When a size is beyond 31 bits, or the driver refuses.
    pub unsafe fn upsample(
        &self,
        mut x: Pointer,
        mut y: Pointer,
        [images, height, width, channels]: [usize; 4],
        size: usize,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let bytes = channels * size;
        let (name, word) =
            if bytes.is_multiple_of(16) { ("upsample_wide", 16) } else { ("upsample_narrow", 2) };
        let words = bytes / word;
        let count = images * height * width * words;
        if count == 0 {
            return Ok(());
        }
        let fits = |n: usize| {
            i32::try_from(n).map_err(|_| CudaError::Shape(format!("{n} is more than a kernel counts to")))
        };
        let [mut images, mut height, mut width] = [fits(images)?, fits(height)?, fits(width)?];
        let mut words = fits(words)?;
        let mut arguments = [
            (&raw mut x).cast(),
            (&raw mut y).cast(),
            (&raw mut images).cast(),
            (&raw mut height).cast(),
            (&raw mut width).cast(),
            (&raw mut words).cast(),
        ];
        let blocks = count.div_ceil(THREADS).min(1 << 20);
        // SAFETY: the kernel takes two addresses and four integers; the rest is the caller's promise.
        unsafe { self.launch(name, [blocks, THREADS, 0], stream, &mut arguments) }
    }

    /// Puts on `stream`: the means of 2x2 pixels of `x [N, 2 H, 2 W, C]` into `y [N, H, W, C]` of the sizes given, computed in
    /// float32.
    ///
    /// # Safety
    /// Like [`Kernels::upsample`].
    ///
    /// # Errors
    /// For elements of another type than float32 and float16, and like [`Kernels::upsample`].
    pub unsafe fn average_pool(
        &self,
        mut x: Pointer,
        mut y: Pointer,
        [images, height, width, channels]: [usize; 4],
        element: Element,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let name = match element {
            Element::F32 => "average_pool_f32",
            Element::F16 => "average_pool_f16",
            Element::Bf16 => {
                return Err(CudaError::Shape(
                    "bfloat16 images have no kernel for the means of pixels".into(),
                ));
            }
        };
        let count = images * height * width * channels;
        if count == 0 {
            return Ok(());
        }
        let fits = |n: usize| {
            i32::try_from(n).map_err(|_| CudaError::Shape(format!("{n} is more than a kernel counts to")))
        };
        let [mut lines, mut width, mut channels] = [fits(images * height)?, fits(width)?, fits(channels)?];
        let mut arguments = [
            (&raw mut x).cast(),
            (&raw mut y).cast(),
            (&raw mut lines).cast(),
            (&raw mut width).cast(),
            (&raw mut channels).cast(),
        ];
        let blocks = count.div_ceil(THREADS).min(1 << 20);
        // SAFETY: the kernel takes two addresses and three integers; the rest is the caller's promise.
        unsafe { self.launch(name, [blocks, THREADS, 0], stream, &mut arguments) }
    }
}
