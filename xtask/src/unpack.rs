//! Takes the wanted files out of a wheel (a zip archive).

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::pins::Select;

/// Unpacks the entries that `select` names into the folder `into`, with their permissions; returns how many.
///
/// # Errors
/// Fails on a file that is not a zip archive, a damaged entry (CRC), an entry that would leave `into`, a wheel without
/// any wanted entry, and on Ctrl-C.
pub fn unpack(wheel: &Path, into: &Path, select: Select) -> Result<usize> {
    let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("{} is not a wheel (zip archive)", wheel.display()))?;
    let mut unpacked = 0;
    for index in 0..archive.len() {
        interrupt::check()?;
        let mut entry = archive.by_index(index).with_context(|| format!("{} is damaged", wheel.display()))?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().with_context(|| format!("{} is damaged", wheel.display()))?.into_owned();
        let Some(relative) = select(&name) else { continue };
        let relative = Path::new(&relative);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("{}: refusing the entry {}, which would leave the folder", wheel.display(), name);
        }
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o755 | 0o644;
        let target = into.join(relative);
        write(&mut entry, &target, mode)
            .with_context(|| format!("cannot unpack {name} to {}", target.display()))?;
        unpacked += 1;
    }
    if unpacked == 0 {
        bail!("{} holds none of the wanted files", wheel.display());
    }
    Ok(unpacked)
}

fn write(source: &mut impl Read, target: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(target)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        interrupt::check()?;
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::write_wheel;

    #[test]
    fn keeps_only_the_selected_files_under_their_new_names_with_their_mode() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let wheel = folder.path().join("a.whl");
        write_wheel(
            &wheel,
            &[("a/tool", "run", 0o755), ("a/text", "words", 0o600), ("b/other", "no", 0o644)],
        )?;
        let into = folder.path().join("out");
        let count = unpack(&wheel, &into, |name| name.strip_prefix("a/").map(|rest| format!("kept/{rest}")))?;
        assert_eq!(count, 2);
        assert_eq!(fs::read_to_string(into.join("kept/text"))?, "words");
        let mode = |name| fs::metadata(into.join(name)).map(|data| data.permissions().mode() & 0o777);
        assert_eq!(mode("kept/tool")?, 0o755);
        assert_eq!(mode("kept/text")?, 0o644);
        assert!(!into.join("b").exists());
        Ok(())
    }

    #[test]
    fn refuses_an_entry_that_leaves_the_folder() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let wheel = folder.path().join("a.whl");
        write_wheel(&wheel, &[("../evil", "x", 0o644)])?;
        let message = match unpack(&wheel, &folder.path().join("out"), |name| Some(name.to_owned())) {
            Ok(count) => panic!("unpacked {count}"),
            Err(error) => format!("{error:#}"),
        };
        assert!(message.contains("refusing the entry ../evil"), "{message}");
        assert!(!folder.path().join("evil").exists());
        Ok(())
    }

    #[test]
    fn refuses_a_damaged_archive() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let wheel = folder.path().join("a.whl");
        write_wheel(&wheel, &[("a", &"payload ".repeat(1000), 0o644)])?;
        let mut bytes = fs::read(&wheel)?;
        for byte in &mut bytes[32..48] {
            *byte ^= 0x55;
        }
        fs::write(&wheel, &bytes)?;
        assert!(unpack(&wheel, &folder.path().join("out"), |name| Some(name.to_owned())).is_err());
        fs::write(&wheel, &bytes[..bytes.len() / 2])?;
        assert!(unpack(&wheel, &folder.path().join("out"), |name| Some(name.to_owned())).is_err());
        Ok(())
    }

    #[test]
    fn a_wheel_without_the_wanted_files_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let wheel = folder.path().join("a.whl");
        write_wheel(&wheel, &[("a", "x", 0o644)])?;
        let outcome = unpack(&wheel, folder.path(), |_| None);
        assert!(outcome.is_err_and(|error| error.to_string().contains("holds none of the wanted files")));
        Ok(())
    }
}
