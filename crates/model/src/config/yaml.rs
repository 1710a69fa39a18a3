//! YAML text, with bounds: a configuration is short and shallow, whoever wrote it.

use serde_norway::Value;

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
    serde_norway::from_str(text).map_err(|error| format!("not YAML: {error}"))
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
            (text("- ", 32_000), "not YAML: recursion limit exceeded"),
            (text("? ", 32_000), "not YAML: "),
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
    fn what_configurations_look_like_is_read() {
        let value = parse("a: [1, [2, {b: 3}]]\nc: 'it says [[['\n# {{\n").expect("YAML");
        assert!(value.is_mapping());
    }
}
