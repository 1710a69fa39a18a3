//! For the tests of this crate: small wheels, a pip that copies files, programs on a private path.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::pins::Wheel;

/// Writes a wheel of (name, content, mode).
pub fn write_wheel(path: &Path, entries: &[(&str, &str, u32)]) -> Result<()> {
    let mut writer = zip::ZipWriter::new(File::create(path)?);
    for (name, content, mode) in entries {
        writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode))?;
        writer.write_all(content.as_bytes())?;
    }
    writer.finish()?;
    Ok(())
}

/// A wheel NAME 1.0 in `folder` with the pin that describes it.
pub fn wheel_of(
    folder: &Path,
    name: &'static str,
    entries: &[(&str, &str, u32)],
) -> Result<(Wheel, PathBuf)> {
    let path = folder.join(format!("{name}-1.0-py3-none-any.whl"));
    write_wheel(&path, entries)?;
    let bytes = fs::read(&path)?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let wheel = Wheel {
        name,
        version: "1.0",
        abi: "none",
        platform: "any",
        sha256: Box::leak(digest.into_boxed_str()),
        bytes: bytes.len() as u64,
    };
    Ok((wheel, path))
}

/// Writes an executable shell script. Another process does it: were it open for writing here, a child that another
/// test starts at that moment would hold it open too, and running it would fail with "text file busy".
pub fn write_program(path: &Path, body: &str) -> Result<()> {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = shell.stdin.take() {
        write!(input, "#!/bin/sh\n{body}\n")?;
    }
    ensure!(shell.wait()?.success(), "cannot write {}", path.display());
    Ok(())
}

/// A Python interpreter whose `-m pip download ... --dest DIR NAME==VERSION` copies NAME-*.whl from `source`, and
/// which notes every download in `source/downloads`.
pub fn fake_pip(folder: &Path, source: &Path) -> Result<PathBuf> {
    let path = folder.join("fake-python3");
    write_program(
        &path,
        &format!(
            "[ \"$3\" = download ] || exit 0\n\
             while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
             echo \"$1\" >> '{0}/downloads'\n\
             cp '{0}'/\"${{1%%==*}}\"-*.whl \"$dest\"",
            source.display()
        ),
    )?;
    Ok(path)
}

/// The full text of an error.
pub fn message_of<T>(outcome: Result<T>) -> String {
    match outcome {
        Ok(_) => String::from("no error"),
        Err(error) => format!("{error:#}"),
    }
}
