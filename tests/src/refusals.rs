//! Tables of what a program must refuse: with which exit code, in which words, and leaving everything as it was.

use std::collections::BTreeMap;
use std::path::Path;

use crate::programs::Ended;

/// Stands for any text in the words that are wanted.
const ANYTHING: char = '…';

/// Runs command lines in `folder`: each case is an exit code, the line, and the error that is wanted.
///
/// The error is one line, which `…` in the wanted one makes free to say anything there. Nothing else is printed but the
/// same as JSON, where that is asked for, and the
/// files of `folder` stay what they are.
///
/// # Panics
/// When a program does anything else.
#[track_caller]
pub fn refused<L: AsRef<str>, W: AsRef<str>>(
    folder: &Path,
    run: impl Fn(&str) -> Ended,
    cases: impl IntoIterator<Item = (i32, L, W)>,
) {
    let before = snapshot(folder);
    for (code, line, wanted) in cases {
        let ended = run(line.as_ref());
        ended.error(&[code]);
        let is_json =
            ended.stdout.starts_with("{\"schema\":\"ddae.error/1\",") && ended.stdout.lines().count() == 1;
        let asked_for_json = line.as_ref().split_whitespace().any(|word| word == "--json");
        assert!(if asked_for_json { is_json } else { ended.stdout.is_empty() }, "{ended}");
        let (_, error) = ended.stderr.split_once("error: ").unwrap_or_default();
        let wanted = wanted.as_ref();
        assert!(matches(error.trim_end(), wanted), "{wanted:?} is wanted: {ended}");
        for part in wanted.split(ANYTHING).filter(|part| part.contains(' ')) {
            assert_eq!(error.matches(part).count(), 1, "says it twice: {ended}");
        }
        let after = snapshot(folder);
        assert!(after == before, "{:?} instead of {:?}: {ended}", after.keys(), before.keys());
    }
}

/// Whether `text` is `pattern`, in which [`ANYTHING`] stands for any text.
fn matches(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// All files below `folder` with their contents, folders with none; folders end with a slash.
pub fn snapshot(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    list(folder, "", &mut found);
    found
}

fn list(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            let below = format!("{name}/");
            list(&path, &below, found);
            found.insert(below, None);
        } else {
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.insert(name, Some(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs;

    #[test]
    fn a_pattern_is_the_whole_text() {
        for (pattern, expected) in [
            ("a b c", true),
            ("a b", false),
            ("b c", false),
            ("…b c", true),
            ("a…", true),
            ("a…c", true),
            ("…a…b…", true),
            ("…b…a…", false),
            ("a b c…c", false),
            ("…", true),
            ("", false),
        ] {
            assert_eq!(matches("a b c", pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn whatever_else_a_program_does_is_noticed() {
        let folder = std::env::temp_dir().join(format!("ddae-refusals-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("file"), "1").expect("a file");
        let shell = |script: &str| {
            let mut command = std::process::Command::new("sh");
            programs::run(command.args(["-c", script]).current_dir(&folder))
        };
        let noticed = |script: &str, wanted: &str| {
            std::panic::catch_unwind(|| refused(&folder, shell, [(2, script, wanted)])).is_err()
        };
        assert!(!noticed("echo error: no such thing >&2; exit 2", "no such…"));
        assert!(noticed("echo error: no such thing >&2; exit 1", "no such…"));
        assert!(noticed("echo error: no such thing >&2; exit 2", "such…"));
        assert!(noticed("echo error: no, no such thing: no such thing >&2; exit 2", "…no such…"));
        assert!(noticed("echo done; echo error: no such thing >&2; exit 2", "no such…"));
        assert!(noticed("echo 2 >file; echo error: no such thing >&2; exit 2", "no such…"));
        assert!(noticed("touch new; echo error: no such thing >&2; exit 2", "no such…"));
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
