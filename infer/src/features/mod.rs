//! Features: what the network computes for every image of a split, into feature files.
//!
//! | module | holds |
//! | --- | --- |
//! | `noise` | where the noise comes from |
//! | `source` | images, or latents that an earlier job stored |
//! | `extraction` | which runs of the graph there are, their inputs and results |
//! | `job` | shards of rows, computed one after the other, resumable |
//! | `join` | shards of many machines into one file |
//! | `shards` | the shards that are there |
//! | `formats` | the joined file in other formats |

mod extraction;
pub mod formats;
mod job;
mod join;
mod noise;
mod shards;
mod source;

pub use extraction::{Extraction, Layer, NOISE_STREAM, Noising, Pass, Views};
pub use job::{FeatureJob, Finished};
pub use join::{Join, Joined};
pub use noise::NoiseSource;
pub use source::{Images, LATENT, OwnSize, Source, StoredLatents};
