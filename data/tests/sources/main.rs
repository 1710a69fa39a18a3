//! Every kind of source that can be given, read to known pixels, labels and keys, or refused by its true name.
//!
//! Image n of any case is of one colour, (10 + 20 n, 30 + 5 n, 250 - 20 n). What a source is read to is written as
//! `split: key=n:class …`, with `-` for the class where there are no labels.

mod hostile;
mod layouts;
mod refused;
mod streams;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use ddae_data::datasets::{self, OpenOptions};
use ddae_data::digest::DigestOf;
use ddae_data::{DataError, DataSet, Split};
use tempfile::TempDir;

/// What a file of a case is.
#[derive(Clone, Copy)]
enum Content {
    /// Image n, as PNG.
    Image(u8),
    Text(&'static str),
    Bytes(&'static [u8]),
    /// A file of this folder, made by `make.py`.
    Fixture(&'static str),
}

use Content::{Bytes, Fixture, Image, Text};

/// The files of a case.
type Files<'a> = &'a [(&'a str, Content)];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources")
}

fn colour(number: u8) -> [u8; 3] {
    [10 + 20 * number, 30 + 5 * number, 250 - 20 * number]
}

fn png(number: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(6, 4, image::Rgb(colour(number)));
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("in memory");
    bytes.into_inner()
}

/// A folder with the files of a case.
fn made(files: Files) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("below a folder")).expect("a folder");
        match content {
            Image(number) => fs::write(path, png(*number)).expect("written"),
            Text(text) => fs::write(path, text).expect("written"),
            Bytes(bytes) => fs::write(path, bytes).expect("written"),
            Fixture(name) => drop(fs::copy(fixtures().join(name), path).expect("a fixture")),
        }
    }
    folder
}

/// Opens `source` of a case, with `--labels FILE` after it where it is so written.
fn open(folder: &TempDir, source: &str) -> Result<DataSet, DataError> {
    let (source, labels) = match source.split_once(" --labels ") {
        Some((source, labels)) => (source, Some(folder.path().join(labels))),
        None => (source, None),
    };
    let options = OpenOptions { labels, ..OpenOptions::default() };
    datasets::open_with(source, Some(folder.path()), &options)
}

/// The number of an image by its pixels.
fn number(split: &Split, index: usize) -> Result<u8, DataError> {
    let mut levels = vec![0; split.image_len()];
    split.read(index, &mut levels)?;
    assert_eq!(split.shape(), [3, 4, 6]);
    let pixel = [levels[0], levels[24], levels[48]];
    assert!(levels.chunks_exact(24).zip(pixel).all(|(plane, level)| plane.iter().all(|&l| l == level)));
    let number = (pixel[0] - 10) / 20;
    assert_eq!(pixel, colour(number));
    Ok(number)
}

/// What a data set is read to.
fn dump(set: &DataSet) -> Result<String, DataError> {
    let mut lines = Vec::new();
    for (name, split) in set.splits() {
        let mut row = format!("{name}:");
        let mut keys = HashSet::new();
        for index in 0..split.len() {
            let (key, number) = (split.key(index), number(split, index)?);
            let class = if split.is_labelled() { &split.classes()[split.label(index)] } else { "-" };
            row.push_str(&format!(" {key}={number}:{class}"));
            assert!(keys.insert(key), "keys tell images apart");
        }
        for of in [DigestOf::Content, DigestOf::Files] {
            split.digest(of)?;
        }
        lines.push(row);
    }
    Ok(lines.join("\n"))
}
