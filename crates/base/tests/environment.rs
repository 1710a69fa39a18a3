//! The environment variables that the sources name are those that are listed, in the programs and in the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::environment::VARIABLES;

/// What is not for users of the programs: names of the build, macros in the sources of CUDA kernels, and what a program
/// tells the processes that it starts.
const OWN: [&str; 8] = [
    "DDAE_LIBTORCH",
    "DDAE_X86_64",
    "DDAE_ISA",
    "DDAE_F16",
    "DDAE_F32",
    "DDAE_LAUNCHER",
    "DDAE_PROCESS",
    "DDAE_RANKS_SPEED_PORT",
];
/// Folders whose variables are the project's own.
const TOOLS: [&str; 3] = ["xtask", "tests", "fuzz"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust sources below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        match path.is_dir() {
            true if name.starts_with('.') || name == "target" || TOOLS.contains(&&*name) => {}
            true => sources(&path, found),
            false if name.ends_with(".rs") => found.push(path),
            false => {}
        }
    }
}

/// The names in a text that begin with `DDAE_`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("DDAE_").filter_map(|(at, _)| {
        let is_start = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        (is_start && name.len() > "DDAE_".len()).then_some(name)
    })
}

#[test]
fn what_the_sources_read_is_listed() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 100, "{} sources", files.len());
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| !file.ends_with("base/tests/environment.rs")) {
        let text = fs::read_to_string(file).expect("a source");
        found.extend(names(&text).map(str::to_string));
    }
    let listed: BTreeSet<String> = VARIABLES
        .iter()
        .map(|variable| variable.name.to_string())
        .filter(|name| name.starts_with("DDAE_"))
        .collect();
    let read: BTreeSet<String> = found.into_iter().filter(|name| !OWN.contains(&name.as_str())).collect();
    assert_eq!(read, listed, "crates/base/src/environment.rs lists what programs heed");
}

#[test]
fn what_is_listed_is_documented() {
    let documentation = fs::read_to_string(root().join("docs/environment.md")).expect("docs/environment.md");
    for variable in VARIABLES {
        assert!(
            documentation.contains(&format!("| `{}` |", variable.name)),
            "{} is not in it",
            variable.name
        );
    }
}
