//! How good generated images are: Fréchet inception distance and what is measured beside it.
//!
//! | module | holds |
//! | --- | --- |
//! | [`statistics`] | mean and covariance of features, in one pass |
//! | [`distance`] | the Fréchet distance between two Gaussians |
//! | [`factor`] | triangular factors of covariances |
//! | [`kernel`] | kernel inception distance |
//! | [`manifold`] | precision and recall |
//! | [`score`] | Inception score |
//! | [`random_state`] | the random numbers of the tools that publish these |
//! | [`images`] | images through a graph, once for all metrics |
//! | `collected` | what many runs of a graph give, in order |
//! | [`network`] | what tells features from others |
//! | [`convention`] | how tools resize images |
//! | [`encoder`] | graphs of other programs, in place of Inception |
//! | [`source`] | where sets come from: images, feature files, saved statistics |
//! | [`features`] | feature files |
//! | [`archive`] | statistics as `.npz`, as pytorch-fid keeps them |
//!
//! The definition of the distance is pytorch-fid's (arXiv 1706.08500): the 2048 features before the classifier of
//! TensorFlow's Inception of 2015, which sees images resized to 299x299; their mean and their covariance without bias, in
//! float64; and `||m - n||² + tr(A) + tr(B) - 2 tr((A B)^(1/2))` of means m, n and covariances A, B.

pub mod archive;
mod collected;
pub mod convention;
pub mod distance;
pub mod encoder;
pub mod error;
pub mod factor;
pub mod features;
pub mod images;
pub mod kernel;
pub mod manifold;
pub mod network;
pub mod random_state;
pub mod score;
pub mod source;
pub mod statistics;

pub use collected::{Seen, Wanted};
pub use convention::Convention;
pub use distance::{Distance, frechet_distance};
pub use error::FidError;
pub use features::Layer;
pub use images::ImageGraph;
pub use kernel::{KernelDistance, KernelOptions, kernel_distance};
pub use manifold::{PrecisionRecall, precision_recall};
pub use network::{Network, Way};
pub use score::{InceptionScore, inception_score};
pub use source::ImageSource;
pub use statistics::{Accumulator, Statistics};

/// The layer of Inception that distances are computed on.
pub(crate) const TAP: &str = "pool";

/// The layer of Inception that scores are computed on: logits without the classifier's bias, as torch-fidelity has them.
pub(crate) const LOGITS: &str = "logits_unbiased";
