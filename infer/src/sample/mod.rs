//! Sampling: pictures from noise, each a function of its seed alone.

mod job;
mod output;

pub use job::{Sampling, picture_noise, sample_batch};
pub use output::{NpyWriter, PictureFolder, Settings, picture_path, read_picture, to_levels};
