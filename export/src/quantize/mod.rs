//! Static quantisation to 8-bit integers.
//!
//! | module | does |
//! | --- | --- |
//! | [`samples`] | inputs as in use: images of a data set, noise, timesteps |
//! | [`calibration`] | runs the float32 file and counts the values of activations |
//! | [`histogram`] | chooses the range that integers cover |
//! | [`selection`] | which operations become integer |
//! | [`rewrite`] | puts quantisation into the graph |
//!
//! What becomes integer are convolutions and matrix products with weights, from the second on, and the sums of residual
//! blocks that end in a ReLU: the first convolution, norms, softmaxes, products of activations, other additions, and
//! everything that depends on no image stay float32.
//! Weights have a scale for each output channel and are symmetric, activations have one scale and a zero.

pub mod calibration;
pub mod histogram;
pub mod rewrite;
pub mod samples;
pub mod selection;
