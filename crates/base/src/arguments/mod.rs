//! The command line: what all programs have in common, and errors of one line.
//!
//! | module | holds |
//! | --- | --- |
//! | `common` | what every program has: `-q`, `-v`, versions, negative numbers, completions and manuals |
//! | `refusal` | what is wrong with arguments, in a line |
//! | [`values`] | numbers and lists of numbers |
//! | [`audit`](mod@audit) | whether every option of a program says what it wants |

pub mod audit;
mod common;
mod refusal;
pub mod values;

use std::ffi::OsString;
use std::process::exit;

use clap::error::{Error, ErrorKind};
use clap::{ArgMatches, Parser};

use crate::verbosity::{self, Verbosity};
use crate::{ending, json, system};

pub use audit::audit;

/// Reads the arguments of this process, which is one of the programs: beside what `T` says, all have `-q`, `-v`, a
/// version for every command, `completions` and `man` (`common`). How much is said and whether results are JSON is set
/// for the process.
///
/// Help and version are printed; what cannot be read is one line on stderr, and exit code 2.
pub fn arguments<T: Parser>() -> T {
    let given: Vec<OsString> = std::env::args_os().collect();
    if asks_for_json(&given) {
        json::want();
    }
    let command = common::extended(T::command());
    let mut matches = match command.clone().try_get_matches_from(&given) {
        Ok(matches) => matches,
        Err(error) => refuse(command, &error, &given),
    };
    let words = words(&matches);
    verbosity::set(chosen(&matches));
    verbosity::detail(|| common::beginning(command.get_name(), &words));
    if let Some(code) = common::run(&command, &matches) {
        exit(code);
    }
    match T::from_arg_matches_mut(&mut matches) {
        Ok(arguments) => arguments,
        Err(error) => refuse(command, &error, &given),
    }
}

/// The same for a program that is none of those for users: nothing but what `T` says.
pub fn bare_arguments<T: Parser>() -> T {
    let given: Vec<OsString> = std::env::args_os().collect();
    T::try_parse_from(&given).unwrap_or_else(|error| refuse(T::command(), &error, &given))
}

/// Ends the process with what clap has to say.
fn refuse(command: clap::Command, error: &Error, given: &[OsString]) -> ! {
    if is_no_error(error) {
        error.exit();
    }
    ending::fail(&system::in_words(&refusal::refusal(command, error, given)), "usage", 2);
    exit(2)
}

/// Whether help or the version was asked for.
fn is_no_error(error: &Error) -> bool {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// Whether results are to be JSON, before it is known whether the arguments can be read.
fn asks_for_json(given: &[OsString]) -> bool {
    given.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json")
}

/// How much is to be said.
fn chosen(matches: &ArgMatches) -> Verbosity {
    match (matches.get_flag(common::QUIET), matches.get_flag(common::VERBOSE)) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Usual,
    }
}

/// The names of the commands that were given, from the outermost in.
fn words(matches: &ArgMatches) -> Vec<String> {
    let mut words = Vec::new();
    let mut at = matches;
    while let Some((name, inner)) = at.subcommand() {
        words.push(name.to_string());
        at = inner;
    }
    words
}
