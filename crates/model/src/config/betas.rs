//! Noise schedules: the key `betas` of a DDPM.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the variances of a DDPM's noise go over its timesteps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Betas {
    /// `[first, last]`: in equal steps.
    Linear([f64; 2]),
    /// `scaled_linear: [first, last]`: their roots in equal steps (arXiv 2112.10752).
    ScaledLinear([f64; 2]),
    /// `cosine`: what is left of the image falls along a squared cosine (arXiv 2102.09672, eq. 17).
    Cosine,
    /// `inverted`: the inverse function of that, with less time at the ends and more in the middle (SODA,
    /// arXiv 2311.17901).
    Inverted,
}

/// The words that stand for a schedule.
const WORDS: [(&str, Betas); 2] = [("cosine", Betas::Cosine), ("inverted", Betas::Inverted)];

/// The key of a schedule whose roots are linear.
const SCALED: &str = "scaled_linear";

impl Betas {
    /// Checks what the type cannot.
    ///
    /// # Errors
    /// A sentence with the values.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Betas::Linear([first, last]) | Betas::ScaledLinear([first, last])
                if !(first > 0.0 && first < last && last < 1.0) =>
            {
                Err(format!("betas is [{first}, {last}]; it must rise within (0, 1)"))
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for Betas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, WORDS.iter().find(|(_, betas)| betas == self)) {
            (_, Some((word, _))) => serializer.serialize_str(word),
            (Betas::Linear(pair), None) => pair.serialize(serializer),
            (Betas::ScaledLinear(pair), None) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(SCALED, pair)?;
                map.end()
            }
            (_, None) => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Betas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Betas, D::Error> {
        struct Schedule;

        impl<'de> Visitor<'de> for Schedule {
            type Value = Betas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[first, last], scaled_linear: [first, last], cosine or inverted")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Betas, E> {
                let known = WORDS.iter().find(|(word, _)| *word == text).map(|(_, betas)| *betas);
                known.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Betas, A::Error> {
                match map.next_entry::<String, [f64; 2]>()? {
                    Some((key, pair)) if key == SCALED => Ok(Betas::ScaledLinear(pair)),
                    Some((key, _)) => Err(A::Error::unknown_field(&key, &[SCALED])),
                    None => Err(A::Error::invalid_length(0, &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Betas, A::Error> {
                let mut pair = [0.0; 2];
                for (i, value) in pair.iter_mut().enumerate() {
                    *value = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(i, &self))?;
                }
                match seq.next_element::<f64>()? {
                    None => Ok(Betas::Linear(pair)),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }

        deserializer.deserialize_any(Schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_they_are_written() {
        for (text, betas) in [
            ("[0.0001,0.02]", Betas::Linear([1e-4, 0.02])),
            ("{\"scaled_linear\":[0.00085,0.012]}", Betas::ScaledLinear([0.00085, 0.012])),
            ("\"cosine\"", Betas::Cosine),
            ("\"inverted\"", Betas::Inverted),
        ] {
            assert_eq!(serde_json::from_str::<Betas>(text).expect(text), betas);
            assert_eq!(serde_json::to_string(&betas).expect(text), text);
        }
        for (text, message) in [
            (
                "\"sigmoid\"",
                "invalid value: string \"sigmoid\", expected [first, last], scaled_linear: [first, last], cosine or inverted",
            ),
            (
                "[0.1]",
                "invalid length 1, expected [first, last], scaled_linear: [first, last], cosine or inverted",
            ),
            (
                "[0.1,0.2,0.3]",
                "invalid length 3, expected [first, last], scaled_linear: [first, last], cosine or inverted",
            ),
            (
                "7",
                "invalid type: integer `7`, expected [first, last], scaled_linear: [first, last], cosine or inverted",
            ),
        ] {
            let error = serde_json::from_str::<Betas>(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
