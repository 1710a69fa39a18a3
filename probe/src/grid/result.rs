//! What a grid found, for people and machines.

use std::fmt::Write;

use serde::Serialize;

use super::cost::{Cost, SearchReport};
use crate::experiment::Selection;
use crate::report::text::share;
use crate::report::{Report, Trial};

/// One pair of timestep and layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Its name in feature files: `t11/out_6`.
    pub features: String,
    /// The timestep.
    pub timestep: i64,
    /// The layer.
    pub layer: String,
    /// Number of its features.
    pub dim: usize,
    /// Its accuracy, 0 to 1, where the choice was made; the mean of several seeds.
    pub accuracy: f64,
    /// The standard error of that of one seed.
    pub standard_error: f64,
    /// The standard deviation over seeds, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Samples that it was measured on.
    pub samples: usize,
    /// The last round of successive halving that it was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<usize>,
}

impl Cell {
    /// The same as part of a probe's report; with the number of samples where it differs between cells.
    pub(super) fn trial(&self, with_samples: bool) -> Trial {
        Trial {
            features: self.features.clone(),
            held_out_accuracy: Some(self.accuracy),
            held_out_standard_error: Some(self.standard_error),
            samples: with_samples.then_some(self.samples),
            test_accuracy: None,
            test_standard_error: None,
            against_best: None,
            settings: Vec::new(),
        }
    }

    /// The same where the test images chose.
    pub(super) fn test_trial(&self) -> Trial {
        Trial {
            held_out_accuracy: None,
            held_out_standard_error: None,
            test_accuracy: Some(self.accuracy),
            test_standard_error: Some(self.standard_error),
            ..self.trial(false)
        }
    }
}

/// The chosen pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Its name in feature files: `t11/out_6`.
    pub features: String,
    /// The timestep.
    pub timestep: i64,
    /// The layer.
    pub layer: String,
    /// Accuracy on the held-out training images by which it was chosen; none where the test images chose.
    pub held_out_accuracy: Option<f64>,
    /// Its standard error.
    pub held_out_standard_error: Option<f64>,
    /// Accuracy on the test images.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Other pairs of the last round whose accuracy is within one standard error of its own.
    pub as_good: Vec<String>,
}

impl Choice {
    pub(super) fn new(report: &Report, cells: &[Cell], selection: Selection) -> Choice {
        let chosen = cells.iter().find(|cell| cell.features == report.features);
        let is_near = |cell: &&Cell| {
            chosen.is_some_and(|chosen| {
                cell.features != chosen.features
                    && cell.round == chosen.round
                    && cell.accuracy >= chosen.accuracy - chosen.standard_error
            })
        };
        let held_out = chosen.filter(|_| selection == Selection::HeldOut);
        Choice {
            features: report.features.clone(),
            timestep: chosen.map_or(0, |cell| cell.timestep),
            layer: chosen.map_or(String::new(), |cell| cell.layer.clone()),
            held_out_accuracy: held_out.map(|cell| cell.accuracy),
            held_out_standard_error: held_out.map(|cell| cell.standard_error),
            accuracy: report.accuracy,
            standard_error: report.standard_error,
            as_good: cells.iter().filter(is_near).map(|cell| cell.features.clone()).collect(),
        }
    }
}

/// What a grid found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Every pair, by timestep, then layer.
    pub cells: Vec<Cell>,
    /// The chosen one.
    pub choice: Choice,
    /// How it was chosen.
    pub search: SearchReport,
    /// What the measure on the test images cost beside the search.
    pub measurement: Cost,
    /// The measure on the test images, as the head's own command prints it.
    #[serde(rename = "probe")]
    pub report: Report,
}

impl Found {
    /// The table of accuracies, the choice with its test accuracy, and what it cost.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (search, report) = (&self.search, &self.report);
        let is_published = search.protocol == Selection::Published.name();
        let measured = match (is_published, search.rounds.last()) {
            (true, _) => format!("the {} test images", report.test.samples),
            (false, Some(_)) => {
                "training images that its head did not learn from, in the last of its rounds".to_string()
            }
            (false, None) => format!("{} held-out training images", counted(search.held_out_samples as u64)),
        };
        writeln!(out, "{}: accuracy in % on {measured}\n", report.title())?;
        self.write_table(out)?;
        for round in &search.rounds {
            let kept = if round.kept.len() == 1 { "the best" } else { "the better half" };
            writeln!(
                out,
                "  ({}) {} pairs at {} timestep{} on {} images, {kept} goes on",
                round.round,
                round.pairs,
                round.timesteps.len(),
                if round.timesteps.len() == 1 { "" } else { "s" },
                counted(round.images as u64)
            )?;
        }
        if !search.rounds.is_empty() {
            writeln!(out)?;
        }
        let choice = &self.choice;
        let held_out = match (choice.held_out_accuracy, choice.held_out_standard_error) {
            (Some(accuracy), Some(error)) => format!("  held out {}", share(accuracy, error)),
            _ => "  chosen on the test images, as published".to_string(),
        };
        writeln!(out, "  choice    timestep {}, layer {}{held_out}", choice.timestep, choice.layer)?;
        let found = format!("({} of {})", report.correct, report.test.samples);
        writeln!(out, "  test     {}  {found}", share(choice.accuracy, choice.standard_error))?;
        if let Some(seeds) = &report.seeds {
            let of_seeds = share(seeds.mean, seeds.deviation);
            writeln!(
                out,
                "  seeds    {of_seeds}  (mean and standard deviation of {})",
                seeds.accuracies.len()
            )?;
        }
        if !choice.as_good.is_empty() {
            let (listed, more) = choice.as_good.split_at(choice.as_good.len().min(LISTED));
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            writeln!(out, "  as good   {}{more}, within one standard error", listed.join(", "))?;
        }
        let [calls, rows] = search.shares();
        writeln!(
            out,
            "  search    {} network calls and {} head rows{}",
            counted(search.cost.network_calls),
            counted(search.cost.head_rows),
            match search.rounds.is_empty() {
                true => String::new(),
                false => format!(
                    ": {:.1} % and {:.1} % of a full search with as many seeds",
                    100.0 * calls,
                    100.0 * rows
                ),
            }
        )?;
        if self.measurement != Cost::default() {
            let Cost { network_calls, head_rows } = self.measurement;
            writeln!(
                out,
                "  measure   {} network calls and {} head rows",
                counted(network_calls),
                counted(head_rows)
            )?;
        }
        for warning in &report.warnings {
            writeln!(out, "\nwarning: {}", ddae_base::plain(warning))?;
        }
        Ok(())
    }

    /// Rows and columns are timesteps and layers, the fewer of them across.
    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let (mut timesteps, mut layers) = (Vec::new(), Vec::new());
        for cell in &self.cells {
            let (timestep, layer) = (format!("t{}", cell.timestep), cell.layer.clone());
            timesteps.extend((!timesteps.contains(&timestep)).then_some(timestep));
            layers.extend((!layers.contains(&layer)).then_some(layer));
        }
        let across_timesteps = timesteps.len() <= layers.len();
        let (rows, columns) = if across_timesteps { (&layers, &timesteps) } else { (&timesteps, &layers) };
        let is_at = |cell: &Cell, row: &str, column: &str| {
            let (timestep, layer) = if across_timesteps { (column, row) } else { (row, column) };
            cell.layer == layer && format!("t{}", cell.timestep) == timestep
        };
        let shown = |row: &str, column: &str| {
            let cell = self.cells.iter().find(|cell| is_at(cell, row, column));
            cell.map_or(String::new(), |cell| {
                let mark = if cell.features == self.choice.features { "*" } else { " " };
                let round = cell.round.map_or(String::new(), |round| format!(" ({round})"));
                format!("{:.2}{mark}{round}", 100.0 * cell.accuracy)
            })
        };
        let first = rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = columns
            .iter()
            .map(|column| {
                rows.iter().map(|row| shown(row, column).len()).max().unwrap_or(0).max(column.len() + 1)
            })
            .collect();
        write!(out, "  {:first$}", "")?;
        for (column, width) in columns.iter().zip(&widths) {
            write!(out, "  {:>width$}", format!("{column} "))?;
        }
        writeln!(out)?;
        for row in rows {
            write!(out, "  {row:first$}")?;
            for (column, width) in columns.iter().zip(&widths) {
                write!(out, "  {:>width$}", shown(row, column))?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }
}

/// Pairs that are listed as equally good.
const LISTED: usize = 6;

/// A number with commas: `36,000`.
pub fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_commas() {
        let all = [0, 999, 1000, 12_345, 1_234_567].map(counted);
        assert_eq!(all, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
