//! Labels as files have them: whole numbers of any value, or texts.

use ddae_base::text::excerpt;

/// The labels of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RawLabels {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

/// The labels of a training and a test file in one numbering.
#[derive(Debug)]
pub(crate) struct JoinedLabels {
    pub(crate) train: Vec<i64>,
    pub(crate) test: Vec<i64>,
    /// Names of the classes by label, where they are known.
    pub(crate) names: Vec<String>,
    /// How labels that are no numbers from 0 on became classes.
    pub(crate) notes: Vec<String>,
}

/// One side of a join: its file, its labels, and the names of classes that the file has.
pub(crate) struct Side<'a> {
    pub(crate) origin: &'a str,
    pub(crate) labels: RawLabels,
    pub(crate) names: &'a [String],
    /// Whether the file is one of ours, whose labels are what they should be.
    pub(crate) is_ours: bool,
}

/// Labels that a message lists.
const LISTED: usize = 8;

impl RawLabels {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// Labels that are stored as floats, as many programs do.
    ///
    /// # Errors
    /// The first row with a number that is not whole.
    pub(crate) fn of_floats(values: impl Iterator<Item = f64>) -> Result<Self, String> {
        // Beyond this, neighbours are no longer told apart.
        const LARGEST: f64 = 9_007_199_254_740_992.0;
        let whole = values.enumerate().map(|(row, value)| match value {
            value if value.fract() == 0.0 && value.abs() < LARGEST => Ok(value as i64),
            value => Err(format!(
                "row {row} has the label {value}; wanted are whole numbers or texts, one class each"
            )),
        });
        Ok(Self::Integers(whole.collect::<Result<_, _>>()?))
    }

    /// Labels that are stored as texts, whatever stands in them.
    ///
    /// # Errors
    /// The first row with an empty one.
    pub(crate) fn of_texts(texts: Vec<String>) -> Result<Self, String> {
        match texts.iter().position(|text| text.trim().is_empty()) {
            Some(row) => Err(format!("row {row} has no label")),
            None => Ok(Self::Texts(texts)),
        }
    }

    /// Labels that are texts, or numbers where all of them are: what is read from a table or a list. Words with zeros
    /// before a number are texts: as numbers `007` and `7` would be one class.
    ///
    /// # Errors
    /// The first row without one.
    pub(crate) fn of_words(words: Vec<String>) -> Result<Self, String> {
        let begins_with_zeros = |word: &String| {
            let digits = word.trim().trim_start_matches(['+', '-']).as_bytes();
            matches!(digits, [b'0', b'0'..=b'9', ..])
        };
        if words.iter().any(|word| word.trim().is_empty() || begins_with_zeros(word)) {
            return Self::of_texts(words);
        }
        let number = |word: &String| {
            let word = word.trim();
            let float = || word.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && v.abs() < 9e15);
            word.parse::<i64>().ok().or_else(|| float().map(|value| value as i64))
        };
        match words.iter().map(number).collect::<Option<Vec<i64>>>() {
            Some(numbers) => Ok(Self::Integers(numbers)),
            None => match words.iter().all(|word| word.trim().parse::<f64>().is_ok()) {
                true => Self::of_floats(words.iter().filter_map(|word| word.trim().parse().ok())),
                false => Ok(Self::Texts(words)),
            },
        }
    }
}

/// Brings the labels of both files into one numbering. Numbers stay what they are; texts are numbered in the sorted order
/// of those that the training file has, or by the names of classes of a feature file beside them.
///
/// # Errors
/// When one has numbers and the other texts without names, or a text of the test file is none of the training file's.
pub(crate) fn join(train: Side, test: Side) -> Result<JoinedLabels, String> {
    let mut notes = Vec::new();
    let (train_origin, test_origin) = (train.origin, test.origin);
    let names = match (&train.labels, &test.labels) {
        (RawLabels::Texts(texts), _) if test.names.is_empty() => {
            let mut names = texts.clone();
            names.sort_unstable();
            names.dedup();
            notes.push(format!(
                "the labels of {train_origin} are texts: its {} classes are numbered from 0 in sorted order ({})",
                names.len(),
                listed(names.iter())
            ));
            names
        }
        _ if !train.names.is_empty() => train.names.to_vec(),
        _ => test.names.to_vec(),
    };
    for side in [&train, &test] {
        if let RawLabels::Integers(labels) = &side.labels
            && !side.is_ours
        {
            notes.extend(unusual(side.origin, labels));
        }
    }
    if names.is_empty()
        && (matches!(train.labels, RawLabels::Texts(_)) || matches!(test.labels, RawLabels::Texts(_)))
        || matches!((&train.labels, &test.labels), (RawLabels::Texts(_), RawLabels::Integers(_)) if test.names.is_empty())
    {
        let (numbers, texts) = match train.labels {
            RawLabels::Integers(_) => (train_origin, test_origin),
            RawLabels::Texts(_) => (test_origin, train_origin),
        };
        return Err(format!(
            "the labels of {numbers} are numbers and those of {texts} texts: give both files the same kind of labels"
        ));
    }
    let numbered = |side: Side| match side.labels {
        RawLabels::Integers(labels) => Ok(labels),
        RawLabels::Texts(texts) => {
            let place: std::collections::HashMap<&str, i64> =
                names.iter().zip(0..).map(|(name, label)| (name.as_str(), label)).collect();
            let number = |(row, text): (usize, &String)| {
                place.get(text.as_str()).copied().ok_or_else(|| {
                    format!(
                        "{}: row {row} has the label '{}', and the classes are {}: training and test set must have the \
                         same classes",
                        side.origin,
                        excerpt(text, 60),
                        listed(names.iter())
                    )
                })
            };
            texts.iter().enumerate().map(number).collect::<Result<Vec<_>, _>>()
        }
    };
    let (train, test) = (numbered(train)?, numbered(test)?);
    Ok(JoinedLabels { train, test, names, notes })
}

/// What is said of labels that are not the numbers from 0 on.
fn unusual(origin: &str, labels: &[i64]) -> Option<String> {
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let (&first, &last) = (distinct.first()?, distinct.last()?);
    // A class may be missing; numbers that begin elsewhere, or leave most out, are another numbering.
    if first == 0 && (last as usize) < 2 * distinct.len() {
        return None;
    }
    Some(format!(
        "the labels of {origin} are {} numbers from {first} to {last} ({}): each is a class, in this order",
        distinct.len(),
        listed(distinct.iter())
    ))
}

/// The first of some labels in a row.
fn listed<T: std::fmt::Display>(labels: impl ExactSizeIterator<Item = T>) -> String {
    let more = if labels.len() > LISTED { ", …" } else { "" };
    let shown: Vec<String> = labels.take(LISTED).map(|label| excerpt(label, 40)).collect();
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> RawLabels {
        RawLabels::Texts(words.iter().map(|word| word.to_string()).collect())
    }

    fn side<'a>(origin: &'a str, labels: RawLabels, names: &'a [String]) -> Side<'a> {
        Side { origin, labels, names, is_ours: !names.is_empty() }
    }

    #[test]
    fn texts_are_numbered_in_sorted_order() {
        let joined = join(
            side("a.csv", texts(&["dog", "ant", "dog"]), &[]),
            side("b.csv", texts(&["ant", "dog"]), &[]),
        )
        .expect("labels");
        assert_eq!((joined.train, joined.test), (vec![1, 0, 1], vec![0, 1]));
        assert_eq!(joined.names, ["ant", "dog"]);
        assert_eq!(
            joined.notes,
            ["the labels of a.csv are texts: its 2 classes are numbered from 0 in sorted order (ant, dog)"]
        );
    }

    #[test]
    fn a_feature_file_beside_them_numbers_them() {
        let names = ["dog", "ant"].map(str::to_string);
        let own = RawLabels::Integers(vec![0, 1]);
        let joined =
            join(side("a.h5", own.clone(), &names), side("b.csv", texts(&["ant"]), &[])).expect("labels");
        assert_eq!((joined.train, joined.test, joined.notes.len()), (vec![0, 1], vec![1], 0));
        let joined = join(side("b.csv", texts(&["ant"]), &[]), side("a.h5", own, &names)).expect("labels");
        assert_eq!((joined.train, joined.test), (vec![1], vec![0, 1]));
    }

    #[test]
    fn other_numberings_are_said() {
        let integers = |labels: &[i64]| RawLabels::Integers(labels.to_vec());
        let said = |labels: &[i64]| {
            let sides = (side("a.npy", integers(labels), &[]), side("b.npy", integers(&[0]), &[]));
            join(sides.0, sides.1).expect("labels").notes
        };
        assert_eq!(said(&[0, 1, 2, 2]), [""; 0]);
        // One class of four is missing: still the numbers from 0 on.
        assert_eq!(said(&[0, 1, 3]), [""; 0]);
        assert_eq!(
            said(&[5, -1, 5]),
            ["the labels of a.npy are 2 numbers from -1 to 5 (-1, 5): each is a class, in this order"]
        );
        assert_eq!(said(&[1, 2]).len(), 1);
    }

    #[test]
    fn labels_that_do_not_go_together_are_refused() {
        let numbers = RawLabels::Integers(vec![0, 1]);
        let error = join(side("a", numbers.clone(), &[]), side("b", texts(&["x"]), &[])).expect_err("mixed");
        assert!(error.starts_with("the labels of a are numbers and those of b texts"), "{error}");
        let error = join(side("a", texts(&["x"]), &[]), side("b", numbers, &[])).expect_err("mixed");
        assert!(error.starts_with("the labels of b are numbers and those of a texts"), "{error}");
        let error = join(side("a", texts(&["x", "y"]), &[]), side("b", texts(&["x", "z"]), &[]));
        let error = error.expect_err("unknown");
        assert!(error.starts_with("b: row 1 has the label 'z', and the classes are x, y"), "{error}");
    }

    #[test]
    fn words_are_numbers_where_all_of_them_are() {
        let of = |words: &[&str]| RawLabels::of_words(words.iter().map(|word| word.to_string()).collect());
        assert_eq!(of(&["3", "-1", "2.0"]), Ok(RawLabels::Integers(vec![3, -1, 2])));
        assert_eq!(of(&["3", "b"]), Ok(texts(&["3", "b"])));
        assert_eq!(of(&["3", " "]), Err("row 1 has no label".to_string()));
        // Zeros before a number are part of a name, and 0 is none of them.
        assert_eq!(of(&["007", "7"]), Ok(texts(&["007", "7"])));
        assert_eq!(of(&["-01", "1"]), Ok(texts(&["-01", "1"])));
        assert_eq!(of(&["0", "10", "0.0"]), Ok(RawLabels::Integers(vec![0, 10, 0])));
        let error = of(&["3", "0.5"]).expect_err("a fraction");
        assert!(error.starts_with("row 1 has the label 0.5"), "{error}");
    }
}
