//! The nested dictionaries of a file, made flat: tensors and other values under the keys that lead to them.

use std::collections::{HashMap, HashSet};

use super::super::contents::{Contents, Fault};
use super::super::element::ElementType;
use super::super::stored::{Storage, StoredTensor, View};
use super::persistent::PickledModule;
use super::storages::{Extents, described_reference, reference};
use super::{PLAIN, nested, persistent};
use ddae_pickle::{Call, Object, Program, Value};

/// A checkpoint has 4: `EMA`, its entry's name; `opt`, `state`, a number, `exp_avg`. What is deeper is not looked at.
const DEEPEST: usize = 64;
/// PyTorch's own bound; weights have 5 axes at most.
const MOST_AXES: usize = 64;
/// Of one key of a dictionary.
const LONGEST_KEY: usize = 4096;
/// Values beside tensors that are kept for show; further ones are counted.
const MOST_VALUES: usize = 10_000;
/// Unknown objects whose names are kept.
const MOST_FOREIGN: usize = 256;
/// Elements of a list that are shown.
const SHOWN: usize = 8;
/// Characters of a string that are shown.
const SHOWN_TEXT: usize = 80;

/// Walks everything that the program's value contains.
///
/// # Errors
/// When a tensor is not inside its storage, or the same parts are referred to so often that the bytes of the file do not
/// pay for it.
pub fn flatten(program: &Program<'_>, extents: &Extents) -> Result<Contents, Fault> {
    // An object may be shared, so that a small file could be a huge tree. What is not shared takes more bytes than this.
    let length = program.length();
    let mut walk = Walk {
        program,
        extents,
        contents: Contents::default(),
        pending: Vec::new(),
        visits: length.saturating_add(1_024),
        looks: length.saturating_mul(2).saturating_add(1_024),
        text: length.saturating_mul(16).saturating_add(65_536),
        entered: HashSet::new(),
        nested: HashMap::new(),
    };
    let foreign = program.names().filter(|name| !PLAIN.contains(name)).take(MOST_FOREIGN);
    walk.contents.foreign = foreign.map(str::to_string).collect();
    walk.defer(program.top(), String::new(), 0)?;
    while let Some(place) = walk.pending.pop() {
        walk.visit(place)?;
    }
    Ok(walk.contents)
}

struct Walk<'w, 'a> {
    program: &'w Program<'a>,
    extents: &'w Extents,
    contents: Contents,
    /// What is still to be visited, the next one last: no recursion, so no nesting exhausts the stack.
    pending: Vec<Place>,
    /// What is left of each bound.
    visits: usize,
    looks: usize,
    text: usize,
    /// Unknown objects whose attributes were visited: those refer back to what holds them.
    entered: HashSet<u32>,
    /// Storages inside of strings, by the place of those; why not, where it is none.
    nested: HashMap<usize, Result<Storage, String>>,
}

struct Place {
    value: Value,
    name: String,
    depth: usize,
}

impl Walk<'_, '_> {
    fn defer(&mut self, value: Value, name: String, depth: usize) -> Result<(), Fault> {
        pay(&mut self.visits, 1)?;
        pay(&mut self.text, name.len())?;
        self.pending.push(Place { value, name, depth });
        Ok(())
    }

    fn visit(&mut self, Place { value, name, depth }: Place) -> Result<(), Fault> {
        let program = self.program;
        let Some(object) = program.object(value) else {
            return self.value(name, value);
        };
        if depth > DEEPEST {
            return self.shown(name, "…".to_string());
        }
        match object {
            Object::Dictionary(entries) => self.entries(entries, &name, depth),
            Object::List(parts) => self.sequence(parts, name, depth),
            Object::Tuple(parts) => self.sequence(parts, name, depth),
            Object::Set(parts) => self.sequence(parts, name, depth),
            Object::Persistent(pickled) => self.shown(name, described_reference(program, *pickled)),
            Object::Call(call) => self.call(value, call, name, depth),
        }
    }

    fn call(&mut self, value: Value, call: &Call, name: String, depth: usize) -> Result<(), Fault> {
        let program = self.program;
        let arguments = program.tuple(call.arguments).unwrap_or_default();
        match (program.global(call.function).unwrap_or_default(), arguments) {
            ("collections.OrderedDict", _) => {
                let entries = self.ordered(call)?;
                self.entries(&entries, &name, depth)
            }
            ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", _) => {
                match arguments {
                    // It stands where its tensor stands.
                    [data, ..] => self.defer(*data, name, depth + 1),
                    [] => Err(format!("holds the parameter '{name}' without its tensor").into()),
                }
            }
            // A tensor with attributes, or of a class of its own: the call that makes it, the class, and the attributes.
            ("torch._tensor._rebuild_from_type_v2", &[function, _class, inner, ..]) => {
                match rebuilt(program, function, program.tuple(inner)) {
                    Some(tensor) => self.tensor(name, tensor),
                    None => self.unread(name, value),
                }
            }
            (persistent::FUNCTION, &[meta]) => match PickledModule::read(program, meta, &name) {
                Some((module, state)) => {
                    pay(&mut self.text, module.text())?;
                    self.contents.modules.push(module);
                    self.attributes(value, state, name, depth)
                }
                None => self.unread(name, value),
            },
            (_, arguments) => match rebuilt(program, call.function, Some(arguments)) {
                Some(tensor) => self.tensor(name, tensor),
                None => self.unknown(value, call, name, depth),
            },
        }
    }

    /// The items of an `OrderedDict`: Python 2 gives them as an argument, a list of pairs.
    fn ordered(&mut self, call: &Call) -> Result<Vec<(Value, Value)>, Fault> {
        let program = self.program;
        let first = program.tuple(call.arguments).and_then(|arguments| arguments.first());
        let listed = first.and_then(|&items| program.sequence(items)).unwrap_or_default();
        pay(&mut self.looks, listed.len() + call.items.len())?;
        let pair = |&pair: &Value| match program.sequence(pair) {
            Some(&[key, value]) => Some((key, value)),
            _ => None,
        };
        let mut entries: Vec<(Value, Value)> = listed.iter().filter_map(pair).collect();
        entries.extend(&call.items);
        Ok(entries)
    }

    /// What an unknown class or function would have given, as far as data tells: the items and parts that were set on it, as on
    /// a dictionary or list, or its attributes. A module's parameters, buffers and modules are named as by its
    /// `state_dict()`.
    fn unknown(&mut self, value: Value, call: &Call, name: String, depth: usize) -> Result<(), Fault> {
        let program = self.program;
        if !call.items.is_empty() {
            return self.entries(&call.items, &name, depth);
        }
        if !call.parts.is_empty() {
            return self.sequence(&call.parts, name, depth);
        }
        // With slots, attributes are the second of two dictionaries.
        let state = call.state.map(|state| match program.tuple(state) {
            Some(&[Value::None, attributes]) => attributes,
            _ => state,
        });
        match state.filter(|&state| program.dictionary(state).is_some()) {
            Some(state) => self.attributes(value, state, name, depth),
            None => self.unread(name, value),
        }
    }

    /// The attributes `state`, a dictionary, of the object `value`.
    fn attributes(&mut self, value: Value, state: Value, name: String, depth: usize) -> Result<(), Fault> {
        let program = self.program;
        if program.entry(state, "_parameters").is_some() {
            return self.module(state, &name, depth);
        }
        match value {
            Value::Object(number) if !self.entered.insert(number) => self.unread(name, value),
            _ => self.entries(program.dictionary(state).unwrap_or_default(), &name, depth),
        }
    }

    /// The storage in a string of the pickle.
    fn nested(&mut self, string: Value) -> Result<Storage, String> {
        let (Value::Text { at, .. }, Some(bytes)) = (string, self.program.bytes(string)) else {
            return Err("is no string".to_string());
        };
        let read = || {
            nested::storage(bytes, at).map_err(|fault| match fault {
                Fault::Pickle(error) => error.to_string(),
                Fault::Format(message) => message,
            })
        };
        self.nested.entry(at).or_insert_with(read).clone()
    }

    /// The attributes of a `torch.nn.Module`.
    fn module(&mut self, state: Value, name: &str, depth: usize) -> Result<(), Fault> {
        let program = self.program;
        let passing = program.entry(state, "_non_persistent_buffers_set");
        let passing: Vec<&str> = match passing.and_then(|set| program.object(set)) {
            Some(Object::Set(parts)) => parts.iter().filter_map(|&part| program.text(part)).collect(),
            // Protocol 2 has the call of a list.
            Some(Object::Call(call)) => {
                let list = program.tuple(call.arguments).and_then(|arguments| arguments.first());
                let parts = list.and_then(|&list| program.sequence(list)).unwrap_or_default();
                parts.iter().filter_map(|&part| program.text(part)).collect()
            }
            _ => Vec::new(),
        };
        pay(&mut self.looks, passing.len())?;
        for key in ["_modules", "_buffers", "_parameters"] {
            let Some(part) = program.entry(state, key) else { continue };
            let mut entries = match program.object(part) {
                Some(Object::Dictionary(entries)) => entries.clone(),
                Some(Object::Call(call)) => self.ordered(call)?,
                _ => continue,
            };
            pay(&mut self.looks, entries.len() * (1 + passing.len()))?;
            let is_passing = |key: Value| program.text(key).is_some_and(|key| passing.contains(&key));
            entries.retain(|&(name, value)| value != Value::None && (key != "_buffers" || !is_passing(name)));
            self.entries(&entries, name, depth)?;
        }
        Ok(())
    }

    fn entries(&mut self, entries: &[(Value, Value)], name: &str, depth: usize) -> Result<(), Fault> {
        for (position, &(key, value)) in entries.iter().enumerate().rev() {
            let key = match (key, self.program.text(key)) {
                (_, Some(text)) if text.len() <= LONGEST_KEY => text.to_string(),
                (Value::Int(number), _) => number.to_string(),
                // No key that names a tensor, or none that is so long; its place tells it from others.
                _ => format!("[{position}]"),
            };
            if depth == 0 && self.is_dictionary(value) {
                self.contents.groups.push(key.clone());
            }
            self.defer(value, below(name, &key), depth + 1)?;
        }
        Ok(())
    }

    fn is_dictionary(&self, value: Value) -> bool {
        match self.program.object(value) {
            Some(Object::Dictionary(_)) => true,
            Some(Object::Call(call)) => {
                !call.items.is_empty()
                    || self.program.global(call.function) == Some("collections.OrderedDict")
            }
            _ => false,
        }
    }

    fn sequence(&mut self, parts: &[Value], name: String, depth: usize) -> Result<(), Fault> {
        pay(&mut self.looks, parts.len())?;
        if parts.iter().any(|part| matches!(part, Value::Object(_))) {
            for (position, &part) in parts.iter().enumerate().rev() {
                self.defer(part, below(&name, &position.to_string()), depth + 1)?;
            }
            Ok(())
        } else {
            self.shown(name, describe_parts(self.program, parts))
        }
    }

    fn tensor(&mut self, name: String, Rebuilt { parts, dtype }: Rebuilt<'_>) -> Result<(), Fault> {
        let program = self.program;
        let name = if name.is_empty() { "tensor".to_string() } else { name };
        let whole = parts.first().and_then(|&storage| program.call(storage));
        if let Some((nested::FUNCTION, &[string], _)) = whole {
            return match self.nested(string) {
                Ok(storage) => self.view(name, storage, parts),
                Err(message) => {
                    let what = format!("a tensor whose storage, a file in the pickle, {message}");
                    pay(&mut self.text, name.len() + what.len())?;
                    self.contents.unread.push((name.clone(), what.clone()));
                    self.shown(name, what)
                }
            };
        }
        let storage = match parts.first().and_then(|&storage| program.object(storage)) {
            Some(Object::Persistent(pickled)) => reference(program, *pickled)?,
            _ => return Err(format!("holds the tensor '{name}' without a storage").into()),
        };
        let storage = match dtype {
            None => storage,
            Some(dtype) => storage.of_dtype(dtype),
        };
        if let ElementType::Other(_) = storage.element {
            let class = dtype.unwrap_or(storage.class).escape_debug();
            let what = format!("a tensor of {class}");
            pay(&mut self.text, name.len() + what.len())?;
            self.contents.unread.push((name.clone(), what.clone()));
            return self.shown(name, what);
        }
        let storage = storage.resolve(self.extents)?;
        self.view(name, storage, parts)
    }

    /// The tensor `name` that looks at a storage, as the arguments `parts` of its call say.
    fn view(&mut self, name: String, storage: Storage, parts: &[Value]) -> Result<(), Fault> {
        let program = self.program;
        let view = match parts {
            [_, Value::Int(offset), shape, strides, ..] => usize::try_from(*offset)
                .ok()
                .zip(sizes(program, *shape))
                .zip(sizes(program, *strides))
                .map(|((offset, shape), strides)| View { offset, shape, strides }),
            _ => None,
        };
        let view = view.ok_or_else(|| format!("says of the tensor '{name}' neither sizes nor strides"))?;
        pay(&mut self.text, size_of_val(&*view.shape) + size_of_val(&*view.strides))?;
        self.contents.tensors.push(StoredTensor::viewing(name, storage, view)?);
        Ok(())
    }

    /// A call that is not understood: it may stand where a tensor is wanted.
    fn unread(&mut self, name: String, value: Value) -> Result<(), Fault> {
        let what = describe(self.program, value);
        if self.contents.unread.len() < MOST_VALUES {
            pay(&mut self.text, name.len() + what.len())?;
            self.contents.unread.push((name.clone(), what.clone()));
        }
        self.shown(name, what)
    }

    fn value(&mut self, name: String, value: Value) -> Result<(), Fault> {
        match self.contents.values.len() < MOST_VALUES {
            true => self.shown(name, describe(self.program, value)),
            false => self.shown(name, String::new()),
        }
    }

    /// Keeps a value for show, unless there are many.
    fn shown(&mut self, name: String, printed: String) -> Result<(), Fault> {
        pay(&mut self.text, printed.len())?;
        if self.contents.values.len() == MOST_VALUES {
            self.contents.left_out += 1;
            return Ok(());
        }
        let name = if name.is_empty() { "value".to_string() } else { name };
        self.contents.values.push((name, printed));
        Ok(())
    }
}

/// The tensor that a call of one of PyTorch's own functions makes; none for other calls.
fn rebuilt<'p>(
    program: &'p Program<'_>,
    function: Value,
    arguments: Option<&'p [Value]>,
) -> Option<Rebuilt<'p>> {
    let (parts, dtype) = match (program.global(function)?, arguments?) {
        ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2", parts) => (parts, None),
        // Its storage has no type, so the tensor says it.
        ("torch._utils._rebuild_tensor_v3", parts @ [_, _, _, _, _, _, dtype, ..]) => {
            (parts, Some(program.global(*dtype)?))
        }
        _ => return None,
    };
    Some(Rebuilt { parts, dtype })
}

/// A tensor that is to be made of a storage: the arguments of the call, and its type where the storage has none.
struct Rebuilt<'p> {
    parts: &'p [Value],
    dtype: Option<&'p str>,
}

/// Takes `price` from what is left of a bound.
fn pay(left: &mut usize, price: usize) -> Result<(), Fault> {
    *left = left
        .checked_sub(price)
        .ok_or_else(|| "repeats its parts beyond measure: the file is refused".to_string())?;
    Ok(())
}

/// The name of what is under `key` in what is called `name`.
fn below(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_string() } else { format!("{name}.{key}") }
}

/// A tuple of sizes or strides, or a `torch.Size` of one.
fn sizes(program: &Program<'_>, value: Value) -> Option<Vec<usize>> {
    let parts = match program.call(value) {
        Some(("torch.Size", &[sizes], _)) => program.tuple(sizes)?,
        _ => program.tuple(value)?,
    };
    let size = |part: &Value| match part {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    if parts.len() > MOST_AXES {
        return None;
    }
    parts.iter().map(size).collect()
}

/// A value as Python prints it, abridged.
fn describe(program: &Program<'_>, value: Value) -> String {
    match value {
        Value::None => "None".to_string(),
        Value::Bool(true) => "True".to_string(),
        Value::Bool(false) => "False".to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Long { length, .. } => format!("an integer of {length} bytes"),
        Value::Text { length, .. } => match program.text(value) {
            Some(text) if text.chars().nth(SHOWN_TEXT).is_none() => format!("'{}'", text.escape_debug()),
            Some(text) => {
                let start: String = text.chars().take(SHOWN_TEXT).collect();
                format!("'{}…' ({length} bytes)", start.escape_debug())
            }
            None => format!("{length} bytes"),
        },
        Value::Global(_) => program.global(value).unwrap_or_default().escape_debug().to_string(),
        Value::Object(_) => match program.call(value) {
            Some(("torch.Size", &[sizes], _)) => {
                describe_parts(program, program.tuple(sizes).unwrap_or_default())
            }
            Some((function, arguments, _)) => {
                format!("{}{}", function.escape_debug(), describe_parts(program, arguments))
            }
            None => "…".to_string(),
        },
    }
}

/// Parts that are no objects, abridged: `(1, 2, 3)`.
fn describe_parts(program: &Program<'_>, parts: &[Value]) -> String {
    let shown = parts.iter().take(SHOWN).map(|&part| match part {
        Value::Object(_) => "…".to_string(),
        _ => describe(program, part),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if parts.len() > SHOWN {
        format!("({shown}, …) of {} values", parts.len())
    } else {
        format!("({shown})")
    }
}
