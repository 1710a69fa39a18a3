//! A data set: its splits by name.

use ddae_model::config::ChannelStatistics;

use super::DataError;
use super::split_names::{Role, role};
use crate::decode::Reading;
use crate::split::Split;

/// A data set: splits of one shape.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The canonical name (`cifar10` for `cifar`), or the path as it was given.
    pub name: String,
    /// Images to train on: the split called `train` or `training`, or else the only one there is, unless that is called
    /// `test` or `val`; empty where there is neither.
    pub train: Split,
    /// Images to report results on: the split called `test`, or else the validation images; empty where there are neither,
    /// or nothing else.
    pub test: Split,
    /// Where the images were found, and as what.
    pub origin: String,
    /// What the user should know: what was taken, what was left out.
    pub notes: Vec<String>,
    /// All splits by name, in their order.
    splits: Vec<(String, Split)>,
}

/// A split of a data set, as [`DataSet::split`] finds it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What the data set calls it.
    pub name: String,
    /// Its images.
    pub split: Split,
    /// What the user should know, where it is not called what was asked for.
    pub note: Option<String>,
}

impl DataSet {
    /// A data set of the given splits, at least one.
    pub(crate) fn new(name: &str, origin: String, splits: Vec<(String, Split)>) -> DataSet {
        let found = |wanted| match named(&splits, wanted).as_slice() {
            [] => None,
            several => Some(several[0]),
        };
        // One that is called 'test' is not trained on for being alone.
        let sole = splits.first().filter(|_| splits.len() == 1);
        let sole = sole.filter(|(name, _)| matches!(role(name), None | Some(Role::Train)));
        let notes = [Role::Train, Role::Validation, Role::Test].into_iter().filter_map(|wanted| {
            let names: Vec<&str> = named(&splits, wanted).iter().map(|(name, _)| name.as_str()).collect();
            let (first, others) = names.split_first().filter(|(_, others)| !others.is_empty())?;
            let (role, others) = (wanted.name(), others.join(", "));
            Some(format!("where the split '{role}' is wanted, '{first}' is taken, not {others}"))
        });
        let notes: Vec<String> = notes.collect();
        let test = found(Role::Test).or_else(|| found(Role::Validation)).filter(|_| sole.is_none());
        let split = |found: Option<&(String, Split)>, part: &str| match (found, splits.first()) {
            (Some((_, split)), _) => split.clone(),
            (None, Some((_, other))) => other.without_images(&format!("{name}/{part}")),
            (None, None) => Split::nothing(&format!("{name}/{part}")),
        };
        DataSet {
            name: name.to_string(),
            train: split(found(Role::Train).or(sole), "train"),
            test: split(test, "test"),
            origin,
            notes,
            splits,
        }
    }

    /// A published data set: training and test images.
    pub(crate) fn published(name: &'static str, origin: String, train: Split, test: Split) -> DataSet {
        Self::new(name, origin, vec![("train".into(), train), ("test".into(), test)])
    }

    /// The same with other images in the place of each split's.
    ///
    /// # Errors
    /// That of the first split that is not changed.
    pub fn map<E>(&self, change: impl FnMut(&Split) -> Result<Split, E>) -> Result<DataSet, E> {
        let mut change = change;
        let splits = self.splits.iter().map(|(name, split)| Ok((name.clone(), change(split)?)));
        let set = Self::new(&self.name, self.origin.clone(), splits.collect::<Result<_, E>>()?);
        Ok(DataSet { notes: self.notes.clone(), ..set })
    }

    /// The same images, read by other choices ([`Split::read_as`]).
    ///
    /// # Errors
    /// As [`Split::read_as`].
    pub fn read_as(&self, reading: &Reading) -> Result<DataSet, DataError> {
        let chief = self.splits.iter().find(|(name, _)| role(name) == Some(Role::Train));
        let Some((_, chief)) = chief.or(self.splits.first()) else { return Ok(self.clone()) };
        // The others take the shape of those to train on, which turning may have changed.
        let chief = chief.read_as(reading);
        self.map(|split| match split.is_empty() {
            true => Ok(split.shaped_like(&chief)),
            false => split.read_as(reading).fit(chief.shape()),
        })
    }

    /// The published means and deviations, where there are any.
    pub fn normalisation(&self) -> Option<ChannelStatistics> {
        ChannelStatistics::published(&self.name)
    }

    /// The splits, each with what the data set calls it.
    pub fn splits(&self) -> impl ExactSizeIterator<Item = (&str, &Split)> {
        self.splits.iter().map(|(name, split)| (name.as_str(), split))
    }

    /// The split `asked` for, by the name it has or another usual one (`val`, `valid`, `validation` and `dev` are the same;
    /// `test` is the validation images where there are no others, as [`DataSet::test`]). Where none was asked for, the
    /// one that is usual for the purpose, or the only one there is.
    ///
    /// # Errors
    /// When there is no such split, or several that have other usual names for it; the message lists those there are.
    pub fn split(&self, asked: Option<&str>, usual: &str) -> Result<Chosen, DataError> {
        let wanted = asked.unwrap_or(usual);
        let exact = self.splits.iter().find(|(name, _)| name == wanted);
        let same = |wanted: Role| {
            let several = named(&self.splits, wanted);
            let names = || several.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            match several.as_slice() {
                [first, _, ..] if !first.0.eq_ignore_ascii_case(wanted.name()) => {
                    Err(DataError::Argument(format!(
                        "{} has several splits that may be meant by '{}': give --split with one of {}",
                        self.name,
                        wanted.name(),
                        names()
                    )))
                }
                several => Ok(several.first().copied()),
            }
        };
        let found = match (exact, role(wanted)) {
            (None, Some(wanted)) => same(wanted)?,
            (exact, _) => exact,
        };
        let chosen = |(name, split): &(String, Split), note: Option<String>| Chosen {
            name: name.clone(),
            split: split.clone(),
            note,
        };
        if let Some(found) = found {
            return Ok(chosen(found, None));
        }
        if role(wanted) == Some(Role::Test)
            && let Some(found) = same(Role::Validation)?
        {
            let note = format!("{} has no split 'test': its '{}' is taken", self.name, found.0);
            return Ok(chosen(found, Some(note)));
        }
        match (asked, self.splits.as_slice()) {
            (None, [only]) => {
                let is_other = role(&only.0).is_some_and(|of_only| role(usual) != Some(of_only));
                let note =
                    || format!("{} has no split '{usual}': its only one, '{}', is taken", self.name, only.0);
                Ok(chosen(only, is_other.then(note)))
            }
            (None, _) => Err(DataError::Argument(format!(
                "{} has no split '{wanted}', which is taken unless another is named; give --split with one of {}",
                self.name,
                self.names()
            ))),
            (Some(asked), _) => Err(DataError::Argument(format!(
                "--split {asked}: {} has no such split; it has {}",
                self.name,
                self.names()
            ))),
        }
    }

    /// The training images and, where there are any, those to report results on, for a run that learns from them.
    ///
    /// # Errors
    /// When there is nothing to train on; the message lists the splits there are.
    pub fn for_training(&self) -> Result<(Split, Split), DataError> {
        if self.train.is_empty() {
            return Err(DataError::Argument(format!(
                "{} has no images to train on: no split is called train; it has {}",
                self.name,
                self.names()
            )));
        }
        Ok((self.train.clone(), self.test.clone()))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.splits.iter().map(|(name, _)| name.as_str()).collect();
        ddae_base::text::excerpt(names.join(", "), 300)
    }
}

/// The splits that have a usual name for a part: the one that counts first, the others in their order.
fn named(splits: &[(String, Split)], wanted: Role) -> Vec<&(String, Split)> {
    let mut found: Vec<_> = splits.iter().filter(|(name, _)| role(name) == Some(wanted)).collect();
    found.sort_by_key(|(name, _)| (name != wanted.name(), !name.eq_ignore_ascii_case(wanted.name())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> DataSet {
        let split = |name: &&str| {
            let images = Split::in_memory(name, vec!["a".into()], vec![0], [1, 1, 1], vec![0]);
            (name.to_string(), images.expect("a split"))
        };
        DataSet::new("birds", String::new(), names.iter().map(split).collect())
    }

    #[test]
    fn splits_are_found_by_their_usual_names() {
        for (names, asked, usual, wanted) in [
            (&["train", "val"][..], Some("train"), "train", "train"),
            (&["training", "dev"], Some("train"), "train", "training"),
            (&["train", "dev"], Some("validation"), "train", "dev"),
            (&["train", "val"], Some("test"), "train", "val"),
            (&["train", "val", "testing"], None, "test", "testing"),
            (&["train", "valid", "val"], Some("val"), "train", "val"),
            (&["extra"], None, "train", "extra"),
            (&["train", "extra"], Some("extra"), "train", "extra"),
            // The name that counts comes before others that begin with an earlier letter.
            (&["train", "eval", "test"], Some("test"), "train", "test"),
            (&["train", "eval", "test"], None, "testing", "test"),
            (&["test"], None, "train", "test"),
        ] {
            let chosen = set(names).split(asked, usual).expect("a split");
            assert_eq!(chosen.name, wanted, "{names:?} {asked:?}");
            let is_another = asked == Some("test") && wanted == "val" || names == ["test"];
            assert_eq!(chosen.note.is_some(), is_another, "{names:?} {asked:?}");
        }
        let error = set(&["train", "val"]).split(Some("all"), "train").expect_err("none").to_string();
        assert_eq!(error, "--split all: birds has no such split; it has train, val");
        let error = set(&["a", "b"]).split(None, "train").expect_err("none").to_string();
        assert!(error.ends_with("give --split with one of a, b"), "{error}");
        let error =
            set(&["train", "eval", "testing"]).split(Some("test"), "train").expect_err("two").to_string();
        assert!(error.ends_with("meant by 'test': give --split with one of eval, testing"), "{error}");
        assert_eq!(
            set(&["train", "training"]).notes,
            ["where the split 'train' is wanted, 'train' is taken, not training"]
        );
        // A validation split is no substitute for training images, nor test images for validation.
        assert!(set(&["val"]).split(Some("train"), "train").is_err());
        assert!(set(&["train", "test"]).split(Some("val"), "train").is_err());
    }

    #[test]
    fn training_and_test_images_are_the_usual_ones() {
        let lengths = |names: &[&str]| {
            let set = set(names);
            (set.train.len(), set.test.len(), set.for_training().is_ok())
        };
        assert_eq!(lengths(&["train"]), (1, 0, true));
        assert_eq!(lengths(&["all"]), (1, 0, true));
        assert_eq!(lengths(&["training", "dev"]), (1, 1, true));
        assert_eq!(lengths(&["val", "test"]), (0, 1, false));
        assert_eq!(lengths(&["test"]), (0, 1, false));
        assert_eq!(lengths(&["val"]), (0, 1, false));
        let several = set(&["train", "eval", "test"]);
        assert_eq!(several.test.name(), "test");
        let error = set(&["val", "test"]).for_training().expect_err("nothing").to_string();
        assert_eq!(error, "birds has no images to train on: no split is called train; it has val, test");
    }
}
