//! From what sources say of their images to class names and numbers.

use std::collections::HashMap;

use super::found::{Found, Part};
use super::names::composed;
use crate::datasets::DataError;
use crate::datasets::split_names::{Role, role};

/// Classes that are told by number alone.
const MOST_NUMBERED: i64 = 1 << 20;

/// Words of which there are few different ones, image by image.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// The different words.
    pub all: Vec<String>,
    /// Of each image, the number of its word.
    pub of: Vec<u32>,
    numbers: HashMap<String, u32>,
}

impl Words {
    /// Whether an image has the word.
    pub fn has(&self, word: &str) -> bool {
        self.numbers.contains_key(word)
    }

    /// Adds an image's word, compared in composed form.
    pub fn push(&mut self, word: &str) {
        let word = composed(word);
        let number = match self.numbers.get(word.as_ref()) {
            Some(&number) => number,
            None => {
                let number = self.all.len() as u32;
                self.all.push(word.to_string());
                self.numbers.insert(word.into_owned(), number);
                number
            }
        };
        self.of.push(number);
    }
}

/// What a source says of the classes of a split's images.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// Nothing.
    None,
    /// Names.
    Names(Words),
    /// Text: numbers where all of it are, or else names. An empty text, and the number -1, say nothing.
    Text(Words),
    /// Numbers; -1 says nothing.
    Numbers(Vec<i64>),
}

impl Given {
    /// Keeps what is said of the images at `positions`.
    pub fn keep(&mut self, positions: &[u32]) {
        match self {
            Given::None => {}
            Given::Names(words) | Given::Text(words) => {
                words.of = positions.iter().map(|&p| words.of[p as usize]).collect();
            }
            Given::Numbers(numbers) => *numbers = positions.iter().map(|&p| numbers[p as usize]).collect(),
        }
    }
}

/// Class names, and the labels of each part; none for parts of which nothing is said.
pub(super) struct Classes {
    pub names: Vec<String>,
    pub of_parts: Vec<Option<Vec<u32>>>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// The classes of all parts together.
///
/// Names are sorted, and those of the training images count: another part has no other. Numbers stay what they are; their
/// names are those that the source says, or else the numbers themselves.
pub(super) fn resolve(found: &Found) -> Result<Classes, DataError> {
    let texts = || {
        found.parts.iter().filter_map(|part| match &part.labels {
            Given::Text(words) => Some(words),
            _ => None,
        })
    };
    let said = |word: &&String| !word.is_empty();
    let words = || texts().flat_map(|words| words.all.iter().filter(said));
    // Of one spelling, since '1' and '01' may be two classes, or not.
    let number: Option<fn(&str) -> Option<i64>> = [whole as fn(&str) -> Option<i64>, with_point]
        .into_iter()
        .find(|number| words().all(|word| number(word).is_some()));
    let pointed = words().find(|word| number.is_some() && whole(word).is_none());
    let note = pointed.map(|word| format!("labels such as {word} are read as whole numbers"));
    let parts: Vec<Said> = found.parts.iter().map(|part| said_of(part, number)).collect();
    let mut classes = match (&found.classes, parts.iter().any(|said| matches!(said, Said::Names(_)))) {
        (Some(stated), _) => by_stated(found, &parts, stated.clone()),
        (None, true) => by_names(found, &parts),
        (None, false) => by_numbers(found, &parts),
    }?;
    classes.notes.extend(note);
    Ok(classes)
}

/// What is said of a part's images.
enum Said<'a> {
    Nothing,
    Names(&'a Words),
    Numbers(Vec<i64>),
}

/// A whole number as it is usually written: neither `+1` nor `01`.
fn whole(word: &str) -> Option<i64> {
    word.parse().ok().filter(|number: &i64| number.to_string() == word)
}

/// A whole number as it is written where others of its column might not be, `3.0`.
fn with_point(word: &str) -> Option<i64> {
    whole(word.strip_suffix(".0")?)
}

fn said_of(part: &Part, number: Option<fn(&str) -> Option<i64>>) -> Said<'_> {
    match &part.labels {
        Given::None => Said::Nothing,
        Given::Names(words) => Said::Names(words),
        Given::Numbers(numbers) => Said::Numbers(numbers.clone()),
        Given::Text(words) => {
            let Some(number) = number else { return Said::Names(words) };
            let numbers: Vec<i64> = words.all.iter().map(|word| number(word).unwrap_or(-1)).collect();
            Said::Numbers(words.of.iter().map(|&word| numbers[word as usize]).collect())
        }
    }
}

/// The labels of a part, of each image what `label` says: `Ok(None)` where nothing is said of it. Of all images something is
/// said, or of none.
fn labels(
    found: &Found,
    part: &Part,
    label: impl Fn(usize) -> Result<Option<u32>, String>,
) -> Result<Option<Vec<u32>>, DataError> {
    let wrong = |index: usize, what: String, expected: &str| {
        Err(DataError::format(&part.items.path(index), what, expected.to_string()))
    };
    let mut labels = Vec::new();
    let mut without = None;
    for index in 0..part.count {
        match label(index) {
            Ok(Some(label)) => labels.push(label),
            Ok(None) => without = without.or(Some(index)),
            Err(what) => return wrong(index, what, &expected(found)),
        }
    }
    match (labels.is_empty(), without) {
        (_, None) => Ok(Some(labels)),
        (true, Some(_)) => Ok(None),
        (false, Some(index)) => {
            let what = format!("it has no label, unlike others of '{}'", part.name);
            wrong(index, what, "labels of all images of a split, or of none")
        }
    }
}

/// The label of a name; nothing where there is none.
fn by_name(words: &Words, index: usize, numbers: &HashMap<&str, u32>) -> Result<Option<u32>, String> {
    let word = &words.all[words.of[index] as usize];
    if word.is_empty() {
        return Ok(None);
    }
    numbers.get(word.as_str()).map(|&label| Some(label)).ok_or_else(|| format!("its class is '{word}'"))
}

fn expected(found: &Found) -> String {
    match &found.classes {
        Some(stated) => format!("one of the {} classes that the source names", stated.len()),
        None => "one of the classes of the training images".to_string(),
    }
}

fn by_stated(found: &Found, parts: &[Said], stated: Vec<String>) -> Result<Classes, DataError> {
    let stated: Vec<String> = stated.into_iter().map(|name| composed(&name).into_owned()).collect();
    let numbers: HashMap<&str, u32> = stated.iter().map(String::as_str).zip(0..).collect();
    let of_part = |(part, said): (&Part, &Said)| match said {
        Said::Nothing => Ok(None),
        Said::Names(words) => labels(found, part, |index| by_name(words, index, &numbers)),
        Said::Numbers(numbers) => labels(found, part, |index| match numbers[index] {
            -1 => Ok(None),
            label if usize::try_from(label).is_ok_and(|label| label < stated.len()) => Ok(Some(label as u32)),
            label => Err(format!("its label is {label}")),
        }),
    };
    let of_parts = found.parts.iter().zip(parts).map(of_part).collect::<Result<_, _>>()?;
    Ok(Classes { names: stated, of_parts, notes: Vec::new() })
}

fn by_names(found: &Found, parts: &[Said]) -> Result<Classes, DataError> {
    let used = |said: &Said| match said {
        Said::Names(words) => {
            let mut is_used = vec![false; words.all.len()];
            words.of.iter().for_each(|&word| is_used[word as usize] = true);
            let names = words.all.iter().zip(is_used).filter(|(name, is_used)| *is_used && !name.is_empty());
            names.map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let chief = found.parts.iter().position(|part| role(&part.name) == Some(Role::Train));
    let mut names: Vec<String> = chief.map(|chief| used(&parts[chief])).unwrap_or_default();
    if names.is_empty() {
        names = parts.iter().flat_map(used).collect();
    }
    names.sort();
    names.dedup();
    let numbers: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let of_part = |(part, said): (&Part, &Said)| match said {
        Said::Nothing => Ok(None),
        Said::Names(words) => labels(found, part, |index| by_name(words, index, &numbers)),
        Said::Numbers(_) => Err(DataError::format(
            &found.root,
            format!("the labels of '{}' are numbers, and those of others names", part.name),
            "labels of one kind in all splits",
        )),
    };
    let of_parts = found.parts.iter().zip(parts).map(of_part).collect::<Result<_, _>>()?;
    Ok(Classes { names, of_parts, notes: Vec::new() })
}

fn by_numbers(found: &Found, parts: &[Said]) -> Result<Classes, DataError> {
    let mut count = 0;
    let mut of_parts = Vec::with_capacity(parts.len());
    for (part, said) in found.parts.iter().zip(parts) {
        let Said::Numbers(numbers) = said else {
            of_parts.push(None);
            continue;
        };
        let labels = labels(found, part, |index| match numbers[index] {
            -1 => Ok(None),
            label @ 0..MOST_NUMBERED => Ok(Some(label as u32)),
            label => {
                Err(format!("its label is {label}, and numbered classes are 0 to {}", MOST_NUMBERED - 1))
            }
        })?;
        let most = labels.iter().flatten().max().map_or(0, |&most| most + 1);
        count = count.max(most);
        of_parts.push(labels);
    }
    let mut is_used = vec![false; count as usize];
    of_parts.iter().flatten().flatten().for_each(|&label: &u32| is_used[label as usize] = true);
    let empty = is_used.iter().filter(|is_used| !**is_used).count();
    let notes = (empty > 0)
        .then(|| format!("{empty} of {count} classes have no image: labels are numbers below {count}"));
    let names = (0..count).map(|number| number.to_string()).collect();
    Ok(Classes { names, of_parts, notes: notes.into_iter().collect() })
}
