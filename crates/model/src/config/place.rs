//! Where in a YAML text something stands.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A step on the way to a value: a key of a map, or a place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// `line 3, column 5` of what a message is about: it begins with the key (`network.dropout: …`), or with words of which
/// the first is one (`network: n_channels is 33`). None where the text has no such key.
pub(super) fn of_message(text: &str, message: &str) -> Option<String> {
    let (path, rest) = match message.split_once(": ") {
        Some((path, rest)) if !path.contains(' ') => (steps(path), rest),
        _ => (Vec::new(), message),
    };
    let word = steps(rest.split([' ', ':']).next().unwrap_or_default());
    let mut ways = vec![[path.as_slice(), &word].concat()];
    // The section that something is missing in, at least.
    ways.extend((1..=path.len()).rev().map(|length| path[..length].to_vec()));
    ways.iter().filter(|way| !way.is_empty()).find_map(|way| locate(text, way))
}

/// `network.ch_mults[2]` step by step; nothing where it is none.
fn steps(path: &str) -> Vec<Step> {
    let is_key = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, items) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !is_key(name) {
            return Vec::new();
        }
        steps.push(Step::Key(name.to_string()));
        let items = items.split(['[', ']']).filter(|item| !item.is_empty());
        steps.extend(items.filter_map(|item| item.parse().ok().map(Step::Item)));
    }
    steps
}

/// Where the last step of a way stands: a key, or an item of a list.
fn locate(text: &str, way: &[Step]) -> Option<String> {
    // Reading stops with an error at the place that is looked for, and errors know where they are.
    let error = Walk(way).deserialize(serde_norway::Deserializer::from_str(text)).err()?;
    // Behind the keys that lead there, where there are any.
    if !error.to_string().contains(HERE) {
        return None;
    }
    error.location().map(|at| format!("line {}, column {}", at.line(), at.column()))
}

const HERE: &str = "this is the place";

/// Goes the way that is left.
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return self.end();
        };
        while let Some(is_wanted) = map.next_key_seed(Key { wanted, is_last: rest.is_empty() })? {
            match is_wanted {
                true => return map.next_value_seed(Walk(rest)),
                false => map.next_value::<IgnoredAny>()?,
            };
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else {
            return self.end();
        };
        for _ in 0..*wanted {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(Walk(rest)).map(drop)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.end()
    }
}

impl Walk<'_> {
    /// Of a value that leads nowhere, or not by such a step.
    fn end<E: de::Error>(self) -> Result<(), E> {
        match self.0 {
            [] => Err(de::Error::custom(HERE)),
            _ => Err(de::Error::custom("the way leads on, and this does not")),
        }
    }
}

/// Whether a key is the wanted one; the last of the way is the place itself.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // Of texts read as such, errors do not know where they are.
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.is_last) {
            (true, true) => Err(de::Error::custom(HERE)),
            (is_wanted, _) => Ok(is_wanted),
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nnetwork:\n  n_channels: 33\n  ch_mults: [1, 2,\n             x]\nclasses: 0\n";

    #[test]
    fn keys_are_found_by_what_is_said_of_them() {
        for (message, wanted) in [
            ("network.n_channels: a whole number is wanted", Some("line 3, column 3")),
            ("network: n_channels is 33; it must be a multiple of 32", Some("line 3, column 3")),
            ("network.ch_mults[2]: a whole number is wanted", Some("line 5, column 14")),
            ("network.ch_mults[7]: a whole number is wanted", Some("line 4, column 3")),
            ("network: the key 'dropout' is missing", Some("line 2, column 1")),
            ("classes is 0; it must be at least 1", Some("line 6, column 1")),
            ("network.n_channels must be classes", Some("line 3, column 3")),
            ("the key 'lrate' is missing", None),
            ("a.b: no", Some("line 1, column 1")),
            ("", None),
        ] {
            assert_eq!(of_message(TEXT, message).as_deref(), wanted, "{message}");
        }
        assert_eq!(of_message("- 1\n", "a: no"), None);
        assert_eq!(of_message("a: [", "a: no"), Some("line 1, column 1".to_string()));
    }
}
