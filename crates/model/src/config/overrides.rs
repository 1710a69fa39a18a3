//! Single keys set from the command line: `--set network.dropout=0.2`.

use std::str::FromStr;

use serde_norway::{Mapping, Value};

/// One `key=value`, the key a path of names joined by points, the value YAML.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    path: Vec<String>,
    value: Value,
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
        let value = super::yaml::parse(value).map_err(|e| format!("{key}: {e}"))?;
        Ok(Override { path, value })
    }
}

impl Override {
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
