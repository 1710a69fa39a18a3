//! A reader for the one shape of pickle that the python versions of CIFAR are made of: a dictionary of strings, lists
//! of integers or strings, and one two-dimensional numpy array of unsigned bytes (protocols 2 to 4).
//!
//! Unpickling in general runs whatever the file says. This reader builds plain values only: opcodes and globals
//! outside two short lists are errors, nothing is ever looked up or called, the number of opcodes is bounded, and
//! strings are not copied but remembered by their place in the file, so the pictures can be read from there later.

use std::io::{BufRead, ErrorKind, Read, Seek, SeekFrom};

/// CIFAR-100's training file has about 300,000 opcodes.
const MOST_OPCODES: u32 = 2_000_000;
/// Keys and type names are short; longer strings are data.
const LONGEST_TEXT: u64 = 256;

/// What a CIFAR batch holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Pictures.
    pub rows: usize,
    /// Levels of one picture.
    pub columns: usize,
    /// Where in the file the first picture begins; they follow one another without gaps.
    pub offset: u64,
    /// One label per picture.
    pub labels: Vec<i64>,
}

/// Reads the array under `data` and the labels under `labels_key` (`labels`, `fine_labels`).
///
/// # Errors
/// One line that says what is wrong with the file.
pub(crate) fn read_batch(file: impl BufRead + Seek, labels_key: &str) -> Result<Batch, String> {
    let mut machine = Machine::new(file);
    let top = machine.run()?;
    let data = machine.entry(top, "data")?;
    let labels = machine.entry(top, labels_key)?;
    let (rows, columns, offset) = machine.array(data)?;
    let Some(Object::List(values)) = machine.object(labels) else {
        return Err(format!("its '{labels_key}' is not a list"));
    };
    let labels = values
        .iter()
        .map(|value| match value {
            Value::Int(label) => Ok(*label),
            _ => Err(format!("its '{labels_key}' holds something that is not an integer")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if labels.len() != rows {
        return Err(format!("it has {rows} pictures, but {} labels under '{labels_key}'", labels.len()));
    }
    Ok(Batch { rows, columns, offset, labels })
}

/// Values are small and copyable; what has parts lives in an arena, so that no nesting can exhaust the stack.
#[derive(Clone, Copy, Debug)]
enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A string or bytes: its place in the file.
    Text {
        at: u64,
        length: u64,
    },
    Global(Global),
    Object(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    Reconstruct,
    NdArray,
    DataType,
}

#[derive(Debug)]
enum Object {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    /// A numpy type, by its name (`u1`).
    DataType(Value),
    /// A numpy array, by the state it was given: (version, shape, type, column-major, data).
    Array(Option<Value>),
}

struct Machine<R> {
    file: R,
    position: u64,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    objects: Vec<Object>,
}

impl<R: BufRead + Seek> Machine<R> {
    fn new(file: R) -> Self {
        Machine {
            file,
            position: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Runs the program and returns the value it leaves.
    fn run(&mut self) -> Result<Value, String> {
        for count in 0..MOST_OPCODES {
            let opcode = self.byte()?;
            if count == 0 && opcode != 0x80 {
                return Err("it is not a pickle of protocol 2 or later".into());
            }
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(format!("it has more than {MOST_OPCODES} opcodes"))
    }

    /// One opcode; names and numbers are those of Python's `pickletools`.
    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            // PROTO, FRAME
            0x80 => match self.byte()? {
                2..=4 => Ok(()),
                other => Err(format!("it is a pickle of protocol {other}, not 2 to 4")),
            },
            0x95 => self.bytes::<8>().map(drop),
            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.push(Value::Int(value.into()))
            }
            b'K' => {
                let value = self.byte()?;
                self.push(Value::Int(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.push(Value::Int(value.into()))
            }
            // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
            b'U' | b'C' | 0x8c => {
                let length = self.byte()?;
                self.text(length.into())
            }
            // BINSTRING, BINBYTES, BINUNICODE
            b'T' | b'B' | b'X' => {
                let length = u32::from_le_bytes(self.bytes()?);
                self.text(length.into())
            }
            // BINBYTES8
            0x8e => {
                let length = u64::from_le_bytes(self.bytes()?);
                self.text(length)
            }
            // EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE
            b'}' => self.push_object(Object::Dictionary(Vec::new())),
            b']' => self.push_object(Object::List(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            // MARK, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b't' => {
                let parts = self.pop_to_mark()?;
                self.push_object(Object::Tuple(parts))
            }
            0x85..=0x87 => {
                let parts = self.pop_last(usize::from(opcode - 0x84))?;
                self.push_object(Object::Tuple(parts))
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let slot = self.byte()?;
                self.memoize(slot.into())
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.memoize(slot as usize)
            }
            0x94 => self.memoize(self.memo.len()),
            b'h' => {
                let slot = self.byte()?;
                self.recall(slot.into())
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.recall(slot as usize)
            }
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => {
                let parts = self.pop_last(1)?;
                self.append(parts)
            }
            b'e' => {
                let parts = self.pop_to_mark()?;
                self.append(parts)
            }
            b's' => {
                let parts = self.pop_last(2)?;
                self.set_items(&parts)
            }
            b'u' => {
                let parts = self.pop_to_mark()?;
                self.set_items(&parts)
            }
            // GLOBAL, STACK_GLOBAL, REDUCE, BUILD
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.short_text(module)?, self.short_text(name)?);
                self.global(&module, &name)
            }
            b'R' => self.reduce(),
            b'b' => self.build(),
            other => Err(format!(
                "it has the pickle opcode 0x{other:02x} at byte {}, which no CIFAR batch has",
                self.position - 1
            )),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let global = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Reconstruct,
            ("numpy", "ndarray") => Global::NdArray,
            ("numpy", "dtype") => Global::DataType,
            _ => return Err(format!("it refers to '{module}.{name}', which no CIFAR batch does")),
        };
        self.push(Value::Global(global))
    }

    /// Stands in for calling one of the two functions that a numpy array is pickled with.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let object = match (function, self.tuple(arguments)) {
            (Value::Global(Global::Reconstruct), Some([Value::Global(Global::NdArray), _, _])) => {
                Object::Array(None)
            }
            (Value::Global(Global::DataType), Some([name @ Value::Text { .. }, _, _])) => {
                Object::DataType(*name)
            }
            _ => return Err("it calls a function in a way that no CIFAR batch does".into()),
        };
        self.push_object(object)
    }

    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        match self.last_object()? {
            Object::Array(slot @ None) => *slot = Some(state),
            // Byte order and field names, which a type of single bytes does not have.
            Object::DataType(_) => {}
            _ => return Err("it sets the state of something that is not an array".into()),
        }
        Ok(())
    }

    /// (rows, columns, offset) of an array of unsigned bytes.
    fn array(&mut self, value: Value) -> Result<(usize, usize, u64), String> {
        let Some(&Object::Array(Some(state))) = self.object(value) else {
            return Err("its 'data' is not a numpy array".into());
        };
        let Some(&[_, shape, data_type, Value::Bool(column_major), Value::Text { at, length }]) =
            self.tuple(state)
        else {
            return Err("its 'data' is not a numpy array of bytes".into());
        };
        let name = match self.object(data_type) {
            Some(&Object::DataType(name)) => self.short_text(name)?,
            _ => return Err("its 'data' has no numpy type".into()),
        };
        if !matches!(name.as_str(), "u1" | "|u1" | "uint8") {
            return Err(format!("its 'data' is of type {name}, not uint8"));
        }
        let Some(&[Value::Int(rows), Value::Int(columns)]) = self.tuple(shape) else {
            return Err("its 'data' does not have two dimensions".into());
        };
        if column_major {
            return Err("its 'data' is stored column by column".into());
        }
        let (rows, columns) = match (usize::try_from(rows), usize::try_from(columns)) {
            (Ok(rows @ 1..), Ok(columns @ 1..)) => (rows, columns),
            _ => return Err(format!("its 'data' has the shape [{rows}, {columns}]")),
        };
        if (rows as u64).checked_mul(columns as u64) != Some(length) {
            return Err(format!("its 'data' has the shape [{rows}, {columns}], but {length} bytes"));
        }
        Ok((rows, columns, at))
    }

    fn entry(&mut self, dictionary: Value, key: &str) -> Result<Value, String> {
        let Some(Object::Dictionary(entries)) = self.object(dictionary) else {
            return Err("it does not hold a dictionary".into());
        };
        let candidates: Vec<_> = entries
            .iter()
            .filter(|(name, _)| matches!(name, Value::Text { length, .. } if *length == key.len() as u64))
            .copied()
            .collect();
        // Of two entries with one key, Python keeps the later.
        for (name, value) in candidates.into_iter().rev() {
            if self.short_text(name)? == key {
                return Ok(value);
            }
        }
        Err(format!("it has no entry '{key}'"))
    }

    fn append(&mut self, parts: Vec<Value>) -> Result<(), String> {
        match self.last_object()? {
            Object::List(list) => {
                list.extend(parts);
                Ok(())
            }
            _ => Err("it appends to something that is not a list".into()),
        }
    }

    fn set_items(&mut self, parts: &[Value]) -> Result<(), String> {
        match (self.last_object()?, parts.len() % 2) {
            (Object::Dictionary(entries), 0) => {
                entries.extend(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err("it sets items of something that is not a dictionary".into()),
        }
    }

    fn memoize(&mut self, slot: usize) -> Result<(), String> {
        // Slots are handed out in order; one further than the opcodes seen is damage, and would reserve memory.
        if slot >= MOST_OPCODES as usize {
            return Err(format!("it uses the memo slot {slot}"));
        }
        let value = *self.stack.last().ok_or("its stack runs empty")?;
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(value);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), String> {
        let value = self.memo.get(slot).copied().flatten();
        self.push(value.ok_or_else(|| format!("it recalls the memo slot {slot}, which is empty"))?)
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        self.stack.push(value);
        Ok(())
    }

    fn push_object(&mut self, object: Object) -> Result<(), String> {
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn pop(&mut self) -> Result<Value, String> {
        Ok(self.pop_last(1)?[0])
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(self.stack.split_off(start)),
            _ => Err("its stack runs empty".into()),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let start = self.marks.pop().ok_or("its stack has no mark")?;
        Ok(self.stack.split_off(start))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }

    fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::Tuple(parts)) => Some(parts),
            _ => None,
        }
    }

    /// The object on top of the stack, to be changed in place.
    fn last_object(&mut self) -> Result<&mut Object, String> {
        match self.stack.last() {
            Some(Value::Object(index)) => Ok(&mut self.objects[*index]),
            _ => Err("it changes something that has no parts".into()),
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes::<1>()?[0])
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(describe)?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// A line of a GLOBAL opcode, without its end.
    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        self.file.by_ref().take(LONGEST_TEXT).read_until(b'\n', &mut line).map_err(describe)?;
        self.position += line.len() as u64;
        if line.pop() != Some(b'\n') {
            return Err("it has a name without an end".into());
        }
        String::from_utf8(line).map_err(|_| "it has a name that is not text".into())
    }

    /// Pushes the string of `length` bytes that begins here, and passes over it.
    fn text(&mut self, length: u64) -> Result<(), String> {
        let at = self.position;
        let passed =
            std::io::copy(&mut self.file.by_ref().take(length), &mut std::io::sink()).map_err(describe)?;
        if passed != length {
            return Err("it ends too early".into());
        }
        self.position += length;
        self.push(Value::Text { at, length })
    }

    /// Goes back for a short string, then on from where the file was.
    fn short_text(&mut self, value: Value) -> Result<String, String> {
        let Value::Text { at, length } = value else {
            return Err("it has something else where a string belongs".into());
        };
        if length > LONGEST_TEXT {
            return Err(format!("it has a name of {length} bytes"));
        }
        let mut bytes = vec![0; length as usize];
        self.file.seek(SeekFrom::Start(at)).map_err(describe)?;
        self.file.read_exact(&mut bytes).map_err(describe)?;
        self.file.seek(SeekFrom::Start(self.position)).map_err(describe)?;
        String::from_utf8(bytes).map_err(|_| "it has a name that is not text".into())
    }
}

fn describe(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => format!("it cannot be read ({error})"),
    }
}

#[cfg(test)]
mod tests;
