//! A reader of Python pickles (protocols 2 to 5) that runs nothing.
//!
//! A pickle is a program for a stack machine, and unpickling in general runs whatever it says. [`load`] executes only
//! the opcodes that build plain data. A reference to a Python object is data like any other: its name is recorded, and
//! nothing is looked up. A call is recorded too ([`Call`]) and never made: the caller says what those it knows stand for,
//! and leaves the others alone.
//!
//! The result is an arena ([`Program`]): values are small, copyable, and refer to each other by number, so no nesting
//! can exhaust the stack, neither while reading nor when the arena is dropped. Strings are not copied but remembered by
//! their place. Every allocation is paid for by bytes that were read: objects, the stack and names are bounded by them, the
//! memo by the opcodes. A file cannot make the reader reserve memory by promising something.

mod machine;

pub use machine::load;

/// Why a pickle is not read. The messages go on from the name of a file: `weights.pth: {error}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// An opcode that plain data does not need.
    #[error(
        "has the pickle opcode 0x{opcode:02x} at byte {at}, which plain data does not need: it is refused"
    )]
    Opcode {
        /// The opcode, as in Python's `pickletools`.
        opcode: u8,
        /// Where it is.
        at: usize,
    },
    /// It is cut off.
    #[error("ends in the middle of its pickle")]
    End,
    /// Another protocol, or no pickle at all.
    #[error("is not a pickle of protocol 2 to 5")]
    Protocol,
    /// A program that no pickler writes.
    #[error("is damaged: {0} at byte {1} of its pickle")]
    Damaged(&'static str, usize),
    /// More than any honest file of its size has.
    #[error("has more than {most} {what} in its pickle: it is refused")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        most: usize,
    },
}

/// A value: a plain one, or the place of a string or of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// An integer of more than 64 bits: the place of its bytes, little-endian, in two's complement.
    Long {
        /// The first byte.
        at: usize,
        /// Number of bytes.
        length: u32,
    },
    /// A float.
    Float(f64),
    /// `str`, `bytes` or `bytearray`: the place of its bytes.
    Text {
        /// The first byte.
        at: usize,
        /// Number of bytes.
        length: u32,
    },
    /// A Python object that is referred to by its name, which [`Program::global`] gives.
    Global(u32),
    /// The object of this number.
    Object(u32),
}

/// What has parts.
#[derive(Debug)]
pub enum Object {
    /// `list`
    List(Vec<Value>),
    /// `tuple`
    Tuple(Box<[Value]>),
    /// `set` or `frozenset`, in the order of the file.
    Set(Vec<Value>),
    /// `dict`: keys and values in the order in which they were set. Of two entries with one key the later counts.
    Dictionary(Vec<(Value, Value)>),
    /// What a function or class would have given.
    Call(Box<Call>),
    /// A reference to something outside the pickle, such as a tensor's storage.
    Persistent(Value),
}

/// A call that was not made.
#[derive(Debug)]
pub struct Call {
    /// The function or class: mostly a [`Value::Global`], but also what another call would have given.
    pub function: Value,
    /// Its arguments, a tuple.
    pub arguments: Value,
    /// Its arguments by keyword, a dictionary.
    pub keywords: Option<Value>,
    /// The state that the result was given (`__setstate__`, or attributes).
    pub state: Option<Value>,
    /// The items that were set on the result, as on a dictionary.
    pub items: Vec<(Value, Value)>,
    /// What was appended or added to the result, as to a list or set.
    pub parts: Vec<Value>,
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Program<'a> {
    bytes: &'a [u8],
    names: Vec<Box<str>>,
    objects: Vec<Object>,
    top: Value,
    length: usize,
}

impl<'a> Program<'a> {
    /// The value that the program leaves.
    pub fn top(&self) -> Value {
        self.top
    }

    /// The length of the program in bytes; what follows it in the file is something else.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All objects, those too that the value does not contain.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The object that a value refers to.
    pub fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(number) => self.objects.get(number as usize),
            _ => None,
        }
    }

    /// The bytes of a string or of a long integer.
    pub fn bytes(&self, value: Value) -> Option<&'a [u8]> {
        match value {
            Value::Text { at, length } | Value::Long { at, length } => {
                self.bytes.get(at..)?.get(..length as usize)
            }
            _ => None,
        }
    }

    /// A string, if it is one and is UTF-8.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        matches!(value, Value::Text { .. })
            .then(|| self.bytes(value))
            .flatten()
            .and_then(|b| std::str::from_utf8(b).ok())
    }

    /// The parts of a tuple.
    pub fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::Tuple(parts)) => Some(parts),
            _ => None,
        }
    }

    /// The entries of a dictionary.
    pub fn dictionary(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value) {
            Some(Object::Dictionary(entries)) => Some(entries),
            _ => None,
        }
    }

    /// The last value under a key of a dictionary.
    pub fn entry(&self, dictionary: Value, key: &str) -> Option<Value> {
        let entries = self.dictionary(dictionary)?.iter().rev();
        entries.into_iter().find(|(name, _)| self.text(*name) == Some(key)).map(|&(_, value)| value)
    }

    /// The parts of a list or tuple.
    pub fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::Tuple(parts)) => Some(parts),
            Some(Object::List(parts)) => Some(parts),
            _ => None,
        }
    }

    /// The name of a Python object, its module first: `torch.FloatStorage`. It may hold any characters.
    pub fn global(&self, value: Value) -> Option<&str> {
        match value {
            Value::Global(number) => self.names.get(number as usize).map(AsRef::as_ref),
            _ => None,
        }
    }

    /// A recorded call of a function or class that has a name: the name, its arguments, and everything else.
    pub fn call(&self, value: Value) -> Option<(&str, &[Value], &Call)> {
        match self.object(value) {
            Some(Object::Call(call)) => {
                Some((self.global(call.function)?, self.tuple(call.arguments)?, call))
            }
            _ => None,
        }
    }

    /// The names of all Python objects that are referred to, each once, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests;
