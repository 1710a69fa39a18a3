//! Runs side by side: what their folders tell, without touching them.
//!
//! | module | holds |
//! | --- | --- |
//! | [`find`](mod@find) | which folders are of runs |
//! | [`overview`] | what a run folder tells: state, losses, scores; also of one that is half-written or old |
//! | [`settings`] | configurations key by key, and where they differ |
//! | `tail` | the ends of logs |

pub mod find;
pub mod overview;
pub mod settings;
mod tail;

pub use find::find;
pub use overview::{Overview, RunState};
pub use settings::{Settings, differences};
