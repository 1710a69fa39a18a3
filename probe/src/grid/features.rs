//! Features of the images, computed into files of the work folder.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::Stop;
use ddae_base::files::FileError;
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

/// Removes files of this job, and their folder where nothing else is in it.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(files: &[PathBuf], folder: &Path) -> Result<()> {
    for file in files {
        match fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ProbeError::from(FileError::of("remove", file)(error)));
            }
            _ => {}
        }
    }
    // What others put there stays, and the folder with it.
    let _ = fs::remove_dir(folder);
    Ok(())
}
