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
    /// The processes that computed, where options say how many.
    pub apart: Option<Apart>,
}

/// The processes that computed a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// Their number.
    pub processes: usize,
    /// The most memory of each at a time, and of one that started them, together.
    pub peak: Option<u64>,
}

impl Summary {
    /// Images per second; 0 where nothing was computed, or in no time that can be measured.
    pub fn rate(&self) -> f64 {
        let spent = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        rate(self.images as f64, spent).unwrap_or(0.0)
    }

    /// The most memory at a time, of all processes.
    fn peak(&self) -> Option<u64> {
        self.apart.as_ref().map_or_else(memory::peak, |apart| apart.peak)
    }

    /// `12000 images in 30.1 s (398.7/s, CPUExecutionProvider, 2 sessions, 0.4 GB at most)`
    pub fn line(&self) -> String {
        let Summary { images, runs, seconds, provider, sessions, apart } = self;
        let runs = if *runs > 1 { format!(", {runs} runs of the graph each") } else { String::new() };
        let plural = if *sessions == 1 { "" } else { "s" };
        let processes = match apart {
            Some(Apart { processes: 1, .. }) => " in 1 process".to_string(),
            Some(Apart { processes, .. }) => format!(" in {processes} processes"),
            None => String::new(),
        };
        let peak = self.peak().map(|bytes| format!(", {:.2} GB at most", bytes as f64 / 1e9));
        format!(
            "{images} images in {seconds:.1} s ({:.1}/s, {provider}, {sessions} session{plural}{processes}{runs}{})",
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
            "peak_memory_bytes": self.peak(),
        });
        let mut object = object.as_object().cloned().unwrap_or_default();
        if let Some(apart) = &self.apart {
            object.insert("processes".to_string(), json!(apart.processes));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_computed_has_no_rate() {
        let mut summary = Summary {
            images: 0,
            runs: 1,
            seconds: 0.0,
            provider: "CPUExecutionProvider",
            sessions: 1,
            apart: None,
        };
        assert_eq!(summary.rate(), 0.0);
        summary.images = 30;
        assert_eq!(summary.rate(), 0.0, "in no time");
        summary.seconds = 2.0;
        assert!(summary.line().starts_with("30 images in 2.0 s (15.0/s, CPUExecutionProvider, 1 session"));
        summary.runs = 6;
        assert!(summary.line().contains("1 session, 6 runs of the graph each"), "{}", summary.line());
    }

    #[test]
    fn several_processes_are_told_with_the_memory_of_all() {
        let apart = Some(Apart { processes: 3, peak: Some(1_500_000_000) });
        let (provider, sessions) = ("CPUExecutionProvider", 6);
        let summary = Summary { images: 30, runs: 1, seconds: 2.0, provider, sessions, apart };
        let wanted =
            "30 images in 2.0 s (15.0/s, CPUExecutionProvider, 6 sessions in 3 processes, 1.50 GB at most)";
        assert_eq!(summary.line(), wanted);
        let object = summary.json();
        assert_eq!(
            (&object["processes"], &object["peak_memory_bytes"]),
            (&json!(3), &json!(1_500_000_000_u64))
        );
    }
}
