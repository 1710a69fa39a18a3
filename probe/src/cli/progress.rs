//! Progress on stderr: a bar or spinner on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use ddae_probe::experiment::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what is being done.
pub struct Shown {
    bar: Option<ProgressBar>,
    terminal: bool,
}

impl Shown {
    pub fn new() -> Self {
        Self { bar: None, terminal: std::io::stderr().is_terminal() }
    }
}

impl Progress for Shown {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if !self.terminal {
            ddae_base::tell(what);
            return;
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {percent} %  {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {pos} steps  {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn advance(&mut self, by: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(by);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
