//! The library that counts what a program does to a folder, and kills it on the way.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::moment::Moment;

const SOURCE: &str = include_str!("shim.c");

/// Bytes of the record before the kinds of calls: their number, and a text.
const HEAD: usize = 1024;
/// Most calls whose kinds are kept.
const KINDS: usize = 1 << 20;

/// The compiled library, and the file in which it counts.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    record: PathBuf,
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// A letter for each call that changed something in the folder, in order.
    pub kinds: Vec<u8>,
    /// The call that it was killed at.
    pub last: Option<String>,
}

impl Shim {
    /// Compiles the library into `folder`.
    pub fn compile(folder: &Path) -> Result<Shim> {
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
        let compiler = env::var_os("CC").filter(|name| !name.is_empty()).unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start the C compiler {}", compiler.display()))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let first = message.lines().find(|line| line.contains("error")).unwrap_or_default();
            bail!("the C compiler {} refuses the library that kills programs: {first}", compiler.display());
        }
        Ok(Shim { library, record: folder.join("record") })
    }

    /// Has a command count its calls that change something in `folder`, and die at a moment if that is one of them.
    pub fn watch(&self, command: &mut Command, folder: &Path, moment: Option<Moment>) -> Result<()> {
        let record = File::create(&self.record).and_then(|file| file.set_len((HEAD + KINDS) as u64));
        record.with_context(|| format!("cannot write {}", self.record.display()))?;
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        command.env("LD_PRELOAD", &self.library);
        command.env("DDAE_SOAK_FOLDER", folder).env("DDAE_SOAK_RECORD", &self.record);
        command.env_remove("DDAE_SOAK_AT").env_remove("DDAE_SOAK_AFTER");
        if let Some(Moment::Before(call) | Moment::After(call)) = moment {
            command.env("DDAE_SOAK_AT", call.to_string());
        }
        if let Some(Moment::After(_)) = moment {
            command.env("DDAE_SOAK_AFTER", "1");
        }
        Ok(())
    }

    /// What the last command that was watched has done.
    pub fn calls(&self) -> Result<Calls> {
        let record = fs::read(&self.record).with_context(|| self.record.display().to_string())?;
        let (head, kinds) = record.split_at_checked(HEAD).context("the record of calls was cut off")?;
        let (count, text) = head.split_at(8);
        let count = count.iter().rev().fold(0, |number: usize, byte| (number << 8) | usize::from(*byte));
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        let kinds = kinds[..count.min(kinds.len())].to_vec();
        Ok(Calls { kinds, last: (!text.is_empty()).then_some(text) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// What a shell script has done to a folder when it ends, how it ended, and the names that are there.
    fn script(text: &str, moment: Option<&str>) -> (String, Option<i32>, Vec<String>) {
        let root = tempfile::tempdir().expect("a folder");
        let (library, folder) = (root.path().join("library"), root.path().join("work"));
        fs::create_dir(&library).expect("created");
        fs::create_dir(&folder).expect("created");
        let shim = Shim::compile(&library).expect("compiled");
        let mut command = Command::new("sh");
        command.args(["-c", text]).current_dir(&folder);
        let moment = moment.map(|moment| moment.parse().expect("a moment"));
        shim.watch(&mut command, &folder, moment).expect("watched");
        let status = command.status().expect("a shell");
        let calls = shim.calls().expect("a record");
        assert_eq!(calls.last.is_some(), status.signal().is_some(), "{calls:?}");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        (String::from_utf8(calls.kinds).expect("letters"), status.signal(), names)
    }

    #[test]
    fn calls_in_the_folder_are_counted() {
        let (kinds, signal, names) = script("printf a > a; cat < a > /dev/null; printf b > ../b", None);
        assert_eq!((kinds.as_str(), signal, names), ("ow", None, vec!["a".to_string()]));
    }

    #[test]
    fn a_process_dies_before_a_call_or_after_it() {
        let make = "printf a > a; printf b > b; printf c > c";
        let (kinds, signal, names) = script(make, Some("3"));
        assert_eq!((kinds.as_str(), signal, names), ("owo", Some(9), vec!["a".to_string()]));
        let (kinds, signal, names) = script(make, Some("3+"));
        assert_eq!((kinds.as_str(), signal, names), ("owo", Some(9), vec!["a".to_string(), "b".to_string()]));
        assert_eq!(script(make, Some("7")).1, None);
    }
}
