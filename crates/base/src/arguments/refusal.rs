//! What is wrong with arguments, in a line: which of them, what was found, what is wanted, where there is help.

use std::error::Error as _;
use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::text::{excerpt, joined, listed, plain};

/// Characters of a value that an error shows.
const SHOWN: usize = 200;

/// The line about an error that `command` has with the words `given`. Values are shown without control characters, and
/// abridged.
pub(super) fn refusal(command: Command, error: &Error, given: &[OsString]) -> String {
    let help = format!("try '{} --help'", called(&command, given));
    let said = sentence(&command, error).unwrap_or_else(|| fallback(command, error, given));
    format!("{said}; {help}")
}

fn sentence(command: &Command, error: &Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    };
    let argument = || text(ContextKind::InvalidArg).map(|argument| plain(bare(&argument)));
    let slip = |kind| texts(kind).first().map_or(String::new(), |near| format!("; did you mean '{near}'?"));
    Some(match error.kind() {
        ErrorKind::ValueValidation => {
            let reason = error.source()?.to_string();
            let value = excerpt(text(ContextKind::InvalidValue)?, SHOWN);
            // Some reasons name the value by themselves.
            match reason.contains(&format!("'{value}'")) {
                true => format!("{}: {}", argument()?, excerpt(reason, 2 * SHOWN)),
                false => format!("{} '{value}': {}", argument()?, excerpt(reason, 2 * SHOWN)),
            }
        }
        ErrorKind::InvalidValue => {
            let option = text(ContextKind::InvalidArg)?;
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let known = texts(ContextKind::ValidValue);
            match (value.is_empty(), known.as_slice()) {
                (true, []) => format!("{} needs a value: {}", argument()?, typed(&option)),
                (true, _) => format!("{} needs a value: {}", argument()?, listed(&known, "or")),
                (false, _) => {
                    let value = excerpt(value, SHOWN);
                    let near = slip(ContextKind::SuggestedValue);
                    format!("{} '{value}': {} is wanted{near}", argument()?, listed(&known, "or"))
                }
            }
        }
        ErrorKind::UnknownArgument => {
            let word = excerpt(text(ContextKind::InvalidArg)?, SHOWN);
            match word.starts_with('-') {
                true => format!("there is no option '{word}'{}", slip(ContextKind::SuggestedArg)),
                false => format!("'{word}' is one argument too many"),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let word = excerpt(text(ContextKind::InvalidSubcommand)?, SHOWN);
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            let near = slip(ContextKind::SuggestedSubcommand);
            format!("there is no command '{word}'{near}; the commands are {}", listed(&names, "and"))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> =
                texts(ContextKind::InvalidArg).iter().map(|argument| typed(argument)).collect();
            let verb = if missing.len() == 1 { "is" } else { "are" };
            format!("{} {verb} missing", listed(&missing, "and"))
        }
        ErrorKind::ArgumentConflict => {
            let (one, others) = (argument()?, texts(ContextKind::PriorArg));
            let others: Vec<String> = others.iter().map(|other| plain(bare(other))).collect();
            match others.as_slice() {
                [] => return None,
                [other] if *other == one => format!("{one} is given twice; give it once"),
                _ => format!("{one} excludes {}; leave one out", listed(&others, "and")),
            }
        }
        _ => return None,
    })
}

/// What clap says in paragraphs, as one line, without its pointer to the help.
fn fallback(command: Command, error: &Error, given: &[OsString]) -> String {
    let given: Vec<String> = given.iter().map(|word| plain(word.to_string_lossy())).collect();
    // The same error about the values as they are shown. Where there is none, its own text has to do.
    let shown = command.try_get_matches_from(&given).err().filter(|shown| shown.kind() == error.kind());
    let mut text = shown.as_ref().unwrap_or(error).to_string();
    for word in given.iter().filter(|word| word.len() > SHOWN) {
        text = text.replace(word.as_str(), &excerpt(word, SHOWN));
    }
    let parts = text.trim().split("\n\n").map(joined).filter(|part| !part.is_empty());
    let told = |part: &String| !part.starts_with("Usage:") && !part.starts_with("For more information");
    let parts: Vec<String> = parts.filter(told).collect();
    parts.join("; ").trim_start_matches("error: ").to_string()
}

/// An option or argument without its value: `--rows <N>` is `--rows`, `<IMAGE>...` is `IMAGE`.
fn bare(argument: &str) -> String {
    match argument.starts_with('-') {
        true => argument.split([' ', '=', '[']).next().unwrap_or(argument).to_string(),
        false => argument.trim_end_matches('.').trim_matches(['<', '>', '[', ']']).to_string(),
    }
}

/// An option or argument as it is typed: `--rows <N>` is `--rows N`; of a choice, all that are in it.
fn typed(argument: &str) -> String {
    let choice = argument.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let choice = choice.filter(|text| text.contains("--"));
    choice.unwrap_or(argument).replace(['<', '>'], "").replace('|', " or ")
}

/// The program and the command that was given, as they are typed before `--help`.
fn called(command: &Command, given: &[OsString]) -> String {
    let (mut name, mut at) = (command.get_name().to_string(), command);
    for word in given.iter().skip(1).filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-')) {
        match at.find_subcommand(word) {
            Some(inner) => {
                name = format!("{name} {}", inner.get_name());
                at = inner;
            }
            None => break,
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser, Subcommand};

    use super::*;
    use crate::arguments::values::whole;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Arguments {
        #[command(subcommand)]
        command: Inner,
    }

    #[derive(Debug, Subcommand)]
    enum Inner {
        /// Does something
        Draw {
            /// A file
            file: std::path::PathBuf,
            /// A number
            #[arg(long, value_parser = whole::<u8>(1..))]
            number: u8,
            /// A name
            #[arg(long, value_parser = ["one", "two"], conflicts_with = "plain")]
            name: Option<String>,
            /// Without a name
            #[arg(long)]
            plain: bool,
        },
        /// Does nothing
        Rest,
    }

    fn line(words: &[&str]) -> String {
        let given: Vec<OsString> = ["program"].iter().chain(words).map(OsString::from).collect();
        let error = Arguments::try_parse_from(&given).expect_err("no such arguments");
        refusal(Arguments::command(), &error, &given)
    }

    #[test]
    fn errors_of_arguments_are_one_line() {
        let of_draw = |words: &[&str]| line(&[&["draw"], words].concat());
        for (words, wanted) in [
            (
                &["f", "--number", "1\n2\u{1b}[31m"][..],
                r"--number '1\n2\u{1b}[31m': a whole number from 1 to 255 is wanted",
            ),
            (
                &["f", "--number=\n\nUsage: a\nerror: b"],
                r"--number '\n\nUsage: a\nerror: b': a whole number from 1 to 255 is wanted",
            ),
            (&[], "--number NUMBER and FILE are missing"),
            (&["f"], "--number NUMBER is missing"),
            (&["f", "--number"], "--number needs a value: --number NUMBER"),
            (&["f", "--number", "1", "--nmae", "one"], "there is no option '--nmae'; did you mean '--name'?"),
            (&["f", "--number", "1", "--name", "tow"], "--name 'tow': one or two is wanted"),
            (&["f", "--number", "1", "--name"], "--name needs a value: one or two"),
            (&["f", "--number", "1", "--number", "2"], "--number is given twice; give it once"),
            (&["f", "--number", "1", "more"], "'more' is one argument too many"),
            (&["f", "--number", "1", "--name", "one", "--plain"], "--name excludes --plain; leave one out"),
        ] {
            assert_eq!(of_draw(words), format!("{wanted}; try 'program draw --help'"));
        }
        assert_eq!(
            line(&["darw"]),
            "there is no command 'darw'; did you mean 'draw'?; the commands are draw and rest; try 'program --help'"
        );
        let long = "x".repeat(1000);
        assert!(of_draw(&["f", "--number", &long]).len() < 400);
    }
}
