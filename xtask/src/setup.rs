//! `cargo xtask setup`: fetches what is missing and tells cargo where it is.

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::Cache;
use crate::fetch::fetch;
use crate::native::Native;
use crate::native_toml::NativeToml;
use crate::parts::Part;
use crate::{preflight, repository};

/// For the other commands: sets up what is missing, says nothing when nothing is.
pub fn ensure_setup() -> Result<Native> {
    Ok(setup(false, None)?.0)
}

/// Fetches the missing parts and writes `.cargo/native.toml`; reports in several lines.
pub fn setup(cuda: bool, cache: Option<PathBuf>) -> Result<(Native, String)> {
    preflight::platform()?;
    preflight::compilers()?;
    let variable = |key: &str| env::var_os(key);
    let cache = Cache::locate(cache.as_deref(), variable)?;
    let mut file = NativeToml::read(&repository())?;
    let native = Native::choose(variable, &file, &cache, cuda)?;
    let parts: Vec<&Part> =
        native.libraries().into_iter().flat_map(|library| &library.parts).copied().collect();
    let fetched = fetch(&cache, &parts, Path::new("python3"))?;
    let written = file.replace(native.entries(&cache)?)?;

    let idle = fetched.is_empty() && !written;
    let opening = if idle { "nothing to do: the native libraries are set up" } else { "native libraries" };
    // Writing into a string cannot fail.
    let mut report = format!("{opening} in {}\n", cache.native().display());
    for part in parts {
        let is_new = fetched.iter().any(|other| std::ptr::eq(*other, part));
        _ = writeln!(report, "  {:<32}{}", part.label(), if is_new { "fetched" } else { "was there" });
    }
    for library in native.libraries().into_iter().filter(|library| library.parts.is_empty()) {
        let (key, path) = (library.variable, library.path.display());
        _ = writeln!(report, "  {key}={path} is yours: used, nothing fetched for it");
    }
    if written {
        _ = writeln!(report, "wrote {}", file.path.display());
    }
    report += "next: cargo xtask demo, cargo xtask test, or plain cargo build --release\n";
    Ok((native, report))
}
