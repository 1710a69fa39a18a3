//! Which folders are of runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a run folder holds; two of them make one, so that a run that lost a file is still seen.
const PARTS: [&str; 4] = ["config.yaml", "log.txt", "stats.jsonl", "checkpoints"];

/// Whether a folder is that of a run, as far as names tell.
pub fn is_run(folder: &Path) -> bool {
    PARTS.iter().filter(|name| folder.join(name).exists()).count() >= 2
}

/// The run folders among `folder` and what lies up to `depth` folders below it, in the order of their paths. Hidden folders,
/// links to folders, and what lies within runs are left out, and so are folders below that cannot be read.
///
/// # Errors
/// When `folder` itself cannot be read.
pub fn find(folder: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if is_run(folder) {
        found.push(folder.to_path_buf());
    } else {
        below(folder, depth, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || name.to_string_lossy().starts_with('.') {
            continue;
        }
        // As it is typed: without the './' of the current folder.
        let path = if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) };
        if is_run(&path) {
            found.push(path);
        } else {
            // What may not be read below is no reason to show nothing.
            let _ = below(&path, depth - 1, found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_where_they_lie() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str| {
            fs::create_dir_all(folder.path().join(name).join("checkpoints")).expect("created");
            fs::write(folder.path().join(name).join("log.txt"), "").expect("written");
        };
        ["b", "runs/a", "runs/deep/c", ".hidden", "runs/a/samples"].iter().for_each(|name| make(name));
        fs::create_dir_all(folder.path().join("data/checkpoints")).expect("created");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).expect("a link");
        let found = |depth: usize| {
            let runs = find(folder.path(), depth).expect("runs").into_iter();
            let names = runs.map(|run| run.strip_prefix(folder.path()).expect("below").display().to_string());
            names.collect::<Vec<String>>()
        };
        assert_eq!(found(0), [""; 0]);
        assert_eq!(found(1), ["b"]);
        assert_eq!(found(2), ["b", "runs/a"]);
        assert_eq!(found(9), ["b", "runs/a", "runs/deep/c"]);
        let one = folder.path().join("b");
        assert_eq!(find(&one, 0).expect("a run"), [one]);
        assert!(find(&folder.path().join("nowhere"), 1).is_err());
    }
}
