//! A run folder as a report shows it.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::{read_bounded, shell};
use ddae_runs::lines::{Line, ScoresLine, StatsLine, ValidationLine};
use ddae_runs::{Overview, find, tail};
use serde_json::Value;

use crate::ReportError;

/// The most sheets of a run that are shown.
pub const SHEETS: usize = 8;
/// The most bytes of a sheet.
const LARGEST_SHEET: usize = 4 << 20;

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder, as it was given.
    pub folder: PathBuf,
    /// What it is called in plots.
    pub name: String,
    /// What the folder tells in short.
    pub overview: Overview,
    /// Training losses.
    pub losses: Vec<StatsLine>,
    /// Validation losses.
    pub validations: Vec<ValidationLine>,
    /// Scores of evaluations.
    pub scores: Vec<ScoresLine>,
    /// Sheets of samples, at most [`SHEETS`].
    pub sheets: Vec<Sheet>,
    /// How many there are in the folder.
    pub sheets_found: usize,
    /// Where it was trained last, as its log says.
    pub device: Option<String>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// A sheet of samples.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Finished epochs.
    pub epoch: u64,
    /// The PNG file.
    pub png: Vec<u8>,
}

impl Run {
    /// Reads a run folder, without touching it.
    ///
    /// # Errors
    /// When it is no run folder.
    pub fn read(folder: &Path) -> Result<Run, ReportError> {
        if !find::is_run(folder) {
            return Err(ReportError::file(
                folder,
                "holds no run: 'ddae-train list' shows where there are some",
            ));
        }
        let overview = Overview::read(folder);
        let mut run = Run {
            folder: folder.to_path_buf(),
            name: name(folder),
            notes: overview.notes.clone(),
            overview,
            losses: Vec::new(),
            validations: Vec::new(),
            scores: Vec::new(),
            sheets: Vec::new(),
            sheets_found: 0,
            device: None,
        };
        // What cannot be read is said by the overview.
        let _ = tail::for_lines(&folder.join("stats.jsonl"), |line| match Line::parse(line) {
            Some(Line::Stats(line)) => run.losses.push(line),
            Some(Line::Scores(line)) => run.scores.push(line),
            Some(Line::Validation(line)) => run.validations.push(line),
            None => {}
        });
        let _ = tail::for_lines(&folder.join("log.txt"), |line| {
            let device = line.split_once("] device").and_then(|(_, rest)| rest.strip_prefix(' '));
            run.device = device.map(|device| device.trim().to_string()).or(run.device.take());
        });
        run.read_sheets();
        Ok(run)
    }

    /// Reads sheets: the first, the last, and some in between.
    fn read_sheets(&mut self) {
        let entries = fs::read_dir(self.folder.join("samples")).into_iter().flatten().flatten();
        let mut found: Vec<(u64, PathBuf)> =
            entries.filter_map(|entry| Some((epoch(&entry.path())?, entry.path()))).collect();
        found.sort();
        self.sheets_found = found.len();
        let shown = found.len().min(SHEETS);
        for i in 0..shown {
            let at = if shown < 2 { 0 } else { i * (found.len() - 1) / (shown - 1) };
            let (epoch, path) = &found[at];
            match read_bounded(path, LARGEST_SHEET) {
                Ok(png) if png.starts_with(b"\x89PNG") => self.sheets.push(Sheet { epoch: *epoch, png }),
                Ok(_) => self.notes.push(format!("{}: is no PNG", path.display())),
                Err(error) => self.notes.push(format!("{}: {error}", path.display())),
            }
        }
    }

    /// The command of `ddae-train` for such a run.
    pub fn method(&self) -> &'static str {
        let kind = self.overview.kind.as_deref().unwrap_or_default();
        match kind.rsplit(' ').next().unwrap_or_default() {
            "SODA" => "soda",
            "WideResNet" => "classifier",
            "FineTuned" => "finetune",
            _ => "diffusion",
        }
    }

    /// Whether its process is an EDM, whose timesteps are steps of its grid.
    pub fn is_of_edm(&self) -> bool {
        self.overview.kind.as_deref().is_some_and(|kind| kind.starts_with("EDM "))
    }

    /// Whether it is of a classifier of noised images.
    pub fn is_classifier(&self) -> bool {
        matches!(self.method(), "classifier" | "finetune")
    }

    /// The last accuracies by timestep, and the epoch they are of.
    pub fn by_timestep(&self) -> Option<&ScoresLine> {
        self.scores.iter().rev().find(|line| !line.by_timestep.is_empty())
    }

    /// The command that trains with its configuration into the folder `new`, a word of a shell.
    pub fn command_into(&self, new: &str) -> String {
        let (method, config) = (self.method(), shell::word(self.folder.join("config.yaml")));
        let init = if method == "finetune" { " --init DENOISER" } else { "" };
        format!("ddae-train {method} --config {config} --run {new}{init}")
    }

    /// The command that trains such a run anew, into a folder of its own; none where the configuration is missing.
    pub fn command(&self) -> Option<String> {
        let settings = self.overview.settings.as_ref()?;
        let mut new = self.folder.clone().into_os_string();
        new.push("-again");
        let mut command = self.command_into(&shell::word(new));
        let number = |key: &str| settings.get(key).and_then(Value::as_u64);
        if let Some(seed) = number("seed") {
            command.push_str(&format!(" --seed {seed}"));
        }
        match settings.get("amp").and_then(Value::as_str) {
            None | Some("" | "off") => {}
            Some(amp) => command.push_str(&format!(" --amp {}", shell::word(amp))),
        }
        for (key, option) in [("ranks", "--nproc"), ("accumulate", "--accumulate")] {
            if let Some(count) = number(key).filter(|count| *count > 1) {
                command.push_str(&format!(" {option} {count}"));
            }
        }
        Some(command)
    }

    /// The seed of its last checkpoint.
    pub fn seed(&self) -> Option<u64> {
        self.overview.settings.as_ref()?.get("seed")?.as_u64()
    }
}

/// The last part of a folder's path.
fn name(folder: &Path) -> String {
    let last =
        fs::canonicalize(folder).ok().and_then(|path| path.file_name().map(|name| name.to_os_string()));
    last.map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Runs with the same name are told apart by their folders.
pub fn tell_apart(runs: &mut [Run]) {
    for i in 0..runs.len() {
        if runs.iter().filter(|run| run.name == runs[i].name).count() > 1 {
            let name = runs[i].name.clone();
            for run in runs.iter_mut().filter(|run| run.name == name) {
                run.name = run.folder.display().to_string();
            }
        }
    }
}

fn epoch(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("epoch_")?.strip_suffix(".png")?.parse().ok()
}
