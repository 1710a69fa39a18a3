//! Runs side by side: what their folders tell, without touching them and without libtorch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`find`](mod@find) | which folders are of runs |
//! | [`lines`] | the lines of `stats.jsonl` |
//! | [`overview`] | what a run folder tells: state, losses, scores; also of one that is half-written or old |
//! | [`settings`] | configurations key by key, and where they differ |
//! | [`tail`] | logs of any length, line by line or from their ends |

pub mod find;
pub mod lines;
pub mod overview;
pub mod settings;
pub mod tail;

pub use find::find;
pub use overview::{Overview, RunState};
pub use settings::{Settings, differences};
