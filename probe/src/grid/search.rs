//! The search among pairs of timestep and layer, and the measure of its choice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ddae_classify::labels::Classes;
use ddae_store::{FeatureFile, FeatureKey};
use serde_json::json;

use super::cost::{Cost, RoundReport, SearchReport};
use super::features::{Extractor, Role};
use super::head::Head;
use super::images::{ADVICE, GridImages, PURPOSE};
use super::result::{Cell, Choice, Found};
use super::schedule::{halves, order, schedule};
use crate::error::{ProbeError, Result};
use crate::experiment::{self, ExperimentPlan, Progress, Selection, tune};
use crate::held_out::HeldOut;
use crate::report::{Report, SelectionReport, standard_error};
use crate::source::feature_set::FeatureSet;
use crate::source::samples::Samples;
use crate::source::{Input, ProbeSource};

/// How pairs are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// All pairs on all training images.
    Full,
    /// Rounds of successive halving ([`schedule`]).
    Halving,
}

impl Search {
    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Halving => "halving",
        }
    }
}

/// What is searched among, and how.
#[derive(Clone, Debug)]
pub struct GridPlan {
    /// The timesteps; 0 alone for a graph without.
    pub timesteps: Vec<i64>,
    /// The layers with their widths.
    pub layers: Vec<(String, usize)>,
    /// How pairs are searched.
    pub search: Search,
    /// Where the choice is made.
    pub selection: Selection,
    /// The held-out part of the smallest training class, above 0 and below 1: what a full search chooses on, and what a head
    /// chooses its own settings on.
    pub held_out: f64,
    /// The first of the seeds: of the held-out part, and of the heads.
    pub seed: u64,
    /// How many seeds there are, at least 1.
    pub seeds: u64,
}

impl GridPlan {
    /// All pairs, by timestep, then layer, as feature files have them.
    pub fn pairs(&self) -> Vec<FeatureKey> {
        let of_timestep = |&timestep: &i64| {
            self.layers.iter().map(move |(layer, _)| FeatureKey::new(timestep, layer.as_str()))
        };
        self.timesteps.iter().flat_map(of_timestep).collect()
    }

    /// The fewest images that a head learns from, of training images with these labels.
    ///
    /// # Errors
    /// When there are fewer than two classes, or none can be held out of one.
    pub fn fewest(&self, labels: &[i64]) -> Result<usize> {
        match (self.selection, self.search) {
            (Selection::Published, _) => Ok(labels.len()),
            (Selection::HeldOut, Search::Full) => {
                Ok(HeldOut::draw(labels, self.held_out, self.seed, PURPOSE, ADVICE)?.fit.len())
            }
            (Selection::HeldOut, Search::Halving) => {
                let classes = Classes::of(labels)?.len();
                let rounds = schedule(self.pairs().len(), labels.len(), classes);
                let first = rounds.first().map_or(labels.len(), |round| round.images);
                let order = order(labels, self.seed)?;
                let labels: Vec<i64> = order[..first].iter().map(|&image| labels[image]).collect();
                Ok(halves(&labels, self.seed)?.iter().map(|half| half.fit.len()).min().unwrap_or(0))
            }
        }
    }

    /// The width of a layer.
    fn width(&self, layer: &str) -> usize {
        self.layers.iter().find(|(name, _)| name == layer).map_or(0, |(_, width)| *width)
    }

    fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let seed = self.seed;
        (0..self.seeds).map(move |number| seed.wrapping_add(number))
    }
}

/// Pairs as features to choose from.
fn sets(pairs: &[FeatureKey]) -> Vec<FeatureSet> {
    pairs.iter().map(|pair| FeatureSet::Taps(vec![pair.clone()])).collect()
}

/// The timesteps of pairs, each once, in their order.
fn timesteps(pairs: &[FeatureKey]) -> Vec<i64> {
    let mut found = Vec::new();
    for pair in pairs {
        if !found.contains(&pair.timestep) {
            found.push(pair.timestep);
        }
    }
    found
}

/// Accuracies of pairs on samples that their heads did not learn from: of each pair, one for each seed.
struct Scores {
    by_seed: Vec<Vec<f64>>,
    samples: usize,
}

impl Scores {
    /// The mean over the seeds of the pair at `index`.
    fn mean(&self, index: usize) -> f64 {
        self.by_seed[index].iter().sum::<f64>() / self.by_seed[index].len().max(1) as f64
    }

    /// The standard deviation over the seeds, where there are several.
    fn deviation(&self, index: usize) -> Option<f64> {
        let (scores, mean) = (&self.by_seed[index], self.mean(index));
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        (scores.len() > 1).then(|| (squares / (scores.len() - 1) as f64).sqrt())
    }

    /// The pairs from the best to the worst; of equal ones the first comes first.
    fn ranked(&self) -> Vec<usize> {
        let mut ranked: Vec<usize> = (0..self.by_seed.len()).collect();
        ranked.sort_by(|&a, &b| self.mean(b).total_cmp(&self.mean(a)));
        ranked
    }
}

/// Searches, and measures what is chosen on the test images.
///
/// # Errors
/// When features cannot be computed or read, nothing can be learned, or the request to end came.
pub fn run<H: Head>(
    head: &H,
    plan: &GridPlan,
    images: &GridImages,
    extractor: &mut Extractor,
    progress: &mut dyn Progress,
) -> Result<Found> {
    let search = Searching { head, plan, images, labels: images.labels() };
    match (plan.selection, plan.search) {
        (Selection::Published, _) => search.published(extractor, progress),
        (Selection::HeldOut, Search::Full) => search.full(extractor, progress),
        (Selection::HeldOut, Search::Halving) => search.halving(extractor, progress),
    }
}

struct Searching<'a, H> {
    head: &'a H,
    plan: &'a GridPlan,
    images: &'a GridImages,
    labels: Vec<i64>,
}

impl<H: Head> Searching<'_, H> {
    /// What a full search costs: the network calls of all pairs, and the rows that heads learn from.
    fn full_cost(&self, views: usize, rows: usize) -> Cost {
        let calls = self.labels.len() * views * self.plan.timesteps.len();
        let pairs = self.plan.timesteps.len() * self.plan.layers.len();
        Cost { network_calls: calls as u64, head_rows: self.head_rows(pairs, rows * self.head.passes()) }
    }

    /// The rows that heads of so many pairs see with all seeds, each seeing `rows` in all of its epochs.
    fn head_rows(&self, pairs: usize, rows: usize) -> u64 {
        (pairs * rows) as u64 * self.plan.seeds
    }

    fn held_out(&self, seed: u64) -> Result<HeldOut> {
        HeldOut::draw(&self.labels, self.plan.held_out, seed, PURPOSE, ADVICE)
    }

    fn full(&self, extractor: &mut Extractor, progress: &mut dyn Progress) -> Result<Found> {
        let pairs = self.plan.pairs();
        let train = self.images.train.clone();
        let path = extractor.compute("train", train, &self.plan.timesteps, Role::Train, progress)?;
        let train = Samples::of_file(FeatureFile::open(&path)?)?;
        let mut scores = Scores { by_seed: vec![Vec::new(); pairs.len()], samples: 0 };
        let mut learned = 0;
        for seed in self.plan.seeds() {
            let part = self.held_out(seed)?;
            (learned, scores.samples) = (part.fit.len(), part.measure.len());
            let head = self.head.seeded(seed);
            let tuned = tune(&train, &head, self.head.views(), &sets(&pairs), &part, progress)?;
            scores.by_seed.iter_mut().zip(tuned).for_each(|(scores, tuned)| scores.push(tuned.accuracy));
        }
        drop(train);
        let cells: Vec<Cell> =
            pairs.iter().enumerate().map(|(i, pair)| self.cell(pair, &scores, i, None)).collect();
        let chosen = scores.ranked()[0];
        let cost = self.full_cost(extractor.views(), learned);
        let search = SearchReport {
            search: self.plan.search.name(),
            protocol: self.plan.selection.name(),
            seeds: self.plan.seeds,
            division: "a held-out part",
            held_out: Some(self.plan.held_out),
            held_out_samples: scores.samples,
            rounds: Vec::new(),
            cost,
            full: cost,
        };
        self.measured(Chosen { pair: pairs[chosen].clone(), cells, search, train: path }, extractor, progress)
    }

    fn halving(&self, extractor: &mut Extractor, progress: &mut dyn Progress) -> Result<Found> {
        let mut pairs = self.plan.pairs();
        let all = pairs.clone();
        let classes = Classes::of(&self.labels)?.len();
        let order = order(&self.labels, self.plan.seed)?;
        let rounds = schedule(pairs.len(), self.labels.len(), classes);
        // What a full search would learn from; all images where it could hold out none.
        let full = match self.held_out(self.plan.seed) {
            Err(ProbeError::TooFewToHoldOut { .. }) => self.labels.len(),
            part => part?.fit.len(),
        };
        let mut cells: Vec<Option<Cell>> = vec![None; all.len()];
        let (mut done, mut reports, mut files) = (0, Vec::<RoundReport>::new(), Vec::new());
        for (number, round) in rounds.iter().enumerate() {
            let timesteps = timesteps(&pairs);
            // In the order of the data set, as other files have them.
            let mut new = order[done..round.images].to_vec();
            new.sort_unstable();
            let calls = new.len() * extractor.views() * timesteps.len();
            let part = self.images.train.subset(&new)?;
            let name = format!("round_{}", number + 1);
            files.push(extractor.compute(&name, part, &timesteps, Role::Train, progress)?);
            done = round.images;
            let (scores, heads) = self.scores(&files, &pairs, full, progress)?;
            let ranked = scores.ranked();
            for (i, pair) in pairs.iter().enumerate() {
                let place = all.iter().position(|known| known == pair).unwrap_or(0);
                cells[place] = Some(self.cell(pair, &scores, i, Some(number + 1)));
            }
            let kept = rounds.get(number + 1).map_or(1, |next| next.pairs);
            // In their own order.
            let kept: BTreeSet<usize> = ranked.into_iter().take(kept).collect();
            let kept: Vec<FeatureKey> = kept.into_iter().map(|i| pairs[i].clone()).collect();
            reports.push(RoundReport {
                round: number + 1,
                pairs: pairs.len(),
                timesteps,
                images: round.images,
                new_images: new.len(),
                batch: heads.batch,
                epochs: heads.epochs,
                cost: Cost {
                    network_calls: calls as u64,
                    head_rows: self.head_rows(pairs.len(), heads.rows),
                },
                kept: kept.iter().map(FeatureKey::to_string).collect(),
            });
            pairs = kept;
        }
        let Some(pair) = pairs.pop() else {
            return Err(ProbeError::Empty { origin: self.images.train.name().to_string() });
        };
        let samples = cells.iter().flatten().find(|cell| cell.features == pair.to_string());
        let search = SearchReport {
            search: self.plan.search.name(),
            protocol: self.plan.selection.name(),
            seeds: self.plan.seeds,
            division: "two halves of a round's images, each measured by heads of the other",
            held_out: None,
            held_out_samples: samples.map_or(0, |cell| cell.samples),
            cost: reports.iter().map(|round| round.cost).sum(),
            rounds: reports,
            full: self.full_cost(extractor.views(), full),
        };
        let (name, train) = (format!("train_t{}", pair.timestep), self.images.train.clone());
        let train = extractor.compute(&name, train, &[pair.timestep], Role::Train, progress)?;
        let cells = cells.into_iter().flatten().collect();
        self.measured(Chosen { pair, cells, search, train }, extractor, progress)
    }

    /// Measures pairs on the images of some files: each image by a head that learned from the other half. Also gives what
    /// the heads of a pair were.
    fn scores(
        &self,
        files: &[PathBuf],
        pairs: &[FeatureKey],
        full: usize,
        progress: &mut dyn Progress,
    ) -> Result<(Scores, Heads)> {
        let opened = files.iter().map(FeatureFile::open).collect::<std::result::Result<Vec<_>, _>>()?;
        let train = Samples::of_parts(opened)?;
        let mut scores = Scores { by_seed: vec![Vec::new(); pairs.len()], samples: 0 };
        let (mut heads, pairs) = (Heads::default(), sets(pairs));
        for seed in self.plan.seeds() {
            let halves = halves(train.labels(), seed)?;
            let measured: usize = halves.iter().map(|half| half.measure.len()).sum();
            scores.samples = measured;
            heads.rows = 0;
            let mut correct = vec![0.0; pairs.len()];
            for half in &halves {
                let head = self.head.seeded(seed).for_rows(half.fit.len(), full);
                heads.rows += half.fit.len() * head.passes();
                (heads.batch, heads.epochs) = (head.batch(), head.passes());
                let tuned = tune(&train, &head, self.head.views(), &pairs, half, progress)?;
                let count = half.measure.len() as f64;
                correct.iter_mut().zip(tuned).for_each(|(correct, tuned)| *correct += tuned.accuracy * count);
            }
            let of_all = correct.into_iter().map(|correct| correct / measured.max(1) as f64);
            scores.by_seed.iter_mut().zip(of_all).for_each(|(scores, score)| scores.push(score));
        }
        Ok((scores, heads))
    }

    /// Learns the chosen pair from all training images and measures it on the test images, which nothing else is.
    fn measured(
        &self,
        chosen: Chosen,
        extractor: &mut Extractor,
        progress: &mut dyn Progress,
    ) -> Result<Found> {
        let Chosen { pair, cells, search, train } = chosen;
        let (name, test) = (format!("test_t{}", pair.timestep), self.images.test.clone());
        let test_calls = test.len();
        let test = extractor.compute(&name, test, &[pair.timestep], Role::Test, progress)?;
        let (mut report, seeds) = self.report(&train, &test, &[pair], progress)?;
        let is_halving = self.plan.search == Search::Halving;
        if is_halving && self.head.open_setting().is_none() {
            // Nothing was held out so: `search` says what the choice was made on.
            report.protocol.remove("held_out");
        }
        report.selection = SelectionReport {
            features: "chosen on held-out training samples",
            held_out_samples: search.held_out_samples,
            trials: cells.iter().map(|cell| cell.trial(is_halving)).collect(),
        };
        let train_calls = match is_halving {
            true => self.labels.len() * extractor.views(),
            false => 0,
        };
        let measurement = Cost {
            network_calls: (train_calls + test_calls) as u64,
            head_rows: (self.labels.len() * self.head.passes()) as u64 * seeds,
        };
        Ok(self.found(report, cells, search, measurement))
    }

    /// All pairs on the test images, as published.
    fn published(&self, extractor: &mut Extractor, progress: &mut dyn Progress) -> Result<Found> {
        let (train, test) = (self.images.train.clone(), self.images.test.clone());
        let test_calls = test.len() * self.plan.timesteps.len();
        let train = extractor.compute("train", train, &self.plan.timesteps, Role::Train, progress)?;
        let test = extractor.compute("test", test, &self.plan.timesteps, Role::Test, progress)?;
        let pairs = self.plan.pairs();
        let source = ProbeSource::open(&Input::new(&train), &Input::new(&test))?;
        let mut scores = Scores { by_seed: vec![Vec::new(); pairs.len()], samples: self.images.test.len() };
        let mut first: Option<Report> = None;
        for seed in self.plan.seeds() {
            let plan = ExperimentPlan { seed, ..self.experiment(&pairs) };
            let report = experiment::run(&source, &self.head.seeded(seed), &plan, progress)?;
            let accuracies = report.selection.trials.iter().map(|trial| trial.test_accuracy);
            scores.by_seed.iter_mut().zip(accuracies).for_each(|(scores, accuracy)| {
                scores.push(accuracy.unwrap_or(report.accuracy));
            });
            first.get_or_insert(report);
        }
        drop(source);
        let cells: Vec<Cell> =
            pairs.iter().enumerate().map(|(i, pair)| self.cell(pair, &scores, i, None)).collect();
        let mut measurement = Cost::default();
        let report = match first {
            // The only seed chose as the mean does.
            Some(mut report) if self.plan.seeds == 1 => {
                report.protocol.insert("search".to_string(), json!(self.plan.search.name()));
                report
            }
            _ => {
                let chosen = &pairs[scores.ranked()[0]];
                let (mut report, seeds) =
                    self.report(&train, &test, std::slice::from_ref(chosen), progress)?;
                report.selection = SelectionReport {
                    features: "chosen on the test set",
                    held_out_samples: report.selection.held_out_samples,
                    trials: cells.iter().map(Cell::test_trial).collect(),
                };
                measurement.head_rows = (self.labels.len() * self.head.passes()) as u64 * seeds;
                report
            }
        };
        let mut cost = self.full_cost(extractor.views(), self.labels.len());
        cost.network_calls += test_calls as u64;
        let search = SearchReport {
            search: self.plan.search.name(),
            protocol: self.plan.selection.name(),
            seeds: self.plan.seeds,
            division: "the test images",
            held_out: None,
            held_out_samples: 0,
            rounds: Vec::new(),
            cost,
            full: cost,
        };
        Ok(self.found(report, cells, search, measurement))
    }

    /// What a probe of the files gives among `pairs`, and the number of seeds it was given.
    fn report(
        &self,
        train: &Path,
        test: &Path,
        pairs: &[FeatureKey],
        progress: &mut dyn Progress,
    ) -> Result<(Report, u64)> {
        let source = ProbeSource::open(&Input::new(train), &Input::new(test))?;
        let plan = self.experiment(pairs);
        // Several seeds of what draws nothing would be the same.
        let draws = self.head.draws() || self.head.open_setting().is_some();
        let seeds = if draws { self.plan.seeds } else { 1 };
        let mut report = experiment::repeat(&source, |seed| self.head.seeded(seed), &plan, seeds, progress)?;
        report.protocol.insert("search".to_string(), json!(self.plan.search.name()));
        Ok((report, seeds))
    }

    /// The experiment on `pairs` with the first seed.
    fn experiment(&self, pairs: &[FeatureKey]) -> ExperimentPlan {
        ExperimentPlan {
            features: sets(pairs),
            selection: self.plan.selection,
            held_out: self.plan.held_out,
            views: self.head.views(),
            seed: self.plan.seed,
            shots: None,
        }
    }

    fn found(&self, report: Report, cells: Vec<Cell>, search: SearchReport, measurement: Cost) -> Found {
        let choice = Choice::new(&report, &cells, self.plan.selection);
        Found { cells, choice, search, measurement, report }
    }

    /// A pair of which nothing is known yet.
    fn blank(&self, pair: &FeatureKey) -> Cell {
        Cell {
            features: pair.to_string(),
            timestep: pair.timestep,
            layer: pair.tap.clone(),
            dim: self.plan.width(&pair.tap),
            accuracy: 0.0,
            standard_error: 0.0,
            deviation: None,
            samples: 0,
            round: None,
        }
    }

    fn cell(&self, pair: &FeatureKey, scores: &Scores, index: usize, round: Option<usize>) -> Cell {
        let (accuracy, samples) = (scores.mean(index), scores.samples);
        let (standard_error, deviation) = (standard_error(accuracy, samples), scores.deviation(index));
        Cell { accuracy, standard_error, deviation, samples, round, ..self.blank(pair) }
    }
}

/// The heads of a pair in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    /// The rows that they see in all of their epochs.
    rows: usize,
    batch: Option<usize>,
    epochs: usize,
}

/// What a search ends with.
struct Chosen {
    pair: FeatureKey,
    cells: Vec<Cell>,
    search: SearchReport,
    /// The training features of the pair.
    train: PathBuf,
}

#[cfg(test)]
mod tests;
