//! The batches of CIFAR's python versions: a pickled dictionary with labels and one two-dimensional numpy array of
//! unsigned bytes, read without running anything of it (see [`ddae_pickle`]).

use ddae_pickle::{Object, Program, Value};

/// What a batch holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Images.
    pub rows: usize,
    /// Levels of one image.
    pub columns: usize,
    /// Where in the file the first image begins; they follow one another without gaps.
    pub offset: u64,
    /// One label per image.
    pub labels: Vec<i64>,
}

/// Finds the array under `data` and reads the labels under `labels_key` (`labels`, `fine_labels`).
///
/// # Errors
/// One line that says what is wrong with the file.
pub(crate) fn read(file: &[u8], labels_key: &str) -> Result<Batch, String> {
    let program = ddae_pickle::load(file).map_err(|error| format!("it {error}"))?;
    let (rows, columns, offset) = array(&program, entry(&program, "data")?)?;
    let Some(Object::List(values)) = program.object(entry(&program, labels_key)?) else {
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
        return Err(format!("it has {rows} images, but {} labels under '{labels_key}'", labels.len()));
    }
    Ok(Batch { rows, columns, offset, labels })
}

fn entry(program: &Program<'_>, key: &str) -> Result<Value, String> {
    let Some(Object::Dictionary(entries)) = program.object(program.top()) else {
        return Err("it does not hold a dictionary".into());
    };
    // Of two entries with one key, Python keeps the later.
    let found = entries.iter().rev().find(|(name, _)| program.text(*name) == Some(key));
    found.map(|&(_, value)| value).ok_or_else(|| format!("it has no entry '{key}'"))
}

/// (rows, columns, offset) of an array of unsigned bytes: the state that `numpy.ndarray` was given is (version, shape,
/// type, column-major, data).
fn array(program: &Program<'_>, value: Value) -> Result<(usize, usize, u64), String> {
    // numpy has two names for its core.
    let rebuilds =
        |name| matches!(name, "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct");
    let state = match program.call(value) {
        Some((name, &[class, ..], call))
            if rebuilds(name) && program.global(class) == Some("numpy.ndarray") =>
        {
            call.state
        }
        _ => return Err("its 'data' is not a numpy array".into()),
    };
    let Some(&[_, shape, dtype, Value::Bool(column_major), Value::Text { at, length }]) =
        state.and_then(|state| program.tuple(state))
    else {
        return Err("its 'data' is not a numpy array of bytes".into());
    };
    let dtype = match program.call(dtype) {
        Some(("numpy.dtype", [name, ..], _)) => program.text(*name),
        _ => None,
    };
    match dtype {
        Some("u1" | "|u1" | "uint8") => {}
        Some(other) => return Err(format!("its 'data' is of type {}, not uint8", other.escape_debug())),
        None => return Err("its 'data' has no numpy type".into()),
    }
    let Some(&[Value::Int(rows), Value::Int(columns)]) = program.tuple(shape) else {
        return Err("its 'data' does not have two dimensions".into());
    };
    if column_major {
        return Err("its 'data' is stored column by column".into());
    }
    let (rows, columns) = match (usize::try_from(rows), usize::try_from(columns)) {
        (Ok(rows @ 1..), Ok(columns @ 1..)) => (rows, columns),
        _ => return Err(format!("its 'data' has the shape [{rows}, {columns}]")),
    };
    if rows.checked_mul(columns) != Some(length as usize) {
        return Err(format!("its 'data' has the shape [{rows}, {columns}], but {length} bytes"));
    }
    Ok((rows, columns, at as u64))
}

#[cfg(test)]
mod tests;
