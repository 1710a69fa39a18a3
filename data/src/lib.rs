//! Data sets, augmentations, batches and image sheets.
//!
//! | module | subject |
//! | --- | --- |
//! | [`datasets`] | the published data sets by name, anyone's images by path, unpacking archives |
//! | [`split`] | one split (training, test, …) of a data set, read image by image |
//! | [`digest`] | what tells the images of a split from those of any other |
//! | [`interleave`] | images as planes and as pixels |
//! | [`decode`] | how the bytes of image files become levels |
//! | [`resize`] | resampling images the way PIL and torchvision do |
//! | [`statistics`] | mean and deviation of a split's channels |
//! | [`augment`] | flips, crops, RandAugment, SODA's views |
//! | [`edm_augment`] | the EDM paper's non-leaking augmentation with its label |
//! | [`loader`] | batches in order, prefetched by worker threads |
//! | [`sheet`] | grids of images as PNG |

pub mod augment;
pub mod datasets;
pub mod decode;
pub mod digest;
pub mod edm_augment;
pub mod interleave;
pub mod loader;
pub mod resize;
pub mod sheet;
pub mod split;
pub mod statistics;

pub use datasets::{DataError, DataSet, OpenOptions};
pub use split::Split;
