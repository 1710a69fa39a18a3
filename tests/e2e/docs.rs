//! What the documentation and the help texts promise: commands parse, links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ddae_tests::programs::{self, Program, repository};

/// README.md and its like at the top, and everything in `docs`.
fn documents() -> Vec<PathBuf> {
    let pages = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    };
    let mut documents: Vec<PathBuf> = pages(repository()).chain(pages(repository().join("docs"))).collect();
    documents.sort();
    documents
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines of the fenced blocks of a page.
fn fenced_lines(page: &str) -> Vec<String> {
    let (mut is_fenced, mut lines) = (false, Vec::new());
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            lines.push(line);
        }
    }
    joined(lines.into_iter())
}

/// Lines that end with a backslash joined to the next.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut joined, mut continued) = (Vec::new(), String::new());
    for line in lines {
        match line.strip_suffix('\\') {
            Some(start) => continued.push_str(start),
            None => joined.push(std::mem::take(&mut continued) + line),
        }
    }
    joined
}

/// The words of a shell command up to a pipe, redirection, comment or next command; quotes are taken away.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    let ends = |word: &String| {
        matches!(&**word, "|" | ">" | ">>" | "2>" | "&&" | ";" | "&") || word.starts_with('#')
    };
    let end = words.iter().position(ends).unwrap_or(words.len());
    words.into_iter().take(end).filter(|word| !word.is_empty()).collect()
}

/// The commands of our programs among lines of a shell session: the program's name and its arguments. That of
/// `cargo xtask` is `xtask`.
fn commands(lines: &[String]) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for line in lines {
        for part in line.trim().trim_start_matches("$ ").split("&&") {
            let words = words(part.trim());
            let (name, arguments) = match words.as_slice() {
                [cargo, xtask, arguments @ ..] if cargo == "cargo" && xtask == "xtask" => {
                    ("xtask", arguments)
                }
                [first, arguments @ ..] => (first.rsplit('/').next().unwrap_or_default(), arguments),
                [] => continue,
            };
            if name == "xtask" || Program::named(name).is_some() {
                found.push((name.to_string(), arguments.to_vec()));
            }
        }
    }
    found
}

/// With `--help` at its end a command does nothing, but what stands before is read: its flags and their values.
fn parses(name: &str, arguments: &[String]) -> Result<(), String> {
    // A build puts `xtask` beside the programs; a distribution does not have it.
    let path = Program::Data.path().with_file_name(name);
    if !path.exists() && name == "xtask" {
        return Ok(());
    }
    let arguments = arguments.iter().filter(|argument| !matches!(&***argument, "…" | "..."));
    let ended = programs::run(Command::new(path).args(arguments).arg("--help"));
    match ended.code {
        Some(0) => Ok(()),
        _ => Err(ended.to_string()),
    }
}

#[test]
fn commands_in_the_documents_parse() {
    let mut wrong = Vec::new();
    for document in documents() {
        for (name, arguments) in commands(&fenced_lines(&text(&document))) {
            if let Err(ended) = parses(&name, &arguments) {
                wrong.push(format!("{}: {ended}", document.display()));
            }
            for argument in arguments.iter().filter(|argument| argument.starts_with("configs/")) {
                if !repository().join(argument).is_file() {
                    wrong.push(format!("{}: there is no {argument}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The help text of a program or one of its commands.
fn help(program: Program, command: &[&str]) -> String {
    programs::run(program.command().args(command).arg("--help")).success().to_string()
}

/// Names listed under `Commands:` of a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that is broken into lines goes on further to the right.
    let name = |line: &str| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')).map(String::from);
    let names = lines.filter_map(name).filter_map(|line| line.split_whitespace().next().map(String::from));
    names.filter(|name| name != "help").collect()
}

#[test]
fn examples_in_the_help_texts_parse() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for program in Program::ALL {
        let mut texts = vec![help(program, &[])];
        texts.extend(subcommands(&texts[0].clone()).iter().map(|command| help(program, &[command])));
        for text in texts {
            let lines = joined(text.lines().skip_while(|line| *line != "Examples:").skip(1));
            for (name, arguments) in commands(&lines) {
                count += 1;
                wrong.extend(parses(&name, &arguments).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 10, "only {count} examples found");
}

#[test]
fn programs_say_who_they_are() {
    for program in Program::ALL {
        let printed = programs::run(program.command().arg("--version"));
        assert_eq!(printed.success(), format!("{} {}\n", program.name(), env!("CARGO_PKG_VERSION")));
        let helped = help(program, &[]);
        assert!(helped.contains(&format!("Usage: {} ", program.name())), "{helped}");
        assert!(helped.lines().all(|line| line.chars().count() <= 100), "{helped}");
    }
}

/// Targets of a page's links and images.
fn links(page: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (open, close) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        let mut rest = page;
        while let Some((_, after)) = rest.split_once(open) {
            let Some((target, after)) = after.split_once(close) else { break };
            targets.push(target.split_whitespace().next().unwrap_or_default().to_string());
            rest = after;
        }
    }
    targets
}

/// The anchors that GitHub makes of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let page = text(&document);
        for link in links(&page) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().expect("a folder").join(file),
            };
            let is_known = anchor.is_empty() || anchors(&text(&target)).contains(anchor);
            if !target.exists() || !is_known {
                wrong.push(format!("{}: {link} leads nowhere", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shell_sessions_are_read_as_a_shell_does() {
    let page = "text\n```sh\n$ ddae-train diffusion \\\n  --config 'a b.yaml' # why\nddae-data info x | head && target/release/ddae-probe knn\ncargo xtask demo --long\ncargo build\n```\nddae-export\n";
    let found = commands(&fenced_lines(page));
    let expected = [
        ("ddae-train", vec!["diffusion", "--config", "a b.yaml"]),
        ("ddae-data", vec!["info", "x"]),
        ("ddae-probe", vec!["knn"]),
        ("xtask", vec!["demo", "--long"]),
    ];
    let expected = expected
        .map(|(name, words)| (name.to_string(), words.into_iter().map(String::from).collect::<Vec<_>>()));
    assert_eq!(found, expected);
    assert_eq!(links("[a](b.md#c) ![d](e.png \"title\") <img src=\"f.png\">"), ["b.md#c", "e.png", "f.png"]);
    assert!(anchors("## What passes, between them\n").contains("what-passes-between-them"));
}
