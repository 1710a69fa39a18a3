//! Downloads wheels with pip, which knows the user's proxies, certificates and mirrors. Nothing is installed and no
//! Python code of ours runs; every file is checked against its pinned SHA-256 before it is used.
//!
//! Without a network: put the wheels into a folder and set `PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};

use crate::interrupt;
use crate::pins::Wheel;

/// A connection that breaks in the middle is tried so many times; pip itself retries the start of each request.
const ATTEMPTS: u32 = 3;

/// A Python interpreter that has pip.
#[derive(Debug)]
pub struct Pip {
    python: OsString,
}

impl Pip {
    /// `python3` of `PATH`.
    ///
    /// # Errors
    /// Fails when there is no `python3` or when it has no pip.
    pub fn find() -> Result<Self> {
        Self::with("python3".into())
    }

    /// The given interpreter.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn with(python: OsString) -> Result<Self> {
        const WHY: &str = "it only fetches the native libraries, nothing runs Python";
        let name = python.to_string_lossy().into_owned();
        let outcome = Command::new(&python)
            .args(["-m", "pip", "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match outcome {
            Ok(status) if status.success() => Ok(Self { python }),
            Ok(_) => bail!(
                "{name} has no pip ({WHY}): install it (Debian, Ubuntu: sudo apt install python3-pip; elsewhere: \
                 {name} -m ensurepip)"
            ),
            Err(_) => bail!(
                "{name} is not on PATH ({WHY}): install Python 3 with pip (Debian, Ubuntu: sudo apt install python3 \
                 python3-pip; Fedora: sudo dnf install python3 python3-pip)"
            ),
        }
    }

    /// Downloads and checks one wheel; it lies below `folder`, which also takes pip's temporary files.
    ///
    /// # Errors
    /// Fails without a network, when the index lacks the pinned wheel, when the checksum differs (the file is then
    /// removed), on a full disk and on Ctrl-C.
    pub fn download(&self, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
        let mut attempt = 1;
        loop {
            match self.attempt(wheel, folder)? {
                Ok(file) => {
                    verify(wheel, &file)?;
                    return Ok(file);
                }
                Err(failure) if failure.broken_connection && attempt < ATTEMPTS => {
                    eprintln!("  {} {}: the connection broke, trying again", wheel.name, wheel.version);
                    attempt += 1;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn attempt(&self, wheel: &Wheel, folder: &Path) -> Result<std::result::Result<PathBuf, Failure>> {
        let place = folder.join(wheel.name);
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        let temporary = place.join("tmp");
        fs::create_dir_all(&temporary).with_context(|| format!("cannot create {}", temporary.display()))?;
        let log_path = place.join("pip.log");
        let log = File::create(&log_path)?;
        let mut child = Command::new(&self.python)
            .args([
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--no-cache-dir",
                "--no-input",
            ])
            .args(["--disable-pip-version-check", "--progress-bar=off"])
            .args(["--python-version", "3.11", "--implementation", "cp", "--abi", wheel.abi])
            .args(["--platform", wheel.platform, "--dest"])
            .arg(&place)
            .arg(format!("{}=={}", wheel.name, wheel.version))
            // pip's partial files go where they are removed with everything else, not to a small /tmp.
            .env("TMPDIR", &temporary)
            // `pip download` installs nothing, so a rule about virtual environments need not stop it.
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // `python3` may be a script that starts the real one: as a group they can be ended together.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.python.to_string_lossy()))?;
        let status = wait(&mut child, &place, wheel)?;
        if !status.success() {
            return Ok(Err(Failure::read(wheel, &fs::read_to_string(&log_path).unwrap_or_default())));
        }
        for entry in fs::read_dir(&place)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "whl") {
                return Ok(Ok(path));
            }
        }
        bail!(
            "pip reported success for {} {} but left no wheel in {}",
            wheel.name,
            wheel.version,
            place.display()
        )
    }
}

/// Waits for pip, shows the progress on a terminal, and stops it on Ctrl-C.
fn wait(child: &mut Child, place: &Path, wheel: &Wheel) -> Result<ExitStatus> {
    let terminal = std::io::stderr().is_terminal();
    let label = format!("  {} {}", wheel.name, wheel.version);
    if !terminal {
        eprintln!("{label}: downloading {}", megabytes(wheel.bytes));
    }
    let mut ticks = 0_u32;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt::requested() {
            stop(child)?;
            if terminal {
                eprintln!();
            }
            interrupt::check()?;
        }
        if terminal && ticks.is_multiple_of(5) {
            let done = size_below(place).min(wheel.bytes);
            eprint!("\r{label}: {} of {} ", megabytes(done), megabytes(wheel.bytes));
            std::io::stderr().flush()?;
        }
        ticks = ticks.wrapping_add(1);
        sleep(Duration::from_millis(100));
    };
    match (terminal, status.success()) {
        (true, true) => eprintln!("\r{label}: {0} of {0} ", megabytes(wheel.bytes)),
        (true, false) => eprintln!(),
        (false, _) => {}
    }
    Ok(status)
}

/// Ends pip and everything it started: it must be gone before its folder is removed.
fn stop(child: &mut Child) -> Result<()> {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        match kill_process_group(group, Signal::KILL) {
            // It may have ended by itself a moment ago.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("cannot stop pip"),
        }
    }
    child.wait()?;
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Sum of the file sizes below a folder that another process is writing to; what vanishes meanwhile counts nothing.
fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Why pip failed, in one line.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    broken_connection: bool,
}

impl Failure {
    fn read(wheel: &Wheel, log: &str) -> Self {
        const BROKEN: [&str; 5] = [
            "IncompleteRead",
            "Connection broken",
            "ReadTimeoutError",
            "Read timed out",
            "ConnectionResetError",
        ];
        const UNREACHABLE: [&str; 7] = [
            "NewConnectionError",
            "ConnectTimeoutError",
            "name resolution",
            "Max retries exceeded",
            "Network is unreachable",
            "ProxyError",
            "ConnectionError",
        ];
        let says = |signs: &[&str]| signs.iter().any(|sign| log.contains(sign));
        let wheel = format!("{} {}", wheel.name, wheel.version);
        let broken_connection = says(&BROKEN);
        let error = if log.contains("No space left on device") {
            anyhow!(
                "the disk is full: {wheel} could not be stored; make room, or choose another folder with --cache DIR"
            )
        } else if broken_connection {
            anyhow!("the connection broke while {wheel} was downloaded: run the command again")
        } else if says(&UNREACHABLE) {
            anyhow!(
                "no network: pip cannot reach the package index for {wheel}; check the connection or the proxy, or put \
                 the wheels into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER"
            )
        } else {
            let last = log.lines().rev().find(|line| line.contains("ERROR")).or_else(|| log.lines().last());
            let said = last.map_or("nothing", |line| line.trim_start_matches("ERROR:").trim());
            anyhow!("pip could not download {wheel}; it said: {said}")
        };
        Self { error, broken_connection }
    }
}

/// Compares the file with the pinned checksum; a file that differs is removed.
///
/// # Errors
/// Fails when the checksum differs or the file cannot be read.
pub fn verify(wheel: &Wheel, file: &Path) -> Result<()> {
    let found = sha256(file).with_context(|| format!("cannot read {}", file.display()))?;
    if found == wheel.sha256 {
        return Ok(());
    }
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    bail!(
        "{} {}: the download has sha256 {found} instead of {}: it is damaged, or your package index serves another \
         build; it was removed and nothing of it is installed: run the command again, or set PIP_INDEX_URL to another index",
        wheel.name,
        wheel.version,
        wheel.sha256
    );
}

fn sha256(file: &Path) -> Result<String> {
    let mut file = File::open(file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        interrupt::check()?;
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fake_pip, message_of, wheel_of, write_program};

    #[test]
    fn a_download_with_the_pinned_checksum_is_accepted() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (wheel, file) = wheel_of(folder.path(), "good", &[("good/a", "content", 0o644)])?;
        let pip = Pip::with(fake_pip(folder.path(), folder.path())?.into())?;
        let found = pip.download(&wheel, &folder.path().join("staging"))?;
        assert_eq!(fs::read(found)?, fs::read(file)?);
        Ok(())
    }

    #[test]
    fn a_corrupt_download_is_refused_and_removed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (wheel, file) = wheel_of(folder.path(), "bad", &[("bad/a", "content", 0o644)])?;
        let mut bytes = fs::read(&file)?;
        bytes[10] ^= 1;
        fs::write(&file, bytes)?;
        let pip = Pip::with(fake_pip(folder.path(), folder.path())?.into())?;
        let staging = folder.path().join("staging");
        let message = message_of(pip.download(&wheel, &staging));
        assert!(message.contains("bad 1.0: the download has sha256"), "{message}");
        assert!(message.contains(wheel.sha256), "{message}");
        let left: Vec<_> =
            fs::read_dir(staging.join("bad"))?.flatten().map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".whl")), "{left:?}");
        Ok(())
    }

    #[test]
    fn missing_python_and_missing_pip_are_told_apart() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let absent = folder.path().join("python3");
        assert!(message_of(Pip::with(absent.clone().into())).contains("is not on PATH"));
        write_program(&absent, "echo 'No module named pip' >&2; exit 1")?;
        assert!(message_of(Pip::with(absent.into())).contains("has no pip"));
        Ok(())
    }

    #[test]
    fn what_pip_says_becomes_one_line() {
        let wheel = crate::pins::cmake().wheels.remove(0).0;
        let cases = [
            (
                "... NewConnectionError('<x>: Failed to establish a new connection')\nERROR: no",
                "no network: ",
            ),
            ("OSError: [Errno 28] No space left on device", "the disk is full: "),
            ("IncompleteRead(12 bytes read)", "the connection broke while cmake 4.4.4"),
            (
                "noise\nERROR: No matching distribution found for cmake==4.4.4\n",
                "pip could not download cmake 4.4.4; it said: No matching distribution found for cmake==4.4.4",
            ),
            ("", "pip could not download cmake 4.4.4; it said: nothing"),
        ];
        for (log, expected) in cases {
            let message = Failure::read(&wheel, log).error.to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn a_broken_connection_is_tried_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (wheel, _) = wheel_of(folder.path(), "late", &[("late/a", "content", 0o644)])?;
        let honest = fake_pip(folder.path(), folder.path())?;
        let flaky = folder.path().join("flaky");
        let mark = folder.path().join("failed-once");
        write_program(
            &flaky,
            &format!(
                "if [ \"$3\" = download ] && [ ! -e '{0}' ]; then touch '{0}'; echo IncompleteRead; exit 2; fi\n\
                 exec '{1}' \"$@\"",
                mark.display(),
                honest.display()
            ),
        )?;
        Pip::with(flaky.into())?.download(&wheel, &folder.path().join("staging"))?;
        assert!(mark.exists());
        Ok(())
    }
}
