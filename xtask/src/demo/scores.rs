//! What the probes found.

use anyhow::{Context, Result};
use serde_json::Value;

use super::SUBJECTS;

/// One probe's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Share of test images classified rightly; of several draws their mean.
    pub accuracy: f64,
    /// Its standard error, or the deviation of several draws.
    pub error: f64,
    /// The features that were chosen, `t11/out_2`; `pixels` for these.
    pub features: String,
}

impl Score {
    /// Of what `ddae-probe --json` printed.
    pub fn of(result: &Value) -> Result<Score> {
        let (accuracy, error) = match &result["seeds"] {
            Value::Object(seeds) => (&seeds["mean"], &seeds["deviation"]),
            _ => (&result["accuracy"], &result["standard_error"]),
        };
        let number = |value: &Value| value.as_f64().context("ddae-probe printed no accuracy with its error");
        let features = result["features"].as_str().context("ddae-probe printed no features")?.to_string();
        Ok(Score { accuracy: number(accuracy)?, error: number(error)?, features })
    }
}

/// The columns of the table: results by their names, and heads.
const COLUMNS: [(&str, &str); 4] =
    [("logistic", "logistic"), ("knn", "k-NN"), ("shots_10", "10 labels"), ("shots_100", "100 labels")];

/// The results by method and subject.
#[derive(Debug, Default)]
pub struct Scores {
    found: Vec<(String, String, Score)>,
    differences: Vec<String>,
}

impl Scores {
    /// Adds the result of a method on one of [`SUBJECTS`].
    pub fn add(&mut self, method: &str, subject: &str, score: Score) {
        self.found.push((method.to_string(), subject.to_string(), score));
    }

    /// Adds what `ddae-probe compare --json` printed of the trained network and raw pixels.
    pub fn compare(&mut self, method: &str, printed: &str) -> Result<()> {
        let result: Value = serde_json::from_str(printed).context("ddae-probe printed no JSON")?;
        let number = |key: &str| result[key].as_f64().with_context(|| format!("ddae-probe printed no {key}"));
        let (difference, error) = (number("difference")?, number("difference_standard_error")?);
        self.differences.push(format!(
            "{method}: DDAE features find {:+.1} ± {:.1} points more than raw pixels on the same images ({:.1} standard errors)",
            100.0 * difference,
            100.0 * error,
            if error > 0.0 { difference / error } else { 0.0 },
        ));
        Ok(())
    }

    /// The result of a method on a subject.
    pub fn get(&self, method: &str, subject: &str) -> Option<&Score> {
        self.found.iter().find(|(m, s, _)| m == method && s == subject).map(|(.., score)| score)
    }

    /// The results as text.
    pub fn table(&self) -> String {
        let cell = |method, subject| match self.get(method, subject) {
            Some(score) => format!("{:.1} ± {:.1} %", score.accuracy * 100.0, score.error * 100.0),
            None => "–".to_string(),
        };
        let row = |name: &str, cells: [String; COLUMNS.len()]| {
            format!("{name:<28}{}\n", cells.map(|cell| format!("{cell:>15}")).concat())
        };
        let mut table = row("test accuracy", COLUMNS.map(|(_, head)| head.to_string()));
        for (subject, name) in SUBJECTS {
            table += &row(name, COLUMNS.map(|(method, _)| cell(method, subject)));
        }
        table.push_str("\n± one standard error of the test images; with few labels of each class, deviation over 5 draws of them\n");
        for difference in &self.differences {
            table.push_str(&format!("{difference}\n"));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_every_score_with_its_error() -> Result<()> {
        let mut scores = Scores::default();
        let of = |accuracy: f64| json!({ "accuracy": accuracy, "standard_error": 0.0035, "features": "t11/out_2" });
        scores.add("logistic", "trained", Score::of(&of(0.853))?);
        scores.add("knn", "pixels", Score::of(&of(0.7949))?);
        scores.compare("knn", r#"{"difference":0.031,"difference_standard_error":0.004}"#)?;
        let table = scores.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>()[2..4], ["logistic", "k-NN"]);
        assert!(lines[1].starts_with("DDAE features") && lines[1].contains("85.3 ± 0.4 %"), "{table}");
        assert!(lines[3].starts_with("raw pixels") && lines[3].contains("79.5 ± 0.4 %"), "{table}");
        assert!(table.contains("knn: DDAE features find +3.1 ± 0.4 points more than raw pixels"), "{table}");
        assert!(table.contains("(7.8 standard errors)"), "{table}");
        Ok(())
    }

    #[test]
    fn a_result_is_read_and_anything_else_refused() -> Result<()> {
        let several = json!({ "accuracy": 0.5, "standard_error": 0.1, "features": "t1/out_1", "seeds": { "mean": 0.4, "deviation": 0.2 } });
        assert_eq!(Score::of(&several)?, Score { accuracy: 0.4, error: 0.2, features: "t1/out_1".into() });
        for wrong in [
            json!({}),
            json!({ "accuracy": 0.5, "features": "a" }),
            json!({ "accuracy": 0.5, "standard_error": 0.1 }),
        ] {
            assert!(Score::of(&wrong).is_err(), "{wrong}");
        }
        assert!(Scores::default().compare("knn", "error").is_err());
        Ok(())
    }
}
