//! The file formats of inputs and outputs, written and read without the code under test.

use std::collections::BTreeMap;
use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat};
use safetensors::SafeTensors;

/// A grey PNG of `levels` [height, width].
pub fn png(levels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let image = GrayImage::from_raw(width as u32, height as u32, levels.to_vec()).expect("as many levels");
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("in memory");
    bytes.into_inner()
}

/// Decodes a whole PNG.
#[track_caller]
pub fn decode_png(bytes: &[u8]) -> DynamicImage {
    image::load_from_memory_with_format(bytes, ImageFormat::Png).expect("a whole PNG")
}

/// Shape and values of a NumPy array of uint8 in C order, format version 1.
#[track_caller]
pub fn decode_npy(bytes: &[u8]) -> (Vec<usize>, Vec<u8>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0, "the array is aligned");
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("text");
    let (before, rest) = header.split_once("'shape': (").expect("a shape");
    assert_eq!(before, "{'descr': '|u1', 'fortran_order': False, ");
    let (shape, _) = rest.split_once(')').expect("a shape");
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    (sizes.map(|size| size.parse().expect("a size")).collect(), bytes[10 + length..].to_vec())
}

/// The tensors of a safetensors file: shape and bytes by name.
#[track_caller]
pub fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let of = |(name, view): (&str, safetensors::tensor::TensorView)| {
        (name.to_string(), (view.shape().to_vec(), view.data().to_vec()))
    };
    file.iter().map(of).collect()
}

/// An idx file: magic number, sizes, values.
pub fn idx(magic: u32, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let numbers = std::iter::once(&magic).chain(sizes).flat_map(|number| number.to_be_bytes());
    numbers.chain(values.iter().copied()).collect()
}

/// A batch of CIFAR-10's binary version: `count` records of a label and 3072 levels.
pub fn cifar10_batch(count: usize) -> Vec<u8> {
    let record = |i: usize| {
        std::iter::once((i % 10) as u8).chain((0..3072).map(move |j| ((i * 31 + j * 7) % 251) as u8))
    };
    (0..count).flat_map(record).collect()
}
