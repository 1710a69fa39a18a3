//! The whole way: train, go on, export, extract, score, draw; what each step leaves is looked into.

pub mod classifier;
mod edm;
mod export;
mod features;
mod grid;
mod latents;
mod networks;
mod probe;
mod sample;
mod sample_data;
mod train;
