//! Brings parts into the cache: download, unpack beside the final place, stamp, rename. A name in its final place is
//! always whole, whenever the process is stopped.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cache::{Cache, Lock, Stamp};
use crate::interrupt;
use crate::pins::{Part, Placement};
use crate::pip::Pip;
use crate::unpack::unpack;

/// Installs parts while it holds the cache's lock.
#[derive(Debug)]
pub struct Installer<'a> {
    cache: &'a Cache,
    pip: Pip,
    staging: TempDir,
    /// Wheels of this run by checksum: two parts may share one.
    downloaded: HashMap<&'static str, PathBuf>,
    _lock: &'a Lock,
}

impl<'a> Installer<'a> {
    /// Removes what an interrupted run left and starts a new staging folder.
    ///
    /// # Errors
    /// Fails when the cache cannot be written to.
    pub fn start(cache: &'a Cache, lock: &'a Lock, pip: Pip) -> Result<Self> {
        let folder = cache.staging();
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let staging = tempfile::Builder::new().prefix("setup-").tempdir_in(&folder)?;
        Ok(Self { cache, pip, staging, downloaded: HashMap::new(), _lock: lock })
    }

    /// Fetches one part; an older folder in its place is replaced.
    ///
    /// # Errors
    /// As [`Pip::download`] and [`unpack`]; the final place is then untouched.
    pub fn install(&mut self, part: &Part) -> Result<()> {
        let staged = self.staging.path().join(part.folder);
        if staged.exists() {
            fs::remove_dir_all(&staged)?;
        }
        for (wheel, select) in &part.wheels {
            let file = match self.downloaded.get(wheel.sha256) {
                Some(file) => file.clone(),
                None => self.pip.download(wheel, &self.staging.path().join("wheels"))?,
            };
            self.downloaded.insert(wheel.sha256, file.clone());
            unpack(&file, &staged, *select)?;
        }
        for (name, text) in part.texts {
            write(&staged.join(name), text.as_bytes())?;
        }
        for (name, target) in part.links {
            std::os::unix::fs::symlink(target, staged.join(name))?;
        }
        for name in part.key_files {
            if !staged.join(name).exists() {
                bail!("{}: the wheels hold no {name}: the pins and the choice of files disagree", part.label);
            }
        }
        write(&staged.join(part.stamp), &serde_json::to_vec_pretty(&Stamp::of(part))?)?;
        // After a power cut the stamp must not outlive the files it vouches for.
        rustix::fs::syncfs(fs::File::open(&staged)?).context("cannot flush the disk")?;
        interrupt::check()?;
        let place = self.cache.folder(part);
        match part.placement {
            Placement::Own => self.swap_in(&staged, &place),
            Placement::Beside => {
                move_files(&staged, &place, Path::new(part.stamp))?;
                rename(&staged.join(part.stamp), &place.join(part.stamp))
            }
        }
    }

    /// Puts the staged folder in its place; an old one goes to the staging folder and disappears with it.
    fn swap_in(&self, staged: &Path, place: &Path) -> Result<()> {
        if place.symlink_metadata().is_ok() {
            let old = self.staging.path().join("old");
            fs::create_dir_all(&old)?;
            if let Some(name) = place.file_name() {
                rename(place, &old.join(name))?;
            }
        }
        rename(staged, place)
    }
}

/// Moves every file below `from` to the same place below `to`, all but `last`, which the caller moves at the end.
fn move_files(from: &Path, to: &Path, last: &Path) -> Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(to.join(&folder))
            .with_context(|| format!("cannot create {}", to.join(&folder).display()))?;
        for entry in fs::read_dir(from.join(&folder))? {
            let entry = entry?;
            let relative = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(relative);
            } else if relative != last {
                rename(&entry.path(), &to.join(&relative))?;
            }
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Wheel;
    use crate::testing::{fake_pip, message_of, wheel_of};

    fn part(wheel: Wheel) -> Part {
        Part {
            label: "thing",
            folder: "thing-1.0",
            stamp: "complete.json",
            placement: Placement::Own,
            wheels: vec![(wheel, |name| name.strip_prefix("thing/").map(str::to_owned))],
            texts: &[("lib/script", "INPUT(x)\n")],
            links: &[("link", "lib/a.so")],
            key_files: &["lib/a.so", "lib/script"],
            unpacked_bytes: 100,
        }
    }

    struct Scene {
        folder: TempDir,
        cache: Cache,
    }

    impl Scene {
        fn new() -> Result<Self> {
            let folder = tempfile::tempdir()?;
            let cache = Cache::locate(Some(&folder.path().join("cache")), |_| None)?;
            Ok(Self { folder, cache })
        }

        fn thing(&self, content: &str) -> Result<Part> {
            Ok(part(wheel_of(self.folder.path(), "thing", &[("thing/lib/a.so", content, 0o755)])?.0))
        }

        fn install(&self, part: &Part) -> Result<()> {
            let pip = Pip::with(fake_pip(self.folder.path(), self.folder.path())?.into())?;
            let lock = self.cache.lock()?;
            Installer::start(&self.cache, &lock, pip)?.install(part)
        }

        fn read(&self, name: &str) -> Result<String> {
            Ok(fs::read_to_string(self.cache.native().join("thing-1.0").join(name))?)
        }

        fn staging_is_empty(&self) -> Result<bool> {
            Ok(fs::read_dir(self.cache.staging())?.next().is_none())
        }
    }

    #[test]
    fn a_part_is_unpacked_stamped_and_nothing_else_is_left() -> Result<()> {
        let scene = Scene::new()?;
        let thing = scene.thing("machine code")?;
        scene.install(&thing)?;
        assert!(scene.cache.is_complete(&thing));
        assert_eq!(scene.read("lib/a.so")?, "machine code");
        assert_eq!(scene.read("link")?, "machine code");
        assert_eq!(scene.read("lib/script")?, "INPUT(x)\n");
        assert!(scene.staging_is_empty()?);
        Ok(())
    }

    #[test]
    fn a_partial_folder_is_replaced_and_leftovers_of_a_killed_run_are_removed() -> Result<()> {
        let scene = Scene::new()?;
        let thing = scene.thing("whole")?;
        let place = scene.cache.folder(&thing);
        fs::create_dir_all(place.join("lib"))?;
        fs::write(place.join("lib/a.so"), "half")?;
        fs::write(place.join("stray"), "from elsewhere")?;
        let leftover = scene.cache.staging().join("setup-killed/wheels");
        fs::create_dir_all(&leftover)?;
        fs::write(leftover.join("x.whl"), "partial")?;

        scene.install(&thing)?;
        assert_eq!(scene.read("lib/a.so")?, "whole");
        assert!(!place.join("stray").exists());
        assert!(scene.staging_is_empty()?);
        Ok(())
    }

    #[test]
    fn a_refused_download_leaves_the_old_folder_as_it_was() -> Result<()> {
        let scene = Scene::new()?;
        scene.install(&scene.thing("old")?)?;
        let mut newer = scene.thing("new")?;
        newer.wheels[0].0.sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
        assert!(message_of(scene.install(&newer)).contains("the download has sha256"));
        assert_eq!(scene.read("lib/a.so")?, "old");
        assert!(scene.staging_is_empty()?);
        Ok(())
    }

    #[test]
    fn a_wheel_without_a_key_file_is_refused() -> Result<()> {
        let scene = Scene::new()?;
        let mut thing = scene.thing("x")?;
        thing.key_files = &["lib/b.so"];
        assert!(message_of(scene.install(&thing)).contains("thing: the wheels hold no lib/b.so"));
        assert!(!scene.cache.folder(&thing).exists());
        Ok(())
    }

    #[test]
    fn an_addition_keeps_the_files_that_were_there_and_shares_the_download() -> Result<()> {
        let scene = Scene::new()?;
        let base = scene.thing("base")?;
        let mut addition = base.clone();
        addition.placement = Placement::Beside;
        addition.stamp = "extra/complete.json";
        addition.wheels[0].1 = |name| (name == "thing/lib/a.so").then(|| "lib/extra.so".to_owned());
        addition.texts = &[];
        addition.links = &[];
        addition.key_files = &["lib/extra.so"];

        let pip = Pip::with(fake_pip(scene.folder.path(), scene.folder.path())?.into())?;
        let lock = scene.cache.lock()?;
        let mut installer = Installer::start(&scene.cache, &lock, pip)?;
        installer.install(&base)?;
        assert!(!scene.cache.is_complete(&addition));
        installer.install(&addition)?;
        assert!(scene.cache.is_complete(&base) && scene.cache.is_complete(&addition));
        assert_eq!(scene.read("lib/a.so")?, "base");
        assert_eq!(scene.read("lib/extra.so")?, "base");
        let downloads = fs::read_to_string(scene.folder.path().join("downloads"))?;
        assert_eq!(downloads, "thing==1.0\n", "one download for both parts");
        Ok(())
    }
}
