//! The state that wide kernels leave processors in.

/// Clears the upper halves of the vector registers. The kernels of faer's products are assembly that leaves values in them;
/// every change between instructions that know of these halves and those that do not then costs some seventy cycles, which
/// made an exponential after a product ten times as slow (measured on a Xeon with AVX10).
#[inline]
pub(crate) fn clear_upper_halves() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        #[target_feature(enable = "avx")]
        fn clear() {
            std::arch::x86_64::_mm256_zeroupper();
        }
        // SAFETY: the processor has the instruction, and nobody relies on values in registers between calls.
        unsafe { clear() };
    }
}
