//! What the machine must have before anything is fetched or built: one clear line for each thing that is missing.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// # Errors
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

/// Compilers and make, which the native parts of the workspace are built with. `CC`, `CXX` and `CMAKE_GENERATOR`
/// are respected.
///
/// # Errors
/// Fails when one is not to be found on `PATH`.
pub fn compilers() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = |key| env::var(key).ok().filter(|value| !value.trim().is_empty());
    tool(&path, "C compiler", own("CC").as_deref().unwrap_or("cc"), "CC")?;
    tool(&path, "C++ compiler", own("CXX").as_deref().unwrap_or("c++"), "CXX")?;
    if own("CMAKE_GENERATOR").is_none() {
        tool(&path, "make program", "make", "CMAKE_GENERATOR")?;
    }
    Ok(())
}

/// Looks for the first word of `command` (`CXX="ccache g++"` is common).
fn tool(path: &OsStr, what: &str, command: &str, variable: &str) -> Result<()> {
    let program = command.split_whitespace().next().unwrap_or(command);
    if find_program(path, program).is_some() {
        return Ok(());
    }
    bail!(
        "no {what} ({program} is not on PATH): install one (Debian, Ubuntu: sudo apt install build-essential; Fedora: \
         sudo dnf install gcc gcc-c++ make) or set {variable}"
    );
}

/// The first executable file of that name on `path`; a name with a slash is taken as it is.
pub fn find_program(path: &OsStr, program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |file: &Path| {
        file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| executable(file));
    }
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| executable(file))
}

/// Bytes that an unprivileged user can still write to the file system of `folder`.
///
/// # Errors
/// Fails when the file system cannot be asked.
pub fn free_bytes(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask for the free space below {}", folder.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// # Errors
/// Fails when `free` is less than `needed`, both in bytes.
pub fn disk_space(folder: &Path, free: u64, needed: u64) -> Result<()> {
    if free >= needed {
        return Ok(());
    }
    bail!(
        "too little disk space: {} has {:.1} GB free and the native libraries need {:.1} GB while they are unpacked: \
         make room, or choose another folder with --cache DIR (or DDAE_CACHE)",
        folder.display(),
        gigabytes(free),
        gigabytes(needed)
    );
}

fn gigabytes(bytes: u64) -> f64 {
    // Rounded to one decimal for people; the loss of precision is of no interest.
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message_of, write_program};

    #[test]
    fn too_little_space_names_the_folder_and_both_sizes() {
        let message = message_of(disk_space(Path::new("/cache"), 1_240_000_000, 3_000_000_000));
        assert!(message.contains("/cache has 1.2 GB free and the native libraries need 3.0 GB"), "{message}");
        assert!(message.contains("--cache DIR"), "{message}");
        assert!(disk_space(Path::new("/cache"), 3_000_000_000, 3_000_000_000).is_ok());
    }

    #[test]
    fn free_space_of_a_real_folder_is_known() -> Result<()> {
        assert!(free_bytes(Path::new("/"))? > 0);
        Ok(())
    }

    #[test]
    fn programs_are_found_on_the_path_only_when_executable() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().as_os_str();
        std::fs::write(folder.path().join("plain"), "")?;
        write_program(&folder.path().join("tool"), "exit 0")?;
        assert_eq!(find_program(path, "tool"), Some(folder.path().join("tool")));
        assert_eq!(find_program(path, "plain"), None);
        assert_eq!(find_program(path, "absent"), None);
        Ok(())
    }

    #[test]
    fn a_missing_compiler_is_one_clear_line() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let message = message_of(tool(folder.path().as_os_str(), "C++ compiler", "ccache c++", "CXX"));
        assert!(message.starts_with("no C++ compiler (ccache is not on PATH): install one"), "{message}");
        assert!(!message.contains('\n'));
        Ok(())
    }
}
