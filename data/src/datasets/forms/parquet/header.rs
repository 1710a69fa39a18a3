//! The headers of pages, read for what they promise before anything is allocated for it.
//!
//! A header is a struct in thrift's compact encoding (`PageHeader` of parquet.thrift). The crate `parquet` reads it too, but
//! takes its sizes for what they are.

/// Structs and lists within each other.
const DEPTH: usize = 16;

/// What stands in a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub kind: i32,
    /// Bytes of the page when it is unpacked.
    pub uncompressed: i32,
    /// Bytes of the page in the file, after its header.
    pub compressed: i32,
    pub values: i32,
    pub encoding: i32,
    /// Bytes of levels before what is compressed, in pages of the second version.
    pub levels: i64,
    /// Bytes of the header itself.
    pub length: usize,
}

/// Kinds of pages.
pub(super) const DATA: i32 = 0;
pub(super) const INDEX: i32 = 1;
pub(super) const DICTIONARY: i32 = 2;
pub(super) const DATA_V2: i32 = 3;

/// Encodings whose pages mean entries of the dictionary.
pub(super) const OF_DICTIONARY: [i32; 2] = [2, 8];

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// More bytes are needed.
    Short,
    /// It is none.
    Broken,
}

impl PageHeader {
    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<PageHeader, Fault> {
        let mut input = Input { bytes, at: 0 };
        let mut header = PageHeader {
            kind: -1,
            compressed: -1,
            uncompressed: -1,
            values: -1,
            encoding: -1,
            levels: 0,
            length: 0,
        };
        let mut seen = Seen::default();
        let mut of = None;
        input.fields(|input, field, kind| {
            // The crate goes by numbers alone, takes the last of several, and the struct of the page's kind.
            if let 1..=8 = field {
                seen.once(if matches!(field, 5..=8) { 5 } else { field })?;
                expect(kind, if field < 5 { &[I32] } else { &[STRUCT] })?;
            }
            if matches!(field, 5..=8) {
                of = Some(field);
            }
            match (field, kind) {
                (1, I32) => header.kind = input.int()?,
                (2, I32) => header.uncompressed = input.int()?,
                (3, I32) => header.compressed = input.int()?,
                // Of data, of a dictionary, of data in the second version.
                (5 | 7 | 8, STRUCT) => {
                    let encoding_field = if field == 8 { 4 } else { 2 };
                    let mut seen = Seen::default();
                    input.fields(|input, inner, kind| {
                        match (field, inner) {
                            (5, 1..=4) | (7, 1 | 2) | (8, 1..=6) => expect(kind, &[I32])?,
                            (7, 3) | (8, 7) => expect(kind, &[1, 2])?,
                            (5, 5) | (8, 8) => expect(kind, &[STRUCT])?,
                            _ => {}
                        }
                        if let 1..=8 = inner {
                            seen.once(inner)?;
                        }
                        match (inner, kind) {
                            (1, I32) => header.values = input.int()?,
                            (inner, I32) if inner == encoding_field => header.encoding = input.int()?,
                            (5 | 6, I32) if field == 8 => header.levels += i64::from(input.int()?),
                            _ => input.skip(kind, DEPTH)?,
                        }
                        Ok(())
                    })?;
                }
                _ => input.skip(kind, DEPTH)?,
            }
            Ok(())
        })?;
        let wanted = match header.kind {
            DATA => Some(5),
            INDEX => Some(6),
            DICTIONARY => Some(7),
            DATA_V2 => Some(8),
            _ => of,
        };
        if of != wanted && header.kind != INDEX {
            return Err(Fault::Broken);
        }
        header.length = input.at;
        Ok(header)
    }
}

/// Fields of a struct that were there, by their numbers.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    /// Refuses a field that was there before; its number is 1 to 8.
    fn once(&mut self, field: i64) -> Result<(), Fault> {
        let bit = 1 << field;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        if is_new { Ok(()) } else { Err(Fault::Broken) }
    }
}

/// Refuses a known field of another type.
fn expect(kind: u8, known: &[u8]) -> Result<(), Fault> {
    if known.contains(&kind) { Ok(()) } else { Err(Fault::Broken) }
}

const I32: u8 = 5;
const STRUCT: u8 = 12;

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Broken)
    }

    fn int(&mut self) -> Result<i32, Fault> {
        let value = self.varint()?;
        let value = (value >> 1) as i64 ^ -((value & 1) as i64);
        i32::try_from(value).map_err(|_| Fault::Broken)
    }

    fn pass(&mut self, count: u64) -> Result<(), Fault> {
        let count = usize::try_from(count).map_err(|_| Fault::Broken)?;
        self.at = self.at.checked_add(count).ok_or(Fault::Broken)?;
        if self.at > self.bytes.len() { Err(Fault::Short) } else { Ok(()) }
    }

    /// Calls `each` with the number and type of every field of a struct; it must read or skip it.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut field = 0i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            field = match byte >> 4 {
                0 => {
                    let value = self.varint()?;
                    (value >> 1) as i64 ^ -((value & 1) as i64)
                }
                step => field.checked_add(step.into()).ok_or(Fault::Broken)?,
            };
            if i16::try_from(field).is_err() {
                return Err(Fault::Broken);
            }
            each(self, field, byte & 0x0f)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        let below = depth.checked_sub(1).ok_or(Fault::Broken)?;
        match kind {
            // Booleans of structs are in their type.
            1 | 2 => Ok(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                self.elements(count, byte & 0x0f, below)
            }
            12 => self.fields(|input, _, kind| input.skip(kind, below)),
            // No header has maps or what comes after.
            _ => Err(Fault::Broken),
        }
    }

    fn elements(&mut self, count: u64, kind: u8, depth: usize) -> Result<(), Fault> {
        for _ in 0..count {
            // Booleans of lists take a byte; everything takes at least one, so that counts end with the bytes.
            if matches!(kind, 1 | 2) { self.pass(1)? } else { self.skip(kind, depth)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A data page of 300 values, 5,000 bytes of 7,000, with a checksum and statistics.
    const HEADER: [u8; 25] = [
        0x15, 0x00, 0x15, 0xb0, 0x6d, 0x15, 0x90, 0x4e, 0x15, 0x08, 0x1c, 0x15, 0xd8, 0x04, 0x15, 0x00, 0x15,
        0x06, 0x15, 0x06, 0x1c, 0x00, 0x00, 0x00, 0xff,
    ];

    #[test]
    fn a_header_is_read_field_by_field() {
        let header = PageHeader::read(&HEADER).expect("a header");
        assert_eq!(
            header,
            PageHeader {
                kind: DATA,
                uncompressed: 7000,
                compressed: 5000,
                values: 300,
                encoding: 0,
                levels: 0,
                length: 24
            }
        );
        for length in 0..24 {
            assert_eq!(PageHeader::read(&HEADER[..length]), Err(Fault::Short), "{length}");
        }
        assert_eq!(PageHeader::read(&[0x1b, 0xff]), Err(Fault::Broken));
        assert_eq!(PageHeader::read(&[0x1c; 64]), Err(Fault::Broken), "structs without end");
    }

    #[test]
    fn headers_that_two_readers_may_read_otherwise_are_refused() {
        let start = [0x15, 0x04, 0x15, 0x08, 0x15, 0x08];
        for (what, rest) in [
            ("two structs", &[0x4c, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0x1c, 0x15, 0x06, 0, 0][..]),
            ("the struct of another kind", &[0x2c, 0x15, 0x06, 0x15, 0, 0, 0]),
            ("a count of another type", &[0x4c, 0x16, 0x06, 0, 0]),
            ("a count twice", &[0x4c, 0x15, 0x06, 0x05, 0x02, 0x08, 0, 0]),
            ("a number beyond all", &[0x05, 0x80, 0x80, 0x08, 0x00, 0x4c, 0x15, 0x06, 0, 0]),
        ] {
            let bytes = [&start[..], rest].concat();
            assert_eq!(PageHeader::read(&bytes), Err(Fault::Broken), "{what}");
        }
        let usual = [&start[..], &[0x4c, 0x15, 0x06, 0x15, 0, 0, 0]].concat();
        assert_eq!(PageHeader::read(&usual).expect("a dictionary").values, 3);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(header) = PageHeader::read(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
