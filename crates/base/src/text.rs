//! Text from outside (names of files, classes and tensors, what others wrote into files) as it is shown to people: in one
//! line, and without characters that would steer a terminal.

use std::fmt::Display;
use std::io::{self, StdoutLock, Write};

/// `text` in one line: every control character is written as its escape (`\n`, `\u{1b}`), and so is what breaks lines
/// or turns the direction of reading.
pub fn plain(text: impl Display) -> String {
    let text = text.to_string();
    if !text.contains(steers) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut line, c| {
        if steers(c) {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

/// [`plain`] text of at most `most` characters, cut with `…`.
pub fn excerpt(text: impl Display, most: usize) -> String {
    let text = text.to_string();
    match text.char_indices().nth(most) {
        Some((end, _)) => plain(format_args!("{}…", &text[..end])),
        None => plain(text),
    }
}

/// Paragraphs as one line: what is blank at the ends of lines becomes one space.
pub fn joined(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    plain(lines.join(" "))
}

/// The candidate that `word` may be a slip of, if one is near: letters that are wrong, missing, too many or swapped, or
/// another case.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    // Of a short word one letter, of longer ones a third at most.
    let most = (word.chars().count() / 3).clamp(1, 4);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let ranked = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let near = ranked.filter(|&(distance, candidate)| distance <= most && candidate != word);
    // The first of those that are equally near.
    near.min_by_key(|&(distance, _)| distance).map(|(_, candidate)| candidate)
}

/// Words in a sentence: `a`, `a and b`, `a, b and c`, with another word than `and` if wanted.
pub fn listed<T: AsRef<str>>(words: &[T], conjunction: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => (*word).to_string(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

/// Whether a character does something to a terminal rather than being shown.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Standard output, on which lines end and nothing else steers a terminal: control characters come out as `\u001b`, which
/// in JSON means the same.
pub fn stdout() -> Plain<StdoutLock<'static>> {
    Plain::new(io::stdout().lock())
}

/// A writer that passes text on and writes control characters but `\n` and `\t` as escapes.
#[derive(Debug)]
pub struct Plain<W> {
    inner: W,
    /// The first bytes of a character whose others are still to come.
    begun: Vec<u8>,
}

impl<W: Write> Plain<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Plain<W> {
        Plain { inner, begun: Vec::new() }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.inner
    }

    fn pass(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| steers(c) && c != '\n' && c != '\t') {
            self.inner.write_all(&rest.as_bytes()[..at])?;
            write!(self.inner, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.inner.write_all(rest.as_bytes())
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun = std::mem::take(&mut self.begun);
        let joined = [begun.as_slice(), bytes].concat();
        let mut rest = joined.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.pass(text)?;
                    return Ok(bytes.len());
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.pass(std::str::from_utf8(valid).unwrap_or_default())?;
                    let Some(length) = error.error_len() else {
                        self.begun = after.to_vec();
                        return Ok(bytes.len());
                    };
                    self.pass("\u{fffd}")?;
                    rest = &after[length..];
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(plain("größe 1"), "größe 1");
        assert_eq!(plain("a\nb\u{1b}[31m\u{9b}\u{7f}\u{202e}"), r"a\nb\u{1b}[31m\u{9b}\u{7f}\u{202e}");
        assert_eq!(excerpt("[[[[[", 3), "[[[…");
        assert_eq!(excerpt("a\n", 3), r"a\n");
        assert_eq!(joined("a b\n\n  c\r\nd\u{7}e"), r"a b c d\u{7}e");
    }

    #[test]
    fn slips_are_recognised() {
        let keys = ["batch_size", "dropout", "n_T", "lrate", "ema"];
        for (word, wanted) in [
            ("batchsize", Some("batch_size")),
            ("dropuot", Some("dropout")),
            ("n_t", Some("n_T")),
            ("learning_rate", None),
            ("emma", Some("ema")),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), wanted, "{word}");
        }
        assert_eq!(listed(&["a"], "and"), "a");
        assert_eq!(listed(&["a", "b", "c"], "or"), "a, b or c");
    }

    /// However the bytes come, also one at a time.
    #[test]
    fn a_writer_keeps_lines_and_text_and_escapes_the_rest() {
        let text = "größe\t1\n\u{1b}]0;title\u{7}\u{9b}2J\u{7f}é";
        let wanted = "größe\t1\n\\u001b]0;title\\u0007\\u009b2J\\u007fé";
        for piece in 1..text.len() {
            let mut writer = Plain::new(Vec::new());
            text.as_bytes().chunks(piece).for_each(|bytes| writer.write_all(bytes).expect("written"));
            assert_eq!(String::from_utf8(writer.inner).expect("text"), wanted, "{piece}");
        }
        let mut writer = Plain::new(Vec::new());
        writer.write_all(b"a\xffb\xc3(").expect("written");
        assert_eq!(String::from_utf8(writer.inner).expect("text"), "a\u{fffd}b\u{fffd}(");
    }
}
