//! The command line, with errors of one line.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{Error, ErrorKind};

use crate::stderr::tell;
use crate::text::{excerpt, joined, plain};

/// Characters of a value that an error shows.
const SHOWN: usize = 200;

/// Reads the arguments of this process. Help and version are printed; what cannot be read is one line on stderr, and exit
/// code 2.
pub fn arguments<T: Parser>() -> T {
    let given: Vec<OsString> = std::env::args_os().collect();
    T::try_parse_from(&given).unwrap_or_else(|error| {
        if is_no_error(&error) {
            error.exit();
        }
        tell(refusal::<T>(&error, &given));
        std::process::exit(2)
    })
}

/// Whether help or the version was asked for.
fn is_no_error(error: &Error) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// What clap says in paragraphs, as one line: the error, its tips, and where there is help. Values are shown without
/// control characters, and abridged.
fn refusal<T: Parser>(error: &Error, given: &[OsString]) -> String {
    let given: Vec<String> = given.iter().map(|word| plain(word.to_string_lossy())).collect();
    // The same error about the values as they are shown. Where there is none, its own text has to do.
    let shown = T::try_parse_from(&given).err().filter(|shown| shown.kind() == error.kind());
    let mut text = shown.as_ref().unwrap_or(error).to_string();
    for word in given.iter().filter(|word| word.len() > SHOWN) {
        text = text.replace(word.as_str(), &excerpt(word, SHOWN));
    }
    let parts = text.trim().split("\n\n").map(joined).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.filter(|part| !part.starts_with("Usage:")).collect();
    let hint = |part: &str| {
        part.strip_prefix("For more information, ").map(|hint| hint.trim_end_matches('.').to_string())
    };
    let parts: Vec<String> = parts.into_iter().map(|part| hint(&part).unwrap_or(part)).collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Arguments {
        /// A number
        #[arg(long)]
        number: u8,
        /// A name
        #[arg(long, value_parser = ["one", "two"])]
        name: Option<String>,
    }

    fn line(words: &[&str]) -> String {
        let given: Vec<OsString> =
            std::iter::once("program").chain(words.iter().copied()).map(OsString::from).collect();
        let error = Arguments::try_parse_from(&given).expect_err("no such arguments");
        refusal::<Arguments>(&error, &given)
    }

    #[test]
    fn errors_of_arguments_are_one_line() {
        for (words, wanted) in [
            (
                &["--number", "1\n2\u{1b}[31m"][..],
                r"error: invalid value '1\n2\u{1b}[31m' for '--number <NUMBER>': invalid digit found in string; try '--help'",
            ),
            (
                &["--number=\n\nUsage: a\nerror: b"],
                r"error: invalid value '\n\nUsage: a\nerror: b' for '--number <NUMBER>': invalid digit found in string; try '--help'",
            ),
            (
                &[],
                "error: the following required arguments were not provided: --number <NUMBER>; try '--help'",
            ),
            (
                &["--number", "1", "--nmae", "one"],
                "error: unexpected argument '--nmae' found; tip: a similar argument exists: '--name'; try '--help'",
            ),
            (
                &["--number", "1", "--name", "three"],
                "error: invalid value 'three' for '--name <NAME>' [possible values: one, two]; try '--help'",
            ),
        ] {
            assert_eq!(line(words), wanted);
        }
    }
}
