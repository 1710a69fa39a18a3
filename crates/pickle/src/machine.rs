//! The stack machine: one method per family of opcodes.

use std::collections::HashMap;

use super::{Call, Object, PickleError, Program, Value};

/// Objects, and values on the stack, that any pickle may have, and how many bytes pay for each beyond: an honest object
/// takes two at least, its opcode and its place in the memo.
const FREE_OBJECTS: usize = 400_000;
const FREE_ON_STACK: usize = 100_000;
const BYTES_EACH: usize = 2;
/// Bytes of names of Python objects that any pickle may have; beyond, each is paid for by one that was read, since
/// protocol 4 can put names together of strings that are stored once.
const FREE_NAMES: usize = 1 << 16;
/// A mark is open for each level of nesting.
const MOST_MARKS: usize = 1_000;
/// Of modules and of what is in them.
const LONGEST_NAME: usize = 256;

/// Reads the pickle that `bytes` begin with.
///
/// # Errors
/// [`PickleError`]: what is refused, or what is wrong with the bytes.
pub fn load(bytes: &[u8]) -> Result<Program<'_>, PickleError> {
    let mut machine = Machine {
        bytes,
        position: 0,
        opcodes: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        names: HashMap::new(),
        name_bytes: 0,
        objects: Vec::new(),
    };
    match bytes {
        [0x80, 2..=5, ..] => machine.position = 2,
        [] | [0x80] => return Err(PickleError::End),
        _ => return Err(PickleError::Protocol),
    }
    let top = machine.run()?;
    let Machine { names, objects, position: length, .. } = machine;
    let mut names: Vec<(Box<str>, u32)> = names.into_iter().collect();
    names.sort_unstable_by_key(|&(_, number)| number);
    let names = names.into_iter().map(|(name, _)| name).collect();
    Ok(Program { bytes, names, objects, top, length })
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    opcodes: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    /// Names of Python objects with their numbers.
    names: HashMap<Box<str>, u32>,
    name_bytes: usize,
    objects: Vec<Object>,
}

impl Machine<'_> {
    /// Runs the program and returns the value it leaves.
    fn run(&mut self) -> Result<Value, PickleError> {
        loop {
            self.opcodes += 1;
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    /// One opcode; names and numbers are those of Python's `pickletools`.
    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            // FRAME: how much to read ahead
            0x95 => self.take::<8>().map(drop),
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            // BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.push(Value::Int(value.into()))
            }
            b'K' => {
                let value = self.byte()?;
                self.push(Value::Int(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.push(Value::Int(value.into()))
            }
            0x8a => {
                let length = self.byte()?;
                self.long(length.into())
            }
            // LONG4
            0x8b => {
                let length = u32::from_le_bytes(self.take()?);
                self.long(length)
            }
            // INT: how Python 2 writes an integer of more than 32 bits, and older protocols booleans
            b'I' => self.decimal(),
            b'G' => {
                let value = f64::from_be_bytes(self.take()?);
                self.push(Value::Float(value))
            }
            // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
            b'U' | b'C' | 0x8c => {
                let length = self.byte()?;
                self.text(length.into())
            }
            // BINSTRING, BINBYTES, BINUNICODE
            b'T' | b'B' | b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length)
            }
            // BINUNICODE8, BINBYTES8, BYTEARRAY8
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.take()?);
                let most = u32::MAX as usize;
                let length = u32::try_from(length)
                    .map_err(|_| PickleError::Limit { what: "bytes in a string", most })?;
                self.text(length)
            }
            // EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET, FROZENSET
            b'}' => self.push_object(Object::Dictionary(Vec::new())),
            b']' => self.push_object(Object::List(Vec::new())),
            b')' => self.push_object(Object::Tuple(Box::default())),
            0x8f => self.push_object(Object::Set(Vec::new())),
            0x91 => {
                let parts = self.pop_to_mark()?;
                self.push_object(Object::Set(parts))
            }
            // MARK, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b'(' => self.mark(),
            b't' => {
                let parts = self.pop_to_mark()?;
                self.push_object(Object::Tuple(parts.into()))
            }
            0x85..=0x87 => {
                let parts = self.pop_last(usize::from(opcode - 0x84))?;
                self.push_object(Object::Tuple(parts.into()))
            }
            // POP, POP_MARK, DUP
            b'0' => match self.stack.len() > self.floor() {
                true => self.pop().map(drop),
                false => self.pop_to_mark().map(drop),
            },
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let value = self.pop()?;
                self.push(value)?;
                self.push(value)
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let slot = self.byte()?;
                self.memoize(slot.into())
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.take()?);
                self.memoize(slot as usize)
            }
            0x94 => self.memoize(self.memo.len()),
            b'h' => {
                let slot = self.byte()?;
                self.recall(slot.into())
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.take()?);
                self.recall(slot as usize)
            }
            // APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS
            b'a' => {
                let part = self.pop()?;
                self.append(vec![part])
            }
            b'e' | 0x90 => {
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
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.name(module)?, self.name(name)?);
                self.global(module, name)
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX, INST, OBJ, BUILD, BINPERSID
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments, None)
            }
            0x92 => {
                let (keywords, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(function, arguments, Some(keywords))
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let arguments = self.pop_to_mark()?;
                self.global(module, name)?;
                let function = self.pop()?;
                self.call_of(function, arguments)
            }
            b'o' => {
                let mut arguments = self.pop_to_mark()?;
                match arguments.is_empty() {
                    true => Err(self.damaged("an empty stack")),
                    false => {
                        let function = arguments.remove(0);
                        self.call_of(function, arguments)
                    }
                }
            }
            b'b' => self.build(),
            b'Q' => {
                let reference = self.pop()?;
                self.push_object(Object::Persistent(reference))
            }
            _ => Err(PickleError::Opcode { opcode, at: self.position - 1 }),
        }
    }

    /// An integer of so many bytes.
    fn long(&mut self, length: u32) -> Result<(), PickleError> {
        let at = self.position;
        let bytes = self.slice(length as usize)?;
        if bytes.len() > 8 {
            return self.push(Value::Long { at, length });
        }
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    /// An integer in decimal digits; `00` and `01` are booleans.
    fn decimal(&mut self) -> Result<(), PickleError> {
        let digits = self.line()?;
        let value = match digits {
            b"00" => Some(Value::Bool(false)),
            b"01" => Some(Value::Bool(true)),
            digits => std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).map(Value::Int),
        };
        match value {
            Some(value) => self.push(value),
            None => Err(self.damaged("an integer that is none")),
        }
    }

    fn text(&mut self, length: u32) -> Result<(), PickleError> {
        let at = self.position;
        self.slice(length as usize)?;
        self.push(Value::Text { at, length })
    }

    /// Records a reference to a Python object. Nothing is looked up.
    fn global(&mut self, module: &[u8], name: &[u8]) -> Result<(), PickleError> {
        let full = [module, b".", name].concat();
        let full = String::from_utf8_lossy(&full);
        if let Some(&number) = self.names.get(&*full) {
            return self.push(Value::Global(number));
        }
        self.name_bytes += full.len();
        let most = FREE_NAMES + self.position;
        if self.name_bytes > most {
            return Err(PickleError::Limit { what: "bytes of names of Python objects", most });
        }
        let number = self.names.len() as u32;
        self.names.insert(full.into(), number);
        self.push(Value::Global(number))
    }

    /// Records a call.
    fn call(
        &mut self,
        function: Value,
        arguments: Value,
        keywords: Option<Value>,
    ) -> Result<(), PickleError> {
        let is = |value: Value, wanted: fn(&Object) -> bool| matches!(value, Value::Object(number) if wanted(&self.objects[number as usize]));
        let is_called = matches!(function, Value::Global(_))
            || is(function, |object| matches!(object, Object::Call(_) | Object::Persistent(_)));
        let has_arguments = is(arguments, |object| matches!(object, Object::Tuple(_)))
            && keywords.is_none_or(|keywords| is(keywords, |object| matches!(object, Object::Dictionary(_))));
        if !is_called || !has_arguments {
            return Err(self.damaged("a call of something that is no function"));
        }
        let call = Call { function, arguments, keywords, state: None, items: Vec::new(), parts: Vec::new() };
        self.push_object(Object::Call(Box::new(call)))
    }

    fn call_of(&mut self, function: Value, arguments: Vec<Value>) -> Result<(), PickleError> {
        self.push_object(Object::Tuple(arguments.into()))?;
        let arguments = self.pop()?;
        self.call(function, arguments, None)
    }

    /// Records the state of what a call would have given.
    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        match self.last_object()? {
            Object::Call(call) => {
                call.state = Some(state);
                Ok(())
            }
            _ => Err(self.damaged("a state for something that has none")),
        }
    }

    fn append(&mut self, parts: Vec<Value>) -> Result<(), PickleError> {
        match self.last_object()? {
            Object::List(list) | Object::Set(list) => {
                list.extend(parts);
                Ok(())
            }
            Object::Call(call) => {
                call.parts.extend(parts);
                Ok(())
            }
            _ => Err(self.damaged("an appending to something that is no list")),
        }
    }

    fn set_items(&mut self, parts: &[Value]) -> Result<(), PickleError> {
        let (pairs, rest) = parts.as_chunks::<2>();
        let entries = match self.last_object()? {
            Object::Dictionary(entries) if rest.is_empty() => entries,
            Object::Call(call) if rest.is_empty() => &mut call.items,
            _ => return Err(self.damaged("an item for something that is no dictionary")),
        };
        entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MOST_MARKS {
            return Err(PickleError::Limit { what: "levels", most: MOST_MARKS });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn memoize(&mut self, slot: usize) -> Result<(), PickleError> {
        // Picklers hand out slots in order. One beyond the opcodes so far is damage, and would reserve memory.
        if slot > self.opcodes {
            return Err(self.damaged("a memo slot out of order"));
        }
        let Some(&value) = self.stack.last() else { return Err(self.damaged("an empty stack")) };
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(value);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), PickleError> {
        match self.memo.get(slot).copied().flatten() {
            Some(value) => self.push(value),
            None => Err(self.damaged("an empty memo slot")),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        let most = FREE_ON_STACK + self.position / BYTES_EACH;
        if self.stack.len() >= most {
            return Err(PickleError::Limit { what: "values on the stack", most });
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_object(&mut self, object: Object) -> Result<(), PickleError> {
        let most = (FREE_OBJECTS + self.position / BYTES_EACH).min(u32::MAX as usize);
        if self.objects.len() >= most {
            return Err(PickleError::Limit { what: "objects", most });
        }
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() as u32 - 1))
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        if self.stack.len() <= self.floor() {
            return Err(self.damaged("an empty stack"));
        }
        self.stack.pop().ok_or(PickleError::End)
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<Value>, PickleError> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.drain(start..).collect()),
            _ => Err(self.damaged("an empty stack")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(start) => Ok(self.stack.drain(start..).collect()),
            None => Err(self.damaged("no mark")),
        }
    }

    /// What lies below the last mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// The object on top of the stack, to be changed in place.
    fn last_object(&mut self) -> Result<&mut Object, PickleError> {
        match self.stack.last() {
            Some(&Value::Object(number)) => Ok(&mut self.objects[number as usize]),
            _ => Err(self.damaged("a change of something that has no parts")),
        }
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = self.bytes[self.position..].first_chunk().ok_or(PickleError::End)?;
        self.position += N;
        Ok(*bytes)
    }

    fn damaged(&self, what: &'static str) -> PickleError {
        PickleError::Damaged(what, self.position)
    }
}

impl<'a> Machine<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let bytes = self.bytes[self.position..].get(..length).ok_or(PickleError::End)?;
        self.position += length;
        Ok(bytes)
    }

    /// A line of a GLOBAL opcode, without its end.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.position..];
        let rest = &rest[..rest.len().min(LONGEST_NAME)];
        match rest.iter().position(|&byte| byte == b'\n') {
            Some(length) => {
                let line = self.slice(length)?;
                self.position += 1;
                Ok(line)
            }
            None if rest.len() < LONGEST_NAME => Err(PickleError::End),
            None => Err(PickleError::Limit { what: "bytes in a name", most: LONGEST_NAME }),
        }
    }

    /// The bytes of a string that names a module or something in it.
    fn name(&self, value: Value) -> Result<&'a [u8], PickleError> {
        match value {
            Value::Text { length, .. } if length as usize > LONGEST_NAME => {
                Err(PickleError::Limit { what: "bytes in a name", most: LONGEST_NAME })
            }
            Value::Text { at, length } => Ok(&self.bytes[at..at + length as usize]),
            _ => Err(self.damaged("a name that is no string")),
        }
    }
}
