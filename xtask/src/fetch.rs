//! Brings parts into the cache: pip downloads and checks, then unpack beside the final place, stamp, rename. What has
//! its final name is always whole, whenever the process is stopped.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use zip::ZipArchive;

use crate::cache::{Cache, STAMP};
use crate::interrupt;
use crate::parts::Part;
use crate::pip::Pip;
use crate::preflight;

/// Megabytes beyond what the parts take: pip copies a wheel, of half a gigabyte, out of its temporary folder; and
/// set-up alone should not fill a disk.
const RESERVE: u64 = 1600;

/// Installs those that are missing, with the pip of `python`, and returns them.
pub fn fetch<'a>(cache: &Cache, parts: &[&'a Part], python: &Path) -> Result<Vec<&'a Part>> {
    let missing = || parts.iter().copied().filter(|part| !cache.is_complete(part)).collect::<Vec<_>>();
    if missing().is_empty() {
        return Ok(Vec::new());
    }
    let _lock = cache.lock()?;
    // Another set-up may have fetched them while this one waited.
    let missing = missing();
    if missing.is_empty() {
        return Ok(missing);
    }
    let pip = Pip::find(python)?;
    let (download, unpacked) =
        missing.iter().fold((0, 0), |sum, part| (sum.0 + part.size.0, sum.1 + part.size.1));
    let native = cache.native();
    preflight::disk_space(&native, (download + unpacked + RESERVE) * 1_000_000)?;
    eprintln!(
        "fetching native libraries into {} (up to {download} MB to download, once for all checkouts of this user)",
        native.display()
    );

    interrupt::listen();
    let staging = native.join(".staging");
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    let staging = tempfile::Builder::new().prefix(".staging").rand_bytes(0).tempdir_in(&native)?;
    // Complete wheels survive an interruption and are not fetched again.
    let wheels = native.join(".wheels");
    let mut fetched = Vec::new();
    // Asked again: where libtorch is replaced, its CUDA libraries go with it.
    for part in parts.iter().filter(|part| !cache.is_complete(part)) {
        install(cache, part, &pip, &wheels, &staging)?;
        fetched.push(*part);
    }
    fs::remove_dir_all(&wheels)?;
    Ok(fetched)
}

/// Fetches one part; an older one in its place is replaced.
fn install(cache: &Cache, part: &Part, pip: &Pip, wheels: &Path, staging: &TempDir) -> Result<()> {
    let staged = staging.path().join(part.label());
    for wheel in part.wheels() {
        let file = pip.download(&wheel, wheels, staging.path())?;
        unpack(&file, &staged, part.keep).with_context(|| format!("cannot unpack {}", file.display()))?;
    }
    (part.finish)(&staged)?;
    if let Some(name) = part.key_files.iter().find(|name| !staged.join(name).exists()) {
        bail!("{}: the wheels hold no {name}: requirements.txt and parts.rs disagree", part.label());
    }
    fs::write(staged.join(part.own).join(STAMP), format!("{:#}", part.stamp()))?;
    // After a power cut the stamp must not outlive the files it vouches for.
    rustix::fs::syncfs(File::open(&staged)?).context("cannot flush the disk")?;
    interrupt::check()?;

    let place = cache.folder(part);
    // Without a slash at the end, so that a symbolic link is moved itself.
    let former: PathBuf = place.join(part.own).components().collect();
    if former.symlink_metadata().is_ok() {
        rename(&former, &staging.path().join(format!("{}, former", part.label())))?;
    }
    merge(&staged, &place)
}

/// Unpacks the files of a wheel that `keep` names, with their permissions.
fn unpack(wheel: &Path, into: &Path, keep: fn(&str) -> Option<String>) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(wheel)?))?;
    for index in 0..archive.len() {
        interrupt::check()?;
        let mut entry = archive.by_index(index)?;
        let kept = entry.enclosed_name().and_then(|name| keep(name.to_str()?));
        let Some(target) = kept.filter(|_| entry.is_file()).map(|name| into.join(name)) else { continue };
        fs::create_dir_all(target.parent().unwrap_or(into))?;
        let mut file = File::create(&target)?;
        io::copy(&mut entry, &mut file)?;
        file.set_permissions(Permissions::from_mode(entry.unix_mode().unwrap_or(0) & 0o755 | 0o644))?;
    }
    Ok(())
}

/// Moves `from` to `to`. A folder that is there already takes in the entries in the order of their names: of the CUDA
/// libraries `torch/cuda`, with the stamp, comes last.
fn merge(from: &Path, to: &Path) -> Result<()> {
    if !(from.is_dir() && to.is_dir()) {
        return rename(from, to);
    }
    let mut names =
        fs::read_dir(from)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    names.iter().try_for_each(|name| merge(&from.join(name), &to.join(name)))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;
    use crate::parts::{LIBTORCH_CPU, LIBTORCH_CUDA};
    use crate::testing::message_of;
    use anyhow::ensure;
    use zip::write::SimpleFileOptions;

    /// A folder with wheels, from which the real pip takes them, and a cache.
    struct Scene {
        folder: TempDir,
        cache: Cache,
    }

    impl Scene {
        fn new() -> Result<Self> {
            let folder = tempfile::tempdir()?;
            let cache = Cache::locate(Some(&folder.path().join("cache")), |_| None)?;
            let scene = Self { folder, cache };
            scene.python("")?;
            Ok(scene)
        }

        fn python_path(&self) -> PathBuf {
            self.folder.path().join("python3")
        }

        /// Writes the interpreter: `first` runs before a download. Another process does it: were it open for writing
        /// here, a child that another test starts at that moment would hold it open too, and running it would fail.
        fn python(&self, first: &str) -> Result<()> {
            let folder = self.folder.path().display();
            let body = format!(
                "#!/bin/sh\n[ \"$3\" = download ] || exec echo pip 99.0\necho >> '{folder}/downloads'\n{first}\n\
                 export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS='{folder}'\nexec python3 \"$@\"\n"
            );
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
                .arg(self.python_path())
                .arg(body);
            ensure!(shell.status()?.success(), "cannot write the interpreter");
            Ok(())
        }

        fn wheel_path(&self) -> PathBuf {
            self.folder.path().join("thing-1.0-py3-none-any.whl")
        }

        /// Writes a wheel whose library has this content: the part that is made of it.
        fn part(&self, content: &str) -> Result<Part> {
            let mut writer = zip::ZipWriter::new(File::create(self.wheel_path())?);
            for (name, content, mode) in [
                ("thing/lib/a.so", content, 0o755),
                ("thing/lib/b.txt", content, 0o600),
                ("thing/left/out", "", 0o644),
                ("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n", 0o644),
                ("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n", 0o644),
            ] {
                writer.start_file(name, SimpleFileOptions::default().unix_permissions(mode))?;
                writer.write_all(content.as_bytes())?;
            }
            writer.finish()?;
            let digest = Command::new("sha256sum").arg(self.wheel_path()).output()?.stdout;
            let digest = String::from_utf8_lossy(&digest[..64]).into_owned();
            Ok(Part {
                folder: "thing",
                wheels: |_| true,
                requirements: Box::leak(format!("thing==1.0 --hash=sha256:{digest}").into_boxed_str()),
                keep: |entry| {
                    Some(entry.strip_prefix("thing/")?.to_owned()).filter(|name| !name.contains("left"))
                },
                finish: |folder| fs::write(folder.join("lib/script"), "INPUT(x)\n"),
                key_files: &["lib/a.so", "lib/script"],
                size: (0, 0),
                ..LIBTORCH_CPU
            })
        }

        fn fetch(&self, parts: &[&Part]) -> Result<usize> {
            Ok(fetch(&self.cache, parts, &self.python_path())?.len())
        }

        fn read(&self, name: &str) -> Result<String> {
            Ok(fs::read_to_string(self.cache.native().join("thing-1.0").join(name))?)
        }

        fn downloads(&self) -> Result<usize> {
            Ok(fs::read_to_string(self.folder.path().join("downloads"))?.lines().count())
        }

        /// What lies beside the parts.
        fn entries(&self) -> Result<Vec<String>> {
            let names = fs::read_dir(self.cache.native())?.flatten().map(|entry| entry.file_name());
            let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            Ok(names)
        }
    }

    #[test]
    fn what_a_killed_run_left_is_replaced_by_the_whole_part_and_nothing_else_stays() -> Result<()> {
        let scene = Scene::new()?;
        let part = scene.part("machine code")?;
        for leftover in ["thing-1.0/lib", ".staging/pip-unpack", ".wheels/thing 1.0"] {
            fs::create_dir_all(scene.cache.native().join(leftover))?;
        }
        fs::write(scene.cache.native().join("thing-1.0/lib/stray"), "half")?;
        fs::write(scene.cache.native().join(".wheels/thing 1.0/thing-1.0-py3-none-any.whl"), "half")?;

        assert_eq!(scene.fetch(&[&part])?, 1);
        assert_eq!(
            (scene.read("lib/a.so")?.as_str(), scene.read("lib/script")?.as_str()),
            ("machine code", "INPUT(x)\n")
        );
        let place = scene.cache.folder(&part);
        let mode = |name| fs::metadata(place.join(name)).map(|data| data.permissions().mode() & 0o777);
        assert_eq!((mode("lib/a.so")?, mode("lib/b.txt")?), (0o755, 0o644));
        assert!(!place.join("lib/stray").exists() && !place.join("left").exists());
        assert_eq!(scene.entries()?, [".lock", "thing-1.0"]);

        assert_eq!(scene.fetch(&[&part])?, 0);
        assert_eq!(scene.downloads()?, 1);
        Ok(())
    }

    #[test]
    fn other_contents_than_pinned_are_refused_and_the_old_folder_stays_as_it_was() -> Result<()> {
        let scene = Scene::new()?;
        scene.fetch(&[&scene.part("old")?])?;
        let newer = scene.part("new")?;
        scene.part("tampered with")?;
        let message = message_of(scene.fetch(&[&newer]));
        assert!(
            message.starts_with("pip could not fetch thing 1.0 (exit code 1) and says why above"),
            "{message}"
        );
        assert!(scene.part("new").is_ok() && scene.read("lib/a.so")? == "old");
        let lacking = Part { key_files: &["lib/c.so"], ..newer.clone() };
        let message = message_of(scene.fetch(&[&lacking]));
        assert!(message.contains("the wheels hold no lib/c.so"), "{message}");
        assert_eq!(scene.read("lib/a.so")?, "old");

        assert_eq!(scene.fetch(&[&newer])?, 1);
        assert_eq!(scene.read("lib/a.so")?, "new");
        assert_eq!(scene.entries()?, [".lock", "thing-1.0"]);
        Ok(())
    }

    #[test]
    fn two_at_once_fetch_once_and_a_broken_connection_is_tried_again() -> Result<()> {
        let scene = Scene::new()?;
        let part = scene.part("x")?;
        let mark = scene.folder.path().join("broke");
        scene.python(&format!(
            "[ -e '{0}' ] || {{ touch '{0}'; echo IncompleteRead >&2; exit 2; }}",
            mark.display()
        ))?;
        let fetched = std::thread::scope(|scope| {
            let other = scope.spawn(|| scene.fetch(&[&part]));
            [scene.fetch(&[&part]), other.join().unwrap_or(Ok(9))]
        });
        let fetched: usize = fetched.into_iter().sum::<Result<usize>>()?;
        assert_eq!((fetched, scene.downloads()?, mark.exists()), (1, 2, true));
        Ok(())
    }

    #[test]
    fn an_addition_keeps_the_files_that_were_there() -> Result<()> {
        let scene = Scene::new()?;
        let base = scene.part("base")?;
        let addition = Part {
            own: LIBTORCH_CUDA.own,
            keep: |entry| match entry {
                "thing/lib/a.so" => Some("lib/extra.so".to_owned()),
                "thing/lib/b.txt" => Some("torch/cuda/b.txt".to_owned()),
                _ => None,
            },
            finish: |_| Ok(()),
            key_files: &["lib/extra.so", "torch/cuda/b.txt"],
            ..base.clone()
        };
        assert_eq!(scene.fetch(&[&base, &addition])?, 2);
        assert!(scene.cache.is_complete(&base) && scene.cache.is_complete(&addition));
        for name in ["lib/a.so", "lib/extra.so", "torch/cuda/b.txt"] {
            assert_eq!(scene.read(name)?, "base");
        }
        Ok(())
    }

    #[test]
    fn too_little_space_names_the_folder_and_both_sizes() -> Result<()> {
        let scene = Scene::new()?;
        let part = Part { size: (0, 3_000_000_000), ..scene.part("x")? };
        let message = message_of(scene.fetch(&[&part]));
        assert!(message.starts_with("too little disk space: /"), "{message}");
        assert!(message.contains("GB free and the native libraries need 3000001.6 GB"), "{message}");
        Ok(())
    }
}
