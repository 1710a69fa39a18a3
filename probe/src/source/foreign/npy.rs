//! NumPy arrays: the header, which is a Python literal, and the numbers or texts behind it.
//!
//! The literal is parsed, not evaluated, and arrays of Python objects, which are pickles, are refused.

use std::fs::File;
use std::io::Read;

use py_literal::Value;

use super::labels::RawLabels;
use super::matrix::{self, Matrix};
use super::numbers::Element;
use super::shape;
use super::{ArrayInfo, Arrays, Opened};

/// The first bytes of an array file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// A longer header describes no numbers; NumPy itself refuses to parse one of more than 10,000 bytes.
const LONGEST_HEADER: usize = 65_536;

/// The type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Numbers(Element),
    /// Texts of so many bytes (`S`).
    Bytes(usize),
    /// Texts of so many characters, four bytes each (`U`).
    Unicode(usize),
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    kind: Type,
    is_big_endian: bool,
    is_fortran: bool,
    pub(super) shape: Vec<usize>,
    /// Bytes of the header itself.
    pub(super) length: usize,
}

impl Header {
    /// Reads the header that an array file begins with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(source: &mut dyn Read) -> Result<Self, String> {
        let cut_off = |_| "the array ends within its header".to_string();
        let mut start = [0; 8];
        source.read_exact(&mut start).map_err(cut_off)?;
        if !start.starts_with(MAGIC) {
            return Err("it does not begin as a NumPy array does".to_string());
        }
        let wide = match start[6] {
            1 => false,
            2 | 3 => true,
            version => return Err(format!("it is a NumPy array of version {version}, and 1 to 3 are read")),
        };
        let mut length = [0; 4];
        let digits = if wide { 4 } else { 2 };
        source.read_exact(&mut length[..digits]).map_err(cut_off)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST_HEADER {
            return Err(format!(
                "its header is said to have {length} bytes, {LONGEST_HEADER} at most are read"
            ));
        }
        let mut text = vec![0; length];
        source.read_exact(&mut text).map_err(cut_off)?;
        let header = Self::parse(&text).ok_or("its header is no description of an array")??;
        Ok(Self { length: 8 + digits + length, ..header })
    }

    /// The dictionary of a header; none where it is none.
    fn parse(text: &[u8]) -> Option<Result<Self, String>> {
        // A description is a dictionary with a tuple, and records have a list of tuples: a parser would go down into more.
        if text.iter().filter(|byte| b"([{".contains(byte)).count() > 256 {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let Ok(Value::Dict(entries)) = text.trim().parse::<Value>() else { return None };
        let of = |name: &str| {
            let is = |entry: &&(Value, Value)| matches!(&entry.0, Value::String(key) if key == name);
            entries.iter().find(is).map(|(_, value)| value)
        };
        let Value::Boolean(is_fortran) = of("fortran_order")? else { return None };
        let Value::Tuple(sides) = of("shape")? else { return None };
        let side = |value: &Value| match value {
            Value::Integer(side) => usize::try_from(side.clone()).ok(),
            _ => None,
        };
        let shape = sides.iter().map(side).collect::<Option<Vec<_>>>()?;
        let descr = match of("descr")? {
            Value::String(descr) => descr,
            Value::List(_) => {
                return Some(
                    Err("it is a table of records; save its columns as one array of numbers".into()),
                );
            }
            _ => return None,
        };
        Some(kind_of(descr).map(|(kind, is_big_endian)| Self {
            kind,
            is_big_endian,
            is_fortran: *is_fortran && shape.len() > 1,
            shape,
            length: 0,
        }))
    }

    fn item_bytes(&self) -> usize {
        match self.kind {
            Type::Numbers(element) => element.bytes(),
            Type::Bytes(bytes) => bytes,
            Type::Unicode(characters) => characters.saturating_mul(4),
        }
    }

    /// Checks that `held` bytes behind the header are what the shape promises.
    pub(super) fn check_length(&self, held: u64) -> Result<(), String> {
        let promised =
            self.shape.iter().try_fold(self.item_bytes() as u64, |n, &side| n.checked_mul(side as u64));
        match promised {
            Some(promised) if promised == held => Ok(()),
            Some(promised) => Err(format!(
                "its shape {:?} promises {promised} bytes, and there are {held}: it was cut off, or written while it was \
                 read",
                self.shape
            )),
            None => Err(format!("its shape {:?} is larger than any file", self.shape)),
        }
    }

    /// Rows, features, and the type of the numbers.
    fn table(&self, flatten: bool) -> Result<(usize, usize, Element), String> {
        let Type::Numbers(element) = self.kind else {
            return Err("it holds texts; features are numbers".to_string());
        };
        let (rows, dim) = shape::table(&self.shape, flatten)?;
        if self.is_fortran && self.shape.len() != 2 {
            return Err("it is stored in Fortran's order, which is flattened for two axes only; save \
                        np.ascontiguousarray(array)"
                .to_string());
        }
        Ok((rows, dim, element))
    }

    /// Reads the whole array behind the header into float32.
    pub(super) fn matrix(&self, source: &mut dyn Read, flatten: bool) -> Result<Matrix, String> {
        let (rows, dim, element) = self.table(flatten)?;
        matrix::read_all(source, rows, dim, element, self.is_big_endian, self.is_fortran)
    }

    /// Reads the array behind the header as labels.
    pub(super) fn labels(&self, source: &mut dyn Read) -> Result<RawLabels, String> {
        let rows = shape::column(&self.shape)?;
        let bytes = matrix::read_bytes(source, rows as u64 * self.item_bytes() as u64)?;
        let width = self.item_bytes().max(1);
        let texts = |text: &dyn Fn(&[u8]) -> Option<String>| {
            let read = bytes
                .chunks_exact(width)
                .enumerate()
                .map(|(row, bytes)| text(bytes).ok_or_else(|| format!("the label of row {row} is not text")));
            read.collect::<Result<Vec<_>, _>>().and_then(RawLabels::of_texts)
        };
        match self.kind {
            Type::Numbers(element) => element.labels(&bytes, self.is_big_endian),
            Type::Bytes(_) => texts(&|bytes| {
                let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                String::from_utf8(bytes[..end].to_vec()).ok()
            }),
            Type::Unicode(_) => texts(&|bytes| {
                let from = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
                let text: Option<String> =
                    bytes.as_chunks::<4>().0.iter().map(|&code| char::from_u32(from(code))).collect();
                text.map(|text| text.trim_end_matches('\0').to_string())
            }),
        }
    }
}

/// The type that NumPy writes as `<f4`, and whether its highest byte comes first.
fn kind_of(descr: &str) -> Result<(Type, bool), String> {
    let (order, code) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => descr.split_at(1),
        _ => ("|", descr),
    };
    let size = || code.get(1..).and_then(|size| size.parse::<usize>().ok());
    let kind = match code {
        "b1" | "?" => Type::Numbers(Element::Bool),
        "f2" => Type::Numbers(Element::F16),
        "f4" => Type::Numbers(Element::F32),
        "f8" => Type::Numbers(Element::F64),
        "i1" => Type::Numbers(Element::I8),
        "i2" => Type::Numbers(Element::I16),
        "i4" => Type::Numbers(Element::I32),
        "i8" => Type::Numbers(Element::I64),
        "u1" => Type::Numbers(Element::U8),
        "u2" => Type::Numbers(Element::U16),
        "u4" => Type::Numbers(Element::U32),
        "u8" => Type::Numbers(Element::U64),
        code if code.starts_with('S') && size().is_some_and(|size| size > 0) => {
            Type::Bytes(size().unwrap_or(1))
        }
        code if code.starts_with('U') && size().is_some_and(|size| size > 0) => {
            Type::Unicode(size().unwrap_or(1))
        }
        code if code.starts_with('O') => {
            return Err("it holds Python objects, which are pickles and are not run; save texts with \
                        np.array(labels, dtype=str) and numbers with dtype=np.float32"
                .to_string());
        }
        _ => {
            let descr = ddae_base::text::excerpt(descr, 40);
            return Err(format!("its numbers are of the type {descr}; save them as float32"));
        }
    };
    Ok((kind, order == ">"))
}

/// An array file.
pub(super) struct Npy {
    file: File,
    header: Header,
}

impl Npy {
    pub(super) fn open(mut file: File, length: u64) -> Result<Self, String> {
        let header = Header::read(&mut file)?;
        header.check_length(length.saturating_sub(header.length as u64))?;
        Ok(Self { file, header })
    }
}

impl Arrays for Npy {
    fn list(&self) -> Vec<ArrayInfo> {
        Vec::new()
    }

    fn matrix(&mut self, _name: &str, flatten: bool) -> Opened<Matrix> {
        if self.header.is_fortran {
            return self.header.matrix(&mut self.file, flatten);
        }
        let (rows, dim, element) = self.header.table(flatten)?;
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        Ok(Matrix::stored(file, self.header.length as u64, rows, dim, element, self.header.is_big_endian))
    }

    fn labels(&mut self, _name: &str) -> Opened<RawLabels> {
        self.header.labels(&mut self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 1 with that description.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    #[test]
    fn headers_are_read_or_refused_by_what_is_wrong() {
        let ok = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", &[]);
        let header = Header::read(&mut &ok[..]).expect("a header");
        assert_eq!((header.shape.as_slice(), header.length), (&[2, 3][..], ok.len()));
        assert_eq!(header.check_length(24), Ok(()));
        for (text, wanted) in [
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
                "it holds Python objects, which are pickles",
            ),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}", "its numbers are of the type <c8"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "it is a table of records"),
            ("{'descr': '<f4', 'fortran_order': 3, 'shape': (2,)}", "its header is no description"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "its header is no description"),
            ("__import__('os').system('true')", "its header is no description"),
            (&"(".repeat(5000), "its header is no description"),
        ] {
            let error = Header::read(&mut &file(text, &[])[..]).expect_err(text);
            assert!(error.starts_with(wanted), "{error}");
        }
        let error = Header::read(&mut &ok[..20]).expect_err("cut off");
        assert_eq!(error, "the array ends within its header");
        let long = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        let error = Header::read(&mut &long[..]).expect_err("too long");
        assert!(error.starts_with("its header is said to have 4294967295 bytes"), "{error}");
    }

    #[test]
    fn an_empty_text_is_no_label() {
        for (descr, data) in [("|S2", &b"a\0\0\0"[..]), ("<U1", b"a\0\0\0\0\0\0\0")] {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,)}}");
            let whole = file(&text, data);
            let mut read = &whole[..];
            let header = Header::read(&mut read).expect("a header");
            assert_eq!(header.labels(&mut read), Err("row 1 has no label".to_string()), "{descr}");
        }
    }

    #[test]
    fn shapes_that_promise_more_than_there_is_are_refused() {
        let of = |shape: &str| {
            let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}");
            Header::read(&mut &file(&text, &[])[..]).expect("a header").check_length(16)
        };
        assert_eq!(of("(2,)"), Ok(()));
        assert!(
            of("(3,)")
                .expect_err("too much")
                .starts_with("its shape [3] promises 24 bytes, and there are 16")
        );
        assert!(of("(4294967296, 4294967296)").expect_err("too much").contains("larger than any file"));
    }
}
