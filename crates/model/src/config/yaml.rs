//! YAML text, with bounds: a configuration is short and shallow, whoever wrote it.

use serde_norway::Value;

use super::words;

/// Bytes of the longest configuration. Published ones have some thousand.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// How deep brackets may nest; configurations have two or three.
const DEEPEST: usize = 64;
/// How many lists and maps may be written in brackets. The parser takes time for each of those that are open, at every
/// word; what is open is less than all there are, however the text is quoted.
const MOST_BRACKETS: usize = 1024;

/// The value that a text is.
///
/// # Errors
/// When it is no YAML, or longer, deeper or more intricate than any configuration.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    if text.len() > MOST_BYTES {
        return Err(format!("it has {} bytes; a configuration has at most {MOST_BYTES}", text.len()));
    }
    let (mut depth, mut opened) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                opened += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("its brackets nest more than {DEEPEST} deep; no configuration does"));
        }
        if opened > MOST_BRACKETS {
            return Err(format!("it has more than {MOST_BRACKETS} opening brackets; no configuration does"));
        }
    }
    let mut value: Value = serde_norway::from_str(text).map_err(|error| not_yaml(text, &error))?;
    value.apply_merge().map_err(|error| format!("<<: {error}"))?;
    Ok(value)
}

/// Text without the byte order mark with which some editors begin a file.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// What the parser says, after the line and column in which it says it.
fn not_yaml(text: &str, error: &serde_norway::Error) -> String {
    let said = error.to_string();
    let Some(at) = error.location() else { return format!("not YAML: {}", words::in_words(&said)) };
    let (line, column) = (at.line(), at.column());
    let said = said.replacen(&format!(" at line {line} column {column}"), "", 1);
    let indent = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let indent = &indent[..indent.len() - indent.trim_start().len()];
    let hint = if indent.contains('\t') { "; indent with spaces rather than tabs" } else { "" };
    format!("line {line}, column {column}: not YAML: {}{hint}", words::in_words(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_would_take_long_are_refused() {
        let text = |opening: &str, count: usize| opening.repeat(count);
        for (text, wanted) in [
            (text("[", 60_000), "its brackets nest more than 64 deep"),
            (text("{a: ", 16_000), "its brackets nest more than 64 deep"),
            (text("[\n", 30_000), "its brackets nest more than 64 deep"),
            // Closed for whoever counts quoted brackets too.
            (text("[ ']', ", 9_000), "it has more than 1024 opening brackets"),
            (text("[", 200_000), "it has 200000 bytes; a configuration has at most 65536"),
            (text("- ", 32_000), "line 1, column 257: not YAML: recursion limit exceeded"),
            (text("? ", 32_000), "line 1, column 257: not YAML: "),
            (text("a", 70_000), "it has 70000 bytes"),
        ] {
            let error = parse(&text).expect_err(wanted);
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    /// Each line has the one above nine times over.
    #[test]
    fn references_do_not_multiply() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string();
        for i in 1..12 {
            let above = format!("*a{}", i - 1);
            text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![above; 9].join(", ")));
        }
        assert!(parse(&text).expect_err("too many").contains("repetition limit exceeded"));
    }

    #[test]
    fn errors_say_where_they_are() {
        for (text, wanted) in [
            ("a: 1\nb: [1, 2\nc: 3\n", "line 3, column 2: not YAML: did not find expected ',' or ']'"),
            ("a:\n\tb: 1\n", "line 2, column 1: not YAML: found character that cannot start any token"),
            ("a: 1\nb: 2\na: 3\n", "line 1, column 1: not YAML: the key \"a\" is there twice"),
        ] {
            let error = parse(text).expect_err(wanted);
            assert!(error.starts_with(wanted), "{error}");
            assert_eq!(error.contains("spaces rather than tabs"), text.contains('\t'), "{error}");
        }
    }

    #[test]
    fn merge_keys_and_a_byte_order_mark_are_read() {
        let value = parse("\u{feff}base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n").expect("YAML");
        assert_eq!(value["mine"], parse("{a: 1, b: 3}").expect("YAML"), "its own key wins");
        assert!(parse("a: {<<: 1}").expect_err("no map").starts_with("<<: "));
    }

    #[test]
    fn what_configurations_look_like_is_read() {
        let value = parse("a: [1, [2, {b: 3}]]\nc: 'it says [[['\n# {{\n").expect("YAML");
        assert!(value.is_mapping());
    }
}
