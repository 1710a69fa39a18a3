//! Configurations key by key, and where those of several runs differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Values by the paths of their keys: `network.dropout`.
pub type Settings = BTreeMap<String, Value>;

/// Keys that tell nothing of what was trained.
const UNTOLD: [&str; 2] = ["save_dir", "load_epoch"];

/// The keys of an object, those of objects in it by their paths. Keys that say where something lies are left out.
pub fn of_object(object: &Value) -> Settings {
    let mut settings = Settings::new();
    add("", object, &mut settings);
    UNTOLD.iter().for_each(|key| _ = settings.remove(*key));
    settings
}

fn add(path: &str, value: &Value, settings: &mut Settings) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                add(&path, value, settings);
            }
        }
        // JSON has no infinity, and no key of a configuration is written as null.
        Value::Null => _ = settings.insert(path.to_string(), Value::from(".inf")),
        value => _ = settings.insert(path.to_string(), value.clone()),
    }
}

/// The keys whose values are not the same in all of `runs`, with those of each; none where a run does not have the key. A run of
/// which nothing is known is passed over.
pub fn differences(runs: &[Option<&Settings>]) -> BTreeMap<String, Vec<Option<Value>>> {
    let keys: BTreeSet<&String> = runs.iter().flatten().flat_map(|settings| settings.keys()).collect();
    let of = |key: &String| runs.iter().map(|run| run.and_then(|run| run.get(key)).cloned()).collect();
    let differs = |key: &&String| {
        let mut values = runs.iter().flatten().map(|run| run.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    keys.into_iter().filter(differs).map(|key| (key.clone(), of(key))).collect()
}

/// A value as it is written in a configuration, in one line.
pub fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_differ_are_named_by_their_paths() {
        let first = of_object(&json!({
            "lrate": 1e-3, "save_dir": "a", "grad_clip_norm": null, "network": {"ch_mults": [1, 2], "dropout": 0.1}
        }));
        let second = of_object(&json!({
            "lrate": 1e-3, "save_dir": "b", "grad_clip_norm": 1.0, "network": {"ch_mults": [1, 2, 2]}, "flip": true
        }));
        let found = differences(&[Some(&first), None, Some(&second)]);
        let rows: Vec<(&str, Vec<String>)> = found
            .iter()
            .map(|(key, values)| {
                let shown = |value: &Option<Value>| value.as_ref().map_or("-".to_string(), shown);
                (key.as_str(), values.iter().map(shown).collect())
            })
            .collect();
        let row = |values: [&str; 3]| values.map(String::from).to_vec();
        assert_eq!(
            rows,
            [
                ("flip", row(["-", "-", "true"])),
                ("grad_clip_norm", row([".inf", "-", "1.0"])),
                ("network.ch_mults", row(["[1,2]", "-", "[1,2,2]"])),
                ("network.dropout", row(["0.1", "-", "-"])),
            ]
        );
        assert!(differences(&[Some(&first), Some(&first)]).is_empty());
        assert!(differences(&[None, Some(&first)]).is_empty());
    }
}
