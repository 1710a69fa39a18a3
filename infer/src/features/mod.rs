//! Features: what the network computes for every image of a split, into feature files.
//!
//! | module | holds |
//! | --- | --- |
//! | [`extraction`] | which runs of the graph there are, their inputs and results |
//! | [`job`] | shards of rows, computed one after the other, resumable |
//! | [`join`] | shards of many machines into one file |
//! | [`shards`] | the shards that are there |

pub mod extraction;
pub mod job;
pub mod join;
pub mod shards;

pub use extraction::{Extraction, Pass, Views};
pub use job::{FeatureJob, Finished};
pub use join::{Join, Joined};
