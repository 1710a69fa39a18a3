//! For the tests of this crate.

/// The full text of an error.
pub fn message_of<T>(outcome: anyhow::Result<T>) -> String {
    outcome.err().map_or_else(|| String::from("no error"), |error| format!("{error:#}"))
}
