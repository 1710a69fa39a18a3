//! Which native libraries the workspace is built with: the user's own where a variable says so, else the cache's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{CACHE_VARIABLE, Cache};
use crate::native_toml::NativeToml;
use crate::parts::{
    CMAKE_PROGRAM, LIBTORCH, LIBTORCH_CPU, LIBTORCH_CUDA, ONNXRUNTIME, ONNXRUNTIME_CUDA, ORT, Part,
};

/// The native libraries in use.
#[derive(Debug)]
pub struct Native {
    /// Its folder, with `lib` and `include`; `cuda` beside them after `setup --cuda`.
    pub libtorch: Library,
    /// Its library file.
    pub onnxruntime: Library,
    /// The program.
    pub cmake: Library,
}

/// Where a library is.
#[derive(Debug)]
pub struct Library {
    /// The variable that says so.
    pub variable: &'static str,
    /// What it names.
    pub path: PathBuf,
    /// The parts in the cache; none if the user set the variable.
    pub parts: Vec<&'static Part>,
}

impl Native {
    /// The user's variables win, if they name something usable. CUDA libraries that were fetched once stay in use.
    ///
    /// `variable` reads the environment, into which cargo put what `recorded` says when it started this program.
    pub fn choose(
        variable: impl Fn(&str) -> Option<OsString>,
        recorded: &NativeToml,
        cache: &Cache,
        cuda: bool,
    ) -> Result<Self> {
        let wants = |part: &Part| cuda || cache.is_complete(part);
        let choose = |part: &'static Part, cuda: Option<&'static Part>| -> Result<Library> {
            let key = part.variable;
            let own = variable(key)
                .filter(|value| !value.is_empty())
                .filter(|value| recorded.get(key).is_none_or(|recorded| value != recorded))
                .map(PathBuf::from)
                .filter(|path| !path.starts_with(cache.native()));
            if let Some(path) = own {
                check(key, &path)?;
                return Ok(Library { variable: key, path, parts: Vec::new() });
            }
            let path = cache.folder(part).join(part.target);
            Ok(Library { variable: key, path, parts: [part].into_iter().chain(cuda).collect() })
        };
        let onnxruntime = if wants(&ONNXRUNTIME_CUDA) { &ONNXRUNTIME_CUDA } else { &ONNXRUNTIME };
        Ok(Self {
            libtorch: choose(&LIBTORCH_CPU, Some(&LIBTORCH_CUDA).filter(|part| wants(part)))?,
            onnxruntime: choose(onnxruntime, None)?,
            cmake: choose(&CMAKE_PROGRAM, None)?,
        })
    }

    pub fn libraries(&self) -> [&Library; 3] {
        [&self.libtorch, &self.onnxruntime, &self.cmake]
    }

    /// Variables that a cargo started from here must not inherit: this process may have them from an older
    /// `native.toml` or from another cache, and the new file is to decide.
    pub fn managed(&self) -> impl Iterator<Item = &Library> {
        self.libraries().into_iter().filter(|library| !library.parts.is_empty())
    }

    /// What `native.toml` is to say. The user's own variables are left to the user's environment. A cache folder
    /// that was chosen is remembered, so that later commands need not name it again.
    pub fn entries(&self, cache: &Cache) -> Result<Vec<(String, String)>> {
        let managed = self.managed().map(|library| (library.variable, library.path.as_path()));
        let cache = Some((CACHE_VARIABLE, cache.root.as_path())).filter(|_| !cache.is_default);
        let entry = |(key, path): (&str, &Path)| {
            let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
            Ok((key.to_owned(), text.to_owned()))
        };
        managed.chain(cache).map(entry).collect()
    }
}

/// Whether a variable of the user names something usable.
fn check(key: &str, path: &Path) -> Result<()> {
    let (usable, lacks) = match key {
        LIBTORCH => (
            path.join("lib/libtorch_cpu.so").exists() && path.join("include").is_dir(),
            "is no libtorch folder (no lib/libtorch_cpu.so or no include)",
        ),
        // A name without a folder is looked for by the dynamic loader.
        ORT => (!path.is_absolute() || path.is_file(), "does not exist"),
        _ => (which::which(path).is_ok(), "is no program"),
    };
    if !usable {
        bail!("{key}={} {lacks}: correct it, or unset it to use the pinned version", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::CMAKE;
    use crate::testing::message_of;
    use std::fs;

    #[test]
    fn variables_win_unless_they_come_from_the_file_or_name_the_cache() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(".cargo"))?;
        let mut file = NativeToml::read(folder.path())?;
        file.replace(vec![(LIBTORCH.to_owned(), "/recorded/torch".to_owned())])?;
        let cache = Cache::locate(Some(&folder.path().join("cache")), |_| None)?;
        let native = |variables: &[(&str, &Path)], cuda| {
            let value =
                |key: &str| variables.iter().find(|(name, _)| *name == key).map(|(_, path)| (*path).into());
            Native::choose(value, &file, &cache, cuda)
        };
        let folders = |native: &Native| -> Vec<String> {
            native.managed().flat_map(|library| &library.parts).map(|part| part.folder_name()).collect()
        };
        let cpu = ["libtorch-2.11.0", "onnxruntime-1.31.1", "cmake-4.4.4"];
        let stale = cache.native().join("onnxruntime-gpu-1.31.1/libonnxruntime.so");
        let ours = [(LIBTORCH, Path::new("/recorded/torch")), (ORT, &stale), (CMAKE, Path::new(""))];
        for variables in [&[], &ours[..]] {
            assert_eq!(folders(&native(variables, false)?), cpu);
        }
        let cuda = ["libtorch-2.11.0", "libtorch-2.11.0", "onnxruntime-gpu-1.31.1", "cmake-4.4.4"];
        assert_eq!(folders(&native(&[], true)?), cuda);

        let torch = folder.path().join("my-torch");
        fs::create_dir_all(torch.join("lib"))?;
        fs::create_dir_all(torch.join("include"))?;
        fs::write(torch.join("lib/libtorch_cpu.so"), "")?;
        let mine = native(&[(LIBTORCH, &torch)], false)?;
        assert_eq!(
            (folders(&mine), &mine.libtorch.path),
            (cpu[1..].iter().map(|x| x.to_string()).collect(), &torch)
        );
        let keys: Vec<_> = mine.entries(&cache)?.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [ORT, CMAKE, CACHE_VARIABLE]);

        for (key, message) in [
            (LIBTORCH, "LIBTORCH=/nowhere is no libtorch folder"),
            (ORT, "ORT_DYLIB_PATH=/nowhere does not exist"),
            (CMAKE, "CMAKE=/nowhere is no program"),
        ] {
            assert!(message_of(native(&[(key, Path::new("/nowhere"))], false)).starts_with(message), "{key}");
        }
        Ok(())
    }
}
