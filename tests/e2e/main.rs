//! The programs, run as a user runs them: the whole way from images to scores, everything that can be wrong with an
//! input, interruptions, full disks, and what the documentation promises.
//!
//! The network is tiny and so are the images, which makes a run of everything take a minute or two. The programs are
//! those of the same build as the tests ([`ddae_tests::programs`]).

mod bad_inputs;
mod docs;
mod formats;
mod interrupts;
mod json;
mod manners;
mod pipeline;
mod place;
mod published_weights;
mod shared_noise;
mod tiny;
