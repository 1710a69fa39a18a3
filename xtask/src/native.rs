//! Which native libraries the workspace is built with: the user's own where a variable says so, else the cache's.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cache::Cache;
use crate::native_toml::NativeToml;
use crate::pins::{self, Part};
use crate::preflight::find_program;

/// libtorch's folder, the one with `lib` and `include`.
pub const LIBTORCH: &str = "LIBTORCH";
/// ONNX Runtime's library file.
pub const ORT: &str = "ORT_DYLIB_PATH";
/// The cmake program.
pub const CMAKE: &str = "CMAKE";

/// The native libraries in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// libtorch's folder, with `lib` and `include`; `cuda` beside them after `setup --cuda`.
    pub libtorch: PathBuf,
    /// ONNX Runtime's library file.
    pub onnxruntime: PathBuf,
    /// The cmake program.
    pub cmake: PathBuf,
    /// The variables that the user did not set.
    pub(crate) managed: Vec<&'static str>,
}

/// Variables that the user set to something of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    pub libtorch: Option<PathBuf>,
    pub onnxruntime: Option<PathBuf>,
    pub cmake: Option<PathBuf>,
}

impl Overrides {
    /// Tells the user's variables from those that cargo took from `native.toml` when it started this program, and
    /// from those that name the cache's own files.
    ///
    /// # Errors
    /// Fails when a variable of the user names something unusable.
    pub fn read(
        variable: impl Fn(&str) -> Option<OsString>,
        recorded: &NativeToml,
        cache: &Cache,
    ) -> Result<Self> {
        let own = |key: &str, ours: &[PathBuf]| {
            variable(key)
                .filter(|value| !value.is_empty())
                .filter(|value| recorded.get(key).is_none_or(|recorded| value != recorded))
                .map(PathBuf::from)
                .filter(|value| !ours.contains(value))
        };
        let overrides = Self {
            libtorch: own(LIBTORCH, &[libtorch_root(cache)]),
            onnxruntime: own(
                ORT,
                &[ort_library(cache, &pins::onnxruntime()), ort_library(cache, &pins::onnxruntime_gpu())],
            ),
            cmake: own(CMAKE, &[cmake_program(cache)]),
        };
        overrides.check(&variable("PATH").unwrap_or_default())?;
        Ok(overrides)
    }

    fn check(&self, path: &std::ffi::OsStr) -> Result<()> {
        if let Some(folder) = &self.libtorch
            && !(folder.join("lib/libtorch_cpu.so").exists() && folder.join("include").is_dir())
        {
            bail!(
                "{LIBTORCH}={} is no libtorch folder (no lib/libtorch_cpu.so or no include): correct it, or unset it to \
                 use the pinned libtorch 2.11.0",
                folder.display()
            );
        }
        if let Some(library) = &self.onnxruntime
            && library.is_absolute()
            && !library.is_file()
        {
            bail!(
                "{ORT}={} does not exist: correct it, or unset it to use the pinned ONNX Runtime 1.31.1",
                library.display()
            );
        }
        if let Some(program) = &self.cmake
            && find_program(path, &program.to_string_lossy()).is_none()
        {
            bail!(
                "{CMAKE}={} is no program: correct it, or unset it to use the pinned cmake",
                program.display()
            );
        }
        Ok(())
    }
}

pub(crate) fn libtorch_root(cache: &Cache) -> PathBuf {
    cache.native().join(pins::LIBTORCH_FOLDER).join(pins::LIBTORCH_ROOT)
}

pub(crate) fn ort_library(cache: &Cache, part: &Part) -> PathBuf {
    cache.folder(part).join(pins::ORT_LIBRARY)
}

pub(crate) fn cmake_program(cache: &Cache) -> PathBuf {
    cache.folder(&pins::cmake()).join(pins::CMAKE_PROGRAM)
}

impl Native {
    /// The variables to build and run the workspace's programs with.
    pub fn variables(&self) -> [(&'static str, &Path); 3] {
        [(LIBTORCH, &self.libtorch), (ORT, &self.onnxruntime), (CMAKE, &self.cmake)]
    }

    /// The folder of libtorch's shared libraries.
    pub fn libtorch_libraries(&self) -> PathBuf {
        self.libtorch.join("lib")
    }

    /// Variables that a cargo started from here must not inherit: this process got them from an older `native.toml`
    /// or from another cache, and the new file is to decide.
    pub(crate) fn stale_variables(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.managed.iter().copied().filter(|key| env::var_os(key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;
    use std::fs;

    fn scene() -> Result<(tempfile::TempDir, NativeToml, Cache)> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(".cargo"))?;
        let mut file = NativeToml::read(folder.path())?;
        file.replace(vec![(LIBTORCH.to_owned(), "/recorded/torch".to_owned())])?;
        let cache = Cache::locate(Some(&folder.path().join("cache")), |_| None)?;
        Ok((folder, file, cache))
    }

    #[test]
    fn what_cargo_took_from_the_file_or_names_the_cache_is_not_the_users() -> Result<()> {
        let (_folder, file, cache) = scene()?;
        let ours = ort_library(&cache, &pins::onnxruntime_gpu());
        let overrides = Overrides::read(
            |key| match key {
                LIBTORCH => Some("/recorded/torch".into()),
                ORT => Some(ours.clone().into()),
                CMAKE => Some("".into()),
                _ => None,
            },
            &file,
            &cache,
        )?;
        assert_eq!(overrides, Overrides::default());
        Ok(())
    }

    #[test]
    fn the_users_variables_win_when_they_name_something_usable() -> Result<()> {
        let (folder, file, cache) = scene()?;
        let torch = folder.path().join("my-torch");
        let variable = |key: &str| (key == LIBTORCH).then(|| torch.clone().into_os_string());
        let message = message_of(Overrides::read(variable, &file, &cache));
        assert!(message.contains("my-torch is no libtorch folder"), "{message}");

        fs::create_dir_all(torch.join("lib"))?;
        fs::create_dir_all(torch.join("include"))?;
        fs::write(torch.join("lib/libtorch_cpu.so"), "")?;
        assert_eq!(Overrides::read(variable, &file, &cache)?.libtorch, Some(torch.clone()));

        let missing = |key: &str| (key == ORT).then(|| "/nowhere/libonnxruntime.so".into());
        let message = message_of(Overrides::read(missing, &file, &cache));
        assert!(message.contains("ORT_DYLIB_PATH=/nowhere/libonnxruntime.so does not exist"), "{message}");
        Ok(())
    }
}
