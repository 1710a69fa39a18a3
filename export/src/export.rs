//! Exporting: read, lower, write, verify, publish.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ddae_base::files::FileError;
use ddae_base::memory::{MemoryError, check as memory_check};
use ddae_checkpoint::WeightSet;
use ddae_model::config::{AnyConfig, ModelConfig};
use ddae_model::diffusion::feature_timesteps;
use ddae_model::graph::Graph;
use ddae_model::reference;
use ddae_onnx::identity;
use ddae_onnx::metadata::{GraphDescription, GraphKind, NoiseSources, Precision, Target, Verification};
use ddae_onnx::runtime::{OnnxNetwork, all_cores};
use ddae_onnx::write::{LARGEST_MESSAGE, Model};

use crate::ExportError;
use crate::comparison::two_digits;
use crate::lower::channels_last::{GpuModel, lower_for_gpu, portable_twin};
use crate::lower::lower;
use crate::memory;
use crate::precision::PrecisionOptions;
use crate::request::GraphRequest;
use crate::source::WeightSource;
use crate::staging::Staging;
use crate::verify::{BATCHES, Difference, ReferenceOutputs, against_record, by_name, fits_record, is_result};

/// The largest relative difference that is accepted of a float32 graph unless another is given.
pub(crate) const TOLERANCE: f64 = 1e-4;

/// How the file is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileOptions {
    /// How its numbers are stored and computed.
    pub precision: PrecisionOptions,
    /// What it is for, none for any machine.
    pub target: Option<Target>,
    /// Where its weights lie.
    pub external_data: ExternalData,
    /// The largest relative difference that is accepted [default: by precision]. Between a file of another precision
    /// than float32 and the graph in float32; that graph itself is held to 1e-4 then.
    pub tolerance: Option<f64>,
}

impl FileOptions {
    /// Refuses what a target does not have.
    fn check_target(&self) -> Result<(), ExportError> {
        let (Some(target), precision) = (self.target, self.precision.precision) else { return Ok(()) };
        match precision {
            Precision::F16 | Precision::F32 => Ok(()),
            Precision::Bf16 | Precision::Int8 => Err(ExportError::Argument(format!(
                "--target {} takes --dtype f16 or f32, not {}",
                target.name(),
                precision.name()
            ))),
        }
    }
}

/// When the weights go to a file of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExternalData {
    /// Where they do not fit into one file, beyond 2 GB
    #[default]
    Auto,
    /// Always
    Always,
}

/// An export that has been found possible.
pub struct ExportPlan {
    source: WeightSource,
    request: GraphRequest,
    options: FileOptions,
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
    /// In a file for GPUs, the layers that are computed as in portable files, with transpositions before them.
    pub portable: Vec<String>,
}

/// What [`ExportPlan::export`] says before the files come to their final place: whoever ends the process waits from here
/// on until it returns.
pub const PUBLISHING: &str = "putting the file in its place";

impl ExportPlan {
    /// Builds the graph that `request` asks for and checks that the source holds its weights.
    ///
    /// # Errors
    /// An impossible request, or weights of another architecture.
    pub fn new(
        source: WeightSource,
        mut request: GraphRequest,
        options: FileOptions,
    ) -> Result<ExportPlan, ExportError> {
        request.resolve(&source.config)?;
        options.check_target()?;
        options.precision.check(request.kind, request.timestep, &timesteps(&source))?;
        let graph = request.graph(&source.config, &source.model)?;
        let state = source.checkpoint.state();
        let path = source.checkpoint.path();
        let is_told = matches!(request.kind, GraphKind::Features | GraphKind::Latent);
        let takes_noise = is_told && graph.inputs().any(|(_, node)| node.name == "noise");
        let description = GraphDescription {
            kind: request.kind,
            network: Some(source.found.clone()),
            config: source.config.to_yaml(),
            checkpoint: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            digest: source.checkpoint.digest(),
            weights: source.weight_set(),
            weights_name: source.weights_name().map(str::to_string),
            epoch: state.map(|state| state.epoch),
            step: state.map(|state| state.step),
            taps: request.taps(&graph),
            pixels: request.pixels(&source.model.architecture),
            unit_length: request.unit_length,
            timestep: request.timestep,
            noise: takes_noise.then(NoiseSources::known),
            parameters: graph.parameter_count() as u64,
            flops: graph.flops(),
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_string(),
            precision: options.precision.precision,
            target: options.target,
            calibration: None,
            verification: None,
            errors: None,
        };
        source.weights(&graph)?;
        source.check_whole()?;
        Ok(ExportPlan { source, request, options, graph, description })
    }

    /// The configuration, and the network with its process out of it.
    pub fn configuration(&self) -> (&AnyConfig, &ModelConfig) {
        (&self.source.config, &self.source.model)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Refuses an export that needs more memory than is free: the weights, and what the graph computes on the images on
    /// which the file is verified.
    ///
    /// # Errors
    /// [`MemoryError`] says how much is needed, and what to change.
    pub fn check_memory(&self) -> Result<(), MemoryError> {
        let [batch, ..] = BATCHES;
        let needed = self.graph.stored_bytes().saturating_add(self.graph.peak_bytes(batch));
        let what = match self.source.model.architecture.image_shape() {
            Some([c, h, w]) => format!("verifying the graph on {batch} images of {c}x{h}x{w}"),
            None => "verifying the graph".to_string(),
        };
        memory_check(
            what,
            needed,
            "export it for smaller images (--image-size, image_shape), or on another machine",
        )
    }

    /// A name for the file that says what it is: run, weights, kind of graph, precision.
    pub fn file_name(&self) -> PathBuf {
        let mut parts = vec![self.source.run_name()];
        if let Some(name) = self.source.named() {
            parts.push(name);
        } else if self.description.weights == Some(WeightSet::Model) {
            parts.push("model".to_string());
        }
        parts.push(self.request.file_stem());
        parts.extend(self.description.target.map(|target| target.name().to_string()));
        if self.description.precision != Precision::F32 {
            parts.push(self.description.precision.name().to_string());
        }
        PathBuf::from(format!("{}.onnx", parts.join("-")))
    }

    /// Writes the file into `staging`, verifies it, and moves it to its place. `progress` is told what is being done.
    ///
    /// At any time there is no more in memory than the weights and what ONNX Runtime or the writing of a file needs.
    ///
    /// # Errors
    /// When there is not the memory for it ([`ExportPlan::check_memory`]), a step fails or the outputs differ by more than
    /// the tolerance; no file is left then.
    pub fn export(self, staging: Staging, progress: impl Fn(&str)) -> Result<Exported, ExportError> {
        self.check_memory()?;
        let ExportPlan { source, request, options, graph, mut description } = self;
        let precision = &options.precision;
        let is_float32 = precision.precision == Precision::F32;
        let timesteps = timesteps(&source);
        let samples = match is_float32 {
            true => None,
            false => {
                let linear = source.config.training().and_then(|config| config.linear.as_ref());
                let trained_on = match &source.config {
                    AnyConfig::Run(run) => Some(run.dataset()),
                    AnyConfig::Model(_) => None,
                };
                let usual = linear.map(|linear| linear.timestep);
                Some(precision.samples(&graph, trained_on, request.timestep, usual, timesteps.clone())?)
            }
        };
        let target = staging.target().to_path_buf();
        let staged = staging.path();
        // A file for GPUs is checked by its twin.
        let is_portable = options.target.is_none();
        let float32 = if is_float32 && is_portable { staged.clone() } else { staging.scratch("float32") };
        let compared = if is_portable { staged.clone() } else { staging.scratch("twin") };

        progress("reading the weights");
        // The record is that of the moving average.
        let record = match request.kind {
            GraphKind::Encoder => source.checkpoint.encoder_record()?,
            _ => source.checkpoint.record()?,
        };
        let record = record.filter(|_| description.weights != Some(WeightSet::Model));
        let is_direct = record.as_ref().is_some_and(|record| fits_record(&graph, record));
        let full = record.as_ref().map(|_| source.trained.network_graph(false)).transpose()?;
        // A graph with the network's output has all parameters of the network, and that of the augmentation label where
        // it takes one, which the record does not.
        let is_whole =
            request.kind == GraphKind::Loss || graph.outputs().iter().any(|(name, _)| is_result(name));
        let weights = source.weights(full.as_ref().filter(|_| !is_whole).unwrap_or(&graph))?;

        progress("writing the graph");
        let write_error = |source| FileError::of("write", &target)(source);
        let GpuModel { mut model, portable } = match options.target {
            None => GpuModel { model: lower(&graph, &weights)?, portable: Vec::new() },
            Some(Target::Cuda) => lower_for_gpu(&graph, &weights)?,
        };
        let write_checked = |model: &Model<'_>, path: &Path| match is_portable {
            true => model.write(path, &[], LARGEST_MESSAGE),
            false => portable_twin(model).write(path, &[], LARGEST_MESSAGE),
        };
        model.name = description.kind.name().to_string();
        if let Some(samples) = &samples {
            write_checked(&model, &float32).map_err(write_error)?;
            if description.precision == Precision::Int8 {
                progress("measuring activations");
            }
            let scratch = staging.scratch("calibration");
            description.calibration = precision.convert(&mut model, &graph, samples, &scratch)?;
        }
        if !is_portable {
            let checked = if is_float32 { &float32 } else { &compared };
            write_checked(&model, checked).map_err(write_error)?;
        }
        let largest_message = match options.external_data {
            ExternalData::Auto => LARGEST_MESSAGE,
            ExternalData::Always => 0,
        };
        let files = model.write(&staged, &description.to_entries(), largest_message).map_err(write_error)?;
        drop(model);

        progress("computing reference outputs");
        let expected = ReferenceOutputs::compute(&graph, &weights, timesteps)?;
        let by_reference = match (&record, &full) {
            // The file itself is compared with the reference interpreter on the same weights.
            (Some(record), Some(full)) if !is_direct => {
                let outputs = reference::run::<f32>(full, &weights, &by_name(&record.inputs))?;
                Some(against_record(&outputs, record))
            }
            _ => None,
        };
        drop((weights, source));
        memory::give_back();

        progress("verifying in ONNX Runtime");
        let tolerance = options.tolerance.unwrap_or(precision.tolerance());
        let exact_tolerance = if is_float32 { tolerance } else { TOLERANCE };
        let mut network = OnnxNetwork::open(&float32, all_cores())?;
        let (difference, mut errors) = expected.compare(&mut network)?;
        let reference = accepted(difference, "the reference interpreter", exact_tolerance)?;
        let difference = match &record {
            Some(record) if is_direct => {
                Some(against_record(&network.run(&by_name(&record.inputs))?, record))
            }
            _ => by_reference,
        };
        let record = difference
            .map(|d| accepted(d, "the outputs recorded in training", exact_tolerance))
            .transpose()?;
        drop(network);
        if let Some(samples) = &samples {
            progress("comparing with float32");
            errors = precision.compare(&graph, samples, &float32, &compared)?;
            for output in &errors.outputs {
                let difference = Difference { output: output.name.clone(), relative: output.relative };
                accepted(difference, "the same graph in float32", tolerance)?;
            }
        }
        let verification = Verification { reference, record, tolerance };

        let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|info| info.len()).sum();
        let entries: Vec<_> = [verification.to_entry(), errors.to_entry()].into_iter().flatten().collect();
        let suffix = identity::suffix(&staged, &entries).map_err(FileError::of("read", &staged))?;
        progress(PUBLISHING);
        staging.publish(&files, &suffix)?;
        let files = files
            .iter()
            .map(|file| match *file == staged {
                true => target.clone(),
                false => target.with_file_name(file.file_name().unwrap_or_default()),
            })
            .collect();
        description.verification = Some(verification);
        description.errors = Some(errors);
        Ok(Exported { graph, description, files, bytes, portable })
    }
}

/// The timesteps of a source's process; where it has none, there is only the image itself.
fn timesteps(source: &WeightSource) -> RangeInclusive<i64> {
    source.model.process.as_ref().map_or(0..=0, feature_timesteps)
}

/// A difference within the tolerance, to two digits: they say enough, and do not change with the processor.
fn accepted(difference: Difference, against: &'static str, tolerance: f64) -> Result<f64, ExportError> {
    let Difference { output, relative } = difference;
    if relative > tolerance {
        return Err(ExportError::Verification { output, against, difference: relative, tolerance });
    }
    Ok(two_digits(relative))
}
