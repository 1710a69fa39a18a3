//! Results for machines: `--json`.
//!
//! A command prints one object on one line of standard output, whose first key is `schema`: its name and the version of
//! its keys, as in `ddae.features/1`. Keys may be added within a version; a key that goes or changes its meaning makes a
//! new one. Its last key is `made_by` ([`MadeBy`]). A command that fails prints an object too, `ddae.error/1`. `docs/json.md` lists the keys of all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::made_by::MadeBy;
use crate::text::Plain;

/// Whether `--json` was given.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Whether this process has printed its object.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// The schema of errors.
pub const ERROR_SCHEMA: &str = "ddae.error/1";

/// An object with its schema before all other keys.
#[derive(Serialize)]
struct Named<'a, T> {
    schema: &'a str,
    #[serde(flatten)]
    value: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<MadeBy>,
}

/// A failure.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Failure<'a> {
    /// What went wrong, in the words of the line on stderr.
    pub error: &'a str,
    /// What kind of failure it is ([`kind`](crate::ending::kind)).
    pub kind: &'a str,
    /// The exit code.
    pub exit_code: u8,
}

/// Says that failures are to be printed as objects, too.
pub fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// The line of `value`, a struct or a map, with its `schema`.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn line<T: Serialize>(schema: &str, value: &T) -> io::Result<String> {
    Ok(serde_json::to_string(&Named { schema, value, made_by: None })?)
}

/// Prints `value`, a struct or a map, on one line of standard output, with what it takes to make it again.
///
/// # Errors
/// Those of standard output.
pub fn print<T: Serialize>(schema: &str, value: &T) -> io::Result<()> {
    say(&serde_json::to_string(&Named { schema, value, made_by: Some(MadeBy::this()) })?)
}

/// Writes a line past the lock of standard output, which the thread that a signal interrupts may hold.
fn say(line: &str) -> io::Result<()> {
    let mut text = Plain::new(Vec::new());
    writeln!(text, "{line}")?;
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(&text.into_inner())?;
    PRINTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Prints a failure where `--json` was given and no result has been printed: there is one object in any case.
pub(crate) fn print_failure(failure: &Failure) {
    if WANTED.load(Ordering::Relaxed) && !PRINTED.load(Ordering::Relaxed) {
        // Where nobody reads it, the line on stderr and the exit code have to do.
        let _ = line(ERROR_SCHEMA, failure).and_then(|line| say(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_first_and_numbers_stay_what_they_are() {
        #[derive(Serialize)]
        struct Result {
            loss: f32,
            name: &'static str,
        }
        let line = line("ddae.test/1", &Result { loss: 0.1, name: "a\n" }).expect("JSON");
        assert_eq!(line, r#"{"schema":"ddae.test/1","loss":0.1,"name":"a\n"}"#);
        let failure = Failure { error: "no such file", kind: "not_found", exit_code: 1 };
        let wanted = r#"{"schema":"ddae.error/1","error":"no such file","kind":"not_found","exit_code":1}"#;
        assert_eq!(super::line(ERROR_SCHEMA, &failure).expect("JSON"), wanted);
        assert!(super::line("a", &1).is_err(), "a number has no keys");
    }
}
