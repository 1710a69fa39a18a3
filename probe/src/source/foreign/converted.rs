//! Files that `ddae-infer convert` (or `features --format`) made of a feature file.
//!
//! They hold views and classes in forms of their own, which are none of a table or an array of samples. What they were
//! made of is what a probe reads, with all that it says of itself.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Opened;

/// The entry of a file's metadata by which they are known.
pub(super) const DESCRIPTION: &str = "ddae.features";

/// The file that describes a folder of arrays.
const OF_FOLDER: &str = "provenance.json";
/// The longest description that is read.
const LONGEST: u64 = 64 << 20;
/// How deep in a folder arrays lie: `t11/out_6.npy`, and deeper where a layer's name has slashes.
const DEEPEST: usize = 4;

/// Refuses one.
pub(super) fn refuse<T>() -> Opened<T> {
    Err("ddae-infer made it of a feature file (convert, or --format): give the .h5 that it was made of"
        .to_string())
}

/// Refuses a folder of such arrays, and an array in one.
pub(super) fn check_folder(path: &Path) -> Opened<()> {
    let is_folder = path.is_dir();
    // A name within such a folder does not have the names of those above it.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let is_described = |folder: &Path| {
        let file = folder.join(OF_FOLDER);
        let is_small = fs::metadata(&file).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
        let text = is_small.then(|| fs::read(file).ok()).flatten();
        let said = text.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        said.is_some_and(|said| said["format"] == "ddae-features")
    };
    let of_array = usize::from(!is_folder);
    let mut folders = path.ancestors().skip(of_array).take(if is_folder { 1 } else { DEEPEST });
    match folders.any(is_described) {
        true => refuse(),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use parquet::data_type::Int64Type;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::super::{Input, ProbeSource};
    use super::*;

    fn parquet(path: &Path) {
        let schema = "message features { required int64 view; required int64 label; required int64 class; }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let entry = KeyValue::new(DESCRIPTION.to_string(), "{}".to_string());
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![entry])).build();
        let file = File::create(path).expect("a file");
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("a writer");
        let mut group = writer.next_row_group().expect("a group");
        for _ in 0..3 {
            let mut column = group.next_column().expect("a column").expect("a column");
            column.typed::<Int64Type>().write_batch(&[0, 1], None, None).expect("written");
            column.close().expect("closed");
        }
        group.close().expect("closed");
        writer.close().expect("closed");
    }

    fn safetensors(path: &Path) {
        let header = format!(
            r#"{{"__metadata__":{{"{DESCRIPTION}":"{{}}"}},"labels":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#
        );
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0]].concat();
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn what_was_made_of_a_feature_file_is_refused_by_that_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let [table, tensors] = ["a.parquet", "a.safetensors"].map(|name| folder.path().join(name));
        parquet(&table);
        safetensors(&tensors);
        let arrays = folder.path().join("a");
        let array = arrays.join("t11/out_6.npy");
        fs::create_dir_all(arrays.join("t11")).expect("a folder");
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1)}";
        let length = (header.len() as u16).to_le_bytes();
        fs::write(&array, [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &[0; 4]].concat())
            .expect("written");
        fs::write(arrays.join(OF_FOLDER), r#"{"format":"ddae-features"}"#).expect("written");
        let named = |path: &Path, array: &str| PathBuf::from(format!("{}:{array}", path.display()));
        let given = [
            table.clone(),
            named(&table, "view,label"),
            tensors.clone(),
            named(&tensors, "labels,labels"),
            arrays,
            array,
        ];
        for path in &given {
            let source = ProbeSource::open(&Input::new(path), &Input::new(path));
            let error = source.err().expect("it is refused").to_string();
            assert!(error.ends_with("give the .h5 that it was made of"), "{error}");
        }
        // A description of something else is none.
        fs::write(folder.path().join("a").join(OF_FOLDER), r#"{"format":"another"}"#).expect("written");
        let error =
            ProbeSource::open(&Input::new(&given[5]), &Input::new(&given[5])).err().expect("three axes");
        assert!(error.to_string().contains("features are [N, D]"), "{error}");
    }
}
