//! The norm's arguments, as its kernels take them.

use std::ptr::null;

use crate::{CudaError, Geometry, Pointer};

/// The type of the elements of `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Element {
    /// float32.
    F32 = 0,
    /// 16-bit floats.
    F16 = 1,
    /// 16-bit brain floats.
    Bf16 = 2,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        if self == Element::F32 { 4 } else { 2 }
    }

    /// The element type of this number.
    ///
    /// # Errors
    /// [`CudaError::Shape`] where there is none.
    pub fn numbered(number: i32) -> Result<Element, CudaError> {
        match number {
            0 => Ok(Element::F32),
            1 => Ok(Element::F16),
            2 => Ok(Element::Bf16),
            other => Err(CudaError::Shape(format!("there is no element type {other}"))),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
        }
    }
}

/// Forward or backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Pass {
    /// `sum` (where not null) and `y` from `x`.
    Forward = 0,
    /// `dx`, and for each image `dweight`, `dbeta` and `dshift` (where not null), from `x` (what was normalised), `dy`,
    /// `mean` and `rstd`.
    Backward = 1,
}

/// `y = dropout(silu(group_norm(sum + shift) * weight + beta))` with `sum = x + residual + bias`, on images `[N, P, C]`
/// of P pixels with their channels side by side. Addresses are of the device; null is for what there is not.
///
/// Without a `sum` there is no `residual`, and `bias` is added to `shift`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Norm {
    /// `[N, P, C]`, aligned to 16 bytes.
    pub x: Pointer,
    /// Like `x`.
    pub residual: Pointer,
    /// `[C]` in float32.
    pub bias: Pointer,
    /// `[N, C]`, in float32, or like `x` with `shift_like_x`.
    pub shift: Pointer,
    /// `[C]`, or `[N, C]` with `weight_stride` C; in float32.
    pub weight: Pointer,
    /// `[C]` in float32.
    pub beta: Pointer,
    /// Where the sum goes, like `x`.
    pub sum: Pointer,
    /// Where the result goes, like `x`.
    pub y: Pointer,
    /// `[N, groups]` in float32: of what is normalised.
    pub mean: Pointer,
    /// `[N, groups]` in float32: 1 over the standard deviation.
    pub rstd: Pointer,
    /// Like `x`.
    pub dy: Pointer,
    /// Like `x`.
    pub dx: Pointer,
    /// `[N, C]` in float32, like the next two.
    pub dweight: Pointer,
    #[allow(missing_docs)]
    pub dbeta: Pointer,
    #[allow(missing_docs)]
    pub dshift: Pointer,
    /// One number of 64 bits that decides, with `layer`, which elements are dropped.
    pub seed: Pointer,
    /// Tells the norms apart that share a seed.
    pub layer: u64,
    /// N.
    pub batch: i32,
    /// P.
    pub pixels: i32,
    /// C.
    pub channels: i32,
    /// Groups of channels.
    pub groups: i32,
    /// Is set by [`crate::Kernels::norm`].
    pub chunk: i32,
    /// 0, or C where every image has weights of its own.
    pub weight_stride: i32,
    /// 1 where `shift` has the type of `x`, and 2 more where it is one row `[C]` for all images.
    pub shift_like_x: i32,
    /// Whether SiLU follows.
    pub silu: i32,
    /// An element is dropped where its random 32 bits are below this; 0 for no dropout.
    pub drop_below: u32,
    /// Multiplies what is kept.
    pub keep_scale: f32,
    /// Added to the variance.
    pub eps: f32,
    /// The type of `x`, an [`Element`].
    pub element: i32,
    /// From a row of `dweight`, `dbeta` and `dshift` to the next, in numbers; 0 for C.
    pub row_stride: i32,
}

impl Norm {
    /// A norm of `x` in `groups`, of which nothing else is set: no address, no SiLU, no dropout.
    ///
    /// # Errors
    /// [`CudaError::Shape`] where a size is beyond 31 bits.
    pub fn new(
        element: Element,
        [batch, pixels, channels]: [usize; 3],
        groups: usize,
        eps: f32,
    ) -> Result<Norm, CudaError> {
        let size = |n: usize| {
            i32::try_from(n).map_err(|_| CudaError::Shape(format!("{n} is more than a kernel counts to")))
        };
        let none: Pointer = null();
        Ok(Norm {
            x: none,
            residual: none,
            bias: none,
            shift: none,
            weight: none,
            beta: none,
            sum: none,
            y: none,
            mean: none,
            rstd: none,
            dy: none,
            dx: none,
            dweight: none,
            dbeta: none,
            dshift: none,
            seed: none,
            layer: 0,
            batch: size(batch)?,
            pixels: size(pixels)?,
            channels: size(channels)?,
            groups: size(groups)?,
            chunk: 0,
            weight_stride: 0,
            shift_like_x: 0,
            silu: 0,
            drop_below: 0,
            keep_scale: 1.0,
            eps,
            element: element as i32,
            row_stride: 0,
        })
    }

    pub(crate) fn element(&self) -> Result<Element, CudaError> {
        Element::numbered(self.element)
    }

    pub(crate) fn geometry(&self) -> Result<Geometry, CudaError> {
        let size = |n: i32| usize::try_from(n).unwrap_or(0);
        let shape = [self.batch, self.pixels, self.channels].map(size);
        Geometry::new(shape, size(self.groups), self.element()?.size())
    }
}
