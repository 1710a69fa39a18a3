//! Probes: how much a linear model or the neighbours of a sample can tell from features, and how features lie
//! without labels.
//!
//! | module | subject |
//! | --- | --- |
//! | [`source`] | samples and their features, from feature files or from pixels |
//! | [`rows`] | tables that are read block by block |
//! | [`scaling`] | standardising, L2 normalisation |
//! | [`logistic`] | multinomial logistic regression in float64 |
//! | [`linear`] | the published linear probe: a layer trained for some epochs |
//! | [`knn`] | exact k-nearest-neighbours classification |
//! | [`contrastive`] | alignment and uniformity under noise |
//! | [`labels`] | labels and classes |
//! | [`held_out`] | the part of the training set on which choices are made |
//! | [`experiment`] | a probe from the choice of features to the report |
//! | [`report`] | accuracy, confusion matrix and protocol, as text and JSON |
//! | [`confusion_image`] | the confusion matrix as a PNG |
//!
//! A new probe is a module that implements [`experiment::Probe`], and a command in the binary.

pub mod confusion_image;
pub mod contrastive;
pub mod error;
pub mod experiment;
pub mod held_out;
pub mod knn;
pub mod labels;
pub mod linear;
pub mod logistic;
pub mod report;
pub mod rows;
pub mod scaling;
pub mod source;

pub use error::ProbeError;
