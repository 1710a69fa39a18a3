//! Simple classifiers of features: what the probes and the scores of a training run share.
//!
//! | module | subject |
//! | --- | --- |
//! | [`knn`] | exact k-nearest-neighbours classification |
//! | [`logistic`] | multinomial logistic regression in float64 |
//! | [`linear`] | the published linear probe: a layer trained for some epochs |
//! | [`mlp`] | two layers, trained in the same way |
//! | [`attention`] | an attention-pooled head for maps |
//! | [`noise_mlp`] | the published noise-conditional head |
//! | [`scaling`] | standardising, L2 normalisation |
//! | [`rows`] | tables that are read block by block |
//! | [`labels`] | labels and classes |
//! | [`ranking`] | the best classes of each row |
//! | [`confusion`] | what was predicted of which class |

pub mod attention;
pub mod confusion;
pub mod error;
pub mod knn;
pub mod labels;
pub mod linear;
pub mod logistic;
pub mod mlp;
pub mod noise_mlp;
mod product;
pub mod ranking;
mod registers;
pub mod rows;
pub mod scaling;

pub use confusion::ConfusionMatrix;
pub use error::ClassifyError;
