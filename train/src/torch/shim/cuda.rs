//! The face of `shim/cuda.cpp`: the project's kernels on libtorch's tensors, and captured steps.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::{Arc, OnceLock, RwLock};

use ddae_cuda::{CudaError, Element, Geometry, Kernels, Norm, Pass};
use tch::{Device, Kind, Tensor};

use super::{GroupNormSilu, GroupNormSiluArguments, Pointer, check, made, pointer, pointers, same_length};
use crate::torch::TorchError;

/// Where the shim gets a kernel started; `message` of so many bytes is for the reason of a failure.
#[repr(C)]
struct Launchers {
    norm: extern "C" fn(c_int, c_int, *const Norm, *mut c_void, *mut c_char, usize) -> c_int,
    bias_sum: extern "C" fn(
        c_int,
        c_int,
        i64,
        i64,
        *const c_void,
        *const c_void,
        *const c_void,
        *mut c_void,
        *mut c_void,
        *mut c_char,
        usize,
    ) -> c_int,
    column_sums: extern "C" fn(
        c_int,
        c_int,
        i64,
        i64,
        *const c_void,
        *mut c_void,
        *mut i64,
        *mut c_void,
        *mut c_char,
        usize,
    ) -> c_int,
    average:
        extern "C" fn(c_int, *const c_void, i64, *const c_void, *mut c_void, *mut c_char, usize) -> c_int,
}

unsafe extern "C" {
    fn ddae_torch_cuda_launchers(launchers: *const Launchers);
    fn ddae_torch_bias_sum(input: Pointer, residual: Pointer, bias: Pointer, out: *mut *mut c_void) -> c_int;
    fn ddae_torch_upload(tensor: Pointer, device: c_int, out: *mut *mut c_void) -> c_int;
    fn ddae_torch_group_norm_silu_cuda(
        input: Pointer,
        shift: Pointer,
        weight: Pointer,
        bias: Pointer,
        seed: Pointer,
        arguments: *const GroupNormSiluArguments,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_torch_pieces(
        targets: *const Pointer,
        sources: *const Pointer,
        count: usize,
        length: i64,
        out: *mut *mut c_void,
    ) -> c_int;
    fn ddae_torch_average(pieces: Pointer, weight: Pointer) -> c_int;
    fn ddae_torch_own_stream(device: c_int) -> c_int;
    fn ddae_torch_graph_begin(out: *mut *mut c_void) -> c_int;
    fn ddae_torch_graph_end(graph: *mut c_void) -> c_int;
    fn ddae_torch_graph_replay(graph: *mut c_void) -> c_int;
    fn ddae_torch_graph_free(graph: *mut c_void);
    fn ddae_torch_convolution_search(count: c_int) -> c_int;
    fn ddae_torch_deterministic() -> c_int;
}

/// The kernels of every device that has them.
fn loaded() -> &'static RwLock<HashMap<usize, Arc<Kernels>>> {
    static LOADED: OnceLock<RwLock<HashMap<usize, Arc<Kernels>>>> = OnceLock::new();
    LOADED.get_or_init(RwLock::default)
}

fn kernels(device: usize) -> Option<Arc<Kernels>> {
    loaded().read().ok()?.get(&device).cloned()
}

/// Loads the project's kernels for a GPU, with CUDA's compiler from the first of `folders` that has it; says for which
/// architecture. From then on networks on that device use them.
///
/// # Errors
/// When the compiler or the driver is missing or refuses. Networks run without them as well, by libtorch's operations.
pub fn load_kernels(device: usize, folders: &[PathBuf]) -> Result<String, CudaError> {
    let number = u16::try_from(device).map_err(|_| CudaError::Shape(format!("there is no GPU {device}")))?;
    let kernels = Kernels::load(number, folders)?;
    let architecture = kernels.architecture().to_string();
    let launchers = Launchers {
        norm: launch_norm,
        bias_sum: launch_bias_sum,
        column_sums: launch_column_sums,
        average: launch_average,
    };
    // SAFETY: the structure is copied; the functions live as long as the program.
    unsafe { ddae_torch_cuda_launchers(&launchers) };
    if let Ok(mut loaded) = loaded().write() {
        loaded.insert(device, Arc::new(kernels));
    }
    Ok(architecture)
}

/// Whether the project's kernels are loaded for this device.
pub fn has_kernels(device: Device) -> bool {
    matches!(device, Device::Cuda(number) if kernels(number).is_some())
}

/// Runs what `launch` does with the kernels of `device`; an error goes to `message`.
fn launching(
    device: c_int,
    message: *mut c_char,
    capacity: usize,
    launch: impl FnOnce(&Kernels) -> Result<(), CudaError>,
) -> c_int {
    let result = match usize::try_from(device).ok().and_then(kernels) {
        Some(kernels) => launch(&kernels),
        None => Err(CudaError::Shape(format!("no kernels are loaded for GPU {device}"))),
    };
    let Err(error) = result else { return 0 };
    let text = error.to_string();
    let length = text.len().min(capacity.saturating_sub(1));
    if capacity > 0 {
        // SAFETY: the caller gives `capacity` bytes at `message`; `length` and a zero fit.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr().cast(), message, length);
            *message.add(length) = 0;
        }
    }
    -1
}

extern "C" fn launch_norm(
    device: c_int,
    pass: c_int,
    norm: *const Norm,
    stream: *mut c_void,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    let pass = if pass == 0 { Pass::Forward } else { Pass::Backward };
    // SAFETY: the shim hands over a whole structure whose addresses are of living tensors on this device; libtorch's
    // allocator gives their memory to others only in the order of the stream.
    launching(device, message, capacity, |kernels| unsafe { kernels.norm(pass, &*norm, stream) })
}

#[allow(clippy::too_many_arguments)] // As the shim calls it.
extern "C" fn launch_bias_sum(
    device: c_int,
    element: c_int,
    rows: i64,
    channels: i64,
    x: *const c_void,
    residual: *const c_void,
    bias: *const c_void,
    y: *mut c_void,
    stream: *mut c_void,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    let shape = [rows, channels].map(|n| usize::try_from(n).unwrap_or(0));
    // SAFETY: as for the norm; the shim checked sizes, types and alignment.
    launching(device, message, capacity, |kernels| unsafe {
        kernels.bias_sum(Element::numbered(element)?, shape, [x, residual, bias, y], stream)
    })
}

#[allow(clippy::too_many_arguments)] // As the shim calls it.
extern "C" fn launch_column_sums(
    device: c_int,
    element: c_int,
    rows: i64,
    channels: i64,
    x: *const c_void,
    partial: *mut c_void,
    partial_rows: *mut i64,
    stream: *mut c_void,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    let shape = [rows, channels].map(|n| usize::try_from(n).unwrap_or(0));
    launching(device, message, capacity, |kernels| {
        let count = Kernels::partial_rows(shape)?;
        // SAFETY: the shim gives a place for a number.
        unsafe { *partial_rows = count as i64 };
        if x.is_null() {
            return Ok(());
        }
        // SAFETY: as for the norm; `partial` has the rows that the shim was told.
        unsafe { kernels.column_sums(Element::numbered(element)?, shape, x, partial, stream) }
    })
}

extern "C" fn launch_average(
    device: c_int,
    pieces: *const c_void,
    count: i64,
    weight: *const c_void,
    stream: *mut c_void,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the shim checked that both are tensors of this device; the pieces were made of tensors that the caller keeps.
    launching(device, message, capacity, |kernels| unsafe { kernels.average(pieces, count, weight, stream) })
}

/// Whether [`group_norm_silu`] can normalise `x [B,C,H,W]` in so many groups.
pub fn fits_kernel(x: &Tensor, groups: usize) -> bool {
    let sizes: Vec<usize> = x.size().iter().map(|&n| n as usize).collect();
    let size = if x.kind() == Kind::Float { 4 } else { 2 };
    matches!(sizes[..], [b, c, h, w] if Geometry::new([b, h * w, c], groups, size).is_ok())
}

/// [`super::group_norm_silu`] on a GPU whose [kernels](load_kernels) are loaded, in float32, float16 or bfloat16. `seed`,
/// one int64 there, decides with the number in the options' `seed` which elements are dropped, those that the CPU would
/// drop for `seed + options.seed * 0xD1342543DE82EF95`.
///
/// # Errors
/// When the tensors are not such, or there are no kernels.
pub fn group_norm_silu(
    x: &Tensor,
    shift: Option<&Tensor>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    seed: Option<&Tensor>,
    options: GroupNormSilu,
) -> Result<Tensor, TorchError> {
    let arguments = GroupNormSiluArguments::from(options);
    let mut out = null_mut();
    let [shift, weight, bias, seed] =
        [shift, weight, bias, seed].map(|tensor| tensor.map_or(null(), pointer));
    // SAFETY: the tensors are alive or null where that is allowed, and `out` is where the function writes; it checks
    // types, devices and sizes itself.
    let status = unsafe {
        ddae_torch_group_norm_silu_cuda(pointer(x), shift, weight, bias, seed, &arguments, &mut out)
    };
    check("group_norm_silu", status)?;
    Ok(made(out))
}

/// Whether [`bias_sum`] can add to `x [B,C,H,W]`.
pub fn fits_bias_sum(x: &Tensor) -> bool {
    let sizes: Vec<usize> = x.size().iter().map(|&n| n as usize).collect();
    let known = matches!(x.kind(), Kind::Float | Kind::Half | Kind::BFloat16);
    known
        && matches!(sizes[..], [b, c, h, w] if b * h * w > 0 && Kernels::partial_rows([b * h * w, c]).is_ok())
}

/// `x + residual + bias` as one operation with gradients, on a GPU whose [kernels](load_kernels) are loaded. `x` and
/// `residual` are `[B,C,H,W]`, channels-last, of one type; `bias` is `[C]`.
///
/// # Errors
/// When the tensors are not such, or there are no kernels.
pub fn bias_sum(x: &Tensor, residual: Option<&Tensor>, bias: &Tensor) -> Result<Tensor, TorchError> {
    let mut out = null_mut();
    let residual = residual.map_or(null(), pointer);
    // SAFETY: the tensors are alive or null where that is allowed, and `out` is where the function writes; it checks
    // types, devices and sizes itself.
    let status = unsafe { ddae_torch_bias_sum(pointer(x), residual, pointer(bias), &mut out) };
    check("bias_sum", status)?;
    Ok(made(out))
}

/// The tensor on a GPU, which fetches it while this thread goes on.
///
/// # Errors
/// libtorch's, as for lack of memory.
pub fn uploaded(tensor: &Tensor, device: usize) -> Result<Tensor, TorchError> {
    let mut out = null_mut();
    // SAFETY: `tensor` is alive and `out` is where the function writes.
    check("upload", unsafe { ddae_torch_upload(pointer(tensor), device as c_int, &mut out) })?;
    Ok(made(out))
}

/// Float32 of a piece of [`Average`].
const PIECE: i64 = 1 << 14;

/// Pairs of tensors on a GPU of which the first follow the second.
#[derive(Debug)]
pub struct Average {
    pieces: Tensor,
    /// Keeps the memory that the pieces point to.
    _tensors: Vec<Tensor>,
}

impl Average {
    /// Of targets and sources alike in shape and layout, float32. They are changed in place for as long as this lives.
    ///
    /// # Errors
    /// When they are not such.
    pub fn new(targets: &[Tensor], sources: &[Tensor], device: Device) -> Result<Average, TorchError> {
        same_length("average", &[targets, sources])?;
        let [t, s] = [targets, sources].map(pointers);
        let mut out = null_mut();
        // SAFETY: two lists of `t.len()` pointers to living tensors; `out` is where the function writes.
        check("average", unsafe { ddae_torch_pieces(t.as_ptr(), s.as_ptr(), t.len(), PIECE, &mut out) })?;
        let pieces = made(out).f_to_device(device).map_err(|e| TorchError::at("average", e))?;
        let tensors = targets.iter().chain(sources).map(Tensor::shallow_clone).collect();
        Ok(Average { pieces, _tensors: tensors })
    }

    /// Moves every target by the float32 scalar `weight` of the way to its source.
    ///
    /// # Errors
    /// When there are no kernels.
    pub fn update(&self, weight: &Tensor) -> Result<(), TorchError> {
        if self.pieces.size().first() == Some(&0) {
            return Ok(());
        }
        // SAFETY: two living tensors; the pieces' tensors live as long as this.
        check("average", unsafe { ddae_torch_average(pointer(&self.pieces), pointer(weight)) })
    }
}

/// Sends what this thread starts on the GPU to a stream of its own from now on, as capturing wants.
///
/// # Errors
/// libtorch's.
pub fn own_stream(device: usize) -> Result<(), TorchError> {
    // SAFETY: takes a number; libtorch checks it.
    check("stream", unsafe { ddae_torch_own_stream(device as c_int) })
}

/// Has cuDNN try so many ways of computing a convolution before its first time in every shape, and take the fastest; with
/// 0 its own rules decide. For the whole process.
///
/// # Errors
/// libtorch's.
pub fn search_convolutions(count: u8) -> Result<(), TorchError> {
    // SAFETY: takes a number; sets libtorch's own switches.
    check("convolution search", unsafe { ddae_torch_convolution_search(count.into()) })
}

/// Asks cuDNN and libtorch for algorithms that give the same bits every time. For the whole process and for good.
///
/// # Errors
/// libtorch's.
pub fn deterministic() -> Result<(), TorchError> {
    // SAFETY: takes nothing; sets libtorch's own switches.
    check("deterministic", unsafe { ddae_torch_deterministic() })
}

/// Work on a GPU, recorded once and replayed any number of times.
#[derive(Debug)]
pub struct Graph(*mut c_void);

impl Graph {
    /// Records what `work` starts on the GPU; nothing of it is run. The memory that it allocates stays the graph's, so
    /// tensors that `work` gives are overwritten by every replay.
    ///
    /// # Errors
    /// Those of `work`, and libtorch's when something cannot be recorded, as reading a value.
    pub fn record<T>(work: impl FnOnce() -> Result<T, TorchError>) -> Result<(Graph, T), TorchError> {
        let mut graph = null_mut();
        // SAFETY: `graph` is where the function writes.
        check("capture", unsafe { ddae_torch_graph_begin(&mut graph) })?;
        let graph = Graph(graph);
        let result = work();
        // SAFETY: recording was begun above and is ended once.
        let ended = check("capture", unsafe { ddae_torch_graph_end(graph.0) });
        let result = result?;
        ended?;
        Ok((graph, result))
    }

    /// Runs what was recorded.
    ///
    /// # Errors
    /// CUDA's.
    pub fn replay(&self) -> Result<(), TorchError> {
        // SAFETY: recording was brought to its end.
        check("replay", unsafe { ddae_torch_graph_replay(self.0) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `record`, freed once.
        unsafe { ddae_torch_graph_free(self.0) };
    }
}

/// A number on a device that is set again and again.
#[derive(Debug)]
pub struct Scalar(Tensor);

impl Scalar {
    /// 0 at first.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(device: Device) -> Result<Scalar, TorchError> {
        let scalar = Tensor::f_zeros([], (Kind::Float, device));
        scalar.map(Scalar).map_err(|e| TorchError::at("scalar", e))
    }

    /// Becomes `value`, in float32, in the order of the stream.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set(&self, value: f64) -> Result<(), TorchError> {
        let filled = tch::no_grad(|| self.0.shallow_clone().f_fill_(value));
        filled.map(|_| ()).map_err(|e| TorchError::at("scalar", e))
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}
