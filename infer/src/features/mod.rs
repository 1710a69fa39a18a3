//! Features: what the network computes for every image of a split, into feature files.
//!
//! | module | holds |
//! | --- | --- |
//! | `extraction` | which runs of the graph there are, their inputs and results |
//! | `job` | shards of rows, computed one after the other, resumable |
//! | `join` | shards of many machines into one file |
//! | `shards` | the shards that are there |

mod extraction;
mod job;
mod join;
mod shards;

pub use extraction::{Extraction, NOISE_STREAM, Noising, Pass, Views};
pub use job::{FeatureJob, Finished};
pub use join::{Join, Joined};
