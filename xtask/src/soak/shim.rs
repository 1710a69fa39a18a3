//! The library that counts what a program does to a folder, and kills it or a rank of its run on the way, or lets the disk be full.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::moment::{At, Moment};

const SOURCE: &str = include_str!("shim.c");

/// Bytes of the record before the kinds of calls: their number, the processes, whether something was done, and a text.
const HEAD: usize = 1024;
/// Processes that are recorded: the one that was started, and ranks.
const PROCESSES: usize = 8;
/// Where it stands whether something was done.
const STRUCK: usize = 8 + 4 * PROCESSES;
/// Where the text begins.
const TEXT: usize = STRUCK + 4;
/// Most calls whose kinds are kept.
const KINDS: usize = 1 << 20;

/// The compiled library, and the file in which it counts.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    record: PathBuf,
}

/// What the record says of a job at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Calls so far.
    pub calls: u64,
    /// Whether a process was killed, or a call failed for want of room.
    pub is_struck: bool,
    /// Numbers of the processes, 0 for those that are not there yet: the one that was started, and ranks 0 and up.
    pub processes: [i32; PROCESSES],
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// A letter for each call that changed something in the folder, in order.
    pub kinds: Vec<u8>,
    /// The call at which something was to be done, if it was reached.
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
        let shim = Shim { library, record: folder.join("record") };
        shim.forget()?;
        Ok(shim)
    }

    /// Begins a new record.
    fn forget(&self) -> Result<()> {
        let record = File::create(&self.record).and_then(|file| file.set_len((HEAD + KINDS) as u64));
        record.with_context(|| format!("cannot write {}", self.record.display()))
    }

    /// Has a command count its calls that change something in `folder`, and do what is to be done at a moment if that is one of
    /// them. Several commands that are watched before the first is started are one job.
    pub fn watch(&self, command: &mut Command, folder: &Path, moment: Option<Moment>) -> Result<()> {
        self.forget()?;
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        command.env("LD_PRELOAD", &self.library);
        command.env("DDAE_SOAK_FOLDER", folder).env("DDAE_SOAK_RECORD", &self.record);
        for name in ["AT", "AFTER", "RANK", "FULL"] {
            command.env_remove(format!("DDAE_SOAK_{name}"));
        }
        let Some(Moment { at, rank }) = moment else { return Ok(()) };
        if let At::Before(call) | At::After(call) | At::Full(call) = at {
            command.env("DDAE_SOAK_AT", call.to_string());
            command.envs(rank.map(|rank| ("DDAE_SOAK_RANK", rank.to_string())));
        }
        match at {
            At::After(_) => _ = command.env("DDAE_SOAK_AFTER", "1"),
            At::Full(_) => _ = command.env("DDAE_SOAK_FULL", "1"),
            At::Before(_) | At::Time(_) => {}
        }
        Ok(())
    }

    /// How far the job is that is watched.
    pub fn progress(&self) -> Result<Progress> {
        let mut head = [0; HEAD];
        let read = File::open(&self.record).and_then(|mut file| file.read_exact(&mut head));
        read.with_context(|| self.record.display().to_string())?;
        let number = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let calls = u64::from(number(0).cast_unsigned());
        let processes = std::array::from_fn(|place| number(8 + 4 * place));
        Ok(Progress { calls, is_struck: number(STRUCK) != 0, processes })
    }

    /// Whether a process of the job is there, and has not ended.
    pub fn is_alive(&self, process: i32) -> bool {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let record = format!("DDAE_SOAK_RECORD={}", self.record.display());
        process > 0 && environment.split(|byte| *byte == 0).any(|variable| variable == record.as_bytes())
    }

    /// What the last command that was watched has done.
    pub fn calls(&self) -> Result<Calls> {
        let record = fs::read(&self.record).with_context(|| self.record.display().to_string())?;
        let (head, kinds) = record.split_at_checked(HEAD).context("the record of calls was cut off")?;
        let (count, text) = (&head[..8], &head[TEXT..]);
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
        let (kinds, ending, names, _) = struck(text, moment);
        (kinds, ending, names)
    }

    /// The same, and whether something was done to it.
    fn struck(text: &str, moment: Option<&str>) -> (String, Option<i32>, Vec<String>, bool) {
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
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let Progress { processes: [process, ..], is_struck, .. } = shim.progress().expect("a record");
        assert!(process > 0 && !shim.is_alive(process), "{process}");
        let ending = status.signal().or(status.code().filter(|code| *code > 0));
        (String::from_utf8(calls.kinds).expect("letters"), ending, names, is_struck)
    }

    /// A call that is reached is not yet a kill, nor a full disk.
    #[test]
    fn what_was_not_done_does_not_count() {
        let is_struck = |text, moment| struck(text, Some(moment)).3;
        let make = "printf a > a; rm a";
        assert!(is_struck(make, "1") && is_struck(make, "2+") && is_struck(make, "1full"));
        // The rank that was to die is not there; the file is there already, and nothing is written any more.
        assert!(!is_struck(make, "r1:1"));
        assert!(!is_struck(make, "3full"));
        assert!(!is_struck(make, "4"));
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

    /// A file that is there can be opened, and takes nothing; what removes and names goes on.
    #[test]
    fn a_full_disk_takes_nothing() {
        let make = "printf a > a; printf b > b; mv a c; printf d >> c; exit 5";
        let (kinds, code, names) = script(make, Some("3full"));
        assert_eq!((kinds.as_str(), code, names), ("oworow", Some(5), vec!["c".to_string()]));
    }

    /// The one that makes the call goes on.
    #[test]
    fn another_rank_dies() {
        let make = "RANK=1 sleep 60 & \
                    while [ $(od -An -tu4 -j16 -N4 \"$DDAE_SOAK_RECORD\") -eq 0 ]; do :; done; printf a > a; wait $!";
        let (kinds, code, names) = script(make, Some("r1:1"));
        assert_eq!((kinds.as_str(), code, names), ("ow", Some(128 + 9), vec!["a".to_string()]));
    }
}
