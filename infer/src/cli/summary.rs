//! What a command says at its end.

use std::time::Duration;

use ddae_base::memory;
use ddae_base::progress::rate;
use serde_json::{Map, Value, json};

/// How much was computed, how fast, where.
pub struct Summary {
    /// Images computed by this run.
    pub images: usize,
    /// Runs of the graph that each of them took.
    pub runs: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// The execution provider.
    pub provider: &'static str,
    /// Its sessions.
    pub sessions: usize,
}

impl Summary {
    /// Images per second; 0 where nothing was computed, or in no time that can be measured.
    pub fn rate(&self) -> f64 {
        let spent = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        rate(self.images as f64, spent).unwrap_or(0.0)
    }

    /// `12000 images in 30.1 s (398.7/s, CPUExecutionProvider, 2 sessions, 0.4 GB at most)`
    pub fn line(&self) -> String {
        let Summary { images, runs, seconds, provider, sessions } = self;
        let runs = if *runs > 1 { format!(", {runs} runs of the graph each") } else { String::new() };
        let plural = if *sessions == 1 { "" } else { "s" };
        let peak = memory::peak().map(|bytes| format!(", {:.2} GB at most", bytes as f64 / 1e9));
        format!(
            "{images} images in {seconds:.1} s ({:.1}/s, {provider}, {sessions} session{plural}{runs}{})",
            self.rate(),
            peak.unwrap_or_default()
        )
    }

    /// The same for machines.
    pub fn json(&self) -> Map<String, Value> {
        let object = json!({
            "images": self.images,
            "runs_per_image": self.runs,
            "seconds": self.seconds,
            "images_per_second": self.rate(),
            "provider": self.provider,
            "sessions": self.sessions,
            "peak_memory_bytes": memory::peak(),
        });
        object.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_computed_has_no_rate() {
        let mut summary =
            Summary { images: 0, runs: 1, seconds: 0.0, provider: "CPUExecutionProvider", sessions: 1 };
        assert_eq!(summary.rate(), 0.0);
        summary.images = 30;
        assert_eq!(summary.rate(), 0.0, "in no time");
        summary.seconds = 2.0;
        assert!(summary.line().starts_with("30 images in 2.0 s (15.0/s, CPUExecutionProvider, 1 session"));
        summary.runs = 6;
        assert!(summary.line().contains("1 session, 6 runs of the graph each"), "{}", summary.line());
    }
}
