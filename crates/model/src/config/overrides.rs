//! Single keys set from the command line: `--set network.dropout=0.2`.

use std::fmt;
use std::str::FromStr;

use ddae_base::text::excerpt;
use serde_norway::{Mapping, Value};

/// Characters that an error shows of it.
const SHOWN: usize = 100;

/// One `key=value`, the key a path of names joined by points, the value YAML.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    path: Vec<String>,
    value: Value,
    /// The option that brings it.
    option: &'static str,
    /// Its value as it was typed.
    text: String,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.option, excerpt(&self.text, SHOWN))
    }
}

impl Override {
    /// Whether it sets this key: `network.dropout`.
    pub fn sets(&self, key: &str) -> bool {
        self.path.iter().map(String::as_str).eq(key.split('.'))
    }
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        let wanted = || format!("'{text}' is not key=value, as in network.dropout=0.2");
        let (key, value) = text.split_once('=').ok_or_else(wanted)?;
        let path: Vec<String> = key.trim().split('.').map(str::to_string).collect();
        if path.iter().any(String::is_empty) {
            return Err(wanted());
        }
        let value = super::yaml::parse(value)?;
        Ok(Override { path, value, option: "--set", text: text.to_string() })
    }
}

impl Override {
    /// The key `key` (without a section) set to a text as it is, by the option `option`, which messages name.
    pub fn text(option: &'static str, key: &str, value: &str) -> Override {
        let path = vec![key.to_string()];
        Override { path, value: Value::String(value.to_string()), option, text: value.to_string() }
    }

    /// A message about its key without the key, which [`Override`] says itself; any other as it is.
    pub(super) fn of_its_value<'a>(&self, message: &'a str) -> &'a str {
        let rest = message.strip_prefix(&self.path.join("."));
        rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
    }

    /// Sets the key in a configuration. Whether the key is a known one is checked when the result is read.
    pub(super) fn apply(&self, config: &mut Value) -> Result<(), String> {
        let mut at = config;
        for (depth, name) in self.path.iter().enumerate() {
            if at.is_null() {
                *at = Value::Mapping(Mapping::new());
            }
            let Some(map) = at.as_mapping_mut() else {
                let parent = self.path[..depth].join(".");
                return Err(format!("cannot set {}: {parent} is a single value", self.path.join(".")));
            };
            at = map.entry(Value::String(name.clone())).or_insert(Value::Null);
        }
        *at = self.value.clone();
        Ok(())
    }
}
