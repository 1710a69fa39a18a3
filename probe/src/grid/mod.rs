//! From weights to the best pair of timestep and layer.
//!
//! | module | subject |
//! | --- | --- |
//! | [`model`] | the graph: made of weights with all layers, or an ONNX file as it is |
//! | [`images`] | what is learned from and measured on |
//! | [`features`] | features of the images, in files of a work folder |
//! | [`head`] | what is trained on each pair |
//! | [`search`] | the choice, and its measure on the test images |
//! | [`schedule`] | rounds of successive halving |
//! | [`cost`] | what a search costs |
//! | [`result`](mod@result) | what was found, for people and machines |
//!
//! The graph is that of `ddae-export`, the features are those of `ddae-infer features`, and the heads are those of the other
//! probes: what these commands give by hand, a grid gives to the digit.

pub mod cost;
pub mod features;
pub mod head;
pub mod images;
pub mod model;
pub mod result;
pub mod schedule;
pub mod search;
