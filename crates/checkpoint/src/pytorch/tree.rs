//! The nested dictionaries of a file, made flat: tensors and other values under the keys that lead to them.

use super::super::contents::{Contents, Fault};
use super::super::stored::{StoredTensor, View};
use super::storages::{Extents, reference};
use ddae_pickle::{Object, PickleError, Program, Value};

/// A checkpoint has 4: `EMA`, its entry's name; `opt`, `state`, a number, `exp_avg`.
const DEEPEST: usize = 64;
/// PyTorch's own bound; weights have 5 axes at most.
const MOST_AXES: usize = 64;
/// Of one key of a dictionary.
const LONGEST_KEY: usize = 4096;
/// Places of values, and parts of lists that are looked at, however long the program is: those of a checkpoint are some
/// for each tensor.
const MOST_VISITS: usize = 1 << 18;
const MOST_LOOKS: usize = 1 << 22;
/// Bytes of names, printed values and sizes, however long the program is.
const MOST_TEXT: usize = 16 << 20;
/// Elements of a list that are shown.
const SHOWN: usize = 8;
/// Characters of a string that are shown.
const SHOWN_TEXT: usize = 80;

/// Walks everything that the program's value contains.
///
/// # Errors
/// When a tensor is not inside its storage, or the nesting is not one that an honest file has.
pub fn flatten(program: &Program<'_>, extents: &Extents) -> Result<Contents, Fault> {
    // An object may be shared, so that a small file could be a huge tree. What is not shared takes more bytes than this.
    let length = program.length();
    let mut walk = Walk {
        program,
        extents,
        contents: Contents::default(),
        pending: Vec::new(),
        visits: (1_024 + length).min(MOST_VISITS),
        looks: (1_024 + 2 * length.min(MOST_LOOKS)).min(MOST_LOOKS),
        text: (65_536 + 16 * length.min(MOST_TEXT)).min(MOST_TEXT),
    };
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
}

struct Place {
    value: Value,
    name: String,
    depth: usize,
}

impl Walk<'_, '_> {
    fn defer(&mut self, value: Value, name: String, depth: usize) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(PickleError::Limit { what: "levels of nesting", most: DEEPEST }.into());
        }
        pay(&mut self.visits, 1)?;
        pay(&mut self.text, name.len())?;
        self.pending.push(Place { value, name, depth });
        Ok(())
    }

    fn visit(&mut self, Place { value, name, depth }: Place) -> Result<(), Fault> {
        let program = self.program;
        let Some(object) = program.object(value) else {
            return self.value(name, describe(program, value));
        };
        match object {
            Object::Dictionary(entries) => self.entries(entries, &name, depth),
            Object::List(parts) => self.sequence(parts, name, depth),
            Object::Tuple(parts) => self.sequence(parts, name, depth),
            Object::Persistent(pickled) => {
                let storage = reference(program, *pickled)?;
                self.value(name, format!("a storage of {} values of {}", storage.length, storage.element))
            }
            Object::Call(_) => self.call(value, name, depth),
        }
    }

    fn call(&mut self, value: Value, name: String, depth: usize) -> Result<(), Fault> {
        let Some((function, arguments, call)) = self.program.call(value) else {
            return Err("holds a call without arguments".to_string().into());
        };
        match function {
            "collections.OrderedDict" => {
                // Python 2 gives the items as an argument: a list of pairs.
                let listed =
                    arguments.first().and_then(|&items| self.program.sequence(items)).unwrap_or_default();
                pay(&mut self.looks, listed.len())?;
                let pair = |&pair: &Value| match self.program.sequence(pair) {
                    Some(&[key, value]) => Some((key, value)),
                    _ => None,
                };
                let mut entries: Vec<(Value, Value)> = listed.iter().filter_map(pair).collect();
                entries.extend(&call.items);
                self.entries(&entries, &name, depth)
            }
            "argparse.Namespace" => match call.state.and_then(|state| self.program.object(state)) {
                Some(Object::Dictionary(entries)) => self.entries(entries, &name, depth),
                _ => Ok(()),
            },
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                self.tensor(name, arguments)
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                match arguments {
                    // It stands where its tensor stands.
                    [data, ..] => self.defer(*data, name, depth + 1),
                    [] => Err(format!("holds the parameter '{name}' without its tensor").into()),
                }
            }
            _ => self.value(name, describe(self.program, value)),
        }
    }

    fn entries(&mut self, entries: &[(Value, Value)], name: &str, depth: usize) -> Result<(), Fault> {
        for (position, &(key, value)) in entries.iter().enumerate().rev() {
            let key = match (key, self.program.text(key)) {
                (_, Some(text)) if text.len() > LONGEST_KEY => {
                    return Err(PickleError::Limit { what: "bytes in a key", most: LONGEST_KEY }.into());
                }
                (_, Some(text)) => text.to_string(),
                (Value::Int(number), _) => number.to_string(),
                // No key that names a tensor; its place tells it from others.
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
            _ => self.program.call(value).is_some_and(|(function, ..)| function == "collections.OrderedDict"),
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
            self.value(name, describe_parts(self.program, parts))
        }
    }

    fn tensor(&mut self, name: String, arguments: &[Value]) -> Result<(), Fault> {
        let program = self.program;
        let name = if name.is_empty() { "tensor".to_string() } else { name };
        let storage = match arguments.first().and_then(|&storage| program.object(storage)) {
            Some(Object::Persistent(pickled)) => reference(program, *pickled)?.resolve(self.extents)?,
            _ => return Err(format!("holds the tensor '{name}' without a storage").into()),
        };
        let view = match arguments {
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

    fn value(&mut self, name: String, printed: String) -> Result<(), Fault> {
        pay(&mut self.text, printed.len())?;
        let name = if name.is_empty() { "value".to_string() } else { name };
        self.contents.values.push((name, printed));
        Ok(())
    }
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
        Value::Global(_) => program.global(value).unwrap_or_default().to_string(),
        Value::Object(_) => match program.call(value) {
            Some(("torch.Size", &[sizes], _)) => {
                describe_parts(program, program.tuple(sizes).unwrap_or_default())
            }
            Some((function, arguments, _)) => format!("{function}{}", describe_parts(program, arguments)),
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
