//! How a program ends: in silence, or with one line on stderr and an exit code.
//!
//! | exit code | means |
//! | --- | --- |
//! | 0 | done |
//! | 1 | it failed |
//! | 2 | what was asked for makes no sense: arguments, options, a configuration |
//! | 130, 143, 129 | Ctrl-C, SIGTERM or SIGHUP ended it |

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use crate::json::{self, Failure};
use crate::stderr::tell;
use crate::text::plain;
use crate::{begin, memory, stop, system, verbosity};

/// Ends a program whose command came to `outcome`: 0 for success, 2 where `is_usage` says of an error that what was
/// asked for makes no sense, 1 for every other; where it is [`stopped`], or `is_interrupted` says so, the code that
/// shells give the signal that came. What fails for another reason after a signal keeps its own code. An error is one
/// line on stderr, `error: …`, and with `--json` an object on standard output.
///
/// A reader of standard output that has seen enough (`| head`) is no failure.
pub fn end<E>(
    outcome: anyhow::Result<()>,
    is_usage: impl FnOnce(&E) -> bool,
    is_interrupted: impl FnOnce(&E) -> bool,
) -> ExitCode
where
    E: Error + Send + Sync + 'static,
{
    let verdict = outcome.err().and_then(|error| {
        let stopped = (error.is::<Stopped>() || error.downcast_ref().is_some_and(is_interrupted))
            .then(|| stop::exit_code().unwrap_or(CTRL_C));
        verdict(&error, is_usage, stopped)
    });
    verbosity::detail(|| {
        let peak = memory::peak()
            .map_or(String::new(), |bytes| format!(", {:.2} GB of memory at most", bytes as f64 / 1e9));
        format!("took {:.2} s{peak}", begin::seconds())
    });
    let Some(Verdict { line, kind, code }) = verdict else { return ExitCode::SUCCESS };
    fail(&line, kind, code);
    ExitCode::from(code)
}

/// Says that the program failed: one line on stderr, and with `--json` an object on standard output.
pub(crate) fn fail(line: &str, kind: &str, code: u8) {
    json::print_failure(&Failure { error: line, kind, exit_code: code });
    tell(format_args!("error: {line}"));
}

/// Says that the program failed, as [`end`] does, for a process that ends otherwise. The exit code is 1.
pub fn failed(line: &str) {
    fail(&plain(line), "failure", 1);
}

/// The error of work that a [`Stop`](crate::Stop) ended: `line` says what is left and how to go on.
pub fn stopped(line: &'static str) -> anyhow::Error {
    Stopped(line).into()
}

/// Work that was ended on request.
#[derive(Debug)]
struct Stopped(&'static str);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Stopped {}

/// The failure of another process that worked for this one: it becomes this one's, with its kind ([`kind`]) and exit code.
pub fn relayed(line: String, kind: &str, code: u8) -> anyhow::Error {
    let kind = KINDS.into_iter().find(|known| *known == kind).unwrap_or("failure");
    Relayed(Verdict { line, kind, code: code.max(1) }).into()
}

/// All kinds of failures.
const KINDS: [&str; 8] = [
    "usage",
    "interrupted",
    "not_found",
    "permission_denied",
    "disk_full",
    "out_of_memory",
    "output",
    "failure",
];

/// What another process said of its failure.
#[derive(Debug)]
struct Relayed(Verdict);

impl fmt::Display for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.line)
    }
}

impl Error for Relayed {}

/// Ends the process at once because of a signal, with its exit code and one line: for work that cannot look at a
/// [`Stop`](crate::Stop).
pub fn interrupted(line: &str, code: u8) -> ! {
    fail(line, "interrupted", code);
    stop::exit(code)
}

/// The exit code of what was stopped by another process, which alone knows the signal.
const CTRL_C: u8 = 130;

/// How a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    line: String,
    kind: &'static str,
    code: u8,
}

/// The line, kind and exit code of an error; none for one that is no failure. `stopped` is the code of the signal that it
/// is of, if it is of one.
fn verdict<E>(
    error: &anyhow::Error,
    is_usage: impl FnOnce(&E) -> bool,
    stopped: Option<u8>,
) -> Option<Verdict>
where
    E: Error + Send + Sync + 'static,
{
    if let Some(of_output) = of_output(error) {
        let line = system::in_words(&format!("cannot write to standard output: {of_output}"));
        let is_failure = of_output.kind() != ErrorKind::BrokenPipe;
        return is_failure.then_some(Verdict { line, kind: "output", code: 1 });
    }
    let line = system::in_words(&one_line(error));
    if let Some(Relayed(verdict)) = error.downcast_ref() {
        return Some(Verdict { line, ..verdict.clone() });
    }
    if let Some(code) = stopped {
        return Some(Verdict { line, kind: "interrupted", code });
    }
    Some(match error.downcast_ref().is_some_and(is_usage) {
        true => Verdict { line, kind: "usage", code: 2 },
        false => Verdict { line, kind: kind(error), code: 1 },
    })
}

/// What kind of failure an error is, by the system's error in it: `not_found`, `permission_denied`, `disk_full`,
/// `out_of_memory`, or `failure` for all others.
pub fn kind(error: &anyhow::Error) -> &'static str {
    let of_system = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    match of_system.map(io::Error::kind) {
        Some(ErrorKind::NotFound) => "not_found",
        Some(ErrorKind::PermissionDenied) => "permission_denied",
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => "disk_full",
        Some(ErrorKind::OutOfMemory) => "out_of_memory",
        _ => "failure",
    }
}

/// The system's error about standard output. It is the one that comes bare: those about files name them.
fn of_output(error: &anyhow::Error) -> Option<&io::Error> {
    let is_bare = error.chain().nth(1).is_none();
    error.downcast_ref().filter(|_| is_bare)
}

/// The error and its causes in one line, each text once: most errors quote their cause already.
fn one_line(error: &anyhow::Error) -> String {
    let line = error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match &*line {
        "" => cause,
        _ if line.contains(&cause) => line,
        _ => format!("{line}: {cause}"),
    });
    plain(line)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn of_kind(kind: ErrorKind) -> anyhow::Error {
        io::Error::from(kind).into()
    }

    fn never(_: &std::fmt::Error) -> bool {
        false
    }

    #[test]
    fn errors_of_standard_output_name_it() {
        let line = "cannot write to standard output: no storage space".to_string();
        let wanted = Verdict { line, kind: "output", code: 1 };
        assert_eq!(verdict(&of_kind(ErrorKind::StorageFull), never, None), Some(wanted));
        assert_eq!(verdict(&of_kind(ErrorKind::BrokenPipe), never, None), None);
    }

    #[test]
    fn errors_of_files_are_failures_whatever_their_kind() {
        let error = Err::<(), _>(of_kind(ErrorKind::BrokenPipe)).context("a.h5").unwrap_err();
        let wanted = Verdict { line: "a.h5: broken pipe".to_string(), kind: "failure", code: 1 };
        assert_eq!(verdict(&error, never, None), Some(wanted));
    }

    #[test]
    fn causes_that_are_quoted_already_are_not_repeated() {
        let error = anyhow::anyhow!("no such key").context("bad.yaml: no such key").context("--config");
        assert_eq!(one_line(&error), "--config: bad.yaml: no such key");
    }

    #[test]
    fn names_from_outside_break_no_line() {
        let error = anyhow::anyhow!("a\nerror: b\u{1b}[2J: no such file");
        assert_eq!(one_line(&error), r"a\nerror: b\u{1b}[2J: no such file");
    }

    #[test]
    fn what_makes_no_sense_has_a_code_of_its_own() {
        let error = anyhow::Error::from(std::fmt::Error);
        let code = |is_usage, stopped| {
            verdict(&error, |_: &std::fmt::Error| is_usage, stopped).map(|verdict| verdict.code)
        };
        assert_eq!((code(true, None), code(false, None)), (Some(2), Some(1)));
        assert_eq!(code(false, Some(130)), Some(130), "a signal stopped it");
    }

    #[test]
    fn what_fails_after_a_signal_is_not_what_the_signal_ended() {
        let code = |error: anyhow::Error| {
            let ended = end(Err(error), never, |_: &std::fmt::Error| true);
            format!("{ended:?}")
        };
        let of = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(stopped("interrupted; nothing is left")), of(130));
        assert_eq!(code(std::fmt::Error.into()), of(130), "a program's own error of being stopped");
        let full = Err::<(), _>(of_kind(ErrorKind::StorageFull)).context("a.h5").unwrap_err();
        assert_eq!(code(full), of(1), "a disk that is full, whether or not a signal came");
    }

    #[test]
    fn what_another_process_failed_at_keeps_its_kind_and_code() {
        for (kind, code, wanted) in
            [("disk_full", 1, ("disk_full", 1)), ("usage", 2, ("usage", 2)), ("other", 0, ("failure", 1))]
        {
            let error = relayed("process 1 of 2: a.h5: no storage space".to_string(), kind, code);
            let verdict = verdict(&error, never, None).expect("a failure");
            assert_eq!((verdict.kind, verdict.code), wanted);
            assert_eq!(verdict.line, "process 1 of 2: a.h5: no storage space");
        }
    }

    #[test]
    fn kinds_are_those_of_the_system() {
        for (of_system, wanted) in [
            (ErrorKind::NotFound, "not_found"),
            (ErrorKind::PermissionDenied, "permission_denied"),
            (ErrorKind::FileTooLarge, "disk_full"),
            (ErrorKind::InvalidData, "failure"),
        ] {
            let error = Err::<(), _>(of_kind(of_system)).context("a.h5").unwrap_err();
            assert_eq!(kind(&error), wanted);
        }
    }
}
