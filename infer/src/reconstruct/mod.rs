//! Reconstructions: images through an encoder, and their latents through a guided sampler.
//!
//! | module | holds |
//! | --- | --- |
//! | [`encode`] | images to latents |
//! | [`between`] | latents on the way from one to another |
//! | [`settings`] | what decides how a reconstruction looks |
//!
//! The images themselves are drawn by [`crate::sample`], with the latents as its
//! [`Guide`](crate::sample::Guide).

pub mod between;
pub mod encode;
pub mod settings;

pub use between::Way;
pub use encode::Encoding;
pub use settings::ReconstructSettings;
