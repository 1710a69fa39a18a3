//! The compiled kernels on a device.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::OnceLock;

use cudarc::driver::{result, sys};

use crate::compile::{cache_folder, compiled, preload};
use crate::{CudaError, Element, Norm, Pass};

/// An address on the device.
pub type Pointer = *const c_void;

/// A stream of the device, as the driver and the runtime call it (`cudaStream_t`).
pub type Stream = *mut c_void;

/// The sources, by name.
pub(crate) const SOURCES: [(&str, &str); 5] = [
    ("norm.cu", concat!(include_str!("kernels/element.cuh"), include_str!("kernels/norm.cu"))),
    ("bias.cu", concat!(include_str!("kernels/element.cuh"), include_str!("kernels/bias.cu"))),
    ("average.cu", include_str!("kernels/average.cu")),
    ("images.cu", concat!(include_str!("kernels/element.cuh"), include_str!("kernels/images.cu"))),
    ("noise.cu", include_str!("kernels/noise.cu")),
];

/// Whether a source is compiled for each type of elements by itself, when the first kernel of that type is wanted.
fn is_typed(source: &str) -> bool {
    source.contains("#ifdef DDAE_F32")
}

/// A typed source for one type.
pub(crate) fn for_element(source: &str, element: Element) -> String {
    format!("#define DDAE_{}\n{source}", element.name().to_uppercase())
}

type Functions = HashMap<String, sys::CUfunction>;

/// All kernels, loaded on one device for as long as the process lives.
#[derive(Debug)]
pub struct Kernels {
    context: sys::CUcontext,
    functions: Functions,
    /// Those of a type of elements, compiled when the first is wanted.
    typed: [OnceLock<Result<Functions, CudaError>>; 3],
    architecture: String,
}

// SAFETY: the driver's handles may be used by any thread; nothing changes after loading.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// Loads the kernels on the device `number`, compiled for it now or before. CUDA's runtime compiler is looked for in
    /// `folders` first.
    ///
    /// # Errors
    /// When there is no driver, no such device or no compiler, or it refuses the device's architecture.
    pub fn load(number: u16, folders: &[std::path::PathBuf]) -> Result<Kernels, CudaError> {
        // SAFETY: only looks whether the library can be loaded.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver("libcuda.so.1"));
        }
        result::init().map_err(CudaError::driver("starting"))?;
        let device = result::device::get(number.into()).map_err(CudaError::driver("finding the GPU"))?;
        let attribute = |which| {
            // SAFETY: the device was found above.
            unsafe { result::device::get_attribute(device, which) }
                .map_err(CudaError::driver("asking the GPU"))
        };
        use sys::CUdevice_attribute_enum::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        let architecture = format!("sm_{}{}", attribute(MAJOR)?, attribute(MINOR)?);
        preload(folders)?;
        // SAFETY: the device was found above. The context is never released: others of the process use it too.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(CudaError::driver("taking the GPU's context"))?;
        let mut kernels =
            Kernels { context, functions: HashMap::new(), typed: Default::default(), architecture };
        kernels.enter()?;
        for (file, source) in SOURCES.into_iter().filter(|(_, source)| !is_typed(source)) {
            let functions = kernels.compiled(file, source)?;
            kernels.functions.extend(functions);
        }
        Ok(kernels)
    }

    /// The architecture that they are compiled for, such as `sm_90`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The kernels of a source.
    fn compiled(&self, file: &'static str, source: &str) -> Result<Functions, CudaError> {
        let code = compiled(file, source, &self.architecture, cache_folder().as_deref())?;
        let action = format!("loading {file}");
        // SAFETY: the image is a whole one of the compiler's and lives until the call returns.
        let module =
            unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(CudaError::driver(&action))?;
        let find = |name: String| {
            let text = CString::new(name.as_str()).map_err(|e| CudaError::Shape(e.to_string()))?;
            // SAFETY: the module was loaded above and is never unloaded.
            let function = unsafe { result::module::get_function(module, text) };
            function
                .map(|function| (name.clone(), function))
                .map_err(CudaError::driver(&format!("finding the kernel {name}")))
        };
        names(source).into_iter().map(find).collect()
    }

    /// The kernels for a type of elements.
    fn of_element(&self, element: Element) -> Result<&Functions, CudaError> {
        let compile = || {
            self.enter()?;
            let mut all = Functions::new();
            for (file, source) in SOURCES.into_iter().filter(|(_, source)| is_typed(source)) {
                all.extend(self.compiled(file, &for_element(source, element))?);
            }
            Ok(all)
        };
        self.typed[element as usize].get_or_init(compile).as_ref().map_err(CudaError::clone)
    }

    /// Makes the device's context that of the calling thread.
    fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context was retained and is never released.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(CudaError::driver("entering the GPU's context"))
    }

    /// Puts the kernel `name` on `stream`.
    ///
    /// # Safety
    /// `arguments` must point to what the kernel takes, in its order, and addresses among them must be of this device,
    /// large enough, and alive until the stream has come past the kernel.
    ///
    /// # Errors
    /// When there is no such kernel, or the driver refuses.
    pub unsafe fn launch(
        &self,
        name: &str,
        [blocks, threads, shared]: [usize; 3],
        stream: Stream,
        arguments: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_of(&self.functions, name, [blocks, threads, shared], stream, arguments) }
    }

    /// [`Kernels::launch`] of one of `functions`.
    unsafe fn launch_of(
        &self,
        functions: &Functions,
        name: &str,
        [blocks, threads, shared]: [usize; 3],
        stream: Stream,
        arguments: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        let Some(&function) = functions.get(name) else {
            return Err(CudaError::Shape(format!("there is no kernel '{name}'")));
        };
        self.enter()?;
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (grid, block) = ((size(blocks), 1, 1), (size(threads), 1, 1));
        // SAFETY: the caller's promise.
        unsafe { result::launch_kernel(function, grid, block, size(shared), stream.cast(), arguments) }
            .map_err(CudaError::driver(&format!("starting the kernel {name}")))
    }

    /// Puts a norm on `stream`.
    ///
    /// # Safety
    /// The addresses of `norm` must be of this device, of what its fields say, and alive until the stream has come past it.
    ///
    /// # Errors
    /// When a shape has no norm, or the driver refuses.
    pub unsafe fn norm(&self, pass: Pass, norm: &Norm, stream: Stream) -> Result<(), CudaError> {
        let geometry = norm.geometry()?;
        let row_stride = if norm.row_stride == 0 { norm.channels } else { norm.row_stride };
        let mut norm = Norm { chunk: geometry.chunk as i32, row_stride, ..*norm };
        let direction = match pass {
            Pass::Forward if norm.sum.is_null() => "forward",
            Pass::Forward => "sum",
            Pass::Backward => "backward",
        };
        let single = if geometry.vector == 1 { "_single" } else { "" };
        let element = norm.element()?;
        let name = format!("norm_{direction}_{}{single}", element.name());
        let shape = [geometry.blocks, geometry.threads, geometry.shared];
        // SAFETY: the kernel takes one Norm, by value; the rest is the caller's promise.
        unsafe {
            self.launch_of(self.of_element(element)?, &name, shape, stream, &mut [(&raw mut norm).cast()])
        }
    }

    /// Puts on `stream`: `y = x + residual + bias` for `rows` of `channels` elements, a multiple of 4. `residual` may be null,
    /// `bias` is float32, the others are alike and aligned to four elements.
    ///
    /// # Safety
    /// The addresses must be of this device and alive until the stream has come past it.
    ///
    /// # Errors
    /// When the channels are no such number, or the driver refuses.
    pub unsafe fn bias_sum(
        &self,
        element: Element,
        [rows, channels]: [usize; 2],
        [mut x, mut residual, mut bias, mut y]: [Pointer; 4],
        stream: Stream,
    ) -> Result<(), CudaError> {
        let mut across = channels_in_fours(channels)?;
        let mut packs = (rows * (channels / 4)) as i64;
        let blocks = (packs as usize).div_ceil(256 * 4);
        let name = format!("bias_sum_{}", element.name());
        let mut arguments = [
            (&raw mut x).cast(),
            (&raw mut residual).cast(),
            (&raw mut bias).cast(),
            (&raw mut y).cast(),
            (&raw mut packs).cast(),
            (&raw mut across).cast(),
        ];
        // SAFETY: these are what the kernel takes; the rest is the caller's promise.
        unsafe { self.launch_of(self.of_element(element)?, &name, [blocks, 256, 0], stream, &mut arguments) }
    }

    /// The rows of `partial` that [`Kernels::column_sums`] fills for a matrix of so many rows and columns.
    ///
    /// # Errors
    /// When there is no kernel for so many columns.
    pub fn partial_rows([rows, channels]: [usize; 2]) -> Result<usize, CudaError> {
        Ok(rows.div_ceil(rows_per_block(rows, channels)?))
    }

    /// Puts on `stream`: `partial [P, channels]` in float32, whose rows add up to the sum of the rows of `x [rows, channels]`,
    /// P being [`Kernels::partial_rows`].
    ///
    /// # Safety
    /// The addresses must be of this device and alive until the stream has come past it.
    ///
    /// # Errors
    /// When there is no kernel for so many columns, or the driver refuses.
    pub unsafe fn column_sums(
        &self,
        element: Element,
        [rows, channels]: [usize; 2],
        mut x: Pointer,
        mut partial: Pointer,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let mut across = channels_in_fours(channels)?;
        let per_block = rows_per_block(rows, channels)?;
        let (mut count, mut each) = (rows as i64, per_block as i32);
        let threads = channels / 4 * side(channels);
        let name = format!("column_sums_{}", element.name());
        let mut arguments = [
            (&raw mut x).cast(),
            (&raw mut partial).cast(),
            (&raw mut count).cast(),
            (&raw mut across).cast(),
            (&raw mut each).cast(),
        ];
        let shape = [rows.div_ceil(per_block), threads, 16 * threads];
        // SAFETY: these are what the kernel takes; the rest is the caller's promise.
        unsafe { self.launch_of(self.of_element(element)?, &name, shape, stream, &mut arguments) }
    }

    /// Puts on `stream`: every target of `count` pieces moves by the weight at `weight` (one float32 on the device) of the
    /// way to its source. A piece is three 64-bit words at `pieces`: the addresses of target and source, and how many
    /// float32 there are.
    ///
    /// # Safety
    /// The addresses must be of this device and alive until the stream has come past it.
    ///
    /// # Errors
    /// When the driver refuses.
    pub unsafe fn average(
        &self,
        mut pieces: Pointer,
        count: usize,
        mut weight: Pointer,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let mut arguments = [(&raw mut pieces).cast(), (&raw mut weight).cast()];
        // SAFETY: the kernel takes two addresses; the rest is the caller's promise.
        unsafe { self.launch("average", [count, 256, 0], stream, &mut arguments) }
    }
}

/// The channels as a kernel takes them.
fn channels_in_fours(channels: usize) -> Result<i32, CudaError> {
    match i32::try_from(channels) {
        Ok(count) if channels > 0 && channels.is_multiple_of(4) => Ok(count),
        _ => Err(CudaError::Shape(format!("{channels} channels are no multiple of 4"))),
    }
}

/// Rows that a block of column sums reads at a time, a power of two.
fn side(channels: usize) -> usize {
    let side = (256 / (channels / 4).max(1)).max(1);
    if side.is_power_of_two() { side } else { side.next_power_of_two() / 2 }
}

/// Rows of a block of column sums: as many blocks as keep a large card busy, and no fewer rows than one reading of them.
fn rows_per_block(rows: usize, channels: usize) -> Result<usize, CudaError> {
    channels_in_fours(channels)?;
    if channels > 1024 {
        return Err(CudaError::Shape(format!("{channels} channels are more than a block adds up")));
    }
    let reading = 4 * side(channels);
    Ok(rows.div_ceil(528).max(reading).next_multiple_of(reading))
}

/// The kernels of a source: its `extern "C" __global__` functions, and those that a macro of it makes for the type that it
/// is compiled for.
fn names(source: &str) -> Vec<String> {
    let declared = source.split("extern \"C\" __global__ void").skip(1).filter_map(|rest| {
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix("__launch_bounds__") {
            Some(rest) => rest.split_once(')')?.1,
            None => rest,
        };
        let name = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
        name.split('(').next().map(str::trim)
    });
    // `NAME(f16, ...)` between `#ifdef DDAE_F16` and `#endif`, of the type that is defined.
    let mut types = Vec::new();
    let mut active = true;
    for line in source.lines() {
        if let Some(name) = line.strip_prefix("#ifdef ") {
            active = source.starts_with(&format!("#define {name}\n"));
        } else if line.starts_with("#endif") {
            active = true;
        } else if active && ["NORM(", "BIAS("].iter().any(|made| line.starts_with(made)) {
            types.extend(line.split(['(', ',']).nth(1));
        }
    }
    declared
        .flat_map(|name| match name.strip_suffix("##name") {
            Some(stem) => types.iter().map(|element| format!("{stem}{element}")).collect(),
            None => vec![name.to_string()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_sums_read_every_row_once() {
        for (rows, channels) in [(131_072, 128), (8192, 256), (2048, 1024), (7, 4), (1, 384), (100_352, 64)] {
            let each = rows_per_block(rows, channels).expect("a kernel");
            let blocks = Kernels::partial_rows([rows, channels]).expect("a kernel");
            assert!((blocks - 1) * each < rows && rows <= blocks * each, "{rows} {channels}");
            assert!(
                blocks <= 528 && channels / 4 * side(channels) <= 256 && side(channels).is_power_of_two()
            );
        }
        assert!(rows_per_block(8, 6).is_err() && rows_per_block(8, 2048).is_err());
    }

    #[test]
    fn every_kernel_is_found_in_its_source() {
        let all: Vec<String> = SOURCES
            .iter()
            .flat_map(|(_, source)| match is_typed(source) {
                true => [Element::F32, Element::F16, Element::Bf16]
                    .iter()
                    .flat_map(|element| names(&for_element(source, *element)))
                    .collect(),
                false => names(source),
            })
            .collect();
        assert_eq!(all.len(), 30, "{all:?}");
        for name in
            ["norm_forward_f32", "norm_sum_f16", "norm_backward_bf16_single", "column_sums_f16", "average"]
        {
            assert!(all.iter().any(|known| known == name), "{all:?}");
        }
    }
}
