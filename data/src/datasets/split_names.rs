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

impl Role {
    /// The name that counts where a source has several of the usual ones.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Train => "train",
            Role::Validation => "val",
            Role::Test => "test",
        }
    }
}

/// What a part is for, by its name; none for names that are not usual.
pub(crate) fn role(name: &str) -> Option<Role> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    NAMES.iter().find(|(_, names)| names.iter().any(is)).map(|&(role, _)| role)
}

/// The part that a file is of, by its name without its ending: `train-00000-of-00002`, `cifar10-val-0003`, `test`. Of a
/// name as Hugging Face numbers files, what stands before the number, whatever it is (`train_sft` is a part of its own), or
/// the usual name at its end, after a hyphen.
///
/// # Errors
/// When the name has words for several parts, `train_test_00`: those words.
pub(crate) fn of_file(stem: &str) -> Result<Option<String>, (String, String)> {
    if let Some((base, _, _)) = numbered(stem).filter(|(base, _, _)| !base.is_empty()) {
        let last = base.rsplit('-').next().filter(|word| role(word).is_some());
        return Ok(Some(last.unwrap_or(base).to_string()));
    }
    let mut words = stem.split(['-', '_', '.']).filter(|word| role(word).is_some());
    let Some(first) = words.next() else { return Ok(None) };
    match words.find(|word| role(word) != role(first)) {
        Some(other) => Err((first.to_string(), other.to_string())),
        None => Ok(Some(first.to_string())),
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
            ("train_sft-00000-of-00001", Some("train_sft")),
            ("train_val-00000-of-00001", Some("train_val")),
            ("cifar10-train-00000-of-00001", Some("train")),
            ("train_training", Some("train")),
        ] {
            assert_eq!(of_file(stem).expect("one part").as_deref(), wanted, "{stem}");
        }
        assert_eq!(of_file("train_test_00"), Err(("train".into(), "test".into())));
        assert_eq!(numbered("train-00001-of-00002"), Some(("train", 1, 2)));
        assert_eq!(numbered("one-of-two"), None);
    }
}
