//! A stream of one's own, and copies on it.

use cudarc::driver::{result, sys};

use crate::{CudaError, Pointer, Stream};

/// A stream of a device's primary context, for as long as it is held. Copies and kernels on it come one after the other.
#[derive(Debug)]
pub struct OwnStream {
    context: sys::CUcontext,
    stream: sys::CUstream,
}

// SAFETY: the driver's handles may be used by any thread.
unsafe impl Send for OwnStream {}

impl OwnStream {
    /// A new stream of the device `number`, which waits for no other.
    ///
    /// # Errors
    /// When there is no driver or no such device.
    pub fn new(number: u16) -> Result<OwnStream, CudaError> {
        // SAFETY: only looks whether the library can be loaded.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver("libcuda.so.1"));
        }
        result::init().map_err(CudaError::driver("starting"))?;
        let device = result::device::get(number.into()).map_err(CudaError::driver("finding the GPU"))?;
        // SAFETY: the device was found above. The context is never released: others of the process use it too.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(CudaError::driver("taking the GPU's context"))?;
        enter(context)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(CudaError::driver("making a stream"))?;
        Ok(OwnStream { context, stream })
    }

    /// The stream, as the driver and the runtime call it.
    pub fn raw(&self) -> Stream {
        self.stream.cast()
    }

    /// Copies `from` to the device once everything before on the stream is done. Where it does not lie in pinned memory,
    /// the call returns when it has been read.
    ///
    /// # Safety
    /// `to` must be of this device and as large.
    ///
    /// # Errors
    /// What the driver says.
    pub unsafe fn to_device<T>(&self, to: Pointer, from: &[T]) -> Result<(), CudaError> {
        enter(self.context)?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_htod_async(to as sys::CUdeviceptr, from, self.stream) }
            .map_err(CudaError::driver("copying to the GPU"))
    }

    /// Copies from the device and waits for it.
    ///
    /// # Safety
    /// `from` must be of this device and as large.
    ///
    /// # Errors
    /// What the driver says, of what came before on the stream, too.
    pub unsafe fn to_host<T>(&self, to: &mut [T], from: Pointer) -> Result<(), CudaError> {
        enter(self.context)?;
        // SAFETY: the caller's promise; `to` is borrowed until the copy is done.
        unsafe { result::memcpy_dtoh_async(to, from as sys::CUdeviceptr, self.stream) }
            .map_err(CudaError::driver("copying from the GPU"))?;
        self.wait()
    }

    /// Copies `bytes` within the device once everything before on the stream is done.
    ///
    /// # Safety
    /// Both must be of this device, as large, and apart.
    ///
    /// # Errors
    /// What the driver says.
    pub unsafe fn within(&self, to: Pointer, from: Pointer, bytes: usize) -> Result<(), CudaError> {
        enter(self.context)?;
        let (to, from) = (to as sys::CUdeviceptr, from as sys::CUdeviceptr);
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(CudaError::driver("copying on the GPU"))
    }

    /// Waits until everything on the stream is done.
    ///
    /// # Errors
    /// What went wrong there.
    pub fn wait(&self) -> Result<(), CudaError> {
        enter(self.context)?;
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::synchronize(self.stream) }.map_err(CudaError::driver("waiting for the GPU"))
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        if enter(self.context).is_ok() {
            // SAFETY: nobody else has the stream; the driver ends its work first.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

/// Makes a context that of the calling thread.
pub(crate) fn enter(context: sys::CUcontext) -> Result<(), CudaError> {
    // SAFETY: contexts are retained and never released.
    unsafe { result::ctx::set_current(context) }.map_err(CudaError::driver("entering the GPU's context"))
}
