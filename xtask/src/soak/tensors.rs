//! The tensors of safetensors files: the length of the header (8 bytes, little-endian), the header (JSON), the data.

use serde_json::{Map, Value};

/// How the tensors of one file differ from those of another; none when names, types, shapes and bytes are the same.
pub fn difference(ours: &[u8], theirs: &[u8]) -> Option<String> {
    let (Some(ours), Some(theirs)) = (File::read(ours), File::read(theirs)) else {
        return Some("is no whole safetensors file".to_string());
    };
    for (name, tensor) in theirs.tensors() {
        match ours.header.get(name) {
            None => return Some(format!("has no tensor '{name}'")),
            Some(other) if ours.description(other) != theirs.description(tensor) => {
                return Some(format!("has another tensor '{name}' than the undisturbed run"));
            }
            Some(_) => {}
        }
    }
    let added = ours.tensors().find(|(name, _)| !theirs.header.contains_key(*name));
    added.map(|(name, _)| format!("has a tensor '{name}' too many"))
}

struct File<'a> {
    header: Map<String, Value>,
    data: &'a [u8],
}

impl<'a> File<'a> {
    /// None unless the data ends where the last tensor does.
    fn read(bytes: &'a [u8]) -> Option<File<'a>> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (header, data) = rest.split_at_checked(length)?;
        let file = File { header: serde_json::from_slice(header).ok()?, data };
        let end = file.tensors().map(|(_, tensor)| offset(tensor, 1)).max().unwrap_or(Some(0));
        (end == Some(data.len())).then_some(file)
    }

    fn tensors(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.header.iter().filter(|(name, _)| *name != "__metadata__")
    }

    /// Type, shape and bytes.
    fn description<'b>(&self, tensor: &'b Value) -> (&'b Value, &'b Value, Option<&'a [u8]>) {
        let bytes = offset(tensor, 0).zip(offset(tensor, 1)).and_then(|(from, to)| self.data.get(from..to));
        (&tensor["dtype"], &tensor["shape"], bytes)
    }
}

fn offset(tensor: &Value, end: usize) -> Option<usize> {
    tensor["data_offsets"][end].as_u64().and_then(|offset| usize::try_from(offset).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn one(name: &str, shape: &str, seconds: u32, data: &[u8]) -> Vec<u8> {
        let length = data.len();
        let metadata = format!(r#""__metadata__":{{"seconds":"{seconds}"}}"#);
        let tensor = format!(r#""{name}":{{"dtype":"U8","shape":{shape},"data_offsets":[0,{length}]}}"#);
        file(&format!("{{{metadata},{tensor}}}"), data)
    }

    #[test]
    fn tensors_are_compared_and_not_what_else_a_file_says() {
        let known = one("a", "[3]", 1, b"xyz");
        let told = |other: &[u8]| difference(other, &known).unwrap_or_default();
        assert_eq!(told(&one("a", "[3]", 2, b"xyz")), "");
        assert_eq!(told(&one("a", "[3]", 1, b"xyw")), "has another tensor 'a' than the undisturbed run");
        assert_eq!(told(&one("a", "[3,1]", 1, b"xyz")), "has another tensor 'a' than the undisturbed run");
        assert_eq!(told(&one("b", "[3]", 1, b"xyz")), "has no tensor 'a'");
        assert_eq!(difference(&known, &file("{}", b"")).unwrap_or_default(), "has a tensor 'a' too many");
        for cut in [&known[..5], &known[..20], &known[..known.len() - 1]] {
            assert_eq!(told(cut), "is no whole safetensors file");
        }
    }
}
