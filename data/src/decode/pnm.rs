//! Portable bitmaps, greymaps and pixmaps (P1 to P6), scaled to levels as PIL does.

use super::picture::{Picture, Pixels};

const ENDS: &str = "the image ends too early";

/// What stands before the pixels.
pub(super) struct Header {
    /// `b'1'` to `b'6'`.
    kind: u8,
    pub width: usize,
    pub height: usize,
    /// The largest level.
    most: u32,
    /// Where the pixels begin.
    at: usize,
}

impl Header {
    pub(super) fn has_colour(&self) -> bool {
        matches!(self.kind, b'3' | b'6')
    }

    fn is_bitmap(&self) -> bool {
        matches!(self.kind, b'1' | b'4')
    }
}

/// Numbers in text, between white space and comments.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.bytes.get(self.at)? {
                b'#' => self.at += self.bytes[self.at..].iter().position(|&byte| byte == b'\n')?,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte.is_ascii_whitespace() || byte == b'#');
        let word = &rest[..length.unwrap_or(rest.len())];
        self.at += word.len();
        Some(word)
    }

    fn number(&mut self) -> Result<u32, String> {
        let word = self.next().ok_or(ENDS)?;
        let text = std::str::from_utf8(word).ok().filter(|text| text.len() <= 10);
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| "it has something else where a number belongs".into())
    }
}

pub(super) fn header(bytes: &[u8]) -> Result<Header, String> {
    let kind = *bytes.get(1).ok_or(ENDS)?;
    let mut words = Words { bytes, at: 2 };
    let (width, height) = (words.number()? as usize, words.number()? as usize);
    if width == 0 || height == 0 {
        return Err(format!("its header says {width}x{height} pixels"));
    }
    let most = if matches!(kind, b'1' | b'4') { 1 } else { words.number()? };
    if !(1..1 << 16).contains(&most) {
        return Err(format!("its header says {most} as the largest level, and 1 to 65535 there can be"));
    }
    // One white space ends the header of a binary file.
    Ok(Header { kind, width, height, most, at: words.at + 1 })
}

/// Decodes an image; [`header`] has been asked about its size.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let header = header(bytes)?;
    let Header { width, height, most, .. } = header;
    let count = width * height * if header.has_colour() { 3 } else { 1 };
    // Every level takes a byte of the file or more, but a bitmap's.
    let least = match header.kind {
        b'4' => width.div_ceil(8) * height,
        b'5' | b'6' if most > 255 => 2 * count,
        _ => count,
    };
    let rest = bytes.get(header.at..).filter(|rest| rest.len() >= least).ok_or(ENDS)?;
    let levels: Vec<u32> = match header.kind {
        b'1' => bits_in_text(rest, count)?,
        b'2' | b'3' => {
            let mut words = Words { bytes: rest, at: 0 };
            (0..count).map(|_| words.number()).collect::<Result<_, _>>()?
        }
        b'4' => {
            let rows = rest.chunks_exact(width.div_ceil(8)).take(height);
            rows.flat_map(|row| (0..width).map(|x| u32::from(row[x / 8] >> (7 - x % 8) & 1))).collect()
        }
        _ if most > 255 => {
            rest.as_chunks().0.iter().take(count).map(|&pair| u16::from_be_bytes(pair).into()).collect()
        }
        _ => rest.iter().take(count).map(|&byte| byte.into()).collect(),
    };
    if let Some(level) = levels.iter().find(|&&level| level > most) {
        // PIL cuts off in binary files what it refuses in text.
        if matches!(header.kind, b'2' | b'3') {
            return Err(format!(
                "it has a level of {level}, above {most}, which its header says is the largest"
            ));
        }
    }
    let scaled = |largest: f64| {
        levels
            .iter()
            .map(move |&level| (f64::from(level) / f64::from(most) * largest).round_ties_even().min(largest))
    };
    let pixels = if header.is_bitmap() {
        Pixels::Grey(levels.iter().map(|&ink| if ink == 0 { 255 } else { 0 }).collect())
    } else if header.has_colour() {
        Pixels::Rgb(scaled(255.0).map(|level| level as u8).collect())
    } else if most > 255 {
        Pixels::Grey16(scaled(65535.0).map(|level| level as u16).collect())
    } else {
        Pixels::Grey(scaled(255.0).map(|level| level as u8).collect())
    };
    Ok(Picture { width, height, pixels })
}

/// The zeros and ones of a bitmap in text, which nothing need separate.
fn bits_in_text(bytes: &[u8], count: usize) -> Result<Vec<u32>, String> {
    let mut bits = Vec::with_capacity(count);
    let mut rest = bytes.iter();
    while bits.len() < count {
        match rest.next().ok_or(ENDS)? {
            b'0' => bits.push(0),
            b'1' => bits.push(1),
            b'#' => {
                rest.find(|&&byte| byte == b'\n');
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => return Err("it has something else where 0 or 1 belongs".into()),
        }
    }
    Ok(bits)
}
