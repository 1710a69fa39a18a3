//! How a program ends: in silence, or with one line on stderr and an exit code.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use crate::stderr::tell;
use crate::text::plain;

/// Ends a program whose command came to `outcome`: 0 for success, 2 where `is_usage` says of an error that what was
/// asked for makes no sense, 1 for every other. An error is one line on stderr, `error: …`.
///
/// A reader of standard output that has seen enough (`| head`) is no failure.
pub fn end<E>(outcome: anyhow::Result<()>, is_usage: impl FnOnce(&E) -> bool) -> ExitCode
where
    E: Error + Send + Sync + 'static,
{
    let Some((line, code)) = outcome.err().and_then(|error| verdict(&error, is_usage)) else {
        return ExitCode::SUCCESS;
    };
    tell(format_args!("error: {line}"));
    ExitCode::from(code)
}

/// The line and the exit code of an error; none for one that is no failure.
fn verdict<E>(error: &anyhow::Error, is_usage: impl FnOnce(&E) -> bool) -> Option<(String, u8)>
where
    E: Error + Send + Sync + 'static,
{
    if let Some(of_output) = of_output(error) {
        let is_failure = of_output.kind() != ErrorKind::BrokenPipe;
        return is_failure.then(|| (format!("cannot write to standard output: {of_output}"), 1));
    }
    let is_usage = error.downcast_ref().is_some_and(is_usage);
    Some((one_line(error), if is_usage { 2 } else { 1 }))
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
        let wanted = "cannot write to standard output: no storage space".to_string();
        assert_eq!(verdict(&of_kind(ErrorKind::StorageFull), never), Some((wanted, 1)));
        assert_eq!(verdict(&of_kind(ErrorKind::BrokenPipe), never), None);
    }

    #[test]
    fn errors_of_files_are_failures_whatever_their_kind() {
        let error = Err::<(), _>(of_kind(ErrorKind::BrokenPipe)).context("a.h5").unwrap_err();
        assert_eq!(verdict(&error, never), Some(("a.h5: broken pipe".to_string(), 1)));
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
        let code = |is_usage| verdict(&error, |_: &std::fmt::Error| is_usage).map(|(_, code)| code);
        assert_eq!((code(true), code(false)), (Some(2), Some(1)));
    }
}
