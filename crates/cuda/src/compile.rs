//! From a kernel's source to machine code, once per card, source and compiler.

use std::ffi::{CString, c_char};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use cudarc::nvrtc::{result as nvrtc, sys};
use ddae_base::files;
use sha2::{Digest, Sha256};

use crate::CudaError;

/// Architectures that the sources are kept compilable for: A100 and H100 or H200.
pub const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

const LIBRARY: &str = "libnvrtc.so.13";

/// Loads the compiler from the first of `folders` that has it, else from where the system finds it. Once in a process:
/// later calls give what the first found.
///
/// # Errors
/// [`CudaError::NoCompiler`].
pub fn preload(folders: &[PathBuf]) -> Result<(), CudaError> {
    static LOADED: OnceLock<Result<(), CudaError>> = OnceLock::new();
    let load = || {
        let there = folders.iter().map(|folder| folder.join(LIBRARY)).filter(|path| path.is_file());
        for path in there.chain([PathBuf::from(LIBRARY)]) {
            // SAFETY: loading runs the initialisers of NVIDIA's own library, which is its documented use.
            if let Ok(library) = unsafe { libloading::Library::new(&path) } {
                // It stays for good: others look it up by its name.
                std::mem::forget(library);
                return Ok(());
            }
        }
        Err(CudaError::NoCompiler(folders.to_vec()))
    };
    LOADED.get_or_init(load).clone()
}

/// Machine code of `source` for `architecture` (`sm_90`), from `cache` where it was compiled before. A cache that cannot be
/// written is done without.
///
/// # Errors
/// [`CudaError::Compile`] with what the compiler says. It must be [loaded](preload).
pub(crate) fn compiled(
    file: &'static str,
    source: &str,
    architecture: &str,
    cache: Option<&Path>,
) -> Result<Vec<u8>, CudaError> {
    let kept = cache.map(|cache| cache.join(format!("{}.cubin", digest(source, architecture))));
    if let Some(code) = kept.as_deref().and_then(read) {
        return Ok(code);
    }
    let code = compile(file, source, architecture)?;
    if let Some(path) = kept {
        let _ = files::folder(&path).try_exists().and_then(|_| fs::create_dir_all(files::folder(&path)));
        let digest = Sha256::digest(&code);
        let _ = files::write_whole(&path, |out| out.write_all(&digest).and_then(|()| out.write_all(&code)));
    }
    Ok(code)
}

/// The code of a file that holds its digest and what that is of; `None` where it does not.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (digest, code) = bytes.split_at_checked(32)?;
    (Sha256::digest(code).as_slice() == digest && !code.is_empty()).then(|| code.to_vec())
}

/// The folder of compiled kernels: `DDAE_CACHE`, else `XDG_CACHE_HOME/ddae`, else `~/.cache/ddae`, and `kernels` in it.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("DDAE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("ddae")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/ddae")))?;
    Some(root.join("kernels"))
}

/// What the code depends on, as a name.
fn digest(source: &str, architecture: &str) -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are where the function writes.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    let mut hash = Sha256::new();
    for text in [source, architecture, &format!("{major}.{minor}")] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn compile(file: &'static str, source: &str, architecture: &str) -> Result<Vec<u8>, CudaError> {
    let failed =
        |message: String| CudaError::Compile { file, architecture: architecture.to_string(), message };
    let text = CString::new(source).map_err(|error| failed(error.to_string()))?;
    let name = CString::new(file).map_err(|error| failed(error.to_string()))?;
    let program =
        nvrtc::create_program(&text, Some(&name)).map_err(|error| failed(format!("{:?}", error.0)))?;
    let options =
        [format!("--gpu-architecture={architecture}"), "--std=c++17".into(), "-default-device".into()];
    // SAFETY: the program was made above and is destroyed below; sizes are those that the compiler gave.
    let compiled = unsafe {
        nvrtc::compile_program(program, &options).map_err(|error| {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c: c_char| c as u8).take_while(|&c| c != 0).collect();
            let log = String::from_utf8_lossy(&log);
            let first = log.lines().find(|line| line.contains("error"));
            failed(first.map_or_else(|| format!("{:?}", error.0), |line| line.trim().to_string()))
        })
    };
    let code = compiled.and_then(|()| {
        let mut size = 0;
        // SAFETY: as above.
        unsafe {
            sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(|e| failed(format!("{:?}", e.0)))?;
            let mut code = vec![0u8; size];
            sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast())
                .result()
                .map_err(|e| failed(format!("{:?}", e.0)))?;
            Ok(code)
        }
    });
    // SAFETY: as above; nothing uses it afterwards.
    let _ = unsafe { nvrtc::destroy_program(program) };
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;
    use crate::kernels::{SOURCES, for_element};

    #[test]
    fn kept_code_is_whole_or_compiled_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.cubin");
        let whole = [Sha256::digest(b"code").as_slice(), b"code"].concat();
        for (bytes, expected) in [
            (whole.clone(), Some(b"code".to_vec())),
            (whole[..whole.len() - 1].to_vec(), None),
            (whole[..32].to_vec(), None),
            (vec![], None),
        ] {
            fs::write(&path, bytes).expect("a file");
            assert_eq!(read(&path), expected);
        }
        assert_eq!(read(&folder.path().join("b.cubin")), None);
    }

    /// With `LD_LIBRARY_PATH` at NVRTC, which needs no GPU; without it there is nothing that could compile.
    #[test]
    fn the_kernels_compile_where_there_is_a_compiler() {
        if let Err(error) = preload(&[]) {
            println!("not compiled: {error}");
            return;
        }
        for (file, source) in SOURCES {
            for architecture in ARCHITECTURES {
                let code = compile(file, &for_element(source, Element::Bf16), architecture)
                    .unwrap_or_else(|error| panic!("{error}"));
                assert!(code.starts_with(b"\x7fELF"));
            }
        }
        let error = compile("bad.cu", "int f() { return x; }", "sm_90").expect_err("no x");
        assert!(error.to_string().contains("\"x\" is undefined"), "{error}");
    }
}
