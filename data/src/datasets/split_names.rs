//! What the parts of data sets are called.

/// The parts that have several usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Train,
    Validation,
    Test,
}

/// Usual names, those that Hugging Face's `datasets` knows among them.
const NAMES: [(Role, &[&str]); 3] = [
    (Role::Train, &["train", "training"]),
    (Role::Validation, &["val", "valid", "validation", "dev"]),
    (Role::Test, &["test", "testing", "eval", "evaluation"]),
];

/// What a part is for, by its name; none for names that are not usual.
pub(crate) fn role(name: &str) -> Option<Role> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    NAMES.iter().find(|(_, names)| names.iter().any(is)).map(|&(role, _)| role)
}

/// The part that a file is of, by its name without its ending: `train-00000-of-00002`, `cifar10-val-0003`, `test`. Of a
/// name as Hugging Face numbers files, what stands before the number, whatever it is.
pub(crate) fn of_file(stem: &str) -> Option<String> {
    let base = numbered(stem).map_or(stem, |(base, _, _)| base);
    let word = base.split(['-', '_', '.']).find(|word| role(word).is_some());
    match word {
        Some(word) => Some(word.to_string()),
        None if base.len() < stem.len() && !base.is_empty() => Some(base.to_string()),
        None => None,
    }
}

/// A name that ends in `-00000-of-00002`: what stands before, the number and how many there are.
pub(crate) fn numbered(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-').unwrap_or(("", rest));
    let number_of =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((base, number_of(number)?, number_of(of)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_known_in_any_case() {
        for (name, wanted) in [
            ("train", Some(Role::Train)),
            ("Training", Some(Role::Train)),
            ("dev", Some(Role::Validation)),
            ("VALID", Some(Role::Validation)),
            ("testing", Some(Role::Test)),
            ("tests", None),
            ("", None),
        ] {
            assert_eq!(role(name), wanted, "{name}");
        }
    }

    #[test]
    fn names_of_files_say_their_part() {
        for (stem, wanted) in [
            ("train-00000-of-00002", Some("train")),
            ("cifar10-val-0003", Some("val")),
            ("imagenet_validation_000", Some("validation")),
            ("extra-00000-of-00001", Some("extra")),
            ("test", Some("test")),
            ("0000", None),
            ("constrained-01", None),
            ("00000-of-00001", None),
        ] {
            assert_eq!(of_file(stem).as_deref(), wanted, "{stem}");
        }
        assert_eq!(numbered("train-00001-of-00002"), Some(("train", 1, 2)));
        assert_eq!(numbered("one-of-two"), None);
    }
}
