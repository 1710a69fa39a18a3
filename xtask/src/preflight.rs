//! What the machine must have before anything is fetched or built: one clear line for each thing that is missing.

use std::env;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Fails elsewhere than on Linux x86_64: the pinned libraries exist for nothing else.
pub fn platform() -> Result<()> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(());
    }
    bail!(
        "the native libraries are pinned for Linux x86_64 only, and this is {} {}: use such a machine (or WSL2 or a \
         container)",
        env::consts::OS,
        env::consts::ARCH
    );
}

/// Looks for the compilers and make, which the native parts of the workspace are built with.
pub fn compilers() -> Result<()> {
    const GENERATOR: &str = "CMAKE_GENERATOR";
    for (what, usual, variable) in
        [("C compiler", "cc", "CC"), ("C++ compiler", "c++", "CXX"), ("make program", "make", GENERATOR)]
    {
        let own = env::var(variable).unwrap_or_default();
        // `CXX="ccache g++"` is common; the name of a generator is no program.
        let program = own.split_whitespace().next().unwrap_or(usual);
        if which::which(program).is_err() && !(variable == GENERATOR && program != usual) {
            bail!(
                "no {what} ({program} is not on PATH): install one (Debian, Ubuntu: sudo apt install build-essential; \
                 Fedora: sudo dnf install gcc gcc-c++ make) or set {variable}"
            );
        }
    }
    Ok(())
}

/// Fails when an unprivileged user cannot write `needed` bytes to the file system of `folder`.
pub fn disk_space(folder: &Path, needed: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask for the free space below {}", folder.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        bail!(
            "too little disk space: {} has {:.1} GB free and the native libraries need {:.1} GB while they are \
             unpacked: make room, or choose another folder with --cache DIR (or DDAE_CACHE)",
            folder.display(),
            free as f64 / 1e9,
            needed as f64 / 1e9
        );
    }
    Ok(())
}
