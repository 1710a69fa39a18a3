//! A report about runs and probes: one HTML file that needs nothing else, and its plots as SVG and PNG.
//!
//! | module | holds |
//! | --- | --- |
//! | [`run`] | a run folder: configuration, curves, scores, sheets of samples |
//! | [`result`](mod@result) | what `ddae-probe … --json` printed |
//! | [`images`] | small images in one picture |
//! | [`noised`] | images at rising noise |
//! | [`features`] | test samples with their neighbours and their places in a plane |
//! | [`projection`] | PCA and t-SNE |
//! | [`plot`] | plots |
//! | [`page`] | the page made of all this |
//!
//! The page loads nothing, sends nothing and runs no script but its own, which its policy names by digest. All texts from
//! outside (names of classes, files, settings) are escaped by the template engine or by the writer of SVG.

mod error;
pub mod features;
pub mod images;
pub mod noised;
pub mod page;
pub mod plot;
pub mod projection;
pub mod result;
pub mod run;

pub use error::ReportError;
