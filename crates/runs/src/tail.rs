//! Logs of any length, line by line or from their ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The longest line of `stats.jsonl` that is looked at; a run's have a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// How much of the end of a log is read.
const LOG_END: u64 = 1 << 16;

/// Gives each whole line of a file; what is not text, too long, or was not ended is left out.
///
/// # Errors
/// When the file cannot be read.
pub fn for_lines(path: &Path, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    // Whether the line goes on that was too long.
    let mut skips = false;
    loop {
        line.clear();
        let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        if is_whole
            && !skips
            && let Ok(text) = std::str::from_utf8(&line)
        {
            each(text);
        }
        skips = !is_whole;
    }
}

/// The number of finished epochs that the end of a run's log tells of, and of all: `epoch 3/10: loss …`.
pub fn epochs(log: &Path) -> Option<(u64, u64)> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut end = Vec::new();
    file.take(LOG_END).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    end.lines().rev().find_map(|line| {
        let (done, all) = line.split_once("] epoch ")?.1.split_once(':')?.0.split_once('/')?;
        Some((done.parse().ok()?, all.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_that_are_whole_are_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stats.jsonl");
        let long = "x".repeat(3 << 20);
        let bytes = [b"{\"a\":1}\n", &b"\xff\xfe\n"[..], long.as_bytes(), b"\n{\"b\":2}\n{\"c\""].concat();
        fs::write(&path, bytes).expect("written");
        let mut lines = Vec::new();
        for_lines(&path, |line| lines.push(line.trim().to_string())).expect("read");
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"]);
    }

    #[test]
    fn logs_tell_finished_epochs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.txt");
        assert_eq!(epochs(&path), None);
        let log = "[      1.0 s] epoch 1/3: loss 0.5, 3.0 images/s\n[      2.0 s] epoch 2/3: loss 0.4, - images/s\n\
                   [      2.0 s] epoch 2: validation loss 0.4\n[      2.1 s] wro";
        fs::write(&path, log).expect("written");
        assert_eq!(epochs(&path), Some((2, 3)));
        fs::write(&path, format!("{}{log}", "x\n".repeat(1 << 20))).expect("written");
        assert_eq!(epochs(&path), Some((2, 3)));
    }
}
