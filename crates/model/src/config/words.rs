//! What is wrong with a value, in words of people who write configurations: what serde says names types of Rust.

use ddae_base::text::{excerpt, listed, nearest};

/// Characters of a value that are shown.
const SHOWN: usize = 60;
/// Keys that are listed where none of them is near.
const MOST_KEYS: usize = 40;

/// A message of serde as a sentence; any other as it is.
pub(super) fn in_words(message: &str) -> String {
    translated(message).unwrap_or_else(|| message.to_string())
}

/// That a key is not among those that are known.
pub(super) fn unknown_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("there is no such key; did you mean '{near}'?"),
        None if known.is_empty() || known.len() > MOST_KEYS => "there is no such key".to_string(),
        None => format!("there is no such key; there are {}", listed(&known, "and")),
    }
}

/// That a name is not among those that are known.
pub(super) fn unknown_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = nearest(name, known.iter().copied()).map(|near| format!("; did you mean '{near}'?"));
    let name = excerpt(name, SHOWN);
    format!("'{name}' is not known; there are {}{}", listed(&known, "and"), near.unwrap_or_default())
}

fn translated(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("missing field `") {
        return Some(format!("the key '{}' is missing", rest.strip_suffix('`')?));
    }
    if let Some(rest) = message.strip_prefix("duplicate entry with key ") {
        return Some(format!("the key {rest} is there twice"));
    }
    if let Some((key, rest)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        return Some(unknown_key(key, quoted(rest)));
    }
    if let Some((name, rest)) =
        message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`'))
    {
        return Some(unknown_name(name, quoted(rest)));
    }
    if let Some(rest) = message.strip_prefix("invalid length ") {
        let (length, wanted) = rest.split_once(", expected ")?;
        return Some(format!("{} is wanted, and it has {length}", type_wanted(wanted)));
    }
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    // A text may have the same words in it.
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    Some(format!("{} is wanted, and it is {}", type_wanted(wanted), value_found(found)))
}

/// The words between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What serde expects.
fn type_wanted(expected: &str) -> String {
    if let Some(length) = expected.strip_prefix("an array of length ") {
        return format!("a list of {length} values");
    }
    let wanted = match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number of 0 or more",
        "isize" | "i64" | "i32" => "a whole number",
        "a nonzero usize" => "a whole number of at least 1",
        "f64" | "f32" => "a number",
        "a boolean" => "True or False",
        "a string" | "string" | "a borrowed string" => "text",
        "a sequence" | "an array" => "a list",
        "a map" => "a section of keys",
        "variant identifier" | "string or map" => "a name",
        expected if expected.starts_with("struct ") => "a section of keys",
        expected if expected.starts_with("enum ") => "a name",
        expected => expected,
    };
    wanted.to_string()
}

/// What serde found.
fn value_found(found: &str) -> String {
    let within = |kind: &str, open: char| {
        found.strip_prefix(kind)?.strip_prefix(' ')?.strip_prefix(open)?.strip_suffix(open)
    };
    if let Some(text) = within("string", '"') {
        return format!("the text '{}'", excerpt(text, SHOWN));
    }
    if let Some(value) = within("integer", '`').or_else(|| within("floating point", '`')) {
        return value.to_string();
    }
    match (within("boolean", '`'), found) {
        (Some("true"), _) => "True".to_string(),
        (Some(_), _) => "False".to_string(),
        (None, "map") => "a section of keys".to_string(),
        (None, "sequence") => "a list".to_string(),
        (None, "unit value" | "null" | "Option value") => "empty".to_string(),
        (None, found) => found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_not_shown() {
        for (message, wanted) in [
            (
                "invalid type: string \"many\", expected usize",
                "a whole number of 0 or more is wanted, and it is the text 'many'",
            ),
            (
                "invalid type: string \", expected u8\", expected usize",
                "a whole number of 0 or more is wanted, and it is the text ', expected u8'",
            ),
            (
                "invalid value: integer `-1`, expected usize",
                "a whole number of 0 or more is wanted, and it is -1",
            ),
            ("invalid type: sequence, expected f64", "a number is wanted, and it is a list"),
            ("invalid type: unit value, expected a boolean", "True or False is wanted, and it is empty"),
            ("invalid type: boolean `true`, expected a string", "text is wanted, and it is True"),
            (
                "invalid type: floating point `1.5`, expected usize",
                "a whole number of 0 or more is wanted, and it is 1.5",
            ),
            ("invalid length 2, expected an array of length 3", "a list of 3 values is wanted, and it has 2"),
            ("missing field `lrate`", "the key 'lrate' is missing"),
            (
                "unknown field `dropuot`, expected one of `dropout`, `n_blocks`",
                "there is no such key; did you mean 'dropout'?",
            ),
            (
                "unknown field `flip`, expected one of `dropout`, `n_blocks`",
                "there is no such key; there are dropout and n_blocks",
            ),
            ("unknown field `a`, there are no fields", "there is no such key"),
            ("unknown variant `VAE`, expected `DDPM` or `EDM`", "'VAE' is not known; there are DDPM and EDM"),
            (
                "unknown variant `adam`, expected `Adam` or `AdamW`",
                "'adam' is not known; there are Adam and AdamW; did you mean 'Adam'?",
            ),
            ("n_channels is 33", "n_channels is 33"),
        ] {
            assert_eq!(in_words(message), wanted, "{message}");
        }
    }
}
