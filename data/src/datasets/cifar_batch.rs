//! The batches of CIFAR's python versions: a pickled dictionary with labels and one numpy array of unsigned bytes, read
//! without running anything of it (see [`ddae_pickle`]): as Python 2 wrote the published ones, and as Python 3 writes them
//! again with the protocols 2 to 5, with keys of text or bytes, and labels in a list (of Python's or numpy's integers) or
//! an array.

use std::borrow::Cow;

use ddae_pickle::{Object, Program, Value};

/// What a batch holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Images.
    pub rows: usize,
    /// Levels of one image.
    pub columns: usize,
    /// The images, one after the other.
    pub levels: Levels,
    /// One label per image.
    pub labels: Vec<i64>,
}

/// Where the levels of a batch are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Levels {
    /// In the file, from this byte on.
    InPlace(u64),
    /// Nowhere as they are: Python 3 writes bytes as text in protocol 2.
    Decoded(Vec<u8>),
}

/// Finds the array under `data` and reads the labels under `labels_key` (`labels`, `fine_labels`).
///
/// # Errors
/// One line that says what is wrong with the file.
pub(crate) fn read(file: &[u8], labels_key: &str) -> Result<Batch, String> {
    let program = ddae_pickle::load(file).map_err(|error| format!("it {error}"))?;
    let data = array(&program, entry(&program, "data")?).map_err(|found| format!("its 'data' {found}"))?;
    match data.dtype {
        ("u1" | "|u1" | "uint8", _) => {}
        (other, _) => {
            return Err(format!("its 'data' is of type {}, not uint8", other.escape_debug()));
        }
    }
    let (rows, columns) = match data.shape[..] {
        [rows, columns] => (rows, columns),
        [rows, channels @ (1 | 3), height, width] => {
            (rows, channels.checked_mul(height).and_then(|area| area.checked_mul(width)).unwrap_or(0))
        }
        _ => return Err(format!("its 'data' has the shape {:?}, not [images, levels]", data.shape)),
    };
    if data.column_major {
        return Err("its 'data' is stored column by column".into());
    }
    if rows == 0 || columns == 0 {
        return Err(format!("its 'data' has the shape {:?}", data.shape));
    }
    let length = data.bytes.len();
    if rows.checked_mul(columns) != Some(length) {
        return Err(format!("its 'data' has the shape {:?}, but {length} bytes", data.shape));
    }
    let levels = match data.bytes {
        Cow::Borrowed(bytes) => Levels::InPlace((bytes.as_ptr() as usize - file.as_ptr() as usize) as u64),
        Cow::Owned(bytes) => Levels::Decoded(bytes),
    };
    let labels = labels(&program, entry(&program, labels_key)?)
        .map_err(|found| format!("its '{labels_key}' {found}"))?;
    if labels.len() != rows {
        return Err(format!("it has {rows} images, but {} labels under '{labels_key}'", labels.len()));
    }
    Ok(Batch { rows, columns, levels, labels })
}

fn entry(program: &Program<'_>, key: &str) -> Result<Value, String> {
    let Some(Object::Dictionary(entries)) = program.object(program.top()) else {
        return Err("it does not hold a dictionary".into());
    };
    // Of two entries with one key, Python keeps the later.
    let found =
        entries.iter().rev().find(|(name, _)| bytes(program, *name).as_deref() == Some(key.as_bytes()));
    found.map(|&(_, value)| value).ok_or_else(|| format!("it has no entry '{key}'"))
}

/// The bytes of a string: as they stand there, or, where Python 3 wrote `bytes` in protocol 2, of the text that
/// `_codecs.encode` would make them of.
fn bytes<'a>(program: &Program<'a>, value: Value) -> Option<Cow<'a, [u8]>> {
    if let Value::Text { .. } = value {
        return program.bytes(value).map(Cow::Borrowed);
    }
    match program.call(value)? {
        ("_codecs.encode", &[text, encoding], _) if program.text(encoding) == Some("latin1") => {
            let text = program.text(text)?.chars();
            text.map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
        }
        _ => None,
    }
}

/// A numpy array.
struct Array<'a, 'p> {
    shape: Vec<usize>,
    /// The type's name, `u1` or `i8`, and its byte order.
    dtype: (&'p str, u8),
    column_major: bool,
    bytes: Cow<'a, [u8]>,
}

const NO_ARRAY: &str = "is not a numpy array";

fn array<'a, 'p>(program: &'p Program<'a>, value: Value) -> Result<Array<'a, 'p>, String> {
    const NO_BYTES: &str = "is not a numpy array of numbers";
    // numpy has two names for its core.
    let of_core = |name: &str, wanted: &str| {
        let rest = name.strip_prefix("numpy.core.").or_else(|| name.strip_prefix("numpy._core."));
        rest == Some(wanted)
    };
    let (shape, dtype, column_major, data) = match program.call(value) {
        // The state that `numpy.ndarray` was given is (version, shape, type, column-major, data).
        Some((name, &[class, ..], call))
            if of_core(name, "multiarray._reconstruct") && program.global(class) == Some("numpy.ndarray") =>
        {
            match call.state.and_then(|state| program.tuple(state)) {
                Some(&[_, shape, dtype, Value::Bool(column_major), data]) => {
                    (shape, dtype, column_major, data)
                }
                _ => return Err(NO_BYTES.into()),
            }
        }
        // Protocol 5.
        Some((name, &[data, dtype, shape, order], _)) if of_core(name, "numeric._frombuffer") => {
            (shape, dtype, program.text(order) == Some("F"), data)
        }
        _ => return Err(NO_ARRAY.into()),
    };
    let shape = program.tuple(shape).ok_or(NO_BYTES)?.iter().map(|side| match side {
        Value::Int(side) => usize::try_from(*side).map_err(|_| format!("has a side of {side}")),
        _ => Err(NO_BYTES.to_string()),
    });
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    // In one dimension there is no order.
    let column_major = column_major && shape.len() > 1;
    let dtype = self::dtype(program, dtype).ok_or("has no numpy type")?;
    Ok(Array { shape, dtype, column_major, bytes: bytes(program, data).ok_or(NO_BYTES)? })
}

/// Name and byte order of a `numpy.dtype`: its state is (version, order, …).
fn dtype<'p>(program: &'p Program<'_>, value: Value) -> Option<(&'p str, u8)> {
    let Some(("numpy.dtype", [name, ..], call)) = program.call(value) else {
        return None;
    };
    let order = call.state.and_then(|state| program.tuple(state)).and_then(|state| state.get(1).copied());
    let order = order.and_then(|order| bytes(program, order)).and_then(|order| order.first().copied());
    program.text(*name).map(|name| (name, order.unwrap_or(b'=')))
}

/// The integers of numpy's bytes.
fn integers((name, order): (&str, u8), bytes: &[u8]) -> Result<Vec<i64>, String> {
    let not = || format!("is of type {}, not of integers", name.escape_debug());
    let (signed, size) = match name.trim_start_matches(['<', '|', '=', '>']) {
        "i1" => (true, 1),
        "i2" => (true, 2),
        "i4" => (true, 4),
        "i8" => (true, 8),
        "u1" => (false, 1),
        "u2" => (false, 2),
        "u4" => (false, 4),
        "u8" => (false, 8),
        _ => return Err(not()),
    };
    let big = order == b'>' || name.starts_with('>');
    if !bytes.len().is_multiple_of(size) {
        return Err("is damaged".into());
    }
    let one = |bytes: &[u8]| {
        let mut wide = [0; 8];
        for (to, &from) in wide.iter_mut().zip(bytes) {
            *to = from;
        }
        if big {
            wide[..size].reverse();
        }
        let spare = 64 - 8 * size as u32;
        let value = i64::from_le_bytes(wide);
        if signed { value << spare >> spare } else { value }
    };
    Ok(bytes.chunks_exact(size).map(one).collect())
}

/// A list of integers, or an array.
fn labels(program: &Program<'_>, value: Value) -> Result<Vec<i64>, String> {
    let Some(values) = program.sequence(value) else {
        let array = array(program, value).map_err(|found| match found {
            found if found == NO_ARRAY => "is neither a list nor a numpy array".to_string(),
            found => found,
        })?;
        let labels = integers(array.dtype, &array.bytes)?;
        return match array.shape.iter().copied().try_fold(1, usize::checked_mul) == Some(labels.len()) {
            true => Ok(labels),
            false => Err(format!("has the shape {:?}, but {} numbers", array.shape, labels.len())),
        };
    };
    let one = |value: &Value| match (*value, program.call(*value)) {
        (Value::Int(label), _) => Ok(label),
        // A numpy integer: its type and bytes.
        (_, Some(("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", &[of, number], _))) => {
            let found = dtype(program, of).zip(bytes(program, number));
            let found = found.and_then(|(of, number)| integers(of, &number).ok());
            found
                .filter(|found| found.len() == 1)
                .map(|found| found[0])
                .ok_or("holds a damaged number".into())
        }
        _ => Err("holds something that is not an integer".into()),
    };
    values.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
