//! What TensorBoard is given: records and their fields, read by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::program::Place;

/// A field of a protobuf message: its number and its bytes, of numbers those of their value.
type Field<'a> = (u64, &'a [u8]);

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                let mut rest = bytes;
                varint(&mut rest);
                bytes.len() - rest.len()
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, value));
        bytes = rest;
    }
    fields
}

fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message).into_iter().find(|(found, _)| *found == number).map(|(_, value)| value)
}

/// The values of all summaries of the files in a folder, in order: tag, step, and the message of the value.
fn values(folder: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let mut values = Vec::new();
    for path in paths {
        let bytes = fs::read(path).expect("events");
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            let event = &after[4..4 + length];
            rest = &after[8 + length..];
            let step = field(event, 2).map_or(0, |mut step| varint(&mut step));
            let summary = field(event, 5).unwrap_or_default();
            for (_, value) in fields(summary).into_iter().filter(|(number, _)| *number == 1) {
                let tag = String::from_utf8(field(value, 1).expect("a tag").to_vec()).expect("text");
                values.push((tag, step, value.to_vec()));
            }
        }
    }
    values
}

#[test]
fn tensorboard_is_given_scalars_scores_sheets_and_the_configuration() {
    let place = Place::of("soda");
    place.train(&["--config", "soda.yaml", "--sample-steps", "3", "--log-every", "6", "--hold-out", "0.25"]);
    let values = values(&place.path("run/tensorboard"));
    let mut steps: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (tag, step, _) in &values {
        steps.entry(tag).or_default().push(*step);
    }
    for (tag, wanted) in [
        ("configuration", &[0][..]),
        ("evaluation/knn_accuracy", &[0, 10, 15]),
        ("samples", &[10, 15]),
        ("train/loss", &[6, 12, 15]),
        ("validation/loss", &[0, 5, 10, 15]),
    ] {
        assert_eq!(steps.get(tag).map(Vec::as_slice), Some(wanted), "{tag}: {steps:?}");
    }
    for (tag, step, value) in &values {
        let read = |path: String| fs::read(place.path(&path)).expect("a file");
        match &**tag {
            "samples" => {
                let image = field(value, 4).expect("an image");
                let epoch = step.div_ceil(5);
                assert!(
                    field(image, 4) == Some(&read(format!("run/samples/epoch_{epoch:04}.png"))),
                    "step {step}"
                );
            }
            "configuration" => {
                let tensor = field(value, 8).expect("a tensor");
                let text = String::from_utf8(field(tensor, 8).expect("a text").to_vec()).expect("text");
                let config = String::from_utf8(read("run/config.yaml".to_string())).expect("text");
                let indented: String = config.lines().map(|line| format!("    {line}\n")).collect();
                assert_eq!(text, indented);
            }
            _ => assert_eq!(field(value, 2).map(<[u8]>::len), Some(4), "{tag}"),
        }
    }
}
