//! What the probes found.

use anyhow::{Context, Result};
use serde_json::Value;

/// One probe's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Share of test images classified rightly.
    pub accuracy: f64,
    /// The features that were chosen, `t11/out_2`; nothing for pixels.
    pub features: String,
}

impl Score {
    /// Reads what `ddae-probe --json` printed.
    pub fn parse(printed: &str) -> Result<Score> {
        let result: Value = serde_json::from_str(printed).context("ddae-probe printed no JSON")?;
        let accuracy = result["accuracy"].as_f64().context("ddae-probe printed no accuracy")?;
        let features = result["features"].as_str().unwrap_or_default().to_string();
        Ok(Score { accuracy, features })
    }
}

/// The rows of the table: which features, in words.
pub const ROWS: [(&str, &str); 3] =
    [("trained", "DDAE features"), ("untrained", "the same network, untrained"), ("pixels", "raw pixels")];

/// The results by method and features.
#[derive(Debug, Default)]
pub struct Scores(Vec<(String, String, Score)>);

impl Scores {
    /// Adds the result of a method on features.
    pub fn add(&mut self, method: &str, features: &str, score: Score) {
        self.0.push((method.to_string(), features.to_string(), score));
    }

    /// The result of a method on features.
    pub fn get(&self, method: &str, features: &str) -> Option<&Score> {
        self.0.iter().find(|(m, f, _)| m == method && f == features).map(|(.., score)| score)
    }

    /// The results as a text table.
    pub fn table(&self) -> String {
        let cell = |method, features| match self.get(method, features) {
            Some(score) => format!("{:5.1} %", score.accuracy * 100.0),
            None => "     –".to_string(),
        };
        let mut table = format!("{:<30}{:>10}{:>10}\n", "test accuracy", "logistic", "k-NN");
        for (features, label) in ROWS {
            table += &format!("{label:<30}{:>10}{:>10}\n", cell("logistic", features), cell("knn", features));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_score_as_a_percentage() {
        let mut scores = Scores::default();
        scores.add("logistic", "trained", Score { accuracy: 0.853, features: "t11/out_2".into() });
        scores.add("knn", "pixels", Score { accuracy: 0.7949, features: String::new() });
        let lines: Vec<String> = scores.table().lines().map(str::to_string).collect();
        assert_eq!(lines[0], "test accuracy                   logistic      k-NN");
        assert_eq!(lines[1], "DDAE features                     85.3 %         –");
        assert_eq!(lines[3], "raw pixels                             –    79.5 %");
    }

    #[test]
    fn a_result_is_read_and_anything_else_refused() {
        let score = Score::parse(r#"{"accuracy": 0.5, "features": "t1/out_1", "k": 20}"#).unwrap();
        assert_eq!(score, Score { accuracy: 0.5, features: "t1/out_1".into() });
        assert!(Score::parse("error").unwrap_err().to_string().contains("printed no JSON"));
        assert!(Score::parse("{}").unwrap_err().to_string().contains("printed no accuracy"));
    }
}
