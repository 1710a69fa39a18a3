//! What the command lines of all programs have in common.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ending`] | the line on stderr and the exit code of a failure |
//! | [`stderr`] | lines that may go unread |
//! | [`shell`] | words as they are typed into a shell, for the commands that are suggested |

pub mod ending;
pub mod shell;
pub mod stderr;

pub use ending::end;
pub use stderr::tell;
