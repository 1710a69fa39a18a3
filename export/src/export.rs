//! Exporting: read, lower, write, verify, publish.

use std::path::{Path, PathBuf};

use ddae_model::checkpoint::WeightSet;
use ddae_model::diffusion::feature_timesteps;
use ddae_model::graph::Graph;
use ddae_model::networks::unet_graph;
use ddae_model::onnx_metadata::{GraphDescription, Verification};

use crate::ExportError;
use crate::lower::{Options, lower};
use crate::onnx::write::{LARGEST_MESSAGE, metadata_suffix};
use crate::request::Request;
use crate::runtime::OnnxNetwork;
use crate::source::Source;
use crate::staging::Staging;
use crate::verify::{self, Difference, Expected};

/// The largest relative difference that is accepted unless another is given.
pub const TOLERANCE: f64 = 1e-4;

/// An export that has been found possible.
pub struct Plan {
    source: Source,
    request: Request,
    weights: WeightSet,
    graph: Graph,
    /// What the file will say of itself.
    pub description: GraphDescription,
}

/// A finished export.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What the file says of itself.
    pub description: GraphDescription,
    /// Files written: the model, and its data where that is in a file of its own.
    pub files: Vec<PathBuf>,
    /// Their size together.
    pub bytes: u64,
}

impl Plan {
    /// Builds the graph that `request` asks for and checks that the source holds its weights: of a training
    /// checkpoint those of `weights` (the moving average unless given).
    ///
    /// # Errors
    /// An impossible request, or weights of another architecture.
    pub fn new(
        source: Source,
        mut request: Request,
        weights: Option<WeightSet>,
    ) -> Result<Plan, ExportError> {
        request.resolve(&source.config)?;
        let graph = request.graph(&source.config)?;
        let state = source.checkpoint.state();
        if let (None, Some(set)) = (state, weights) {
            let set = set.prefix().trim_end_matches('.');
            let path = source.checkpoint.path().display();
            let message =
                format!("--weights {set}: {path} is a plain file of weights and holds only one set");
            return Err(ExportError::Argument(message));
        }
        let weights = weights.unwrap_or_default();
        let path = source.checkpoint.path();
        let description = GraphDescription {
            kind: request.kind,
            config: source.config.to_yaml(),
            checkpoint: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            digest: source.checkpoint.digest(),
            weights: state.map(|_| weights),
            epoch: state.map(|state| state.epoch),
            step: state.map(|state| state.step),
            taps: request.taps(&graph),
            pixels: request.pixels(),
            timestep: request.timestep,
            parameters: graph.parameter_count() as u64,
            flops: graph.flops(),
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_string(),
            verification: None,
        };
        source.checkpoint.weights(weights, &graph)?;
        Ok(Plan { source, request, weights, graph, description })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A name for the file that says what it is: run, weights, kind of graph.
    pub fn file_name(&self) -> PathBuf {
        let mut parts = vec![self.source.run_name()];
        if self.description.weights == Some(WeightSet::Model) {
            parts.push("model".to_string());
        }
        parts.push(self.request.file_stem());
        PathBuf::from(format!("{}.onnx", parts.join("-")))
    }

    /// Writes the file beside `target`, verifies it, and moves it there. `progress` is told what is being done.
    ///
    /// # Errors
    /// When a step fails or the outputs differ by more than `tolerance` (relative); no file is left then.
    pub fn export(
        &self,
        target: &Path,
        tolerance: f64,
        progress: impl Fn(&str),
    ) -> Result<Exported, ExportError> {
        let staging = Staging::beside(target)?;
        let staged = staging.path();
        let write_error = |source| ExportError::Write { path: target.to_path_buf(), source };

        progress("reading the weights");
        let weights = self.source.checkpoint.weights(self.weights, &self.graph)?;
        progress("writing the graph");
        let entries = self.description.to_entries();
        let files = lower(&self.graph, &weights, Options::default())?
            .write(&staged, &entries, LARGEST_MESSAGE)
            .map_err(write_error)?;
        progress("computing reference outputs");
        let timesteps = feature_timesteps(&self.source.config.process);
        let expected = Expected::compute(&self.graph, &weights, timesteps)?;
        drop(weights);
        progress("verifying in ONNX Runtime");
        let verification = self.verify(&staged, &expected, tolerance)?;

        let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|info| info.len()).sum();
        staging.publish(&files, &metadata_suffix(&[verification.to_entry()]))?;
        let files =
            files.iter().map(|file| target.with_file_name(file.file_name().unwrap_or_default())).collect();
        let description = GraphDescription { verification: Some(verification), ..self.description.clone() };
        Ok(Exported { description, files, bytes })
    }

    fn verify(&self, file: &Path, expected: &Expected, tolerance: f64) -> Result<Verification, ExportError> {
        let mut network = OnnxNetwork::open(file, 1)?;
        let within = |difference: Difference, against| {
            if difference.relative <= tolerance {
                // Two digits say enough, and do not change with the processor.
                return Ok(format!("{:.1e}", difference.relative).parse().unwrap_or(difference.relative));
            }
            let Difference { output, relative } = difference;
            Err(ExportError::Verification { output, against, difference: relative, tolerance })
        };
        let reference = within(expected.compare(&mut network)?, "the reference interpreter")?;
        let record = match self.source.checkpoint.record()? {
            // The record is that of the moving average.
            Some(record) if self.weights == WeightSet::Ema => {
                let difference = if verify::fits_record(&self.graph, &record) {
                    verify::compare_record(&mut network, &record)?
                } else {
                    drop(network);
                    let full = unet_graph(&self.source.config.network, false)?;
                    let weights = self.source.checkpoint.weights(self.weights, &full)?;
                    verify::compare_record_by_reference(&full, &weights, &record)?
                };
                Some(within(difference, "the outputs recorded in training")?)
            }
            _ => None,
        };
        Ok(Verification { reference, record, tolerance })
    }
}
