//! What all crates share.
//!
//! | module | holds |
//! | --- | --- |
//! | `arguments` | the command line: what all programs have in common, values, errors of one line, completions, manuals |
//! | [`begin`](mod@begin) | what every program does first |
//! | [`bounded`] | small files read whole, with a limit |
//! | [`contained`](mod@contained) | panics of crates that read damaged files |
//! | [`device`](mod@device) | devices by name |
//! | `ending` | the line on stderr and the exit code of a failure |
//! | [`environment`] | the environment variables that programs heed |
//! | [`files`] | files that appear when they are whole, or not at all |
//! | `json` | results for machines |
//! | [`lock`] | one process at a time for one output |
//! | `made_by` | which program made something, how it was called, on which machine |
//! | [`memory`] | the memory that is free, and whether something fits into it |
//! | `processes` | processes of one program side by side |
//! | [`progress`] | how far something is: a bar, or plain lines |
//! | [`random`] | random streams keyed by what they are for |
//! | [`shell`] | words as they are typed into a shell, for the commands that are suggested |
//! | [`stderr`] | lines that may go unread |
//! | [`stop`] | ending in good order on Ctrl-C |
//! | [`system`] | the system's errors in words |
//! | [`text`] | text from outside, in one line that steers no terminal |
//! | [`verbosity`] | how much is said beside results |
//!
//! The command line, beginning, ending, progress and signals are behind the feature `terminal`, which programs have and libraries
//! do without.

#[cfg(feature = "terminal")]
pub mod arguments;
#[cfg(feature = "terminal")]
pub mod begin;
pub mod bounded;
pub mod contained;
pub mod device;
#[cfg(feature = "terminal")]
pub mod ending;
pub mod environment;
pub mod files;
#[cfg(feature = "terminal")]
pub mod json;
pub mod kind;
pub mod lock;
#[cfg(feature = "terminal")]
pub mod made_by;
pub mod memory;
#[cfg(feature = "terminal")]
pub mod processes;
#[cfg(feature = "terminal")]
pub mod progress;
pub mod random;
pub mod shell;
pub mod stderr;
pub mod stop;
pub mod system;
pub mod text;
pub mod verbosity;

#[cfg(feature = "terminal")]
pub use arguments::{arguments, bare_arguments};
#[cfg(feature = "terminal")]
pub use begin::begin;
pub use bounded::read_bounded;
pub use contained::contained;
#[cfg(feature = "terminal")]
pub use ending::end;
pub use kind::kind_of;
pub use stderr::tell;
pub use stop::Stop;
pub use text::{plain, stdout};
pub use verbosity::{detail, is_quiet, is_verbose, note};
