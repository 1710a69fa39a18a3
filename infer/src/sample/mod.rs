//! Sampling: images from noise, each a function of its seed alone.
//!
//! | module | holds |
//! | --- | --- |
//! | [`run`] | one batch through the steps of a sampler |
//! | [`job`] | many images over the sessions |
//! | [`levels`] | from the network's values to levels of an image |
//! | [`folder`] | a folder of PNG files that says what made them |
//! | [`npy`] | many images in one array file |

pub mod folder;
pub mod job;
pub mod levels;
pub mod npy;
pub mod run;

pub use folder::{ImageFolder, SampleSettings};
pub use job::{Guide, Sampling, balanced_batch};
pub use levels::to_levels;
pub use npy::NpyWriter;
pub use run::{image_class, sample_batch};
