//! `cargo xtask dist DIR`: a folder with the programs and the native libraries that runs wherever it is put.
//!
//! Nothing is linked anew. The build scripts of the programs that use libtorch give them two search paths,
//! `$ORIGIN/../lib` and the libtorch they were built with; in the folder the first one holds. ONNX Runtime is loaded by
//! name: the programs look for `../lib/libonnxruntime.so` beside themselves when `ORT_DYLIB_PATH` is not set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::cargo::Programs;
use crate::native::Native;
use crate::repository;
use crate::setup::ensure_setup;

/// Marks a folder that `dist` made and may replace.
const MARK: &str = "ddae-dist.json";

/// Builds the folder. It appears under its name only when it is whole and its programs find their libraries in it.
pub fn dist(folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    may_replace(&folder)?;
    let native = ensure_setup()?;
    let programs = Programs::build(&native, &[])?;

    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        bail!("{} cannot be replaced: name a folder inside another", folder.display());
    };
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let staging = tempfile::Builder::new().prefix(".ddae-dist-").tempdir_in(parent)?;
    let staged = staging.path().join(name);

    let mut libraries = BTreeMap::new();
    for name in Programs::USERS {
        let program = programs.path(name)?;
        copy(program, &staged.join("bin"), name)?;
        libraries.extend(own_libraries(&loaded_libraries(program)?));
    }
    for (soname, path) in &libraries {
        copy(path, &staged.join("lib"), soname)?;
    }
    copy(&native.onnxruntime.path, &staged.join("lib"), crate::parts::ORT_LIBRARY)?;
    copy_licenses(&native, &staged)?;
    for name in Programs::USERS {
        write_manuals(&staged, name)?;
    }
    let mark = json!({
        "ddae": env!("CARGO_PKG_VERSION"),
        "platform": "linux x86_64",
        "libraries": libraries.keys().collect::<Vec<_>>(),
    });
    fs::write(staged.join(MARK), format!("{mark:#}\n"))?;
    for name in Programs::USERS {
        check_relocatable(&staged, &staged.join("bin").join(name))?;
    }

    if folder.exists() {
        fs::rename(&folder, staging.path().join(".old"))?;
    }
    fs::rename(&staged, &folder)
        .with_context(|| format!("cannot move the result to {}", folder.display()))?;
    println!(
        "{}: bin/ and lib/, share/ with manual pages and completions, for Linux x86_64 with the C library of this machine or a newer one",
        folder.display()
    );
    println!("next: {}/bin/ddae-infer --help", folder.display());
    Ok(())
}

/// A new name, an empty folder or an earlier result.
fn may_replace(folder: &Path) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(folder) else {
        if folder.symlink_metadata().is_ok() {
            bail!("{} is no folder: name a new one", folder.display());
        }
        return Ok(());
    };
    if entries.next().is_some() && !folder.join(MARK).exists() {
        bail!("{} is not empty and not made by `dist`: name a new folder", folder.display());
    }
    Ok(())
}

fn copy(from: &Path, folder: &Path, name: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(folder)?;
    let to = folder.join(name);
    fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The licences of the libraries that are handed on, each in a folder of its package, and the project's own.
fn copy_licenses(native: &Native, staged: &Path) -> Result<()> {
    let licenses = staged.join("licenses");
    let libraries =
        [&native.libtorch.path, &native.onnxruntime.path].map(|path| path.with_file_name("licenses"));
    for package in libraries.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten() {
        let package = package?;
        for file in fs::read_dir(package.path())? {
            let file = file?;
            copy(&file.path(), &licenses.join(package.file_name()), file.file_name())?;
        }
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&repository().join(name), &licenses, name)?;
    }
    Ok(())
}

/// Where shells look for the completions of a program, below `share`.
fn completions(program: &str) -> [(&'static str, String); 3] {
    [
        ("bash", format!("bash-completion/completions/{program}")),
        ("zsh", format!("zsh/site-functions/_{program}")),
        ("fish", format!("fish/vendor_completions.d/{program}.fish")),
    ]
}

/// The manual pages and completions of a program, by the program itself.
fn write_manuals(staged: &Path, program: &str) -> Result<()> {
    let (binary, share) = (staged.join("bin").join(program), staged.join("share"));
    let output = |command: &mut Command| -> Result<Vec<u8>> {
        let output =
            command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    };
    output(Command::new(&binary).arg("man").arg(share.join("man/man1")))?;
    for (shell, place) in completions(program) {
        let script = output(Command::new(&binary).args(["completions", shell]))?;
        let path = share.join(place);
        fs::create_dir_all(path.parent().unwrap_or(&share))?;
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What the dynamic loader would load for a program: name and place, `None` where it finds nothing.
fn loaded_libraries(program: &Path) -> Result<BTreeMap<String, Option<PathBuf>>> {
    // What `ldd` does. The search path of this process is left out: the program's own is what counts.
    let output = Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(parse_trace(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines such as `libc10.so => /x/lib/libc10.so (0x00007f...)` and `libx.so => not found`.
fn parse_trace(trace: &str) -> BTreeMap<String, Option<PathBuf>> {
    let mut found = BTreeMap::new();
    for line in trace.lines() {
        let Some((name, place)) = line.split_once(" => ") else { continue };
        let place =
            place.rsplit_once(" (0x").map(|(path, _)| path.trim()).filter(|path| path.starts_with('/'));
        found.insert(name.trim().to_owned(), place.map(PathBuf::from));
    }
    found
}

/// Those that a system does not bring.
fn own_libraries(loaded: &BTreeMap<String, Option<PathBuf>>) -> impl Iterator<Item = (String, PathBuf)> + '_ {
    const SYSTEM: [&str; 3] = ["/lib", "/lib64", "/usr"];
    loaded.iter().filter_map(|(name, place)| {
        let place = normal(place.as_deref()?);
        (!SYSTEM.iter().any(|folder| place.starts_with(folder))).then(|| (name.clone(), place))
    })
}

/// Without `..`: `/cache/torch/lib/../../nvidia/lib/x` is `/cache/nvidia/lib/x`.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A program in the folder must find everything there or in the system.
fn check_relocatable(folder: &Path, program: &Path) -> Result<()> {
    let loaded = loaded_libraries(program)?;
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    if let Some((library, _)) = loaded.iter().find(|(_, place)| place.is_none()) {
        bail!("{name} does not find {library}: install it, or set LIBTORCH to a libtorch that has it");
    }
    let outside = own_libraries(&loaded).find(|(_, place)| !place.starts_with(folder));
    if let Some((library, place)) = outside {
        bail!(
            "{name} would load {library} from {} instead of its own lib folder: the build script of its crate must \
             put $ORIGIN/../lib first in the search path",
            place.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;

    #[test]
    fn the_loaders_trace_is_read() {
        let trace = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                     \tlibtorch_cpu.so => /cache/torch/lib/libtorch_cpu.so (0x00007f01)\n\
                     \tlibcudart.so.13 => /cache/torch/lib/../../nvidia/cu13/lib/libcudart.so.13 (0x00007f02)\n\
                     \tlibgone.so => not found\n\
                     \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f03)\n\
                     \t/lib64/ld-linux-x86-64.so.2 (0x00007f04)\n";
        let loaded = parse_trace(trace);
        assert_eq!(loaded.get("libgone.so"), Some(&None));
        let own: Vec<_> = own_libraries(&loaded).collect();
        assert_eq!(
            own,
            [
                ("libcudart.so.13".to_owned(), PathBuf::from("/cache/nvidia/cu13/lib/libcudart.so.13")),
                ("libtorch_cpu.so".to_owned(), PathBuf::from("/cache/torch/lib/libtorch_cpu.so")),
            ]
        );
    }

    #[test]
    fn only_empty_folders_and_earlier_results_are_replaced() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(may_replace(&folder.path().join("new")).is_ok());
        assert!(may_replace(folder.path()).is_ok());
        fs::write(folder.path().join("thesis.tex"), "")?;
        assert!(message_of(may_replace(folder.path())).contains("is not empty and not made by `dist`"));
        assert!(message_of(may_replace(&folder.path().join("thesis.tex"))).contains("is no folder"));
        fs::write(folder.path().join(MARK), "{}")?;
        assert!(may_replace(folder.path()).is_ok());
        Ok(())
    }

    #[test]
    fn completions_lie_where_shells_look_for_them() {
        let places = completions("ddae-infer").map(|(_, place)| place);
        let wanted = [
            "bash-completion/completions/ddae-infer",
            "zsh/site-functions/_ddae-infer",
            "fish/vendor_completions.d/ddae-infer.fish",
        ];
        assert_eq!(places, wanted);
    }

    #[test]
    fn a_program_of_the_system_is_relocatable() -> Result<()> {
        check_relocatable(Path::new("/nowhere"), Path::new("/bin/sh"))
    }
}
