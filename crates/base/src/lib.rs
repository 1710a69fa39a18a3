//! What all crates share.
//!
//! | module | holds |
//! | --- | --- |
//! | `arguments` | the command line, with errors of one line |
//! | [`begin`](mod@begin) | what every program does first |
//! | [`bounded`] | small files read whole, with a limit |
//! | [`device`](mod@device) | devices by name |
//! | [`ending`] | the line on stderr and the exit code of a failure |
//! | [`files`] | files that appear when they are whole, or not at all |
//! | [`lock`] | one process at a time for one output |
//! | [`memory`] | the memory that is free, and whether something fits into it |
//! | [`progress`] | how far something is: a bar, or plain lines |
//! | [`random`] | random streams keyed by what they are for |
//! | [`shell`] | words as they are typed into a shell, for the commands that are suggested |
//! | [`stderr`] | lines that may go unread |
//! | [`stop`] | ending in good order on Ctrl-C |
//! | [`text`] | text from outside, in one line that steers no terminal |
//!
//! The command line, beginning, progress and signals are behind the feature `terminal`, which programs have and libraries
//! do without.

#[cfg(feature = "terminal")]
pub mod arguments;
#[cfg(feature = "terminal")]
pub mod begin;
pub mod bounded;
pub mod device;
pub mod ending;
pub mod files;
pub mod kind;
pub mod lock;
pub mod memory;
#[cfg(feature = "terminal")]
pub mod progress;
pub mod random;
pub mod shell;
pub mod stderr;
pub mod stop;
pub mod text;

#[cfg(feature = "terminal")]
pub use arguments::arguments;
#[cfg(feature = "terminal")]
pub use begin::begin;
pub use bounded::read_bounded;
pub use ending::end;
pub use kind::kind_of;
pub use stderr::tell;
pub use stop::Stop;
pub use text::{plain, stdout};
