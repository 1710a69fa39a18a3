//! What an output may be: nothing yet, a regular file, or a link to one.

use std::fs::{self, FileType};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::FileError;

/// The file that writing to `path` replaces: `path` itself where there is nothing yet or a regular file, and for a link
/// to a regular file that file, so that the link stays a link, as editors do it.
///
/// # Errors
/// When it is anything else (a folder, a device, a FIFO, a socket, a link to one of these or to nothing), or names no file.
pub fn target(path: &Path) -> Result<PathBuf, FileError> {
    let refuse =
        |why: String| FileError { action: "write", path: path.to_path_buf(), source: io::Error::other(why) };
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(refuse("this names no file; give the name of one".to_string()));
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path.to_path_buf()),
        Err(error) => return Err(FileError::of("write", path)(error)),
    };
    if !found.is_symlink() {
        return match hindrance(found) {
            None => Ok(path.to_path_buf()),
            Some(what) => Err(refuse(format!("it is {what}"))),
        };
    }
    match fs::metadata(path) {
        Ok(end) => match hindrance(end.file_type()) {
            None => fs::canonicalize(path).map_err(FileError::of("write", path)),
            Some(what) => Err(refuse(format!("it is a link to {what}"))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let end = fs::read_link(path).unwrap_or_default();
            let end = end.display();
            Err(refuse(format!(
                "it is a link to {end}, which does not exist; remove it, or choose another output"
            )))
        }
        Err(error) => Err(FileError::of("write", path)(error)),
    }
}

/// What is in the way of a file, with what to do; nothing where it is a regular file.
fn hindrance(found: FileType) -> Option<&'static str> {
    match found {
        file if file.is_file() => None,
        folder if folder.is_dir() => Some("a folder; give the name of a file"),
        fifo if fifo.is_fifo() => Some("a FIFO and no regular file; choose another output"),
        socket if socket.is_socket() => Some("a socket and no regular file; choose another output"),
        _ => Some("a device and no regular file; choose another output"),
    }
}

/// Refuses a name under which something stands that no file may replace. Links are names like any other here.
pub(super) fn check_name(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Ok(()),
        Ok(found) => match hindrance(found.file_type()) {
            None => Ok(()),
            Some(what) => Err(io::Error::other(format!("it is {what}"))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refusal(path: &Path) -> String {
        let message = target(path).expect_err("refused").to_string();
        let begin = format!("cannot write {}: ", path.display());
        message.strip_prefix(&begin).unwrap_or_else(|| panic!("{message}")).to_string()
    }

    #[test]
    fn a_link_to_a_file_stands_for_the_file() {
        let root = tempfile::tempdir().expect("a folder");
        let [file, link, second] = ["file", "link", "second"].map(|name| root.path().join(name));
        assert_eq!(target(&file).expect("free"), file);
        fs::write(&file, "").expect("written");
        assert_eq!(target(&file).expect("a file"), file);
        symlink("file", &link).expect("a link");
        symlink(&link, &second).expect("a link");
        for link in [&link, &second] {
            assert_eq!(target(link).expect("a link"), file.canonicalize().expect("a path"));
        }
    }

    #[test]
    fn whatever_is_no_regular_file_is_refused_by_its_kind() {
        let root = tempfile::tempdir().expect("a folder");
        let [dangling, to_folder, socket] =
            ["dangling", "to_folder", "socket"].map(|name| root.path().join(name));
        symlink("none", &dangling).expect("a link");
        symlink(".", &to_folder).expect("a link");
        let _socket = UnixListener::bind(&socket).expect("a socket");
        assert_eq!(refusal(root.path()), "it is a folder; give the name of a file");
        assert_eq!(refusal(&to_folder), "it is a link to a folder; give the name of a file");
        assert_eq!(refusal(&socket), "it is a socket and no regular file; choose another output");
        assert_eq!(
            refusal(Path::new("/dev/null")),
            "it is a device and no regular file; choose another output"
        );
        let wanted = "it is a link to none, which does not exist; remove it, or choose another output";
        assert_eq!(refusal(&dangling), wanted);
        for path in ["", "..", "none/"] {
            assert_eq!(refusal(Path::new(path)), "this names no file; give the name of one");
        }
    }
}
