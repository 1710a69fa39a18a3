//! `cargo xtask setup`: fetches what is missing and tells cargo where it is.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{CACHE_VARIABLE, Cache};
use crate::install::Installer;
use crate::interrupt;
use crate::native::{self, CMAKE, LIBTORCH, Native, ORT, Overrides};
use crate::native_toml::NativeToml;
use crate::pins::{self, Part};
use crate::pip::Pip;
use crate::{preflight, repository};

/// Kept free beyond what the downloads take, so that set-up alone does not fill a disk.
const RESERVE_BYTES: u64 = 1_000_000_000;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Fetch the CUDA libraries too.
    pub cuda: bool,
    /// The cache folder instead of the usual one.
    pub cache: Option<PathBuf>,
}

/// What a set-up found and did.
#[derive(Debug)]
pub struct Outcome {
    /// The libraries to use from now on.
    pub native: Native,
    cache: Cache,
    lines: Vec<String>,
    fetched: bool,
    written: Option<PathBuf>,
}

impl Outcome {
    /// For people, several lines.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let changed = self.fetched || self.written.is_some();
        let opening =
            if changed { "native libraries" } else { "nothing to do: the native libraries are set up" };
        let _ = writeln!(text, "{opening} in {}", self.cache.native().display());
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(path) = &self.written {
            let _ = writeln!(text, "wrote {}", path.display());
        }
        text.push_str("next: cargo xtask demo, cargo xtask test, or plain cargo build --release\n");
        text
    }
}

/// For the other commands: sets up what is missing, says nothing when nothing is.
///
/// # Errors
/// As [`setup`].
pub fn ensure_setup() -> Result<Native> {
    Ok(setup(&Options::default())?.native)
}

/// Fetches the missing parts and writes `.cargo/native.toml`.
///
/// # Errors
/// One clear line for: another platform, a missing compiler, a missing or unusable pip, too little disk space, no
/// network, a download that is not the pinned file, variables of the user that name nothing usable, Ctrl-C.
pub fn setup(options: &Options) -> Result<Outcome> {
    preflight::platform()?;
    preflight::compilers()?;
    let variable = |key: &str| env::var_os(key);
    let cache = Cache::locate(options.cache.as_deref(), variable)?;
    let mut file = NativeToml::read(&repository())?;
    let overrides = Overrides::read(variable, &file, &cache)?;
    let plan = Plan::new(&cache, &overrides, options.cuda);

    let fetched = if plan.missing(&cache).is_empty() { Vec::new() } else { fetch(&cache, &plan)? };
    let native = plan.native(&cache, &overrides);
    let written = file.replace(plan.entries(&cache, &native)?)?;
    Ok(Outcome {
        lines: plan.lines(&overrides, &fetched),
        written: written.then(|| file.path().to_path_buf()),
        native,
        cache,
        fetched: !fetched.is_empty(),
    })
}

/// The parts to have, in the order of installation.
#[derive(Debug)]
struct Plan {
    parts: Vec<Part>,
    onnxruntime: Option<Part>,
}

impl Plan {
    /// CUDA libraries that were fetched once stay in use.
    fn new(cache: &Cache, overrides: &Overrides, cuda: bool) -> Self {
        let wants = |part: &Part| cuda || cache.is_complete(part);
        let mut parts = Vec::new();
        if overrides.libtorch.is_none() {
            parts.push(pins::libtorch());
            parts.extend(Some(pins::libtorch_cuda()).filter(&wants));
        }
        let onnxruntime = overrides
            .onnxruntime
            .is_none()
            .then(|| Some(pins::onnxruntime_gpu()).filter(&wants).unwrap_or_else(pins::onnxruntime));
        parts.extend(onnxruntime.clone());
        if overrides.cmake.is_none() {
            parts.push(pins::cmake());
        }
        Self { parts, onnxruntime }
    }

    fn missing(&self, cache: &Cache) -> Vec<Part> {
        self.parts.iter().filter(|part| !cache.is_complete(part)).cloned().collect()
    }

    fn native(&self, cache: &Cache, overrides: &Overrides) -> Native {
        let own = [
            (LIBTORCH, overrides.libtorch.is_some()),
            (ORT, overrides.onnxruntime.is_some()),
            (CMAKE, overrides.cmake.is_some()),
        ];
        let part = self.onnxruntime.clone().unwrap_or_else(pins::onnxruntime);
        Native {
            libtorch: overrides.libtorch.clone().unwrap_or_else(|| native::libtorch_root(cache)),
            onnxruntime: overrides.onnxruntime.clone().unwrap_or_else(|| native::ort_library(cache, &part)),
            cmake: overrides.cmake.clone().unwrap_or_else(|| native::cmake_program(cache)),
            managed: own.into_iter().filter(|(_, own)| !own).map(|(key, _)| key).collect(),
        }
    }

    /// What `native.toml` is to say. The user's own variables are left to the user's environment. A cache folder
    /// that was chosen is remembered, so that later commands need not name it again.
    fn entries(&self, cache: &Cache, native: &Native) -> Result<Vec<(String, String)>> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
        };
        let mut entries = Vec::new();
        for (key, path) in native.variables() {
            if native.managed.contains(&key) {
                entries.push((key.to_owned(), text(path)?));
            }
        }
        if !cache.is_default() {
            entries.push((CACHE_VARIABLE.to_owned(), text(cache.root())?));
        }
        Ok(entries)
    }

    fn lines(&self, overrides: &Overrides, fetched: &[Part]) -> Vec<String> {
        let is_new = |part: &Part| fetched.iter().any(|other| other.label == part.label);
        let state = |part: &Part| if is_new(part) { "fetched" } else { "was there" };
        let own = [(LIBTORCH, &overrides.libtorch), (ORT, &overrides.onnxruntime), (CMAKE, &overrides.cmake)];
        self.parts
            .iter()
            .map(|part| format!("{:<32}{}", part.label, state(part)))
            .chain(own.into_iter().filter_map(|(key, path)| {
                path.as_ref()
                    .map(|path| format!("{key}={} is yours: used, nothing fetched for it", path.display()))
            }))
            .collect()
    }
}

/// Installs what is missing and returns it.
fn fetch(cache: &Cache, plan: &Plan) -> Result<Vec<Part>> {
    interrupt::listen();
    let lock = cache.lock()?;
    // Another set-up may have fetched them while this one waited.
    let missing = plan.missing(cache);
    if missing.is_empty() {
        return Ok(missing);
    }
    let pip = Pip::find()?;
    let (download, needed) = sizes(&missing);
    preflight::disk_space(&cache.native(), preflight::free_bytes(&cache.native())?, needed)?;
    eprintln!(
        "fetching native libraries into {} ({:.1} GB to download, once for all checkouts of this user)",
        cache.native().display(),
        download as f64 / 1e9
    );
    let mut installer = Installer::start(cache, &lock, pip)?;
    for part in &missing {
        installer.install(part)?;
    }
    Ok(missing)
}

/// Bytes to download, and bytes of disk taken at the worst moment: all wheels, one of them twice (pip copies it out of
/// its temporary folder), and everything unpacked.
fn sizes(parts: &[Part]) -> (u64, u64) {
    let mut wheels: Vec<_> =
        parts.iter().flat_map(|part| &part.wheels).map(|(w, _)| (w.sha256, w.bytes)).collect();
    wheels.sort_unstable();
    wheels.dedup();
    let download = wheels.iter().map(|(_, bytes)| bytes).sum();
    let largest = wheels.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let unpacked: u64 = parts.iter().map(|part| part.unpacked_bytes).sum();
    (download, download + largest + unpacked + RESERVE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Result<(tempfile::TempDir, Cache)> {
        let folder = tempfile::tempdir()?;
        let cache = Cache::locate(Some(folder.path()), |_| None)?;
        Ok((folder, cache))
    }

    fn labels(plan: &Plan) -> Vec<&'static str> {
        plan.parts.iter().map(|part| part.folder).collect()
    }

    #[test]
    fn the_plan_leaves_out_what_the_user_brings() -> Result<()> {
        let (_folder, cache) = cache()?;
        let plain = Plan::new(&cache, &Overrides::default(), false);
        assert_eq!(labels(&plain), ["libtorch-2.11.0", "onnxruntime-1.31.1", "cmake-4.4.4"]);
        let cuda = Plan::new(&cache, &Overrides::default(), true);
        assert_eq!(
            labels(&cuda),
            ["libtorch-2.11.0", "libtorch-2.11.0", "onnxruntime-gpu-1.31.1", "cmake-4.4.4"]
        );

        let overrides = Overrides { libtorch: Some("/mine".into()), ..Overrides::default() };
        let plan = Plan::new(&cache, &overrides, false);
        assert_eq!(labels(&plan), ["onnxruntime-1.31.1", "cmake-4.4.4"]);
        let native = plan.native(&cache, &overrides);
        assert_eq!(native.libtorch, Path::new("/mine"));
        let keys: Vec<_> = plan.entries(&cache, &native)?.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["ORT_DYLIB_PATH", "CMAKE", "DDAE_CACHE"]);
        assert!(plan.lines(&overrides, &[]).iter().any(|line| line.starts_with("LIBTORCH=/mine is yours")));
        Ok(())
    }

    #[test]
    fn a_shared_wheel_is_counted_once_and_the_sizes_are_plausible() {
        let (cpu, cpu_disk) = sizes(&[pins::libtorch(), pins::onnxruntime(), pins::cmake()]);
        assert_eq!(cpu, 597_563_158);
        assert!((2_000_000_000..3_500_000_000).contains(&cpu_disk), "{cpu_disk}");
        let (both, _) = sizes(&[pins::libtorch(), pins::libtorch_cuda()]);
        let cuda_alone: u64 = pins::libtorch_cuda().wheels[1..].iter().map(|(wheel, _)| wheel.bytes).sum();
        assert_eq!(both, sizes(&[pins::libtorch()]).0 + cuda_alone);
    }
}
