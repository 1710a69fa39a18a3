//! Whether every option of a program says in words what it wants: for the tests of programs.

use std::ffi::OsStr;

use clap::{Arg, Command, Parser};

/// Values that most options do not take.
const SILLY: [&str; 6] = ["", "nonsense", "-1", "0", "1e99", "99999999999999999999999999999999999999999"];

/// What comes from the inside of Rust or clap, and means nothing to a user.
const INSIDE: [&str; 12] = [
    "invalid digit",
    "invalid float",
    "cannot parse",
    "too large to fit",
    "too small to fit",
    "is not in ",
    "target type",
    "os error",
    "usize",
    "u64",
    "ParseInt",
    "provided string",
];

/// Tries values that make no sense with every option and argument of a program, and gives the answers that are not for
/// users: the option, the value, and what was said. None is what is wanted.
pub fn audit<T: Parser>() -> Vec<String> {
    let mut found = Vec::new();
    let mut command = super::common::extended(T::command());
    command.build();
    walk(&command, &mut found);
    found
}

fn walk(command: &Command, found: &mut Vec<String>) {
    for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        for value in SILLY {
            if let Some(said) =
                refused(arg, value).filter(|said| INSIDE.iter().any(|word| said.contains(word)))
            {
                found.push(format!("{} {} '{value}': {said}", command.get_name(), arg.get_id()));
            }
        }
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        walk(inner, found);
    }
}

/// What the parser of an argument says to a value; none where it takes it.
fn refused(arg: &Arg, value: &str) -> Option<String> {
    // A command with this argument alone: what else is required does not stand in the way.
    let alone = Arg::new("value").long("value").value_parser(arg.get_value_parser().clone());
    let alone = Command::new("program").arg(alone.allow_hyphen_values(true));
    let given = ["program".into(), OsStr::new("--value").to_os_string(), value.into()];
    let error = alone.clone().try_get_matches_from(&given).err()?;
    Some(super::refusal::refusal(alone, &error, &given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::values::{List, whole};

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Good {
        /// A number
        #[arg(long, value_parser = whole::<u16>(1..))]
        number: Option<u16>,
        /// A list
        #[arg(long)]
        list: Option<List<i64>>,
        /// A file
        #[arg(long)]
        file: Option<std::path::PathBuf>,
    }

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Bad {
        /// A number
        #[arg(long)]
        number: Option<u16>,
    }

    #[test]
    fn what_says_nothing_to_users_is_found() {
        assert_eq!(audit::<Good>(), Vec::<String>::new());
        let found = audit::<Bad>();
        assert!(found.iter().any(|said| said.contains("number 'nonsense'")), "{found:?}");
    }
}
