//! Downloads wheels with pip, which knows the user's proxies, certificates and mirrors, and checks them against their
//! SHA-256. Nothing is installed and no Python code of ours runs.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cargo::ending;
use crate::interrupt;
use crate::parts::Wheel;

/// The first pip that takes more than one `--platform`.
const OLDEST: (u32, u32) = (20, 3);

/// The wheels' platforms. Nothing runs Python, so that any host's Python can fetch wheels for CPython 3.11.
const TARGET: &str = "--python-version=3.11 --implementation=cp --abi=cp311 --platform=manylinux_2_28_x86_64 \
                      --platform=manylinux_2_27_x86_64 --platform=manylinux_2_25_x86_64 \
                      --platform=manylinux_2_18_x86_64 --platform=manylinux2014_x86_64";

/// A connection that breaks in the middle is tried so many times; pip itself retries the start of each request, and
/// newer ones resume.
const ATTEMPTS: u32 = 3;

/// What pip then says.
const BROKEN: [&str; 4] = ["IncompleteRead", "Connection broken: ", "Read timed out", "ConnectionResetError"];

/// A Python interpreter that has pip.
#[derive(Debug)]
pub struct Pip<'a> {
    python: &'a Path,
}

impl<'a> Pip<'a> {
    /// The given interpreter's, which is looked for on `PATH`.
    pub fn find(python: &'a Path) -> Result<Self> {
        const WHY: &str = "it only fetches the native libraries, nothing runs Python";
        let name = python.display();
        let Ok(output) = Command::new(python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output()
        else {
            bail!(
                "{name} is not on PATH ({WHY}): install Python 3 with pip (Debian, Ubuntu: sudo apt install python3 \
                 python3-pip; Fedora: sudo dnf install python3 python3-pip)"
            );
        };
        if !output.status.success() {
            bail!(
                "{name} has no pip ({WHY}): install it (Debian, Ubuntu: sudo apt install python3-pip; elsewhere: \
                 {name} -m ensurepip)"
            );
        }
        let said = String::from_utf8_lossy(&output.stdout);
        if version(&said) < OLDEST {
            let said = said.trim();
            bail!(
                "{name} has a pip that is too old ({said}): run {name} -m pip install --user --upgrade pip"
            );
        }
        Ok(Self { python })
    }

    /// Downloads one wheel, or finds it complete in a folder below `wheels`. `staging` takes temporary files.
    pub fn download(&self, wheel: &Wheel, wheels: &Path, staging: &Path) -> Result<PathBuf> {
        let name = format!("{} {}", wheel.name, wheel.version);
        let folder = wheels.join(&name);
        let (requirement, log_path) = (staging.join("requirement.txt"), staging.join("pip.log"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(&requirement, wheel.line)?;
        eprintln!("  {name}");
        for attempt in 1.. {
            let mut command = Command::new(self.python);
            command.args(["-m", "pip", "download", "--require-hashes", "--no-deps", "--only-binary=:all:"]);
            command.args(["--no-cache-dir", "--no-input", "--disable-pip-version-check"]);
            command.args(TARGET.split(' ')).arg("-r").arg(&requirement).arg("--dest").arg(&folder);
            // pip's partial files go where they are removed with everything else, not to a small /tmp.
            command.env("TMPDIR", staging);
            // `pip download` installs nothing, so a rule about virtual environments need not stop it.
            command.env("PIP_REQUIRE_VIRTUALENV", "0");
            // Complaints are shown if pip fails.
            let log = File::create(&log_path)?;
            let progress =
                if io::stderr().is_terminal() { io::stderr().into() } else { log.try_clone()?.into() };
            command.stdin(Stdio::null()).stdout::<Stdio>(progress).stderr(log);
            // `python3` may be a script that starts the real one: as a group they can be ended together.
            let child = command.process_group(0).spawn().context("cannot start pip")?;
            let status = wait(child)?;
            interrupt::check()?;
            if status.success() {
                break;
            }
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            if attempt < ATTEMPTS && BROKEN.iter().any(|sign| said.contains(sign)) {
                eprintln!("  {name}: the connection broke, trying again");
                continue;
            }
            eprint!("{said}");
            bail!(
                "pip could not fetch {name} ({}) and says why above: mend that and run the command again, complete \
                 wheels are kept; PIP_INDEX_URL chooses another index; without a network put the wheels into a folder \
                 (xtask/requirements.txt says how) and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER",
                ending(status)
            );
        }
        let files = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .last()
            .with_context(|| format!("pip left no wheel of {name} in {}", folder.display()))
    }
}

/// Waits for pip and ends it on Ctrl-C: it must be gone before its folder is removed.
fn wait(mut child: Child) -> Result<ExitStatus> {
    let group = Pid::from_child(&child);
    let mut ticks = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::requested() {
            // The first lets pip put the terminal in order. Errors are of groups that have just ended.
            match ticks {
                0 => _ = kill_process_group(group, Signal::INT),
                20 => _ = kill_process_group(group, Signal::KILL),
                _ => {}
            }
            ticks += 1;
        }
        sleep(Duration::from_millis(100));
    }
}

/// Of "pip 23.2.1 from /usr/lib/python3/dist-packages/pip (python 3.11)" the first two numbers.
fn version(said: &str) -> (u32, u32) {
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_unknown_ones_taken() {
        for said in ["pip 9.0.3 from /usr (python 3.6)", "pip 20.2 from x"] {
            assert!(version(said) < OLDEST, "{said}");
        }
        for said in ["pip 20.3.4 from x", "pip 100.0", "pip 21.dev0", "something else"] {
            assert!(version(said) >= OLDEST, "{said}");
        }
    }
}
