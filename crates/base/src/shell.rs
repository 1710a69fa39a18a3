//! Words as they are typed into a shell.

use std::ffi::OsStr;

/// A word, quoted if a shell would not take it as it is.
pub fn word(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    if text.chars().any(char::is_control) {
        return format!("$'{}'", text.chars().map(in_dollar_quotes).collect::<String>());
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A character between `$'` and `'`: control characters by their numbers.
fn in_dollar_quotes(c: char) -> String {
    let mut bytes = [0; 4];
    match c {
        '\n' => r"\n".to_string(),
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_control() => {
            c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\{byte:03o}")).collect()
        }
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn words_can_be_pasted() {
        assert_eq!(word(Path::new("runs/a-b.h5")), "runs/a-b.h5");
        assert_eq!(word("it's here"), r"'it'\''s here'");
        assert_eq!(word(""), "''");
        assert_eq!(word("a\nb\u{1b}'\u{9b}1"), r"$'a\nb\033\'\302\2331'");
    }
}
