//! A report for people.

use std::fmt;

use ddae_base::plain as in_line;
use serde_json::Value;

use super::{ClassReport, Report, Trial};
use crate::paired::Discordant;

/// Classes that are listed one by one; of more, only the best and the worst.
const LISTED: usize = 20;

/// Best and worst classes that are listed of many.
const EXTREMES: usize = 5;

/// Features that are listed by how well they did.
const TRIALS: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {} ({} features)", self.title, self.features, self.dim)?;
        writeln!(f)?;
        let counted = format!("({} of {})", self.correct, self.test.samples);
        writeln!(f, "  accuracy  {}  {counted}", share(self.accuracy, self.standard_error))?;
        if let (Some(accuracy), Some(error)) = (self.top_5_accuracy, self.top_5_standard_error) {
            writeln!(f, "  top 5     {}", share(accuracy, error))?;
        }
        if let Some(seeds) = &self.seeds {
            let of_seeds = share(seeds.mean, seeds.deviation);
            match &seeds.noise {
                None => writeln!(
                    f,
                    "  seeds     {of_seeds}  (mean and standard deviation of {})",
                    seeds.accuracies.len()
                )?,
                Some(noise) => {
                    let noises = noise.noise_seeds.len();
                    let probes = seeds.accuracies.len() / noises;
                    writeln!(
                        f,
                        "  seeds     {of_seeds}  (mean and standard deviation of {noises} of the noise x {probes} of the probe)"
                    )?;
                    write!(
                        f,
                        "            {:8} ± {:.2}  by the noise alone",
                        "",
                        100.0 * noise.noise_deviation
                    )?;
                    match noise.probe_deviation {
                        Some(deviation) => {
                            writeln!(f, ", ± {:.2} by the probe's seed alone", 100.0 * deviation)?
                        }
                        None => writeln!(f)?,
                    }
                }
            }
        }
        if let Some(comparison) = &self.comparison {
            writeln!(f, "\n{comparison}")?;
        } else {
            writeln!(f)?;
        }
        self.write_settings(f)?;
        self.write_classes(f)?;
        writeln!(f)?;
        self.write_trials(f)?;
        self.write_protocol(f)?;
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {}", in_line(warning))?;
        }
        Ok(())
    }
}

impl Report {
    fn write_settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.settings.is_empty() {
            return Ok(());
        }
        writeln!(f, "  on the test set")?;
        for of_setting in &self.settings {
            write!(f, "    {:16}", share(of_setting.accuracy, of_setting.standard_error))?;
            if let (Some(accuracy), Some(error)) =
                (of_setting.top_5_accuracy, of_setting.top_5_standard_error)
            {
                write!(f, "  top 5 {:16}", share(accuracy, error))?;
            }
            writeln!(f, "  {}", of_setting.setting)?;
        }
        writeln!(f)
    }

    fn write_classes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: Vec<(String, &ClassReport)> =
            self.classes.iter().map(|class| (in_line(&class.name), class)).collect();
        let many = shown.len() > LISTED;
        if many {
            shown.retain(|(_, class)| class.accuracy.is_some());
            shown.sort_by(|(_, a), (_, b)| b.accuracy.unwrap_or(0.0).total_cmp(&a.accuracy.unwrap_or(0.0)));
        }
        let width = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).clamp(5, 30);
        writeln!(f, "  {:width$}  accuracy          found", "class")?;
        let write = |f: &mut fmt::Formatter<'_>, (name, class): &(String, &ClassReport)| {
            let accuracy = match (class.accuracy, class.standard_error) {
                (Some(accuracy), Some(error)) => share(accuracy, error),
                _ => "none to find".to_string(),
            };
            let name: String = name.chars().take(width).collect();
            writeln!(f, "  {name:width$}  {accuracy:16}  {} of {}", class.correct, class.samples)
        };
        if !many || shown.len() <= 2 * EXTREMES {
            return shown.iter().try_for_each(|class| write(f, class));
        }
        shown[..EXTREMES].iter().try_for_each(|class| write(f, class))?;
        writeln!(f, "  … {} more, listed by --json …", shown.len() - 2 * EXTREMES)?;
        shown[shown.len() - EXTREMES..].iter().try_for_each(|class| write(f, class))
    }

    fn write_trials(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.selection.trials.len() < 2 {
            return Ok(());
        }
        writeln!(f, "  tried ({})", self.selection.features)?;
        let accuracy = |trial: &Trial| trial.test_accuracy.or(trial.held_out_accuracy).unwrap_or(0.0);
        let error =
            |trial: &Trial| trial.test_standard_error.or(trial.held_out_standard_error).unwrap_or(0.0);
        let mut trials: Vec<&Trial> = self.selection.trials.iter().collect();
        trials.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
        for trial in trials.iter().take(TRIALS) {
            let of_trial = share(accuracy(trial), error(trial));
            match &trial.against_best {
                None => writeln!(f, "    {of_trial:16}  {}", trial.features)?,
                Some(Discordant { only_first, only_second, p_value }) => writeln!(
                    f,
                    "    {of_trial:16}  {}  (against the best {only_second} : {only_first}, p = {})",
                    trial.features,
                    p(*p_value)
                )?,
            }
        }
        if trials.len() > TRIALS {
            writeln!(f, "    … {} more, listed by --json", trials.len() - TRIALS)?;
        }
        writeln!(f)
    }

    fn write_protocol(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  protocol")?;
        let held_out = match self.selection.held_out_samples {
            0 => String::new(),
            samples => format!("; {samples} training samples held out for choices"),
        };
        writeln!(f, "    features: {}{held_out}", self.selection.features)?;
        for (name, value) in &self.protocol {
            // The line above says how features were chosen, and these say nothing where nothing was.
            let draws_nothing = self.selection.held_out_samples == 0;
            let unused = draws_nothing
                && (name == "held_out" || name == "seed" && !self.protocol.contains_key("shots"));
            if unused || name == "selection" {
                continue;
            }
            writeln!(f, "    {}: {}", name.replace('_', " "), plain(value))?;
        }
        writeln!(f, "    errors: ± is one standard error of the test samples' draw")?;
        for (name, split) in [("train", &self.train), ("test", &self.test)] {
            writeln!(f, "    {name}: {} ({} samples)", in_line(&split.origin), split.samples)?;
        }
        for name in ["made", "model", "weights", "epoch"] {
            if let Some(value) = self.train.attributes.get(name).filter(|value| !value.is_null()) {
                writeln!(f, "    {name}: {}", plain(value))?;
            }
        }
        Ok(())
    }
}

/// A share with its error, at most 16 characters.
pub(crate) fn share(share: f64, error: f64) -> String {
    format!("{:6.2} % ± {:.2}", 100.0 * share, 100.0 * error)
}

/// A p value.
pub(crate) fn p(value: f64) -> String {
    if value < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") }
}

/// A JSON value without the quotes of a text or the last digits of a fraction.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => in_line(text),
        Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_string(),
        Value::Null => "unknown".to_string(),
        Value::Number(number) => {
            match number.as_f64().filter(|value| number.is_f64() && value.abs() > 1e-4) {
                Some(value) => format!("{}", (value * 1e6).round() / 1e6),
                None => number.to_string(),
            }
        }
        other => other.to_string(),
    }
}
