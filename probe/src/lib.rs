//! Probes: how much a linear model or the neighbours of a sample can tell from features, and how features lie
//! without labels. The classifiers themselves are in `ddae-classify`.
//!
//! | module | subject |
//! | --- | --- |
//! | [`source`] | samples and their features, from feature files or from pixels |
//! | [`experiment`] | a probe from the choice of features to the report |
//! | [`knn`], [`linear`], [`logistic`] | the classifiers as probes |
//! | [`contrastive`] | alignment and uniformity under noise |
//! | [`neighbourhood`] | test samples beside their neighbours and in a plane |
//! | [`report`] | accuracy, confusion matrix and protocol, as text and JSON |
//! | [`confusion_image`] | the confusion matrix as a PNG |
//!
//! A new probe is a module that implements [`experiment::Probe`], and a command in the binary.

pub mod confusion_image;
pub mod contrastive;
pub mod error;
pub mod experiment;
mod held_out;
pub mod knn;
pub mod linear;
pub mod logistic;
pub mod neighbourhood;
pub mod report;
pub mod source;

pub use error::ProbeError;
