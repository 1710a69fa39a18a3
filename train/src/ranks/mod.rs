//! One run on several ranks: processes, mostly one for each GPU, that each train on a part of every batch and keep the same weights.
//!
//! | module | holds |
//! | --- | --- |
//! | [`environment`] | who a rank is: torchrun's variables |
//! | [`launch`](mod@launch) | ranks of this machine, started by `--nproc` |
//! | [`shares`] | batches in parts, and the learning rate that goes with them |
//! | [`division`] | losses, accuracies, latents and samples of which each rank computes a part |
//! | [`group`] | a rank among the others |
//! | [`command`] | what rank 0 has them do |
//! | `watch` | signs of life, and what ends the others when a rank ends |
//! | `follow` | the work of the ranks other than 0 |
//!
//! Rank 0 runs the training loop ([`crate::training::run`]) and does all that is written. Before every step it says which one it
//! is, and the others, which wait for that without a limit of time, take part in it: nothing that rank 0 does between steps need be
//! known to them. So it has them take part in what is measured and sampled between epochs. What is random is drawn for the whole
//! batch by every rank, which takes its part, so that a step of many ranks is that of one.

pub mod command;
pub mod division;
pub mod environment;
pub(crate) mod follow;
pub mod group;
pub mod launch;
pub mod shares;
mod watch;

pub use division::Division;
pub use environment::Place;
pub use group::Ranks;
pub use launch::launch;
pub use shares::{BatchOf, Part, Shares, StepBatch};
