//! What all crates share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`begin`](mod@begin) | what every program does first |
//! | [`device`](mod@device) | devices by name |
//! | [`ending`] | the line on stderr and the exit code of a failure |
//! | [`files`] | files that appear when they are whole, or not at all |
//! | [`lock`] | one process at a time for one output |
//! | [`progress`] | how far something is: a bar, or plain lines |
//! | [`random`] | random streams keyed by what they are for |
//! | [`shell`] | words as they are typed into a shell, for the commands that are suggested |
//! | [`stderr`] | lines that may go unread |
//! | [`stop`] | ending in good order on Ctrl-C |
//!
//! Beginning, progress and signals are behind the feature `terminal`, which programs have and libraries do without.

#[cfg(feature = "terminal")]
pub mod begin;
pub mod device;
pub mod ending;
pub mod files;
pub mod lock;
#[cfg(feature = "terminal")]
pub mod progress;
pub mod random;
pub mod shell;
pub mod stderr;
pub mod stop;

#[cfg(feature = "terminal")]
pub use begin::begin;
pub use ending::end;
pub use stderr::tell;
pub use stop::Stop;
