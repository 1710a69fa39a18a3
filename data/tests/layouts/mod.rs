//! Tiny synthetic data sets in the published layouts.
//!
//! Every image's levels follow from its number, so a test knows what it must read back: see [`level`].

#![allow(dead_code, reason = "each test binary uses some of them")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// Level `position` of image `number`.
pub fn level(number: usize, position: usize) -> u8 {
    ((number * 31 + position * 7) % 251) as u8
}

/// The levels of image `number`.
pub fn image(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|position| level(number, position)).collect()
}

pub fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("below a folder")).expect("a new folder");
    fs::write(path, bytes).expect("a new file");
    path.to_path_buf()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

pub fn idx(magic: u32, dimensions: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    dimensions.iter().for_each(|dimension| bytes.extend(dimension.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

/// `count` grey images of 28x28, numbered from `first`, labelled 0, 1, …, 9, 0, ….
pub fn idx_pair(first: usize, count: usize) -> (Vec<u8>, Vec<u8>) {
    let levels: Vec<u8> = (first..first + count).flat_map(|number| image(number, 784)).collect();
    let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
    (idx(2051, &[count as u32, 28, 28], &levels), idx(2049, &[count as u32], &labels))
}

/// MNIST's four files: 20 training images and 10 test images, numbered on.
pub fn mnist(folder: &Path, compressed: bool) {
    for (prefix, first, count) in [("train", 0, 20), ("t10k", 20, 10)] {
        let (images, labels) = idx_pair(first, count);
        for (kind, bytes) in [("images-idx3", images), ("labels-idx1", labels)] {
            match compressed {
                true => write(folder.join(format!("{prefix}-{kind}-ubyte.gz")), gzip(&bytes)),
                false => write(folder.join(format!("{prefix}-{kind}-ubyte")), &bytes),
            };
        }
    }
}

/// Records of CIFAR's binary version: `labels` image by image, each with its label bytes.
pub fn cifar_records(first: usize, labels: &[&[u8]]) -> Vec<u8> {
    let record = |(i, label): (usize, &&[u8])| [label.to_vec(), image(first + i, 3072)].concat();
    labels.iter().enumerate().flat_map(record).collect()
}

/// CIFAR-10's files, four images each, labels 0 to 3: (name, bytes).
pub fn cifar10_binary() -> Vec<(String, Vec<u8>)> {
    let batches = (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".into()]);
    let records = |batch: usize| cifar_records(batch * 4, &[&[0], &[1], &[2], &[3]]);
    batches.enumerate().map(|(batch, name)| (name, records(batch))).collect()
}

/// A pickled batch as Python 2 wrote the published files.
pub fn cifar_pickle(first: usize, labels_key: &str, labels: &[u8]) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let levels: Vec<u8> = (first..first + labels.len()).flat_map(|n| image(n, 3072)).collect();
    [
        b"\x80\x02}q\x01(".to_vec(),
        text(labels_key),
        b"q\x02](".to_vec(),
        labels.iter().flat_map(|&label| [b'K', label]).collect(),
        b"e".to_vec(),
        text("data"),
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K".to_vec(),
        vec![labels.len() as u8],
        b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff".to_vec(),
        b"K\x00tb\x89T".to_vec(),
        (levels.len() as u32).to_le_bytes().to_vec(),
        levels,
        b"tbu.".to_vec(),
    ]
    .concat()
}

pub fn write_all(folder: &Path, files: &[(String, Vec<u8>)]) {
    files.iter().for_each(|(name, bytes)| drop(write(folder.join(name), bytes)));
}

pub fn tar_gz(top: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{top}/{name}"), bytes.as_slice()).expect("in memory");
    }
    gzip(&tar.into_inner().expect("in memory"))
}

/// An image of one colour per channel, as PNG or JPEG by the ending of `name`.
pub fn encoded(name: &str, colour: [u8; 3], grey: bool, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let format = image::ImageFormat::from_path(name).expect("a known ending");
    let image = image::RgbImage::from_pixel(width, height, image::Rgb(colour));
    let image = match grey {
        true => image::DynamicImage::ImageLuma8(image::GrayImage::from_pixel(
            width,
            height,
            image::Luma([colour[0]]),
        )),
        false => image::DynamicImage::ImageRgb8(image),
    };
    image.write_to(&mut bytes, format).expect("in memory");
    bytes.into_inner()
}

/// Tiny-ImageNet's files: two classes of two training images, one of them grey, and three validation images.
pub fn tiny() -> Vec<(String, Vec<u8>)> {
    let jpeg = |colour, grey| encoded("x.jpeg", colour, grey, 64, 64);
    vec![
        ("wnids.txt".into(), b"n02\nn01\n".to_vec()),
        ("train/n02/images/n02_0.JPEG".into(), jpeg([200, 10, 10], false)),
        ("train/n02/images/n02_1.JPEG".into(), jpeg([90, 90, 90], true)),
        ("train/n02/n02_boxes.txt".into(), b"n02_0.JPEG\t0\t0\t1\t1\n".to_vec()),
        ("train/n01/images/n01_0.JPEG".into(), jpeg([10, 200, 10], false)),
        ("train/n01/images/n01_1.JPEG".into(), jpeg([10, 10, 200], false)),
        ("val/images/val_0.JPEG".into(), jpeg([250, 250, 250], false)),
        ("val/images/val_1.JPEG".into(), jpeg([0, 0, 0], false)),
        ("val/images/val_2.JPEG".into(), jpeg([128, 128, 128], true)),
        (
            "val/val_annotations.txt".into(),
            b"val_0.JPEG\tn02\t0\t0\t63\t63\nval_1.JPEG\tn01\t0\t0\t63\t63\nval_2.JPEG\tn01\t1\t1\t2\t2\n"
                .to_vec(),
        ),
    ]
}

pub fn zip(top: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(format!("{top}/{name}"), zip::write::SimpleFileOptions::default()).expect("in memory");
        zip.write_all(bytes).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}

/// Names of everything in a folder, sorted.
pub fn listing(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
