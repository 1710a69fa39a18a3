//! Probes: how much a linear model or the neighbours of a sample can tell from features, and how features lie
//! without labels. The classifiers themselves are in `ddae-classify`.
//!
//! | module | subject |
//! | --- | --- |
//! | [`source`] | samples and their features, from feature files or from pixels |
//! | [`experiment`] | a probe from the choice of features to the report |
//! | [`knn`], [`logistic`], [`trained`] | the classifiers as probes |
//! | [`noise`] | the published noise-conditional head, by timestep |
//! | [`grid`] | from weights to the best timestep and layer |
//! | [`contrastive`] | alignment and uniformity under noise |
//! | [`neighbourhood`] | test samples beside their neighbours and in a plane |
//! | [`report`] | accuracy, confusion matrix and protocol, as text and JSON |
//! | [`confusion_image`] | the confusion matrix as a PNG |
//! | [`predictions`] | what was predicted of each test sample, as a file |
//! | [`paired`] | McNemar's test of two predictions of the same samples |
//!
//! A new probe is a module that implements [`experiment::Probe`], and a command in the binary.

pub mod confusion_image;
pub mod contrastive;
pub mod error;
pub mod experiment;
pub mod grid;
mod held_out;
pub mod knn;
pub mod logistic;
pub mod neighbourhood;
pub mod noise;
pub mod paired;
pub mod predictions;
pub mod report;
pub mod source;
pub mod trained;

pub use error::ProbeError;
