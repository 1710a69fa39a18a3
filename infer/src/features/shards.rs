//! The shards that are there.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::files;
use ddae_base::lock::{Lock, LockError};
use ddae_store::{FeatureFile, Layout, merged_path, shard_path};

use crate::error::InferError;

/// A file that is named like a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShardFile {
    /// How many shards its job has.
    pub(super) of: usize,
    /// Its number, from 0.
    pub(super) shard: usize,
    /// The file.
    pub(super) path: PathBuf,
}

/// Refuses a folder, where files would be called `.h5` and be hidden.
pub(super) fn check_prefix(prefix: &Path) -> Result<(), InferError> {
    let is_folder = prefix.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_folder || prefix.file_name().is_none() {
        return Err(InferError::Argument(format!(
            "'{}' is a folder: give a name in it as well, such as {}",
            prefix.display(),
            prefix.join("train").display()
        )));
    }
    Ok(())
}

/// All shards of `prefix`, whatever their number, in order.
///
/// # Errors
/// When the folder cannot be listed; one that does not exist holds none.
pub(super) fn find(prefix: &Path) -> Result<Vec<ShardFile>, InferError> {
    let merged = merged_path(prefix);
    let mut found = Vec::new();
    for name in names(&merged)? {
        if let Some((of, shard)) = numbers(prefix, &name) {
            found.push(ShardFile { of, shard, path: merged.with_file_name(name) });
        }
    }
    found.sort();
    Ok(found)
}

/// In how many shards the job at `prefix` was begun that is not finished; none where nothing is there, or shards of several jobs.
///
/// # Errors
/// When the folder cannot be listed.
pub fn begun_in(prefix: &Path) -> Result<Option<usize>, InferError> {
    let found = find(prefix)?;
    let of = found.first().map(|first| first.of);
    Ok(of.filter(|of| found.iter().all(|shard| shard.of == *of)))
}

/// The names in the folder of `path`.
fn names(path: &Path) -> Result<Vec<String>, InferError> {
    let folder = files::folder(path);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(InferError::io("list", folder))?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.map_err(InferError::io("list", folder))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Of the name of a shard of `prefix`: how many shards its job has, and its number.
fn numbers(prefix: &Path, name: &str) -> Option<(usize, usize)> {
    let (shard, of) = name.strip_suffix(".h5")?.rsplit_once('.')?.1.split_once("-of-")?;
    let (of, shard) = (of.parse().ok()?, shard.parse().ok()?);
    (shard_path(prefix, shard, of).file_name()? == name).then_some((of, shard))
}

/// Removes shards that are to make way, of whatever job.
///
/// # Errors
/// When one cannot be removed, or another process writes it.
pub(super) fn remove(shards: &[ShardFile]) -> Result<(), InferError> {
    shards.iter().try_for_each(|shard| {
        let _lock = Lock::output(&shard.path)?;
        remove_file(&shard.path)
    })
}

/// Removes those of the shards that are of the job `layout`. Those of other jobs stay, what is damaged, and what another
/// process writes. With `surely`, also those that do not say all that the job says of itself: it may be another's.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn remove_own(shards: &[ShardFile], layout: &Layout, surely: bool) -> Result<(), InferError> {
    for shard in shards {
        let _lock = match Lock::output(&shard.path) {
            Ok(lock) => lock,
            Err(LockError::InUse { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let is_own = FeatureFile::open(&shard.path).is_ok_and(|file| {
            let is_said = || file.provenance().unsaid(&layout.provenance).is_empty();
            file.check_shard(shard.shard, shard.of, layout).is_ok() && (!surely || is_said())
        });
        if is_own {
            remove_file(&shard.path)?;
        }
    }
    Ok(())
}

/// Removes the locks of shards of `prefix` that nothing else is left of: of a process that was ended while it removed
/// them. What another process holds stays, what is no lock, and the lock beside a file that is not whole.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn remove_locks(prefix: &Path) -> Result<(), InferError> {
    let merged = merged_path(prefix);
    let names = names(&merged)?;
    for lock in &names {
        let Some(shard) = lock.strip_suffix(".lock").filter(|name| numbers(prefix, name).is_some()) else {
            continue;
        };
        if names.iter().filter(|name| name.starts_with(shard)).count() == 1 {
            // Whoever takes over a lock that nobody holds removes it when it lets go.
            drop(Lock::output(&merged.with_file_name(shard)));
        }
    }
    Ok(())
}

/// Removes a file if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), InferError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(InferError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_told_from_other_files() {
        let root = tempfile::tempdir().expect("a folder");
        for name in [
            "train.0001-of-0004.h5",
            "train.0000-of-0004.h5.partial",
            "train.0000-of-0002.h5",
            "train.h5",
            "train.1-of-4.h5",
            "trainer.0000-of-0004.h5",
            "train.x.0000-of-0004.h5",
            "train.0000-of-0004.h5.lock",
        ] {
            fs::write(root.path().join(name), "").expect("a file");
        }
        let found = |prefix: &str| -> Vec<(usize, usize)> {
            let shards = find(&root.path().join(prefix)).expect("a folder");
            assert!(shards.iter().all(|shard| shard.path.is_file()));
            shards.iter().map(|shard| (shard.of, shard.shard)).collect()
        };
        assert_eq!(found("train"), [(2, 0), (4, 1)]);
        assert_eq!(found("train.h5"), found("train"));
        assert_eq!(found("train.x"), [(4, 0)]);
        assert_eq!(found("test"), []);
        assert_eq!(find(&root.path().join("no/such")).expect("nothing"), []);
        remove(&find(&root.path().join("train")).expect("shards")).expect("removed");
        assert_eq!(found("train"), []);
    }

    #[test]
    fn a_lock_goes_when_nothing_else_is_left_of_its_shard() {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        let lone = ["train.0003-of-0004.h5.lock", "train.0000-of-0002.h5.lock"];
        let kept = [
            "train.0000-of-0004.h5",
            "train.0000-of-0004.h5.lock",
            "train.0001-of-0004.h5.0123456789abcdef.partial",
            "train.0001-of-0004.h5.lock",
            "train.1-of-4.h5.lock",
            "train.h5.lock",
            "trainer.0003-of-0004.h5.lock",
        ];
        for name in lone.iter().chain(&kept) {
            fs::write(path(name), "").expect("a file");
        }
        let held = Lock::output(&path("train.0002-of-0004.h5")).expect("free");
        fs::write(path("train.0005-of-0006.h5.lock"), "notes of the user").expect("a file");
        remove_locks(&path("train")).expect("removed");
        let mut left = names(&path("train.h5")).expect("a folder");
        left.sort();
        let mut wanted = kept.to_vec();
        wanted.extend(["train.0002-of-0004.h5.lock", "train.0005-of-0006.h5.lock"]);
        wanted.sort();
        assert_eq!(left, wanted);
        drop(held);
        remove_locks(&path("no/such")).expect("nothing");
    }
}
