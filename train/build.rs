//! Compiles the C++ shim against libtorch, and tells every program where libtorch lies.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=shim");

    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        fail("LIBTORCH is not set, so libtorch cannot be found: run `cargo xtask setup`");
    };
    let (include, lib) = (libtorch.join("include"), libtorch.join("lib"));
    if !include.join("ATen/ATen.h").is_file() || !lib.join("libtorch_cpu.so").is_file() {
        fail(&format!(
            "LIBTORCH is {}, which holds no include/ATen/ATen.h and lib/libtorch_cpu.so: run `cargo xtask setup`, or \
             set LIBTORCH to the folder of libtorch 2.11.0",
            libtorch.display()
        ));
    }
    compile(&include);

    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-lib=dylib=torch_cpu");
    println!("cargo::rustc-link-lib=dylib=c10");
    // The thread pool that libtorch brings: the shim's loops run on the same threads.
    println!("cargo::rustc-link-arg=-l:libgomp.so.1");
    // First the folder of a copied installation (bin/ beside lib/), then the one this was built with.
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::rustc-env=DDAE_LIBTORCH={}", libtorch.display());
}

fn compile(include: &Path) {
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let build = || {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(3);
        if x86_64 {
            build.define("DDAE_X86_64", None);
        }
        build
    };

    // Objects are linked in this order: those that use come before those that are used.
    // c10d's headers name Gloo's, of which libtorch brings none: those in stub/ are what they need to be read.
    build()
        .include("shim/stub")
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .warnings(false)
        .file("shim/ranks.cpp")
        .compile("ddae_ranks");

    build()
        .include(include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .flag("-fopenmp")
        // The headers of libtorch are full of warnings.
        .warnings(false)
        .files([
            "shim/torch_shim.cpp",
            "shim/group_norm_silu.cpp",
            "shim/scaled_rows.cpp",
            "shim/cuda.cpp",
            "shim/trace.cpp",
        ])
        .compile("ddae_torch_shim");

    let mut instruction_sets: Vec<(&str, &[&str])> = vec![("baseline", &[])];
    if x86_64 {
        instruction_sets.push(("avx2", &["-march=x86-64-v3"]));
        instruction_sets.push(("avx512", &["-march=x86-64-v4", "-mprefer-vector-width=512"]));
    }
    for (name, flags) in instruction_sets {
        build()
            .define("DDAE_ISA", name)
            .flags(["-fno-math-errno", "-fno-trapping-math"])
            .flags(flags)
            .file("shim/norm_kernels.cpp")
            .compile(&format!("ddae_norm_kernels_{name}"));
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
