//! Standard normal noise drawn on the device.

use crate::{CudaError, Kernels, Pointer, Stream};

/// Threads of a block: a thread uses many registers.
const THREADS: usize = 128;

impl Kernels {
    /// Puts on `stream`: `values [images, size]` in float32, of each image the first draws of N(0, 1) from the stream of
    /// [`ddae_base::random`] whose 32-byte key stands at its place in `keys`, as
    /// [`fill_normal`](ddae_base::random::Stream::fill_normal) gives them; zeros for images beyond the first `keyed`.
    ///
    /// The random words are the same. Logarithms, sines and cosines of the device may differ from the host's in the last
    /// bit of a float64; after rounding to float32 about one draw in 1e8 differs, in its last bit.
    ///
    /// # Safety
    /// Both must be of this device, of that size, and alive until the stream has come past it.
    ///
    /// # Errors
    /// When a size is beyond 31 bits, or the driver refuses.
    pub unsafe fn noise(
        &self,
        mut keys: Pointer,
        mut values: Pointer,
        [images, keyed, size]: [usize; 3],
        stream: Stream,
    ) -> Result<(), CudaError> {
        let threads = images * size.div_ceil(8);
        if threads == 0 {
            return Ok(());
        }
        let fits = |n: usize| {
            i32::try_from(n).map_err(|_| CudaError::Shape(format!("{n} is more than a kernel counts to")))
        };
        let [mut images, mut keyed, mut size] = [fits(images)?, fits(keyed)?, fits(size)?];
        let mut arguments = [
            (&raw mut keys).cast(),
            (&raw mut values).cast(),
            (&raw mut images).cast(),
            (&raw mut keyed).cast(),
            (&raw mut size).cast(),
        ];
        let blocks = fits(threads.div_ceil(THREADS))? as usize;
        // SAFETY: the kernel takes two addresses and three integers; the rest is the caller's promise.
        unsafe { self.launch("noise", [blocks, THREADS, 0], stream, &mut arguments) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use ddae_base::random::{Purpose, stream_key, stream_of};

    /// The kernel's arithmetic, compiled for the host with the system's C++ compiler, against the CPU's streams.
    #[test]
    fn the_draws_are_those_of_the_cpu() {
        const SIZE: usize = 3072;
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("noise.cpp");
        let main = "
            #include <cstdio>
            int main() {
                unsigned key[8];
                while (fread(key, 4, 8, stdin) == 8) {
                    for (int number = 0; number < 3072 / 8; number++) {
                        float draws[8];
                        normals(key, number, draws);
                        fwrite(draws, 4, 8, stdout);
                    }
                }
            }";
        let text = format!(
            "#define ON_HOST\n#define __device__\n#define _GNU_SOURCE\n#include <cmath>\n{}\n{main}",
            include_str!("kernels/noise.cu")
        );
        std::fs::write(&source, text).expect("a file");
        let program = folder.path().join("noise");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
        let compiled = Command::new(compiler)
            .args(["-O1", "-ffp-contract=off", "-o"])
            .args([&program, &source])
            .status()
            .expect("a C++ compiler");
        assert!(compiled.success());
        let keys: Vec<[u8; 32]> =
            (0..64).map(|i| stream_key(i % 3, Purpose::Noise, i, u64::MAX - i)).collect();
        let mut running =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let mut input = running.stdin.take().expect("its input");
        input.write_all(&keys.concat()).expect("keys");
        drop(input);
        let output = running.wait_with_output().expect("its output").stdout;
        let found: Vec<u32> = output.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let mut expected = Vec::new();
        for key in &keys {
            let mut values = vec![0f32; SIZE];
            stream_of(*key).fill_normal(&mut values);
            expected.extend(values.into_iter().map(f32::to_bits));
        }
        assert_eq!(found.len(), expected.len());
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        // Both use the system's mathematics here.
        assert!(differ <= 1, "{differ} of {} draws differ", expected.len());
    }
}
