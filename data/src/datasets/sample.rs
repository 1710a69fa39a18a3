//! The built-in data set: 6,000 training images and all test images of Fashion-MNIST (`assets/README.md` says how it was drawn).

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use super::mnist::FASHION_CLASSES;
use super::{DataError, DataSet, Kind, idx};
use crate::split::Split;

const TRAIN: [&[u8]; 2] = [
    include_bytes!("../../assets/train-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/train-labels-idx1-ubyte.gz"),
];
const TEST: [&[u8]; 2] = [
    include_bytes!("../../assets/t10k-images-idx3-ubyte.gz"),
    include_bytes!("../../assets/t10k-labels-idx1-ubyte.gz"),
];

pub(crate) fn open() -> Result<DataSet, DataError> {
    let (train, test) = (split("train", TRAIN)?, split("test", TEST)?);
    Ok(DataSet::published(Kind::FashionSample.name(), "built in".into(), train, test))
}

fn split(part: &str, [images, labels]: [&'static [u8]; 2]) -> Result<Split, DataError> {
    let name = format!("{}/{part}", Kind::FashionSample.name());
    let damaged = |found| DataError::format(Path::new(&name), found, "the built-in idx files");
    let (planes, _) = idx::images_in_memory(images).map_err(damaged)?;
    let labels = idx::labels_of(Cursor::new(labels)).map_err(damaged)?;
    let classes = FASHION_CLASSES.map(String::from).to_vec();
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Split::from_source(name.clone(), classes, labels, Arc::new(planes)))
}
