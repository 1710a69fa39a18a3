//! Fréchet inception distance: how far two sets of images are apart in the eyes of Inception.
//!
//! | module | holds |
//! | --- | --- |
//! | [`statistics`] | mean and covariance of features, in one pass |
//! | [`distance`] | the Fréchet distance between two Gaussians |
//! | [`factor`] | triangular factors of covariances |
//! | [`images`] | statistics of images, through the graph of Inception |
//! | [`source`] | where statistics come from: images, feature files, saved statistics |
//! | [`archive`] | statistics as `.npz`, as pytorch-fid keeps them |
//!
//! The definition is pytorch-fid's (arXiv 1706.08500): the 2048 features before the classifier of TensorFlow's Inception
//! of 2015, which sees images resized to 299x299 without antialiasing; their mean and their covariance without bias, in
//! float64; and `||m - n||² + tr(A) + tr(B) - 2 tr((A B)^(1/2))` of means m, n and covariances A, B.

pub mod archive;
pub mod distance;
pub mod error;
pub mod factor;
pub mod images;
pub mod source;
pub mod statistics;

pub use distance::{Distance, frechet_distance};
pub use error::FidError;
pub use source::ImageSource;
pub use statistics::{Accumulator, Statistics};

/// The layer of Inception that distances are computed on.
pub(crate) const TAP: &str = "pool";
