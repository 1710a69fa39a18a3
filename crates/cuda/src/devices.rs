//! The GPUs that there are.

use cudarc::driver::{result, sys};

use crate::CudaError;

/// How many GPUs this process sees: those of the machine, or of them the ones that `CUDA_VISIBLE_DEVICES` lists. Nothing is begun on
/// them.
///
/// # Errors
/// When there is no driver, or it finds no GPU.
pub fn count() -> Result<usize, CudaError> {
    // SAFETY: only looks whether the library can be loaded.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver("libcuda.so.1"));
    }
    result::init().map_err(CudaError::driver("starting"))?;
    let count = result::device::get_count().map_err(CudaError::driver("counting the GPUs"))?;
    Ok(usize::try_from(count).unwrap_or(0))
}
