//! Objects of classes that are pickled with their source code, as EDM's and StyleGAN's code does
//! (`torch_utils.persistence`): a class by its name, what it was made with, and its attributes. The source is not looked at.

use ddae_pickle::{Program, Value};
use serde_json::{Map, Value as Json};

/// The function that they are given to.
pub const FUNCTION: &str = "torch_utils.persistence._reconstruct_persistent_obj";
/// How deep arguments are looked at.
const DEEPEST: usize = 4;
/// What all arguments of an object take, at most, in bytes of text; those of a network are some thirty numbers.
const MOST_TEXT: usize = 1 << 16;
/// What a part takes that is no text.
const PART: usize = 16;
/// Of a text.
const LONGEST_TEXT: usize = 1_024;

/// A module that was pickled with its class.
#[derive(Clone, Debug, PartialEq)]
pub struct PickledModule {
    /// The keys that lead to it, joined with dots: what the names of its tensors begin with.
    pub name: String,
    /// Its class.
    pub class: String,
    /// The arguments by name that it was made with. What is no number, text or list of those is a text that describes it;
    /// infinities are the texts `inf` and `-inf`.
    pub arguments: Map<String, Json>,
    /// The number of arguments without names.
    pub positional: usize,
}

impl PickledModule {
    /// The object that is called `name` and is made of `meta`, with its attributes; none where that is not what such
    /// objects are made of.
    pub(super) fn read(program: &Program<'_>, meta: Value, name: &str) -> Option<(PickledModule, Value)> {
        let class = program.text(program.entry(meta, "class_name")?)?;
        let state = program.entry(meta, "state").filter(|&state| program.dictionary(state).is_some())?;
        let positional = program.entry(state, "_init_args").and_then(|arguments| program.tuple(arguments));
        let mut left = MOST_TEXT;
        let named =
            program.entry(state, "_init_kwargs").map(|named| json(program, named, DEEPEST, &mut left));
        let module = PickledModule {
            name: name.to_string(),
            class: shortened(class),
            arguments: match named {
                Some(Json::Object(arguments)) => arguments,
                _ => Map::new(),
            },
            positional: positional.map_or(0, <[Value]>::len),
        };
        Some((module, state))
    }

    /// What it takes to keep it, in bytes of text.
    pub(super) fn text(&self) -> usize {
        self.name.len()
            + self.class.len()
            + self.arguments.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>()
    }
}

fn size(value: &Json) -> usize {
    PART + match value {
        Json::String(text) => text.len(),
        Json::Array(parts) => parts.iter().map(size).sum(),
        Json::Object(parts) => parts.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// A value of at most `left` bytes of text, which are taken from it.
fn json(program: &Program<'_>, value: Value, deepest: usize, left: &mut usize) -> Json {
    if deepest == 0 || *left < PART {
        return Json::from("…");
    }
    *left -= PART;
    let mut text = |text: &str| {
        let text = shortened(text);
        *left = left.saturating_sub(text.len());
        Json::String(text)
    };
    match value {
        Value::None => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(number) => number.into(),
        Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => Json::Number(number),
            None => Json::String(number.to_string()),
        },
        Value::Text { .. } => text(program.text(value).unwrap_or("bytes")),
        Value::Long { .. } => text("a long integer"),
        Value::Global(_) => text(program.global(value).unwrap_or_default()),
        Value::Object(_) => {
            if let Some(entries) = program.dictionary(value) {
                let mut object = Map::new();
                for &(key, value) in entries {
                    if *left < PART {
                        break;
                    }
                    let key = program.text(key).map_or_else(|| format!("[{}]", object.len()), shortened);
                    *left = left.saturating_sub(key.len());
                    object.insert(key, json(program, value, deepest - 1, left));
                }
                return Json::Object(object);
            }
            if let Some(parts) = program.sequence(value) {
                let mut array = Vec::new();
                for &part in parts {
                    if *left < PART {
                        break;
                    }
                    array.push(json(program, part, deepest - 1, left));
                }
                return Json::Array(array);
            }
            text(program.call(value).map_or("an object", |(function, ..)| function))
        }
    }
}
