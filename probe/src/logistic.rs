//! Logistic regression as a probe.

use ddae_classify::ClassifyError;
use ddae_classify::logistic::{LogisticModel, LogisticOptions, TrainingSet};
use ddae_classify::ranking::Ranks;
use ddae_classify::rows::{self, read_all};
use ddae_classify::scaling::{Normalisation, Scaled, Scaling};
use serde_json::{Map, json};

use crate::error::{ProbeError, Result};
use crate::experiment::{Classified, Probe, Progress, TOP, Tables, Tuned, describe};
use crate::source::table::Table;

/// Powers of ten that [`Regularisation::HeldOut`] chooses C from, strongest penalty first. Where an edge is the best, the grid
/// grows beyond it.
const GRID: std::ops::RangeInclusive<i32> = -4..=1;

/// Where the grid ends.
const LIMITS: std::ops::RangeInclusive<i32> = -10..=6;

/// Values of C in a row without a gain after which no weaker penalty is tried: those fits take longest.
const PATIENCE: usize = 2;

/// The inverse strength of the penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regularisation {
    /// This C.
    Fixed(f64),
    /// The best C of a grid on held-out training samples.
    HeldOut,
}

/// Logistic regression with its penalty.
#[derive(Clone, Copy, Debug)]
pub struct LogisticProbe {
    /// What is done to features first.
    pub normalisation: Normalisation,
    /// The penalty; it replaces [`LogisticOptions::c`].
    pub regularisation: Regularisation,
    /// How to fit.
    pub options: LogisticOptions,
}

impl LogisticProbe {
    fn fit(
        &self,
        data: &TrainingSet,
        c: f64,
        start: Option<&LogisticModel>,
        progress: &mut dyn Progress,
    ) -> Result<LogisticModel> {
        Ok(data.fit(&LogisticOptions { c, ..self.options }, start, &mut || progress.advance(1))?)
    }

    fn training_set(&self, train: &Table) -> Result<TrainingSet> {
        let features = read_all(&Scaled { rows: train, scaling: self.row_scaling() })?;
        Ok(match self.normalisation {
            Normalisation::Standardise => TrainingSet::new(features, &train.labels()),
            Normalisation::L2 | Normalisation::None => TrainingSet::unscaled(features, &train.labels()),
        }?)
    }

    fn rank(&self, model: &LogisticModel, rows: &Table) -> Result<Ranks> {
        let rows = Scaled { rows, scaling: self.row_scaling() };
        Ok(rows::rank(&rows, TOP, |block, ranks| model.rank(block, ranks))?)
    }

    /// What is done to each row on its own; the model does what is learned from all.
    fn row_scaling(&self) -> &'static Scaling {
        match self.normalisation {
            Normalisation::L2 => &Scaling::L2,
            Normalisation::Standardise | Normalisation::None => &Scaling::None,
        }
    }
}

/// The C that was chosen, and the powers of ten it was chosen from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChosenC {
    c: f64,
    /// The first and the last.
    tried: [i32; 2],
}

/// Ten to the power of `exponent`, the nearest number.
fn power(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::NAN)
}

/// A walk along the grid.
struct Walk<'a> {
    /// Measures C = 10^exponent on the held-out samples.
    measure: &'a mut dyn FnMut(i32) -> Result<f64>,
    best: i32,
    accuracy: f64,
    tried: Vec<(i32, f64)>,
}

impl Walk<'_> {
    /// Tries an exponent; says whether it is the best so far.
    fn step(&mut self, exponent: i32) -> Result<bool> {
        let accuracy = (self.measure)(exponent)?;
        self.tried.push((exponent, accuracy));
        let better = accuracy > self.accuracy;
        if better {
            (self.best, self.accuracy) = (exponent, accuracy);
        }
        Ok(better)
    }

    /// From the strongest penalty of the grid to the weakest, and on beyond an edge as long as it gains.
    fn walk(&mut self) -> Result<()> {
        let mut since_best = 0;
        for exponent in *GRID.start()..=*LIMITS.end() {
            let is_beyond = exponent > *GRID.end();
            if since_best == PATIENCE || is_beyond && since_best > 0 {
                break;
            }
            since_best = if self.step(exponent)? { 0 } else { since_best + 1 };
        }
        let mut edge = *GRID.start();
        while self.best == edge && edge > *LIMITS.start() {
            edge -= 1;
            match self.step(edge) {
                // So strong a penalty that nothing is learned.
                Err(ProbeError::Classify(ClassifyError::Chance { .. })) => break,
                tried => tried?,
            };
        }
        self.tried.sort_by_key(|(exponent, _)| *exponent);
        Ok(())
    }
}

impl LogisticProbe {
    /// Walks along the grid, each fit starting where the nearest before it ended.
    fn tune_one(&self, tables: &Tables, progress: &mut dyn Progress) -> Result<Tuned<ChosenC>> {
        let data = self.training_set(&tables.learn)?;
        progress.begin(&describe("fitting", &tables.learn), None);
        if let Regularisation::Fixed(c) = self.regularisation {
            let model = self.fit(&data, c, None, progress)?;
            let accuracy = tables.accuracy(&self.rank(&model, &tables.measure)?)?;
            let tried = vec![(format!("C = {c}"), accuracy)];
            return Ok(Tuned { setting: ChosenC { c, tried: [0, 0] }, accuracy, tried });
        }
        let mut models: Vec<(i32, LogisticModel)> = Vec::new();
        let mut measure = |exponent: i32| {
            let start = models.iter().min_by_key(|(other, _)| other.abs_diff(exponent));
            let model = self.fit(&data, power(exponent), start.map(|(_, model)| model), progress)?;
            let accuracy = tables.accuracy(&self.rank(&model, &tables.measure)?)?;
            // The strongest penalty, and the last.
            models.truncate(1);
            models.push((exponent, model));
            if exponent < models[0].0 {
                models.remove(0);
            }
            Ok(accuracy)
        };
        let mut walk = Walk { measure: &mut measure, best: *GRID.start(), accuracy: -1.0, tried: Vec::new() };
        walk.walk()?;
        let Walk { best, accuracy, tried, .. } = walk;
        let ends = [tried[0].0, tried[tried.len() - 1].0];
        let setting = ChosenC { c: power(best), tried: ends };
        let named = tried.iter().map(|&(exponent, accuracy)| (format!("C = {}", power(exponent)), accuracy));
        Ok(Tuned { setting, accuracy, tried: named.collect() })
    }

    fn classify_one(
        &self,
        tables: &Tables,
        setting: Option<ChosenC>,
        progress: &mut dyn Progress,
    ) -> Result<Classified> {
        let c = match self.regularisation {
            Regularisation::Fixed(c) => c,
            Regularisation::HeldOut => setting.map_or(self.options.c, |chosen| chosen.c),
        };
        progress.begin(&describe(&format!("fitting with C = {c}"), &tables.learn), None);
        let model = self.fit(&self.training_set(&tables.learn)?, c, None, progress)?;
        let ranks = self.rank(&model, &tables.measure)?;
        let summary = model.summary();
        let mut protocol = Map::new();
        protocol.insert("c".into(), json!(c));
        let chosen = match self.regularisation {
            Regularisation::Fixed(_) => "given",
            Regularisation::HeldOut => "chosen on held-out training samples",
        };
        protocol.insert("c_from".into(), json!(chosen));
        let mut warnings = Vec::new();
        if let (Regularisation::HeldOut, Some(chosen)) = (self.regularisation, setting) {
            protocol.insert("c_grid".into(), json!(chosen.grid()));
            warnings.extend(chosen.at_the_end());
        }
        protocol.insert("normalise".into(), json!(self.normalisation.name()));
        protocol.insert("solver".into(), json!(self.options.solver.name()));
        protocol.insert("max_iterations".into(), json!(self.options.max_iterations));
        protocol.insert("tolerance".into(), json!(self.options.tolerance));
        protocol.insert("iterations".into(), json!(summary.iterations));
        protocol.insert("converged".into(), json!(summary.converged));
        protocol.insert("mean_training_loss".into(), json!(summary.mean_loss));
        protocol.insert("mean_training_objective".into(), json!(summary.mean_objective));
        protocol.insert("computed_in".into(), json!("f64"));
        if !summary.converged {
            warnings.push(format!(
                "the {} solver stopped before the minimum (gradient {:.1e}, wanted {:.0e}): raise --max-iterations or \
                 lower --c",
                self.options.solver.name(),
                summary.gradient,
                self.options.tolerance
            ));
        }
        Ok(Classified { ranks, by_setting: Vec::new(), protocol, warnings })
    }
}

impl ChosenC {
    /// What was tried, in words.
    fn grid(&self) -> String {
        let [first, last] = self.tried;
        let tried = format!("{} to {} in steps of 10", power(first), power(last));
        let [start, end] = [*GRID.start(), *GRID.end()];
        match first < start || last > end {
            true => {
                format!("{tried}: grown beyond {} to {}, whose edge was the best", power(start), power(end))
            }
            false => tried,
        }
    }

    /// What is to be said of a choice beyond which nothing is tried.
    fn at_the_end(&self) -> Option<String> {
        let is_end = [*LIMITS.start(), *LIMITS.end()].into_iter().any(|end| self.c == power(end));
        is_end.then(|| {
            format!(
                "C = {} is the best of those tried, and the last: a value beyond it may be better (--c)",
                self.c
            )
        })
    }
}

impl Probe for LogisticProbe {
    type Setting = ChosenC;

    fn name(&self) -> &'static str {
        "logistic"
    }

    fn title(&self) -> &'static str {
        "logistic regression"
    }

    fn open_setting(&self) -> Option<(&'static str, &'static str)> {
        (self.regularisation == Regularisation::HeldOut).then_some(("C", "give it, such as --c 1"))
    }

    fn tune(&self, tables: &[Tables], progress: &mut dyn Progress) -> Result<Vec<Tuned<ChosenC>>> {
        tables.iter().map(|tables| self.tune_one(tables, progress)).collect()
    }

    fn classify(
        &self,
        tables: &[Tables],
        settings: &[Option<ChosenC>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Classified>> {
        let tables = tables.iter().zip(settings);
        tables.map(|(tables, setting)| self.classify_one(tables, *setting, progress)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tried where accuracies are those of a function, and the best.
    fn walked(accuracy: impl Fn(i32) -> Result<f64>) -> (Vec<i32>, i32) {
        let mut measure = |exponent| accuracy(exponent);
        let mut walk = Walk { measure: &mut measure, best: -4, accuracy: -1.0, tried: Vec::new() };
        walk.walk().expect("a walk");
        (walk.tried.iter().map(|(exponent, _)| *exponent).collect(), walk.best)
    }

    #[test]
    fn the_grid_grows_where_its_edge_is_best() {
        let peak = |at: i32| move |exponent: i32| Ok(1.0 - f64::from((exponent - at).abs()) / 100.0);
        assert_eq!(walked(peak(-2)), (vec![-4, -3, -2, -1, 0], -2));
        assert_eq!(walked(peak(1)), (vec![-4, -3, -2, -1, 0, 1, 2], 1));
        assert_eq!(walked(peak(3)), (vec![-4, -3, -2, -1, 0, 1, 2, 3, 4], 3));
        assert_eq!(walked(peak(9)).1, 6);
        assert_eq!(walked(peak(-6)), (vec![-7, -6, -5, -4, -3, -2], -6));
        assert_eq!(walked(peak(-30)).1, -10);
        // Equal ones go to the stronger penalty, and the grid does not grow without a gain.
        assert_eq!(walked(|_| Ok(0.5)), (vec![-5, -4, -3, -2], -4));
        let chance = || ClassifyError::Chance { loss: 1.0, classes: 2, chance: 1.0, c: 1e-6 };
        let stops = |exponent| if exponent < -5 { Err(chance().into()) } else { peak(-8)(exponent) };
        assert_eq!(walked(stops), (vec![-5, -4, -3, -2], -5));
    }

    #[test]
    fn a_grid_that_grew_says_so() {
        let chosen = |c, tried| ChosenC { c, tried };
        assert_eq!(chosen(0.01, [-4, 0]).grid(), "0.0001 to 1 in steps of 10");
        assert_eq!(
            chosen(100.0, [-4, 3]).grid(),
            "0.0001 to 1000 in steps of 10: grown beyond 0.0001 to 10, whose edge was the best"
        );
        assert_eq!(chosen(1000.0, [-4, 4]).at_the_end(), None);
        assert!(chosen(power(6), [-4, 6]).at_the_end().is_some());
    }
}
