//! The program `ddae-train` as a user meets it.

mod bad_input;
mod bounds;
mod classifier;
mod events;
mod finetune;
mod furthest;
mod help;
mod last_batch;
mod program;
mod resume;
mod runs;
mod soda;
mod training;
mod validation;
