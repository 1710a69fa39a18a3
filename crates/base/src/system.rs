//! The system's errors in words: `x.yaml: No such file or directory (os error 2)` as a sentence that says what to do.

use std::fs;
use std::io;
use std::path::Path;

use crate::text::{nearest, plain};

/// How the system's number follows its text.
const MARK: &str = " (os error ";
/// What errors put before a path.
const VERBS: [&str; 6] =
    ["cannot read ", "cannot open ", "cannot write ", "cannot create ", "folder ", "file "];
/// Names of a folder that are compared with the one that is not there.
const MOST_NAMES: usize = 10_000;

/// `line` with the system's errors in it as sentences without their numbers. Where a file was not found and the folder
/// has one with a similar name, that is said.
pub fn in_words(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(MARK) {
        let after = &rest[at + MARK.len()..];
        let number = after.split_once(')').and_then(|(number, _)| number.parse::<i32>().ok());
        let Some(number) = number else {
            words.push_str(&rest[..at + MARK.len()]);
            rest = after;
            continue;
        };
        let of_system = io::Error::from_raw_os_error(number).to_string();
        let of_system = of_system.split(MARK).next().unwrap_or_default().to_string();
        match rest[..at].strip_suffix(&of_system) {
            Some(before) => {
                words.push_str(before);
                words.push_str(&sentence(number, &of_system, path_before(before)));
            }
            None => words.push_str(&rest[..at]),
        }
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    words.push_str(rest);
    words
}

/// The path that an error names before it says what the system said: `cannot read x.yaml: `.
fn path_before(text: &str) -> Option<&Path> {
    let text = text.strip_suffix(": ")?;
    let text = text.rsplit_once(": ").map_or(text, |(_, last)| last);
    let text = VERBS.iter().find_map(|verb| text.strip_prefix(verb)).unwrap_or(text);
    (!text.is_empty()).then(|| Path::new(text))
}

/// What an error of the system means, and what to do about it.
fn sentence(number: i32, of_system: &str, path: Option<&Path>) -> String {
    let sentence = match number {
        libc::ENOENT => return path.map_or_else(|| NOT_FOUND.to_string(), not_found),
        libc::EACCES | libc::EPERM => {
            "permission denied; this account may not read or write it ('ls -ld' shows who may)"
        }
        libc::EISDIR => "it is a folder, and a file is wanted",
        libc::ENOTDIR => "a part of this path is a file, and a folder is wanted there",
        libc::EEXIST => "it exists already",
        libc::ENOTEMPTY => "this folder is not empty",
        libc::ENOSPC => "no space is left on its disk ('df -h' shows what is free)",
        libc::EDQUOT => "the quota of this account on its disk is used up",
        libc::EFBIG => {
            "the file would be too large: for a limit of this account ('ulimit -f') or for its file system"
        }
        libc::EROFS => "it is on a file system that can only be read",
        libc::EMFILE | libc::ENFILE => "too many files are open; a higher limit helps ('ulimit -n 4096')",
        libc::ENAMETOOLONG => "its name is too long",
        libc::ELOOP => "its links lead around in a circle",
        libc::EIO => "its disk or network reports an error; is it still connected?",
        libc::ESTALE => "the network file system has lost it; the same command may find it again",
        libc::ENOMEM => "there is not enough memory",
        libc::EBUSY | libc::ETXTBSY => "another program is using it",
        libc::ENXIO | libc::ENODEV => "there is no such device",
        libc::EPIPE => "its reader is gone",
        _ => {
            // The system's own words, as the middle of a sentence.
            let mut letters = of_system.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            return first.into_iter().chain(letters).collect();
        }
    };
    sentence.to_string()
}

const NOT_FOUND: &str = "there is no such file or folder";

/// What is missing of a path, and what there is in its place.
fn not_found(path: &Path) -> String {
    if let Ok(target) = fs::read_link(path) {
        return format!("it is a link to '{}', which is not there", plain(target.display()));
    }
    // The first part of the path that is not there.
    let missing = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).last();
    let Some(missing) = missing else { return NOT_FOUND.to_string() };
    let folder = missing.parent().filter(|folder| !folder.as_os_str().is_empty());
    let said = match missing == path {
        true => NOT_FOUND.to_string(),
        false => format!("there is no folder '{}'", plain(missing.display())),
    };
    let names = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().take(MOST_NAMES);
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    // Names that begin with a point are what programs hide.
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    let wanted = missing.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => {
            let near = folder.map_or_else(|| name.into(), |folder| folder.join(name));
            format!("{said}; did you mean '{}'?", plain(near.display()))
        }
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn numbers_become_sentences() {
        for (number, wanted) in [
            (libc::EISDIR, "a: it is a folder, and a file is wanted"),
            (
                libc::EACCES,
                "a: permission denied; this account may not read or write it ('ls -ld' shows who may)",
            ),
            (libc::ENOSPC, "a: no space is left on its disk ('df -h' shows what is free)"),
            (libc::EPROTO, "a: protocol error"),
        ] {
            assert_eq!(in_words(&format!("a: {}", of(number))), wanted);
        }
        let both = format!("{}, and {}", of(libc::EIO), of(libc::EISDIR));
        assert!(!in_words(&both).contains("os error"), "{}", in_words(&both));
        for text in ["a (os error )", "a (os error", "no error", "(os error 2)"] {
            assert_eq!(in_words(text), text);
        }
        assert_eq!(in_words("other words (os error 2): b"), "other words: b");
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_near() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path();
        fs::create_dir(here.join("configs")).expect("a folder");
        fs::write(here.join("configs/demo.yaml"), "").expect("a file");
        std::os::unix::fs::symlink("gone", here.join("link")).expect("a link");
        let said = |name: &str| {
            let path = here.join(name);
            let text = in_words(&format!("--config: cannot read {}: {}", path.display(), of(libc::ENOENT)));
            text.replace(&format!("{}/", here.display()), "")
        };
        for (name, wanted) in [
            ("configs/dmeo.yaml", "there is no such file or folder; did you mean 'configs/demo.yaml'?"),
            ("configs/demo.yml", "there is no such file or folder; did you mean 'configs/demo.yaml'?"),
            ("configs/else.txt", "there is no such file or folder"),
            ("config/demo.yaml", "there is no folder 'config'; did you mean 'configs'?"),
            ("a/b/c", "there is no folder 'a'"),
            ("link", "it is a link to 'gone', which is not there"),
        ] {
            assert_eq!(said(name), format!("--config: cannot read {name}: {wanted}"));
        }
    }
}
