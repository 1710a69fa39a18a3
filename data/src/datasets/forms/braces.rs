//! Names of shards as webdataset writes them: `train-{000..009}.tar`, `{a,b}.tar`.

use std::path::{Path, PathBuf};

use super::locate as locate_one;
use crate::datasets::DataError;

/// Files that a pattern may stand for.
const MOST: usize = 1 << 20;

/// The names that a pattern stands for, in its order; none where it has no braces.
pub(super) fn expand(text: &str) -> Result<Option<Vec<String>>, DataError> {
    if !text.contains('{') {
        return Ok(None);
    }
    let mut names = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, after) = after.split_once('}').ok_or_else(|| wrong(text, "a brace is not closed"))?;
        let words = words(text, inner)?;
        if names.len().saturating_mul(words.len()) > MOST {
            return Err(wrong(text, &format!("it stands for more than {MOST} files")));
        }
        let with =
            |name: &String| words.iter().map(move |word| format!("{name}{before}{word}")).collect::<Vec<_>>();
        names = names.iter().flat_map(with).collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(Some(names))
}

fn wrong(text: &str, what: &str) -> DataError {
    DataError::Argument(format!("{text}: {what}; wanted are names as train-{{000..009}}.tar or {{a,b}}.tar"))
}

fn words(text: &str, inner: &str) -> Result<Vec<String>, DataError> {
    if let Some((first, last)) = inner.split_once("..") {
        let number =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        let (Some(from), Some(to)) = (number(first), number(last)) else {
            return Err(wrong(text, &format!("'{inner}' is no range of numbers")));
        };
        if from > to || to - from >= MOST as u64 {
            return Err(wrong(text, &format!("'{inner}' is no range of 1 to {MOST} numbers")));
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        return Ok((from..=to).map(|number| format!("{number:0width$}")).collect());
    }
    if inner.contains(',') {
        return Ok(inner.split(',').map(str::to_string).collect());
    }
    Err(wrong(text, &format!("'{inner}' is neither a range nor a list")))
}

/// The files of the names, each as it is or below `root`; all must be there.
pub(super) fn locate(text: &str, names: &[String], root: Option<&Path>) -> Result<Vec<PathBuf>, DataError> {
    let paths: Vec<Option<PathBuf>> = names.iter().map(|name| locate_one(name, root)).collect();
    let missing = paths.iter().filter(|path| path.is_none()).count();
    if missing > 0 {
        let first = names.iter().zip(&paths).find(|(_, path)| path.is_none()).map_or("", |(name, _)| name);
        let count = names.len();
        return Err(DataError::Argument(format!(
            "{text}: {missing} of its {count} files are not there, {first} first; name those that are"
        )));
    }
    Ok(paths.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_expanded() {
        let expand = |text: &str| expand(text).map_err(|error| error.to_string());
        assert_eq!(expand("a.tar"), Ok(None));
        let names = |names: &[&str]| Ok(Some(names.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(expand("d/t-{008..010}.tar"), names(&["d/t-008.tar", "d/t-009.tar", "d/t-010.tar"]));
        assert_eq!(expand("{9..10}-{a,b}"), names(&["9-a", "9-b", "10-a", "10-b"]));
        for (text, wanted) in [
            ("{0..3", "a brace is not closed"),
            ("{3..0}", "'3..0' is no range of 1 to 1048576 numbers"),
            ("{0..99999999999999999999}", "'0..99999999999999999999' is no range of numbers"),
            ("{0..1048576}", "no range of 1 to 1048576"),
            ("{0..9999}{0..9999}", "it stands for more than 1048576 files"),
            ("{a}", "'a' is neither a range nor a list"),
        ] {
            let error = expand(text).expect_err(text);
            assert!(error.contains(wanted), "{error}");
        }
        let error = locate("t-{0..1}.tar", &["t-0.tar".into(), "t-1.tar".into()], None)
            .expect_err("none")
            .to_string();
        assert!(error.contains("2 of its 2 files are not there, t-0.tar first"), "{error}");
    }
}
