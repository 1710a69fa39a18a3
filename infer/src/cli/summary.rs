//! What a command says at its end.

use ddae_base::memory;
use serde_json::{Map, Value, json};

/// How much was computed, how fast, where.
pub struct Summary {
    /// Images computed by this run.
    pub images: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// The execution provider.
    pub provider: &'static str,
    /// Its sessions.
    pub sessions: usize,
}

impl Summary {
    /// Images per second.
    pub fn rate(&self) -> f64 {
        if self.images == 0 { 0.0 } else { self.images as f64 / self.seconds.max(1e-9) }
    }

    /// `12000 images in 30.1 s (398.7/s, CPUExecutionProvider, 2 sessions, 0.4 GB at most)`
    pub fn line(&self) -> String {
        let Summary { images, seconds, provider, sessions } = self;
        let plural = if *sessions == 1 { "" } else { "s" };
        let peak = memory::peak().map(|bytes| format!(", {:.2} GB at most", bytes as f64 / 1e9));
        format!(
            "{images} images in {seconds:.1} s ({:.1}/s, {provider}, {sessions} session{plural}{})",
            self.rate(),
            peak.unwrap_or_default()
        )
    }

    /// The same for machines.
    pub fn json(&self) -> Map<String, Value> {
        let object = json!({
            "images": self.images,
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
        let mut summary = Summary { images: 0, seconds: 0.0, provider: "CPUExecutionProvider", sessions: 1 };
        assert_eq!(summary.rate(), 0.0);
        summary.images = 30;
        summary.seconds = 2.0;
        assert!(summary.line().starts_with("30 images in 2.0 s (15.0/s, CPUExecutionProvider, 1 session"));
    }
}
