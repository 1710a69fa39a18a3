//! Small files read whole, with a limit.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The bytes of a file that has at most `most` of them: a regular file, or a pipe (`<(command)`, `/dev/stdin`).
///
/// # Errors
/// The system's; [`ErrorKind::InvalidInput`] for a device or a socket, which may never end, and
/// [`ErrorKind::FileTooLarge`] for a longer file, both in words.
pub fn read_bounded(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
        let message = "it is a device or a socket; a file or a pipe is wanted here";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let message = format!("it is longer than the {most} bytes that are read of such a file");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_to_their_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "12345").expect("written");
        assert_eq!(read_bounded(&path, 5).expect("the file"), b"12345");
        let error = read_bounded(&path, 4).expect_err("too long").to_string();
        assert_eq!(error, "it is longer than the 4 bytes that are read of such a file");
        let error = read_bounded(folder.path(), 4).expect_err("a folder");
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn what_never_ends_is_refused() {
        for device in ["/dev/zero", "/dev/null"] {
            let error = read_bounded(Path::new(device), 4).expect_err("a device").to_string();
            assert!(error.starts_with("it is a device"), "{error}");
        }
    }

    #[test]
    fn pipes_are_read_to_the_same_limit() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        io::Write::write_all(&mut writer, b"123").expect("written");
        drop(writer);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        assert_eq!(read_bounded(Path::new(&path), 3).expect("the pipe"), b"123");
    }
}
