//! The crate and the binary, on small networks whose weights follow the fixtures' rule.

mod bad_inputs;
mod batches;
mod classes;
mod codes;
mod features;
mod fid;
mod fixtures;
mod formats;
mod full_disk;
mod generation;
mod help;
mod identity;
mod inspect;
mod interrupts;
mod latents;
mod merge;
mod reconstruct;
mod sample;
mod scene;
mod several;
mod shards;
mod sources;
mod workers;
