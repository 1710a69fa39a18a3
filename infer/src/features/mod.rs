//! Features: what the network computes for every picture of a split, into feature files.

mod batch;
mod job;

pub use batch::{BatchFeatures, Extraction, Views};
pub use job::{FeatureJob, Outcome};
