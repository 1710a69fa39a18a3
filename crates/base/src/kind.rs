//! What a file is that is not what it should be, by its first bytes.

/// How a kind of file begins: where, with what, and what it is.
const KINDS: [(usize, &[u8], &str); 27] = [
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file it stands for (fetch that with 'git lfs pull')",
    ),
    (0, b"<!DOCTYPE html", "a web page, which a download may have given in place of the file"),
    (0, b"<!doctype html", "a web page, which a download may have given in place of the file"),
    (0, b"<html", "a web page, which a download may have given in place of the file"),
    (0, b"<?xml", "an XML document, which a download may have given in place of the file"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"\x1f\x8b", "gzip-compressed; unpack it first"),
    (0, b"BZh", "bzip2-compressed; unpack it first"),
    (0, b"\xfd7zXZ\x00", "xz-compressed; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"{\"", "a JSON document"),
    (0, b"{\n", "a JSON document"),
];

/// What the first bytes of a file say that it is, in words that follow "it is"; none where they say nothing.
pub fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let begins = |&&(at, start, _): &&(usize, &[u8], &str)| {
        bytes.get(at..).is_some_and(|rest| rest.starts_with(start))
    };
    KINDS.iter().find(begins).map(|&(_, _, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (bytes, kind) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..],
                Some("a pointer of Git LFS"),
            ),
            (b"<!DOCTYPE html><html>", Some("a web page")),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Some("a PNG image")),
            (b"RIFF\0\0\0\0WEBP", Some("a WebP image")),
            (&[&[0; 257][..], b"ustar"].concat(), Some("a tar archive")),
            (b"hello", None),
            (b"", None),
        ] {
            let found = kind_of(bytes);
            assert!(
                found.is_some() == kind.is_some() && found.unwrap_or("").starts_with(kind.unwrap_or("")),
                "{found:?}"
            );
        }
    }
}
