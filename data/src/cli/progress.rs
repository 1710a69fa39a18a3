//! A progress bar on stderr, or plain lines where that is not a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Bytes,
    Images,
}

/// A bar for `length` units of `what`.
pub fn bar(what: &str, length: u64, unit: Unit) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        ddae_base::tell(what);
        return ProgressBar::hidden();
    }
    let template = match unit {
        Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        Unit::Images => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what.to_string())
}
