//! What a file is, by its first bytes.

use std::fmt;

/// Bytes of a file's beginning by which [`kind_of`] tells all that it knows.
pub const BYTES_TO_TELL: usize = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A PNG image; of an animation the default image is read.
    Png,
    /// A JPEG image.
    Jpeg,
    /// A WebP image; of an animation the first frame is read.
    WebP,
    /// A Windows bitmap.
    Bmp,
    /// A GIF image, of which the first frame is read.
    Gif,
    /// A TIFF image, of which the first page is read.
    Tiff,
    /// A portable bitmap, greymap or pixmap (P1 to P6).
    Pnm,
    /// Something with a name that is not read.
    Other(&'static str),
    /// Text without a better name.
    Text,
    /// Bytes that say nothing.
    Unknown,
    /// No bytes.
    Empty,
}

impl Kind {
    /// Whether it is an image that is read.
    pub fn is_read(self) -> bool {
        !matches!(self, Kind::Other(_) | Kind::Text | Kind::Unknown | Kind::Empty)
    }
}

/// As it stands in a sentence after "it is".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Png => "a PNG image",
            Kind::Jpeg => "a JPEG image",
            Kind::WebP => "a WebP image",
            Kind::Bmp => "a BMP image",
            Kind::Gif => "a GIF image",
            Kind::Tiff => "a TIFF image",
            Kind::Pnm => "a PNM image",
            Kind::Other(name) => name,
            Kind::Text => "text",
            Kind::Unknown => "of no known format",
            Kind::Empty => "empty",
        })
    }
}

/// The formats that are read, for messages.
pub const FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF, TIFF or PNM";

/// Endings (in lower case) that images which are read usually have.
pub const ENDINGS: [&str; 17] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif", "tif", "tiff", "pnm", "pbm",
    "pgm", "ppm", "mpo",
];

/// Tells a file by its first bytes, [`BYTES_TO_TELL`] or all that there are.
pub fn kind_of(first: &[u8]) -> Kind {
    use Kind::{Bmp, Empty, Gif, Jpeg, Other, Png, Pnm, Text, Tiff, Unknown, WebP};
    const BY_BEGINNING: [(&[u8], Kind); 22] = [
        (b"\x89PNG\r\n\x1a\n", Png),
        (b"\xff\xd8\xff", Jpeg),
        (b"GIF87a", Gif),
        (b"GIF89a", Gif),
        (b"II*\0", Tiff),
        (b"MM\0*", Tiff),
        (b"II+\0", Other("a BigTIFF image")),
        (b"MM\0+", Other("a BigTIFF image")),
        (b"\xff\x0a", Other("a JPEG XL image")),
        (b"\0\0\0\x0cJXL ", Other("a JPEG XL image")),
        (b"\0\0\0\x0cjP  ", Other("a JPEG 2000 image")),
        (b"\xff\x4f\xff\x51", Other("a JPEG 2000 image")),
        (b"8BPS", Other("a Photoshop document")),
        (b"\x76\x2f\x31\x01", Other("an OpenEXR image")),
        (b"#?RADIANCE", Other("a Radiance HDR image")),
        (b"DDS ", Other("a DDS texture")),
        (b"\0\0\x01\0", Other("a Windows icon")),
        (b"qoif", Other("a QOI image")),
        (b"farbfeld", Other("a farbfeld image")),
        (b"%!PS", Other("a PostScript document")),
        (b"PAR1", Other("a Parquet file")),
        (b"\x1a\x45\xdf\xa3", Other("a Matroska video")),
    ];
    if first.is_empty() {
        return Empty;
    }
    if let Some((_, kind)) = BY_BEGINNING.iter().find(|(magic, _)| first.starts_with(magic)) {
        return *kind;
    }
    let at = |place: usize, magic: &[u8]| first.get(place..).is_some_and(|rest| rest.starts_with(magic));
    match first {
        [b'R', b'I', b'F', b'F', _, _, _, _, rest @ ..] => {
            return if rest.starts_with(b"WEBP") { WebP } else { Other("a RIFF file (sound or video)") };
        }
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            return Other(match brand.first_chunk() {
                Some(b"avif" | b"avis") => "an AVIF image",
                Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => "a HEIC image",
                Some(b"crx ") => "a Canon raw image",
                _ => "an MP4 video or the like",
            });
        }
        // The size of the header that follows tells a bitmap from a text that begins like one.
        [b'B', b'M', ..] if matches!(first.get(14), Some(12 | 40 | 52 | 56 | 64 | 108 | 124)) => return Bmp,
        [b'P', b'1'..=b'6', next, ..] if next.is_ascii_whitespace() || *next == b'#' => return Pnm,
        [b'P', b'7', b'\n', ..] => return Other("a PAM image"),
        [b'P', b'F' | b'f', b'\n', ..] => return Other("a PFM image"),
        _ => {}
    }
    if at(128, b"DICM") {
        return Other("a DICOM image");
    }
    let text = readable(&first[..first.len().min(BYTES_TO_TELL)]);
    if text.as_ref().is_some_and(|text| text.contains("<svg")) {
        return Other("an SVG drawing");
    }
    // What is told above by more than two letters is no image for beginning with them.
    let other = ddae_base::kind_of(first.trim_ascii_start()).or_else(|| ddae_base::kind_of(first));
    match other.filter(|name| !name.ends_with("image")) {
        Some(name) => Other(name),
        None if text.is_some() => Text,
        None => Unknown,
    }
}

/// Text without control characters; a character may be cut off at its end.
fn readable(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_content() {
        let cases: [(&[u8], &str); 22] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
            (b"\xff\xd8\xff\xe0", "a JPEG image"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP image"),
            (b"BM\x10\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a BMP image"),
            (b"BMW and other makers", "text"),
            (b"GIF89a", "a GIF image"),
            (b"MM\0*", "a TIFF image"),
            (b"P6\n# made by hand\n1 1", "a PNM image"),
            (b"P7\nWIDTH 1", "a PAM image"),
            (b"P60 is a number", "text"),
            (b"\0\0\0\x18ftypheic", "a HEIC image"),
            (b"\0\0\0\x1cftypavif", "an AVIF image"),
            (b"8BPS\0\x01", "a Photoshop document"),
            (b"<?xml version='1.0'?>\n<svg xmlns=", "an SVG drawing"),
            (b"\n  <!DOCTYPE html>", "a web page, which a download may have given in place of the file"),
            (
                b"version https://git-lfs.github.com/spec/v1",
                "a pointer of Git LFS, not the file it stands for (fetch that with 'git lfs pull')",
            ),
            ("name,label\ncaf\u{e9}".as_bytes(), "text"),
            (b"caf\xc3", "text"),
            (b"\x80\x02}q", "of no known format"),
            (b"%PDF-1.7", "a PDF document"),
            (b"RIFF\x10\0\0\0WAVE", "a RIFF file (sound or video)"),
            (b"", "empty"),
        ];
        for (bytes, name) in cases {
            let kind = kind_of(bytes);
            assert_eq!(kind.to_string(), name, "{}", bytes.escape_ascii());
            assert_eq!(kind.is_read(), FORMATS.contains(name.split(' ').nth(1).unwrap_or("none")), "{name}");
        }
    }
}
