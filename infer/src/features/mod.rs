//! Features: what the network computes for every image of a split, into feature files.
//!
//! | module | holds |
//! | --- | --- |
//! | `noise` | where the noise comes from |
//! | `source` | images, or latents that an earlier job stored |
//! | `latents` | where latents come from |
//! | `recipe` | from a graph and what is asked of it to a job |
//! | `extraction` | which runs of the graph there are, their inputs and results |
//! | `job` | shards of rows, computed one after the other, resumable |
//! | `join` | shards of many machines into one file |
//! | `shards` | the shards that are there |
//! | `formats` | the joined file in other formats |

mod extraction;
pub mod formats;
mod job;
mod join;
mod latents;
mod noise;
mod recipe;
mod shards;
mod source;

pub use extraction::{Extraction, Layer, NOISE_STREAM, Noising, Pass, Views};
pub use job::{Begun, FeatureJob, Finished};
pub use join::{Join, Joined};
pub use latents::{Latents, latent_shape, sides, views};
pub use noise::NoiseSource;
pub use recipe::{CROP_PADDING, FeatureOptions, Recipe, part_of, usual_shards};
pub use shards::begun_in;
pub use source::{Images, LATENT, OwnSize, Source, StoredLatents};
