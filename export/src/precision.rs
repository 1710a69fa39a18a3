//! Files whose numbers are not all float32: what is asked for, the conversion, and what it costs.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use ddae_model::graph::Graph;
use ddae_onnx::metadata::{Calibration, GraphKind, OutputErrors, Precision};
use ddae_onnx::runtime::{OnnxNetwork, all_cores};
use ddae_onnx::write::Model;

use crate::ExportError;
use crate::comparison::Comparison;
use crate::error::refuse_given;
use crate::export::TOLERANCE;
use crate::lower::half_precision::{compute_f16, store_bf16};
use crate::quantize::calibration::{Calibrator, MEMORY};
use crate::quantize::histogram::RangeRule;
use crate::quantize::rewrite::quantize;
use crate::quantize::samples::{ImageSource, Samples};
use crate::quantize::selection::Selection;
use crate::verify::by_name;

/// Images that activations are measured on, unless another number is asked for.
pub const CALIBRATION_IMAGES: usize = 128;

/// Work that the comparison with float32 may take, in floating-point operations on either side, and the least and most
/// samples for it.
const COMPARISON_FLOPS: u64 = 150_000_000_000;
const LEAST_SAMPLES: u64 = 3;
const MOST_SAMPLES: u64 = 128;

/// Samples that are compared at a time.
const BATCH: usize = 8;

/// Timesteps of a process that integers are calibrated on where no one is of more interest than others.
const SPREAD: i64 = 5;

/// How the numbers of a file are stored and computed, and what that is calibrated on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrecisionOptions {
    /// The precision.
    pub precision: Precision,
    /// What activations are measured on: a data set by name, or a folder of images.
    pub calibrate: Option<String>,
    /// How many images of it [default: [`CALIBRATION_IMAGES`]].
    pub images: Option<usize>,
    /// The timesteps of their noise.
    pub timesteps: Vec<i64>,
    /// How ranges of activations are chosen [default: percentiles; `docs/precision.md` has the measurement].
    pub range: Option<RangeRule>,
}

impl PrecisionOptions {
    /// Refuses options that would do nothing, or that a graph of this kind, with its `fixed` timestep among those of
    /// `range`, does not have.
    pub(crate) fn check(
        &self,
        kind: GraphKind,
        fixed: Option<i64>,
        range: &RangeInclusive<i64>,
    ) -> Result<(), ExportError> {
        let wrong = |message: String| Err(ExportError::Argument(message));
        if self.precision != Precision::Int8 {
            let options = [
                ("--calibrate", self.calibrate.is_some()),
                ("--calibration-images", self.images.is_some()),
                ("--calibration-timesteps", !self.timesteps.is_empty()),
                ("--calibration-range", self.range.is_some()),
            ];
            return refuse_given(&options, |option| format!("{option} is for --quantize int8"));
        }
        if !matches!(kind, GraphKind::Features | GraphKind::Encoder) {
            return wrong(format!("--quantize int8 is for --graph features or encoder, not {}", kind.name()));
        }
        if let (Some(fixed), false) = (fixed, self.timesteps.is_empty()) {
            return wrong(format!(
                "--calibration-timesteps: this graph has the timestep {fixed} built in (--timestep)"
            ));
        }
        if let Some(outside) = self.timesteps.iter().find(|timestep| !range.contains(timestep)) {
            let (first, last) = (range.start(), range.end());
            return wrong(format!("--calibration-timesteps {outside}: this process has {first} to {last}"));
        }
        Ok(())
    }

    /// The largest relative difference from float32 that is accepted unless another is given.
    pub(crate) fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => TOLERANCE,
            Precision::F16 => 1e-2,
            Precision::Bf16 => 5e-2,
            Precision::Int8 => 0.25,
        }
    }

    /// The inputs that the file is calibrated and compared on. `fixed` is a timestep built into the graph, `usual` one
    /// that features of this network are taken at, `range` all of them.
    ///
    /// # Errors
    /// When the images asked for are not there or do not fit, or int8 was asked for and none do.
    pub fn samples(
        &self,
        graph: &Graph,
        trained_on: Option<&str>,
        fixed: Option<i64>,
        usual: Option<i64>,
        range: RangeInclusive<i64>,
    ) -> Result<Samples, ExportError> {
        let timesteps = match (&*self.timesteps, fixed.or(usual)) {
            ([], Some(one)) => vec![one],
            ([], None) => spread(&range),
            (several, _) => several.to_vec(),
        };
        let source =
            ImageSource { asked: self.calibrate.clone(), trained_on: trained_on.map(str::to_string) };
        let samples = Samples::open(graph, &source, timesteps, range)?;
        if self.precision == Precision::Int8 && !samples.has_images() {
            if !graph.inputs().any(|(_, node)| node.name == "image") {
                let message = "--quantize int8 is calibrated on images, and this graph takes none";
                return Err(ExportError::argument(message));
            }
            let trained_on = trained_on.unwrap_or("the training data");
            return Err(ExportError::Argument(format!(
                "--quantize int8 needs images to calibrate on: {trained_on} is not here and the built-in ones do not \
                 fit this network; give --calibrate DATASET or a folder with train/CLASS/*.png"
            )));
        }
        Ok(samples)
    }

    /// Rewrites a float32 model. `scratch` is the name of a file for calibration.
    ///
    /// # Errors
    /// When the graph has nothing to quantise, or calibration fails.
    pub fn convert(
        &self,
        model: &mut Model<'_>,
        graph: &Graph,
        samples: &Samples,
        scratch: &Path,
    ) -> Result<Option<Calibration>, ExportError> {
        match self.precision {
            Precision::F32 => {}
            Precision::F16 => compute_f16(model)?,
            Precision::Bf16 => store_bf16(model)?,
            Precision::Int8 => return self.to_int8(model, graph, samples, scratch).map(Some),
        }
        Ok(None)
    }

    fn to_int8(
        &self,
        model: &mut Model<'_>,
        graph: &Graph,
        samples: &Samples,
        scratch: &Path,
    ) -> Result<Calibration, ExportError> {
        let selection = Selection::of(model);
        if selection.is_empty() {
            let message =
                "--quantize int8: nothing in this graph follows its first convolution; take a deeper layer";
            return Err(ExportError::argument(message));
        }
        let (count, rule) = (self.calibration_images(samples), self.range.unwrap_or_default());
        let calibrator = Calibrator { graph, samples, count, memory: MEMORY };
        let histograms = calibrator.histograms(model, &selection.activations, scratch)?;
        let ranges = histograms.into_iter().map(|(name, histogram)| (name, histogram.range(rule))).collect();
        quantize(model, &selection, &ranges)?;
        Ok(Calibration {
            images: samples.name().to_string(),
            count: count as u64,
            timesteps: samples.timesteps().to_vec(),
            range: rule.name(),
        })
    }

    fn calibration_images(&self, samples: &Samples) -> usize {
        self.images.unwrap_or(CALIBRATION_IMAGES).min(samples.available())
    }

    /// Runs both files on samples that nothing was calibrated on, as far as there are others.
    ///
    /// # Errors
    /// When an image cannot be read, or the runtime fails.
    pub fn compare(
        &self,
        graph: &Graph,
        samples: &Samples,
        float32: &Path,
        file: &Path,
    ) -> Result<OutputErrors, ExportError> {
        let flops = graph.flops().max(1);
        let count = (COMPARISON_FLOPS / flops).clamp(LEAST_SAMPLES, MOST_SAMPLES) as usize;
        let count = count.min(samples.available());
        let calibrated = if self.precision == Precision::Int8 { self.calibration_images(samples) } else { 0 };
        let start = calibrated.min(samples.available() - count);
        let expected = outputs(graph, samples, start..start + count, float32)?;
        let found = outputs(graph, samples, start..start + count, file)?;
        let mut comparison = Comparison::default();
        for (found, expected) in found.iter().zip(&expected) {
            comparison.add(found, expected);
        }
        Ok(OutputErrors {
            inputs: samples.name().to_string(),
            count: count as u64,
            outputs: comparison.errors(),
        })
    }
}

/// Timesteps all over a range.
fn spread(range: &RangeInclusive<i64>) -> Vec<i64> {
    let (first, last) = (*range.start(), *range.end());
    let mut all: Vec<i64> =
        (0..SPREAD).map(|i| first + (last - first) * (2 * i + 1) / (2 * SPREAD)).collect();
    all.dedup();
    all
}

type Batch = Vec<(String, ddae_model::tensor::Tensor)>;

/// The outputs of a file for some samples, by batch. Only one file is loaded at a time.
fn outputs(
    graph: &Graph,
    samples: &Samples,
    range: Range<usize>,
    file: &Path,
) -> Result<Vec<Batch>, ExportError> {
    let mut network = OnnxNetwork::open(file, all_cores())?;
    let mut batches = Vec::new();
    for start in range.clone().step_by(BATCH) {
        let inputs = samples.inputs(graph, start..range.end.min(start + BATCH))?;
        batches.push(network.run(&by_name(&inputs))?);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_are_spread_over_the_process() {
        assert_eq!(spread(&(1..=1000)), [100, 300, 500, 700, 900]);
        assert_eq!(spread(&(1..=1)), [1]);
    }
}
