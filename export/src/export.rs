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
    /// The graph.
    pub graph: Graph,
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
    /// At any time there is no more in memory than the weights and what ONNX Runtime or the writing of a file needs.
    ///
    /// # Errors
    /// When a step fails or the outputs differ by more than `tolerance` (relative); no file is left then.
    pub fn export(
        self,
        target: &Path,
        tolerance: f64,
        progress: impl Fn(&str),
    ) -> Result<Exported, ExportError> {
        let Plan { source, weights: set, graph, mut description, .. } = self;
        let staging = Staging::beside(target)?;
        let staged = staging.path();

        progress("reading the weights");
        // The record is that of the moving average.
        let record = source.checkpoint.record()?.filter(|_| set == WeightSet::Ema);
        let is_direct = record.as_ref().is_some_and(|record| verify::fits_record(&graph, record));
        let full = unet_graph(&source.config.network, false)?;
        // A graph with the network's output has all parameters of the network, and that of the augmentation label where
        // it takes one, which the record does not.
        let is_whole = graph.outputs().iter().any(|(name, _)| name == "y");
        let needed = if record.is_none() || is_whole { &graph } else { &full };
        let weights = source.checkpoint.weights(set, needed)?;

        progress("writing the graph");
        let entries = description.to_entries();
        let mut model = lower(&graph, &weights, Options::default())?;
        model.name = description.kind.name().to_string();
        let written = model.write(&staged, &entries, LARGEST_MESSAGE);
        let files = written.map_err(|source| ExportError::Write { path: target.to_path_buf(), source })?;
        drop(model);

        progress("computing reference outputs");
        let expected = Expected::compute(&graph, &weights, feature_timesteps(&source.config.process))?;
        let by_reference = match &record {
            Some(record) if !is_direct => Some(verify::compare_record_by_reference(&full, &weights, record)?),
            _ => None,
        };
        drop((weights, source));

        progress("verifying in ONNX Runtime");
        let mut network = OnnxNetwork::open(&staged, 1)?;
        let reference = accepted(expected.compare(&mut network)?, "the reference interpreter", tolerance)?;
        let difference = match &record {
            Some(record) if is_direct => Some(verify::compare_record(&mut network, record)?),
            _ => by_reference,
        };
        let record =
            difference.map(|d| accepted(d, "the outputs recorded in training", tolerance)).transpose()?;
        let verification = Verification { reference, record, tolerance };

        let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|info| info.len()).sum();
        staging.publish(&files, &metadata_suffix(&[verification.to_entry()]))?;
        let files =
            files.iter().map(|file| target.with_file_name(file.file_name().unwrap_or_default())).collect();
        description.verification = Some(verification);
        Ok(Exported { graph, description, files, bytes })
    }
}

/// A difference within the tolerance, to two digits: they say enough, and do not change with the processor.
fn accepted(difference: Difference, against: &'static str, tolerance: f64) -> Result<f64, ExportError> {
    let Difference { output, relative } = difference;
    if relative > tolerance {
        return Err(ExportError::Verification { output, against, difference: relative, tolerance });
    }
    Ok(format!("{relative:.1e}").parse().unwrap_or(relative))
}
