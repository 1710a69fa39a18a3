//! What `tch` does not offer of libtorch: a safe face of the C++ in `shim/`.
//!
//! The only `unsafe` of the crate stands here, in [`cuda`], in `optimizer` and in [`ranks`]. Every function hands libtorch pointers to
//! tensors that the caller's borrow keeps alive for the length of the call.

use std::ffi::{CStr, CString, c_char, c_double, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use tch::Tensor;

use super::TorchError;

pub mod cuda;
mod optimizer;
pub mod ranks;

pub use optimizer::{
    AdamStep, AdamTensors, Rate, Scaled, SgdStep, adam_step, clear_gradients, clip_gradients, sgd_step,
    unscale,
};

type Pointer = *const c_void;

#[repr(C)]
struct GroupNormSiluArguments {
    groups: i64,
    eps: c_double,
    silu: c_int,
    dropout: c_double,
    seed: i64,
}

unsafe extern "C" {
    fn ddae_torch_error() -> *const c_char;
    fn ddae_torch_load(path: *const c_char) -> c_int;
    fn ddae_torch_channels_last(tensor: Pointer, out: *mut *mut c_void) -> c_int;
    fn ddae_torch_is_channels_last(tensor: Pointer, out: *mut c_int) -> c_int;
    fn ddae_torch_flush_denormals(on: c_int, supported: *mut c_int) -> c_int;
    fn ddae_torch_lerp(
        targets: *const Pointer,
        sources: *const Pointer,
        count: usize,
        weight: c_double,
    ) -> c_int;
    fn ddae_torch_group_norm_silu(
        input: Pointer,
        shift: Pointer,
        weight: Pointer,
        bias: Pointer,
        arguments: *const GroupNormSiluArguments,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_torch_scaled_rows(
        input: Pointer,
        axes: *const i64,
        count: usize,
        eps: c_double,
        rms: c_double,
        inside: c_int,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_torch_trace_begin(cuda: c_int) -> c_int;
    fn ddae_torch_trace_end(path: *const c_char) -> c_int;
    fn ddae_torch_keep_memory() -> c_int;
    fn ddae_torch_copy(targets: *const Pointer, sources: *const Pointer, count: usize) -> c_int;
}

fn pointer(tensor: &Tensor) -> Pointer {
    tensor.as_ptr().cast()
}

fn pointers(tensors: &[Tensor]) -> Vec<Pointer> {
    tensors.iter().map(pointer).collect()
}

fn last_error() -> String {
    // SAFETY: the text is a C string of this thread that lives until its next failure, and it is copied at once.
    unsafe { CStr::from_ptr(ddae_torch_error()) }.to_string_lossy().trim().to_string()
}

fn check(operation: &str, status: c_int) -> Result<(), TorchError> {
    match status {
        0 => Ok(()),
        _ => Err(TorchError::Operation { context: operation.to_string(), message: last_error() }),
    }
}

/// A tensor that the shim made.
fn made(tensor: *mut c_void) -> Tensor {
    // SAFETY: the shim's functions give a new at::Tensor where they report success, and nobody else has it.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}

fn same_length(operation: &str, lists: &[&[Tensor]]) -> Result<(), TorchError> {
    if lists.windows(2).all(|pair| pair[0].len() == pair[1].len()) {
        return Ok(());
    }
    let lengths: Vec<String> = lists.iter().map(|list| list.len().to_string()).collect();
    let message = format!("the lists hold {} tensors; they must be as long", lengths.join(" and "));
    Err(TorchError::Operation { context: operation.to_string(), message })
}

/// Loads the shared library at `path` with its symbols visible to libtorch.
///
/// # Errors
/// The loader's reason.
pub(super) fn load_library(path: &Path) -> Result<(), String> {
    let text = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: the path is a C string for the length of the call. Loading runs the initialisers of NVIDIA's and
    // PyTorch's own libraries, which is their documented use.
    if unsafe { ddae_torch_load(text.as_ptr()) } == 0 { Ok(()) } else { Err(last_error()) }
}

/// The tensor `[B,C,H,W]` with its channels side by side in memory (itself where they are already).
///
/// # Errors
/// When it has not four dimensions.
pub fn channels_last(tensor: &Tensor) -> Result<Tensor, TorchError> {
    let mut out = null_mut();
    // SAFETY: `tensor` is alive and `out` is where the function writes.
    check("channels_last", unsafe { ddae_torch_channels_last(pointer(tensor), &mut out) })?;
    Ok(made(out))
}

/// Whether the channels of `[B,C,H,W]` are side by side in memory.
///
/// # Errors
/// When the tensor is undefined.
pub fn is_channels_last(tensor: &Tensor) -> Result<bool, TorchError> {
    let mut out = 0;
    // SAFETY: `tensor` is alive and `out` is where the function writes.
    check("is_channels_last", unsafe { ddae_torch_is_channels_last(pointer(tensor), &mut out) })?;
    Ok(out != 0)
}

/// Settings of [`group_norm_silu`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormSilu {
    /// Number of groups of channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether SiLU follows.
    pub silu: bool,
    /// Probability of an element to be dropped at the end, in [0, 1).
    pub dropout: f64,
    /// Decides which elements are dropped.
    pub seed: i64,
}

impl From<GroupNormSilu> for GroupNormSiluArguments {
    fn from(options: GroupNormSilu) -> GroupNormSiluArguments {
        GroupNormSiluArguments {
            groups: options.groups as i64,
            eps: options.eps,
            silu: c_int::from(options.silu),
            dropout: options.dropout,
            seed: options.seed,
        }
    }
}

/// `dropout(silu(group_norm(x + shift) * weight + bias))` as one operation with gradients: two passes over memory
/// forward and two back, where libtorch takes a dozen.
///
/// # Shapes
/// `x [B,C,H,W]`, channels-last, on the CPU, in float32, float64 or bfloat16; `shift [B,C]`; `weight [B,C]`, or `weight`
/// and `bias [C]` in float32, or float64 with such an `x`. The result is like `x`.
///
/// # Errors
/// When the tensors are not such.
pub fn group_norm_silu(
    x: &Tensor,
    shift: Option<&Tensor>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    options: GroupNormSilu,
) -> Result<Tensor, TorchError> {
    let arguments = GroupNormSiluArguments::from(options);
    let mut out = null_mut();
    let [shift, weight, bias] = [shift, weight, bias].map(|tensor| tensor.map_or(null(), pointer));
    let x = pointer(x);
    // SAFETY: the tensors are alive or null where that is allowed, and `out` is where the function writes; it checks
    // types and sizes itself.
    let status = unsafe { ddae_torch_group_norm_silu(x, shift, weight, bias, &arguments, &mut out) };
    check("group_norm_silu", status)?;
    Ok(made(out))
}

/// What [`scaled_rows`] multiplies a row of root mean square `r` by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RowScale {
    /// `1 / sqrt(r^2 + eps)`.
    Unit {
        /// Added to the mean square.
        eps: f64,
    },
    /// `rms / (r + eps)`.
    To {
        /// The root mean square of the result, but for `eps`.
        rms: f64,
        /// Added to the root mean square.
        eps: f64,
    },
}

/// The tensor with what lies along `axes` scaled, as one operation with gradients; 16-bit floats are computed with in
/// float32.
///
/// # Errors
/// When there are no such axes.
pub(super) fn scaled_rows(x: &Tensor, axes: &[i64], scale: RowScale) -> Result<Tensor, TorchError> {
    let (eps, rms, inside) = match scale {
        RowScale::Unit { eps } => (eps, 1.0, 1),
        RowScale::To { rms, eps } => (eps, rms, 0),
    };
    let mut out = null_mut();
    // SAFETY: `x` is alive, `axes` is as long as said, and `out` is where the function writes.
    let status =
        unsafe { ddae_torch_scaled_rows(pointer(x), axes.as_ptr(), axes.len(), eps, rms, inside, &mut out) };
    check("scaled_rows", status)?;
    Ok(made(out))
}

/// Begins to record what libtorch does, on a GPU too where `cuda`.
///
/// # Errors
/// When something is recorded already.
pub fn begin_trace(cuda: bool) -> Result<(), TorchError> {
    // SAFETY: takes a number.
    check("trace", unsafe { ddae_torch_trace_begin(c_int::from(cuda)) })
}

/// Writes what was recorded to the file at `path`, for chrome://tracing or Perfetto.
///
/// # Errors
/// When nothing was begun, or the file cannot be written.
pub fn end_trace(path: &Path) -> Result<(), TorchError> {
    let text = CString::new(path.as_os_str().as_encoded_bytes());
    let text = text.map_err(|e| TorchError::Input(e.to_string()))?;
    // SAFETY: the path is a C string for the length of the call.
    check("trace", unsafe { ddae_torch_trace_end(text.as_ptr()) })
}

/// Lets the process keep freed memory instead of handing it back to the system and asking for it again at every
/// operation: a tenth of a training step. For the whole process and for good, so a program calls it when it starts.
///
/// # Errors
/// When the C library refuses (glibc does not; with another library nothing happens).
pub fn keep_memory() -> Result<(), TorchError> {
    // SAFETY: takes nothing; the C library allows it at any time.
    check("keep_memory", unsafe { ddae_torch_keep_memory() })
}

/// Makes numbers below the normal range zero, which processors compute with many times faster. Returns whether the
/// processor can.
///
/// # Errors
/// libtorch's.
pub fn flush_denormals(on: bool) -> Result<bool, TorchError> {
    let mut supported = 0;
    // SAFETY: `supported` is where the function writes.
    check("flush_denormals", unsafe { ddae_torch_flush_denormals(c_int::from(on), &mut supported) })?;
    Ok(supported != 0)
}

/// Moves every target by `weight` of the way to its source: an exponential moving average of decay `1 - weight`.
///
/// # Errors
/// When the lists do not fit together.
pub fn lerp(targets: &[Tensor], sources: &[Tensor], weight: f64) -> Result<(), TorchError> {
    same_length("lerp", &[targets, sources])?;
    let [t, s] = [targets, sources].map(pointers);
    // SAFETY: two lists of `t.len()` pointers to living tensors.
    check("lerp", unsafe { ddae_torch_lerp(t.as_ptr(), s.as_ptr(), t.len(), weight) })
}

/// Overwrites every target with its source.
///
/// # Errors
/// When the lists do not fit together.
pub fn copy(targets: &[Tensor], sources: &[Tensor]) -> Result<(), TorchError> {
    same_length("copy", &[targets, sources])?;
    let [t, s] = [targets, sources].map(pointers);
    // SAFETY: two lists of `t.len()` pointers to living tensors.
    check("copy", unsafe { ddae_torch_copy(t.as_ptr(), s.as_ptr(), t.len()) })
}
