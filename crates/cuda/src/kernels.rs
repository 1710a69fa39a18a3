//! The compiled kernels on a device.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{result, sys};

use crate::compile::{cache_folder, compiled, preload};
use crate::{CudaError, Norm, Pass};

/// An address on the device.
pub type Pointer = *const c_void;

/// A stream of the device, as the driver and the runtime call it (`cudaStream_t`).
pub type Stream = *mut c_void;

/// The sources, by name.
pub(crate) const SOURCES: [(&str, &str); 2] =
    [("norm.cu", include_str!("kernels/norm.cu")), ("average.cu", include_str!("kernels/average.cu"))];

/// All kernels, loaded on one device for as long as the process lives.
#[derive(Debug)]
pub struct Kernels {
    context: sys::CUcontext,
    functions: HashMap<String, sys::CUfunction>,
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
        let kernels = Kernels { context, functions: HashMap::new(), architecture };
        kernels.enter()?;
        kernels.with_sources()
    }

    /// The architecture that they are compiled for, such as `sm_90`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    fn with_sources(mut self) -> Result<Kernels, CudaError> {
        let cache = cache_folder();
        for (file, source) in SOURCES {
            let code = compiled(file, source, &self.architecture, cache.as_deref())?;
            let action = format!("loading {file}");
            // SAFETY: the image is a whole one of the compiler's and lives until the call returns.
            let module = unsafe { result::module::load_data(code.as_ptr().cast()) }
                .map_err(CudaError::driver(&action))?;
            for name in names(source) {
                let text = CString::new(name.as_str()).map_err(|e| CudaError::Shape(e.to_string()))?;
                // SAFETY: the module was loaded above and is never unloaded.
                let function = unsafe { result::module::get_function(module, text) }
                    .map_err(CudaError::driver(&format!("finding the kernel {name}")))?;
                self.functions.insert(name, function);
            }
        }
        Ok(self)
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
        let Some(&function) = self.functions.get(name) else {
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
        let mut norm = Norm { chunk: geometry.chunk as i32, ..*norm };
        let direction = if pass == Pass::Forward { "forward" } else { "backward" };
        let single = if geometry.vector == 1 { "_single" } else { "" };
        let name = format!("norm_{direction}_{}{single}", norm.element()?.name());
        let shape = [geometry.blocks, geometry.threads, geometry.shared];
        // SAFETY: the kernel takes one Norm, by value; the rest is the caller's promise.
        unsafe { self.launch(&name, shape, stream, &mut [(&raw mut norm).cast()]) }
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

/// The kernels of a source: what stands in `extern "C" __global__` functions, those that a macro makes among them.
fn names(source: &str) -> Vec<String> {
    let plain = source.lines().filter_map(|line| {
        let rest = line.strip_prefix("extern \"C\" __global__ void ")?;
        Some(rest.split('(').next()?.trim().to_string())
    });
    let norms = source.lines().filter_map(|line| line.strip_prefix("NORM(")?.split(',').next());
    let norms = norms.flat_map(|name| ["forward", "backward"].map(|pass| format!("norm_{pass}_{name}")));
    plain.chain(norms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_found_in_its_source() {
        let all: Vec<String> = SOURCES.iter().flat_map(|(_, source)| names(source)).collect();
        assert_eq!(all.len(), 13, "{all:?}");
        for name in ["norm_forward_f32", "norm_backward_bf16_single", "average"] {
            assert!(all.iter().any(|known| known == name), "{all:?}");
        }
    }
}
