//! Golden files: what a program prints, reviewed like code.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs;

/// With this variable set, golden files are written anew in place of being compared.
pub const UPDATE_VARIABLE: &str = "UPDATE_GOLDEN";

/// Compares `found` with the golden file at `path`.
///
/// # Panics
/// When they differ, with the first line that does and how to renew the file.
#[track_caller]
pub fn assert_golden(path: impl AsRef<Path>, found: &str) {
    let path = path.as_ref();
    if env::var_os(UPDATE_VARIABLE).is_some() {
        return fs::write(path, found).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let expected =
        fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}; {}", path.display(), renew()));
    if let Some(difference) = difference(&expected, found) {
        panic!("{}: {difference}; {}", path.display(), renew());
    }
}

/// Compares what `program` says to each command line (a name, the line) with `folder/NAME.txt`. It must fit a terminal of
/// 100 columns.
///
/// # Panics
/// As [`assert_golden`], and when the program fails.
#[track_caller]
pub fn assert_help(program: impl AsRef<OsStr>, folder: impl AsRef<Path>, lines: &[(&str, &str)]) {
    for (name, line) in lines {
        let mut command = Command::new(&program);
        let ended = programs::run(command.args(line.split_whitespace()).env("COLUMNS", "100"));
        let help = ended.success();
        assert_golden(folder.as_ref().join(format!("{name}.txt")), help);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

fn renew() -> String {
    format!("if that is wanted, run the test with {UPDATE_VARIABLE}=1 and review what changes")
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let (mut expected, mut found, mut number) = (expected.split('\n'), found.split('\n'), 0);
    loop {
        number += 1;
        let (ours, theirs) = (found.next(), expected.next());
        if ours != theirs {
            return Some(format!("line {number} is {ours:?} and not {theirs:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let wanted = |text: &str| Some(text.to_string());
        assert_eq!(difference("a\nb\n", "a\nc\n"), wanted(r#"line 2 is Some("c") and not Some("b")"#));
        assert_eq!(difference("a\n", "a"), wanted(r#"line 2 is None and not Some("")"#));
    }
}
