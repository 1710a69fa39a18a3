//! The Python environment with the libraries that probes are held against.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, STAMP};
use crate::cargo::run;
use crate::repository;

/// Versions and checksums.
const REQUIREMENTS: &str = include_str!("../../probes/requirements.txt");

/// An environment that is complete.
#[derive(Debug)]
pub struct Peers {
    python: PathBuf,
}

impl Peers {
    /// Finds the environment in the cache folder, or makes it with `python3` and its pip. One of other versions is
    /// replaced.
    pub fn install() -> Result<Self> {
        let cache = Cache::locate(None, |key| env::var_os(key))?;
        let folder = cache.root.join("probe-peers");
        let python = folder.join("bin/python");
        if is_complete(&folder) {
            return Ok(Self { python });
        }
        let _lock = cache.lock()?;
        if is_complete(&folder) {
            return Ok(Self { python });
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        eprintln!("# Installing faiss, scikit-learn and scipy into {}", folder.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context(
            "the peers need Python 3.11 to 3.13 with venv (Debian, Ubuntu: apt install python3-venv)",
        )?;
        let requirements = repository().join("xtask/probes/requirements.txt");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:"]);
        pip.args(["--no-input", "--disable-pip-version-check", "-r"]).arg(requirements);
        run(&mut pip).context("pip could not install what the probes are held against")?;
        fs::write(folder.join(STAMP), REQUIREMENTS)?;
        Ok(Self { python })
    }

    /// Runs one work of `peers.py`, of which the last line is JSON.
    pub fn command(&self, work: &str, folder: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(repository().join("xtask/probes/peers.py")).arg(work).arg(folder);
        command
    }

    /// What a work printed.
    pub fn run(&self, work: &str, folder: &Path) -> Result<serde_json::Value> {
        let printed = run(&mut self.command(work, folder))?;
        let Some(line) = printed.lines().last() else { bail!("{work} printed nothing") };
        serde_json::from_str(line).with_context(|| format!("{work} printed {line}"))
    }
}

/// Whether everything was installed, from these very requirements.
fn is_complete(folder: &Path) -> bool {
    fs::read(folder.join(STAMP)).is_ok_and(|stamp| stamp == REQUIREMENTS.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned() {
        let lines = REQUIREMENTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pinned = |line: &&str| {
            let mut words = line.split(' ');
            words.next().is_some_and(|name| name.contains("=="))
                && line.contains(" --hash=sha256:")
                && words.all(|word| word.strip_prefix("--hash=sha256:").is_some_and(|hash| hash.len() == 64))
        };
        assert_eq!(lines.clone().filter(pinned).count(), lines.count());
    }

    #[test]
    fn an_environment_of_other_versions_is_not_complete() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(!is_complete(folder.path()));
        fs::write(folder.path().join(STAMP), REQUIREMENTS.replace("1.15.1", "1.15.0"))?;
        assert!(!is_complete(folder.path()));
        fs::write(folder.path().join(STAMP), REQUIREMENTS)?;
        assert!(is_complete(folder.path()));
        Ok(())
    }
}
