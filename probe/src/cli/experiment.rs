//! What all commands share: how features are chosen, and how results are shown.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ddae_base::arguments::values::{between, real, whole};
use ddae_base::{files, json, shell};
use ddae_classify::scaling::Normalisation;
use ddae_probe::experiment::{self, ExperimentPlan, Probe, Selection};
use ddae_probe::predictions::{self, Predictions};
use ddae_probe::report::Report;
use ddae_probe::source::feature_set::FeatureSet;
use ddae_probe::source::table::Views;
use ddae_probe::{ProbeError, confusion_image};

use super::files::FileOptions;
use super::progress::Shown;

/// How many draws of few samples are measured where nobody says it.
const SHOT_SEEDS: u64 = 5;

/// The options of every probe.
#[derive(Args, Debug)]
pub struct ExperimentOptions {
    #[command(flatten)]
    source: FileOptions,

    #[command(flatten)]
    choice: Choice,

    /// Write what is predicted of each test sample, as .csv or .parquet; of several seeds, by the first
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    predictions: Option<PathBuf>,

    /// Compare with the predictions that an earlier run wrote of the same test samples: McNemar's exact test
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    compare: Option<PathBuf>,

    /// Draw the confusion matrix as a PNG
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    confusion: Option<PathBuf>,

    /// Print the result as JSON in place of the table; accuracies between 0 and 1
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Args, Debug)]
struct Choice {
    /// Features to use, such as t11/out_6 [default: choose among all that both files have]
    ///
    /// Several to choose from are separated by commas; taps that are joined into one row by a plus:
    /// t11/out_6,t11/out_6+t21/out_7 chooses between one tap and two joined.
    #[arg(long, value_name = "KEYS", conflicts_with = "pixels", help_heading = "Choosing")]
    features: Option<String>,

    /// Where the choice among several features is made
    #[arg(long, value_enum, default_value_t = ProtocolArgument::HeldOut, help_heading = "Choosing")]
    protocol: ProtocolArgument,

    /// Share of the smallest training class that is held out for choices, from every class the same number
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = real(between(0.0, 1.0)), help_heading = "Choosing")]
    held_out: f64,

    /// Seed of what is drawn: the held-out part, and what a probe draws in its training
    #[arg(long, default_value_t = 0, value_parser = whole::<u64>(..), help_heading = "Choosing")]
    seed: u64,

    /// Repeat everything with so many seeds, from --seed on, and give mean and deviation [default: 1, with --shots 5]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=1000), help_heading = "Choosing")]
    seeds: Option<u64>,

    /// Learn from so many samples of each class, which each seed draws anew
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..), help_heading = "Choosing")]
    shots: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolArgument {
    /// On a held-out part of the training set
    HeldOut,
    /// On the test set, as published; the accuracy is then somewhat too good
    Published,
}

/// What becomes of views, for probes that see each sample once.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ViewsArgument {
    /// One row: the mean of the views; of test samples too
    Average,
    /// One row: the first view; of test samples too
    First,
    /// A row for each view; of test samples the mean
    All,
}

impl From<ViewsArgument> for Views {
    fn from(argument: ViewsArgument) -> Self {
        match argument {
            ViewsArgument::Average => Self::Average,
            ViewsArgument::First => Self::First,
            ViewsArgument::All => Self::All,
        }
    }
}

/// What is done to features first.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NormaliseArgument {
    /// Every sample to length 1
    L2,
    /// Every feature to mean 0 and standard deviation 1 on the training set
    Standardise,
    /// Nothing
    None,
}

impl From<NormaliseArgument> for Normalisation {
    fn from(argument: NormaliseArgument) -> Self {
        match argument {
            NormaliseArgument::L2 => Self::L2,
            NormaliseArgument::Standardise => Self::Standardise,
            NormaliseArgument::None => Self::None,
        }
    }
}

impl Choice {
    fn plan(&self, views: Views) -> Result<ExperimentPlan> {
        let features = self.features.as_deref().map(FeatureSet::parse_list).transpose()?;
        Ok(ExperimentPlan {
            features: features.unwrap_or_default(),
            selection: match self.protocol {
                ProtocolArgument::HeldOut => Selection::HeldOut,
                ProtocolArgument::Published => Selection::Published,
            },
            held_out: self.held_out,
            views,
            seed: self.seed,
            shots: self.shots.map(|shots| shots as usize),
        })
    }
}

impl Choice {
    /// What `-v` says of how features are chosen.
    fn described(&self) -> String {
        let features =
            self.features.as_deref().map_or("all that both files have".to_string(), ddae_base::plain);
        let place = match self.protocol {
            ProtocolArgument::HeldOut => format!("a held-out share of {}", self.held_out),
            ProtocolArgument::Published => "the test set".to_string(),
        };
        format!("features: {features}; choices on {place}; seed {}", self.seed)
    }
}

impl ExperimentOptions {
    /// Runs the probe that `probe_of` gives for each seed, shows its report and suggests to run `other` on the same features.
    pub fn run<P: Probe>(&self, probe_of: impl Fn(u64) -> P, views: Views, other: &str) -> Result<()> {
        let plan = self.choice.plan(views)?;
        let seeds = self.choice.seeds.unwrap_or(if plan.shots.is_some() { SHOT_SEEDS } else { 1 });
        if let Some(path) = &self.confusion {
            check_folder(path, "--confusion")?;
        }
        if let Some(path) = &self.predictions {
            predictions::check_name(path)?;
            check_folder(path, "--predictions")?;
        }
        let earlier = match &self.compare {
            Some(path) => Some((path.display().to_string(), Predictions::read(path)?)),
            None => None,
        };
        let sources = self.source.open_all()?;
        let source = &sources[0];
        if let Some((name, earlier)) = &earlier {
            earlier.check_against(name, source)?;
        }
        if self.choice.features.is_some() && source.is_foreign() {
            let advice = "--features names features of files that ddae-infer wrote; name those of others with their file, as \
                          in FILE:NAME";
            return Err(ProbeError::Usage(advice.to_string()).into());
        }
        ddae_base::detail(|| format!("opened {}; {}", self.source.typed(), self.choice.described()));
        let mut progress = Shown::default();
        let mut report = experiment::repeat_with_noise(&sources, probe_of, &plan, seeds, &mut progress)?;
        drop(progress);
        if let Some((name, earlier)) = &earlier {
            report.compare(name, earlier)?;
        }
        let written = self.predictions.as_deref().map(|path| report.predictions.write(path)).transpose();
        let drawn = self.confusion.as_deref().map(|path| confusion_image::write(&report, path)).transpose();
        // An image that cannot be written does not take the numbers away.
        self.show(&report, drawn.is_ok())?;
        drawn?;
        written?;
        let has_names = self.source.pixels.is_none() && !source.is_foreign();
        self.suggest(&report, other, has_names);
        Ok(())
    }

    fn show(&self, report: &Report, is_drawn: bool) -> Result<()> {
        let mut out = ddae_base::stdout();
        if self.json {
            json::print("ddae.probe/1", report)?;
        } else {
            write!(out, "{report}")?;
            if let Some(path) = self.confusion.as_ref().filter(|_| is_drawn) {
                writeln!(out, "\n  confusion matrix: {}", ddae_base::plain(path.display()))?;
            }
        }
        Ok(out.flush()?)
    }

    fn suggest(&self, report: &Report, other: &str, has_names: bool) {
        let mut command = format!("ddae-probe {other} {}", self.source.typed());
        if has_names {
            command.push_str(&format!(" --features {}", shell::word(&report.features)));
        }
        if self.confusion.is_none() {
            command.push_str(&format!(" --confusion {other}.png"));
        }
        ddae_base::note(format_args!("\nnext: {command}"));
    }
}

/// Refuses an output in a folder that does not exist before the work rather than after it.
pub fn check_folder(path: &Path, option: &'static str) -> Result<()> {
    let folder = files::folder(path);
    let metadata = folder.metadata().with_context(|| format!("{option}: folder {}", folder.display()))?;
    anyhow::ensure!(metadata.is_dir(), "{option}: {} is not a folder", folder.display());
    anyhow::ensure!(!path.is_dir(), "{option}: {} is a folder; give the name of a file", path.display());
    files::target(path).context(option)?;
    Ok(())
}
