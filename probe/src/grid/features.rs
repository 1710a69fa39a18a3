//! Features of the images, computed into files of the work folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::{Stop, files};
use ddae_data::split::Split;
use ddae_infer::device::Device;
use ddae_infer::features::{FeatureJob, FeatureOptions, Latents, Recipe, Views, usual_shards};
use ddae_infer::model_file::ModelFile;
use ddae_infer::workers::Workers;
use ddae_store::merged_path;

use crate::error::{ProbeError, Result};
use crate::experiment::Progress;

/// What all features of a grid have in common.
pub struct Setup<'a> {
    /// The graph.
    pub model: &'a ModelFile,
    /// The graph that makes latents of images, where `model` takes those.
    pub latents: Option<&'a Latents>,
    /// Where they run.
    pub device: Device,
    /// Threads, as [`Workers::open`] has them.
    pub threads: usize,
    /// Everything that is chosen, with the views of training images.
    pub options: FeatureOptions,
    /// The folder of the files.
    pub folder: &'a Path,
    /// Whether files that are there are computed again.
    pub overwrite: bool,
    /// A request to end.
    pub stop: &'a Stop,
}

/// Computes features of splits at timesteps.
pub struct Extractor<'a> {
    setup: Setup<'a>,
    /// Opened when they are first wanted.
    workers: Option<Workers>,
    files: Vec<PathBuf>,
}

/// Whose views are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of what is learned from: those that were asked for.
    Train,
    /// Of what is measured on: the image as it is.
    Test,
}

impl<'a> Extractor<'a> {
    /// Nothing is computed or opened yet.
    pub fn new(setup: Setup<'a>) -> Extractor<'a> {
        Extractor { setup, workers: None, files: Vec::new() }
    }

    /// Views of each training image.
    pub fn views(&self) -> usize {
        self.setup.options.views.count
    }

    /// Computes `NAME.h5` of a split at timesteps (0 alone for a graph without), or goes on with what is there of it. Returns
    /// the file.
    ///
    /// # Errors
    /// When a file of another job is there, an image cannot be read, the runtime fails, or the request to end came.
    pub fn compute(
        &mut self,
        name: &str,
        split: Split,
        timesteps: &[i64],
        role: Role,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf> {
        let asked = if self.setup.model.model.process.is_some() { timesteps } else { &[] };
        let recipe = Recipe::new(self.setup.model, self.setup.latents, asked)?;
        let views = match role {
            Role::Train => self.setup.options.views,
            Role::Test => Views { count: 1, ..Views::default() },
        };
        let options = FeatureOptions { views, ..self.setup.options };
        let title = format!(
            "computing features of {}: {} images at timestep{} {}",
            split.name(),
            split.len(),
            if timesteps.len() == 1 { "" } else { "s" },
            timesteps.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        );
        let (extraction, layout) = recipe.plan(split.into(), &options, self.setup.device)?;
        let rows = extraction.source.len();
        let prefix = self.setup.folder.join(name);
        let job = FeatureJob {
            extraction: &extraction,
            layout: &layout,
            prefix: &prefix,
            shards: usual_shards(rows),
            only: None,
            overwrite: self.setup.overwrite,
        };
        // What stands in the way is found before sessions are opened.
        job.remaining()?;
        if self.workers.is_none() {
            let latents = self.setup.latents.and_then(Latents::graph_path);
            let workers =
                Workers::open_after(&self.setup.model.path, latents, self.setup.device, self.setup.threads)?;
            self.workers = Some(workers);
        }
        let Some(workers) = &mut self.workers else { return Err(ddae_infer::InferError::Thread.into()) };
        progress.begin(&title, Some((rows * extraction.runs_per_row()) as u64));
        let stop = self.setup.stop;
        job.run(workers, stop, |images| {
            // The job itself ends in good order then.
            if !stop.is_requested() {
                progress.advance(images as u64);
            }
        })?;
        let path = merged_path(&prefix);
        self.files.push(path.clone());
        Ok(path)
    }

    /// What the sessions did otherwise than they were asked to.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.workers.as_mut().map(Workers::take_notes).unwrap_or_default()
    }

    /// The files of this job, which it made or went on with.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// Names the files of the work folder that were asked to be kept, one a line.
const KEPT: &str = "kept.txt";

/// Makes files of this job stay, whatever later jobs on the same folder remove.
///
/// # Errors
/// When their names cannot be written down.
pub fn keep(files: &[PathBuf], folder: &Path) -> Result<()> {
    let mut names = kept(folder);
    names.extend(files.iter().filter_map(|file| name_of(file)).map(str::to_string));
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    let path = folder.join(KEPT);
    files::write_whole(&path, |out| out.write_all(text.as_bytes())).map_err(ProbeError::from)
}

/// The names of files that earlier jobs were asked to keep.
fn kept(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join(KEPT)).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

fn name_of(file: &Path) -> Option<&str> {
    file.file_name()?.to_str()
}

/// Removes files of this job that no other was asked to keep, and their folder where nothing else is in it.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(files: &[PathBuf], folder: &Path) -> Result<()> {
    let kept = kept(folder);
    let is_kept = |file: &Path| name_of(file).is_some_and(|name| kept.contains(name));
    for file in files.iter().filter(|file| !is_kept(file)) {
        remove_one(file)?;
    }
    // What others put there stays, and the folder with it.
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// Removes the features that any grid left in the folder, kept or not; its graph is replaced by the export.
///
/// # Errors
/// When one cannot be removed.
pub fn clear(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(FileError::of("read", folder)).map_err(ProbeError::from)?;
    for entry in entries.flatten() {
        let path = entry.path();
        if name_of(&path).is_some_and(|name| name == KEPT || is_features(name)) {
            remove_one(&path)?;
        }
    }
    Ok(())
}

/// Whether a grid calls files of features so, or their shards: `train.h5`, `round_2.h5`, `test_t11.0000-of-0003.h5`.
fn is_features(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".h5") else { return false };
    let (stem, shard) = stem.split_once('.').unwrap_or((stem, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shard =
        shard.is_empty() || shard.split_once("-of-").is_some_and(|(i, n)| is_number(i) && is_number(n));
    let of = |prefix: &str| stem.strip_prefix(prefix).is_some_and(is_number);
    is_shard && (matches!(stem, "train" | "test") || of("round_") || of("train_t") || of("test_t"))
}

fn remove_one(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ProbeError::from(FileError::of("remove", file)(error)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_kept_stays_and_overwriting_clears_what_grids_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let files = ["train.h5", "test_t11.h5", "features.onnx"].map(|name| folder.join(name));
        let others = ["round_3.h5", "test_t1.0000-of-0002.h5", "mine.h5", "train_notes.h5", "round_.h5"];
        files.iter().for_each(|file| fs::write(file, "").expect("written"));
        others.iter().for_each(|name| fs::write(folder.join(name), "").expect("written"));
        keep(&files[..2], folder).expect("kept");
        // A later job without --keep that went on with the same files.
        remove(&files, folder).expect("removed");
        let left = names(folder);
        assert!(
            left.contains(&"train.h5".to_string()) && left.contains(&"test_t11.h5".to_string()),
            "{left:?}"
        );
        assert!(!left.contains(&"features.onnx".to_string()), "{left:?}");
        clear(folder).expect("cleared");
        assert_eq!(names(folder), ["mine.h5", "round_.h5", "train_notes.h5"]);
    }
}
