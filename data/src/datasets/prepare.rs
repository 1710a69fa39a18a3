use std::path::{Path, PathBuf};

use super::archive::{self, Progress, Unpacked};
use super::{DataError, DataSet, Kind, OpenOptions, default_root, forms, open, open_kind};

/// What [`prepare`] found and did.
#[derive(Debug)]
pub struct Prepared {
    /// The data set, ready to use.
    pub data_set: DataSet,
    /// The root to give from now on; none for what is built in.
    pub root: Option<PathBuf>,
    /// One line: unpacked now, unpacked before, or nothing to unpack.
    pub action: String,
}

/// Makes a data set ready: checks the md5 of its archive (unless `verify` is off), unpacks it beside itself and opens
/// the result. `target` is the name of a data set, looked for in `root`, the path of an archive, or anything else that
/// [`open`] takes, which needs no unpacking.
///
/// # Errors
/// As [`open`](super::open), and when an archive is not the published one ([`DataError::Checksum`] names both sums),
/// is damaged, or cannot be written. A failed run leaves nothing behind; an interrupted one is cleared by the next.
pub fn prepare(
    target: &str,
    root: Option<&Path>,
    verify: bool,
    progress: Progress,
) -> Result<Prepared, DataError> {
    let unknown = match Kind::from_name(target) {
        Ok(kind) => return prepare_kind(kind, root, verify, progress),
        Err(unknown) => unknown,
    };
    let path = Path::new(target);
    let is_source =
        forms::locate(target, root).is_some_and(|path| !archive::may_be(&path)) || target.contains('{');
    if is_source {
        let (data_set, root) = (open(target, root)?, root.map(Path::to_path_buf));
        return Ok(Prepared { data_set, root, action: "read as it is, nothing to unpack".into() });
    }
    // What looks like a path was meant as one, whether it is there or not.
    if !path.is_file() && path.components().count() == 1 && path.extension().is_none() {
        return Err(unknown);
    }
    if root.is_some() {
        let message = "an archive is unpacked beside itself: --root only goes with a name";
        return Err(DataError::Argument(message.into()));
    }
    prepare_archive(path, verify, progress)
}

fn prepare_archive(path: &Path, verify: bool, progress: Progress) -> Result<Prepared, DataError> {
    let archive = archive::recognise(path, progress)?;
    let action = unpack(path, archive, verify, progress)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let root = folder.unwrap_or(Path::new(".")).to_path_buf();
    let prepared = ready(archive.kind, Some(&root.join(archive.folder)), action)?;
    Ok(Prepared { root: Some(root), ..prepared })
}

fn prepare_kind(
    kind: Kind,
    root: Option<&Path>,
    verify: bool,
    progress: Progress,
) -> Result<Prepared, DataError> {
    let folder = root.map_or_else(default_root, Path::to_path_buf);
    let action = match kind {
        Kind::FashionSample => {
            return ready(kind, None, "built in, nothing to prepare".into());
        }
        Kind::FashionMnist | Kind::Mnist | Kind::Folder => {
            return ready(kind, root, "read as it is, nothing to unpack".into());
        }
        Kind::Cifar10 | Kind::Cifar100 | Kind::TinyImageNet => {
            if let Some((folder, archive)) = archive::unpacked(kind, &folder) {
                format!("{} was unpacked before, in {}", archive.title, folder.display())
            } else if let Some((path, archive)) = archive::packed(kind, &folder) {
                unpack(&path, archive, verify, progress)?
            } else {
                return Err(archive::missing(kind, &folder));
            }
        }
    };
    ready(kind, Some(&folder), action)
}

fn unpack(
    path: &Path,
    archive: &archive::Archive,
    verify: bool,
    progress: Progress,
) -> Result<String, DataError> {
    let (folder, when) = archive::unpack(path, archive, verify, progress)?;
    Ok(match when {
        Unpacked::Before => format!("{} was unpacked before, in {}", archive.title, folder.display()),
        Unpacked::Now if verify => {
            format!("{}: md5 is right, unpacked to {}", archive.title, folder.display())
        }
        Unpacked::Now => format!("{}: md5 not checked, unpacked to {}", archive.title, folder.display()),
    })
}

fn ready(kind: Kind, root: Option<&Path>, action: String) -> Result<Prepared, DataError> {
    Ok(Prepared {
        data_set: open_kind(kind, root, &OpenOptions::default())?,
        root: root.map(Path::to_path_buf),
        action,
    })
}
