//! Which columns of a parquet file are images and labels.

use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use crate::datasets::DataError;

/// Names of image columns, where there are several columns of bytes; the first that there is counts.
const IMAGES: [&str; 9] =
    ["image", "img", "images", "picture", "photo", "jpg", "png", "image_bytes", "bytes"];
/// Names of label columns, likewise.
const LABELS: [&str; 12] = [
    "label",
    "fine_label",
    "labels",
    "class",
    "target",
    "category",
    "cls",
    "label_name",
    "class_name",
    "class_label",
    "y",
    "coarse_label",
];

/// The columns that were chosen, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub image: usize,
    pub image_name: String,
    pub label: Option<usize>,
    pub label_name: Option<String>,
    /// Names of the classes, as Hugging Face's `datasets` writes them.
    pub classes: Option<Vec<String>>,
    /// Other columns of labels.
    pub other_labels: Vec<String>,
    /// A column that is called like labels and is of a type that they do not have, with that type.
    pub unread_label: Option<String>,
}

/// Chooses the columns of images and labels.
pub(super) fn columns(path: &Path, file: &FileMetaData) -> Result<Columns, DataError> {
    let schema = file.schema_descr();
    let features = features(file);
    let leaves: Vec<Leaf> =
        schema.columns().iter().enumerate().map(|(number, column)| Leaf::new(number, column)).collect();
    let is_of = |leaf: &Leaf, kind: &str| {
        features
            .as_ref()
            .and_then(|features| features.get(&leaf.top))
            .is_some_and(|feature| feature.get("_type").and_then(Value::as_str) == Some(kind))
    };
    let binary: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.is_image()).collect();
    let declared: Vec<&Leaf> = binary.iter().copied().filter(|leaf| is_of(leaf, "Image")).collect();
    let candidates = if declared.is_empty() { binary } else { declared };
    let named =
        IMAGES.iter().find_map(|name| candidates.iter().find(|leaf| leaf.top.eq_ignore_ascii_case(name)));
    let image = match (candidates.as_slice(), named) {
        ([only], _) => only,
        (_, Some(named)) => named,
        (several, None) => {
            let all: Vec<&str> = if several.is_empty() {
                leaves.iter().map(|leaf| leaf.path.as_str()).collect()
            } else {
                several.iter().map(|leaf| leaf.path.as_str()).collect()
            };
            let all = ddae_base::text::excerpt(all.join(", "), 200);
            let found = match several.is_empty() {
                true => format!("it has no column of encoded images, but {all}"),
                false => format!("it has several columns of bytes ({all}), none of which is called image"),
            };
            return Err(DataError::format(
                path,
                found,
                "a column 'image' of bytes, or of a struct with 'bytes'",
            ));
        }
    };
    let classes_of = |leaf: &Leaf| -> Option<Vec<String>> {
        let names = features.as_ref()?.get(&leaf.top)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_string)).collect()
    };
    let mut labels: Vec<&Leaf> =
        leaves.iter().filter(|leaf| leaf.is_label() && is_of(leaf, "ClassLabel")).collect();
    if labels.is_empty() {
        let is_named = |leaf: &&Leaf| LABELS.iter().any(|name| leaf.top.eq_ignore_ascii_case(name));
        labels = leaves.iter().filter(|leaf| leaf.is_label()).filter(is_named).collect();
    }
    let named = LABELS
        .iter()
        .find_map(|name| labels.iter().copied().find(|leaf| leaf.top.eq_ignore_ascii_case(name)));
    let label = named.or_else(|| labels.first().copied().filter(|_| labels.len() == 1));
    let others = labels.iter().filter(|leaf| label.is_none_or(|label| label.number != leaf.number));
    let is_unread = |leaf: &&Leaf| {
        !leaf.is_label() && leaf.number != image.number && {
            LABELS.iter().any(|name| leaf.top.eq_ignore_ascii_case(name))
        }
    };
    let unread = leaves.iter().find(is_unread).filter(|_| label.is_none());
    let unread_label = unread.map(|leaf| {
        let list = if leaf.is_repeated { "a list of " } else { "" };
        format!("{} ({list}{})", leaf.path, leaf.kind)
    });
    Ok(Columns {
        unread_label,
        image: image.number,
        image_name: image.top.clone(),
        label: label.map(|leaf| leaf.number),
        label_name: label.map(|leaf| leaf.top.clone()),
        classes: label.and_then(classes_of),
        other_labels: others.map(|leaf| leaf.top.clone()).collect(),
    })
}

/// A column of values.
struct Leaf {
    number: usize,
    /// `image.bytes`
    path: String,
    /// `image`
    top: String,
    depth: usize,
    last: String,
    is_repeated: bool,
    kind: Type,
    is_plain: bool,
    is_text: bool,
}

impl Leaf {
    fn new(number: usize, column: &ColumnDescriptor) -> Leaf {
        let parts = column.path().parts();
        let converted = column.converted_type();
        let logical = column.logical_type_ref();
        let is_text = converted == ConvertedType::UTF8 || matches!(logical, Some(LogicalType::String));
        Leaf {
            number,
            path: column.path().string(),
            top: parts.first().cloned().unwrap_or_default(),
            depth: parts.len(),
            last: parts.last().cloned().unwrap_or_default(),
            is_repeated: column.max_rep_level() > 0,
            kind: column.physical_type(),
            is_plain: converted == ConvertedType::NONE && logical.is_none(),
            is_text,
        }
    }

    /// Whether it can be a column of encoded images: bytes that are nothing else.
    fn is_image(&self) -> bool {
        let place = self.depth == 1 || (self.depth == 2 && self.last == "bytes");
        place && !self.is_repeated && self.kind == Type::BYTE_ARRAY && self.is_plain
    }

    /// Whether it can be a column of labels: integers or text.
    fn is_label(&self) -> bool {
        let is_integer = matches!(self.kind, Type::INT32 | Type::INT64);
        self.depth == 1
            && !self.is_repeated
            && (is_integer || (self.kind == Type::BYTE_ARRAY && self.is_text))
    }
}

/// What Hugging Face's `datasets` says of the columns.
fn features(file: &FileMetaData) -> Option<serde_json::Map<String, Value>> {
    let entries = file.key_value_metadata()?;
    let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
    let mut value: Value = serde_json::from_str(text).ok()?;
    match value.get_mut("info")?.get_mut("features")?.take() {
        Value::Object(features) => Some(features),
        _ => None,
    }
}
