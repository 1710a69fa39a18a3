//! What every program has beside its own commands: `-q`, `-v`, a version for every command, negative numbers as values,
//! the environment variables in its help, and the commands `completions` and `man`.

use std::any::TypeId;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use crate::{ending, environment, files, memory, system, text, verbosity};

/// The ids of `-q` and `-v`.
pub(super) const QUIET: &str = "quiet";
pub(super) const VERBOSE: &str = "verbose";

const COMPLETIONS: &str = "completions";
const MAN: &str = "man";

/// The program with all of that.
pub(super) fn extended(command: Command) -> Command {
    let name = command.get_name().to_string();
    let variables = environment::help(&name);
    let below = |help: Option<&StyledStr>| {
        help.map_or_else(|| variables.clone(), |help| format!("{}\n\n{variables}", help.ansi()))
    };
    let short = command.get_after_help().cloned();
    let long = below(command.get_after_long_help().or(short.as_ref()));
    // Among the general options, also behind a program's options under a heading.
    let flag =
        |name| Arg::new(name).global(true).action(ArgAction::SetTrue).help_heading(None::<&'static str>);
    let quiet = flag(QUIET).short('q').long(QUIET);
    let verbose = flag(VERBOSE).short('v').long(VERBOSE);
    let command = command
        .propagate_version(true)
        .arg(quiet.help("Write nothing but errors to stderr, and suggest no next command").display_order(900))
        .arg(
            verbose
                .conflicts_with(QUIET)
                .help("Say on stderr what is opened and chosen, and how long it took")
                .display_order(901),
        )
        .subcommand(completions(&name))
        .subcommand(man(&name))
        .after_long_help(long);
    with_values(command)
}

/// Options take negative numbers, whose range is then checked like that of others, and shells complete paths.
fn with_values(command: Command) -> Command {
    let is_path = |arg: &Arg| arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let names_folder = |arg: &Arg| {
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "DIR"))
    };
    command
        .mut_args(|arg| {
            let hint = match (is_path(&arg), names_folder(&arg)) {
                (true, true) => ValueHint::DirPath,
                (true, false) => ValueHint::AnyPath,
                (false, _) => ValueHint::Unknown,
            };
            match arg.get_action().takes_values() && !arg.is_positional() {
                true => arg.allow_negative_numbers(true).value_hint(hint),
                false if arg.is_positional() => arg.value_hint(hint),
                false => arg,
            }
        })
        .mut_subcommands(with_values)
}

fn completions(program: &str) -> Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell));
    Command::new(COMPLETIONS)
        .about("Print what a shell needs to complete this program's options")
        .arg(shell.help("The shell"))
        .after_help(format!(
            "Examples:\n  {program} completions bash > ~/.local/share/bash-completion/completions/{program}\n  {program} \
             completions zsh > ~/.zfunc/_{program}\n  {program} completions fish > \
             ~/.config/fish/completions/{program}.fish"
        ))
        .display_order(900)
}

fn man(program: &str) -> Command {
    let folder = Arg::new("folder").value_name("DIR").required(true).value_parser(value_parser!(PathBuf));
    Command::new(MAN)
        .about("Write the manual pages of this program and its commands into a folder")
        .arg(folder.help("The folder; it is made if it is not there"))
        .after_help(format!(
            "Examples:\n  {program} man ~/.local/share/man/man1\n  {program} man pages && man -l pages/{program}.1"
        ))
        .display_order(901)
}

/// Runs one of the two commands; none where another was given. Gives the exit code.
pub(super) fn run(command: &Command, matches: &ArgMatches) -> Option<i32> {
    let done = match matches.subcommand()? {
        (COMPLETIONS, matches) => write_completions(command, *matches.get_one::<Shell>("shell")?),
        (MAN, matches) => write_pages(command, matches.get_one::<PathBuf>("folder")?),
        _ => return None,
    };
    Some(match done {
        Ok(()) => 0,
        Err(line) => {
            ending::fail(&system::in_words(&line), "failure", 1);
            1
        }
    })
}

fn write_completions(command: &Command, shell: Shell) -> Result<(), String> {
    let mut bytes = Vec::new();
    let name = command.get_name();
    clap_complete::generate(shell, &mut command.clone(), name, &mut bytes);
    let mut script = String::from_utf8_lossy(&bytes).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6 names a program with a hyphen in two ways, and its commands are not found by the other.
        script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    }
    match io::stdout().write_all(script.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes a page for the program, and one for each of its commands: `ddae-infer-features.1`.
fn write_pages(command: &Command, folder: &Path) -> Result<(), String> {
    let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    let mut built = command.clone().disable_help_subcommand(true);
    // Names every command by all the words that lead to it.
    built.build();
    for page in std::iter::once(&built).chain(built.get_subcommands()) {
        let name = page.get_display_name().unwrap_or(page.get_name()).to_string();
        let path = folder.join(format!("{name}.1"));
        let mut bytes = Vec::new();
        let source = format!("{} {}", command.get_name(), env!("CARGO_PKG_VERSION"));
        let page = clap_mangen::Man::new(page.clone()).title(name.to_uppercase()).source(source);
        page.render(&mut bytes).map_err(|error| named(&path, &error))?;
        files::write_whole(&path, |out| out.write_all(&bytes)).map_err(|error| error.to_string())?;
        verbosity::detail(|| format!("wrote {}", text::plain(path.display())));
    }
    Ok(())
}

/// What is said with `-v` before a command begins.
pub(super) fn beginning(program: &str, words: &[String]) -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let free = memory::free().ok().flatten();
    let free = free.map_or(String::new(), |bytes| format!(", {:.1} GB of memory free", bytes as f64 / 1e9));
    let set: Vec<String> = environment::of_program(program)
        .filter_map(|variable| {
            let value = env::var_os(variable.name).filter(|value| !value.is_empty())?;
            Some(format!("\n{}={}", variable.name, text::plain(value.to_string_lossy())))
        })
        .collect();
    let words: String = words.iter().map(|word| format!(" {word}")).collect();
    format!("{program}{words} {}: {cores} cores{free}{}", env!("CARGO_PKG_VERSION"), set.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let number = Arg::new("number").long("number").value_parser(value_parser!(i64));
        extended(Command::new("ddae-infer").version("1").subcommand(Command::new("sample").arg(number)))
    }

    #[test]
    fn every_command_has_what_all_have() {
        program().debug_assert();
        for words in [
            &["ddae-infer", "-q", "sample"][..],
            &["ddae-infer", "sample", "-q", "--number", "-1"],
            &["ddae-infer", "completions", "bash"],
            &["ddae-infer", "man", "pages", "-v"],
        ] {
            program().try_get_matches_from(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
        let both = program().try_get_matches_from(["ddae-infer", "sample", "-q", "-v"]);
        assert!(both.is_err());
        let version = program().try_get_matches_from(["ddae-infer", "sample", "--version"]);
        assert_eq!(version.expect_err("a version").to_string(), "ddae-infer-sample 1\n");
        let help = program().render_long_help().to_string();
        assert!(help.contains("Environment variables:\n  DDAE_DATA"), "{help}");
    }

    #[test]
    fn completions_and_pages_are_written_for_every_shell_and_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut program(), "ddae-infer", &mut bytes);
            let text = String::from_utf8(bytes).expect("text");
            assert!(text.contains("number") && text.contains("completions"), "{shell}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        write_pages(&program(), &folder.path().join("man1")).expect("written");
        let mut names: Vec<String> = fs::read_dir(folder.path().join("man1"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let wanted = ["ddae-infer-completions.1", "ddae-infer-man.1", "ddae-infer-sample.1", "ddae-infer.1"];
        assert_eq!(names, wanted);
        let page = fs::read_to_string(folder.path().join("man1/ddae-infer-sample.1")).expect("a page");
        assert!(page.contains("number") && page.contains(".TH DDAE-INFER-SAMPLE 1"), "{page}");
    }
}
