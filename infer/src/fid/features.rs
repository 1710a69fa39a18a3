//! Feature files as sets of images.

use std::path::Path;

use ddae_store::{FeatureFile, FeatureKey};
use ndarray::Array2;

use super::images::{Seen, Wanted, network};
use super::statistics::{Accumulator, Statistics};
use super::{FidError, LOGITS, TAP};
use crate::error::InferError;

/// Rows of a feature file that are read at a time.
const ROWS: usize = 1024;

/// The layer of a feature file that is measured on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer(FeatureKey);

impl Default for Layer {
    /// Inception's, `t0/pool`.
    fn default() -> Layer {
        Layer(FeatureKey::new(0, TAP))
    }
}

impl Layer {
    /// `t11/out_6`, or the name alone of a layer of a network without timesteps.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Layer, InferError> {
        let key = if text.contains('/') { text.parse() } else { format!("t0/{text}").parse() };
        Ok(Layer(key?))
    }

    /// The output of an encoder, under whatever name.
    pub fn of_output(name: &str) -> Layer {
        Layer(FeatureKey::new(0, name))
    }

    /// Whether it is the layer of Inception that distances are published of.
    pub fn is_of_inception(&self) -> bool {
        *self == Layer::default()
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A feature file that `ddae-infer features` made. Every view counts as an image.
///
/// # Errors
/// When it cannot be read, is a shard, or does not have the layer, or, where they are wanted, Inception's logits.
pub(super) fn read(path: &Path, layer: &Layer, wanted: Wanted) -> Result<Seen, InferError> {
    let wrong = |message: String| FidError::File { path: path.to_path_buf(), message };
    let file = FeatureFile::open(path)?;
    let logits = FeatureKey::new(0, LOGITS);
    for (key, advice) in [
        (
            &layer.0,
            "make it with `ddae-infer features` and the graph of Inception, or name another with --layer",
        ),
        (&logits, "make it with a graph of Inception that was exported with --taps pool,logits_unbiased"),
    ] {
        let is_needed = key == &layer.0 || wanted.logits;
        if is_needed && !file.keys().contains(key) {
            let known: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
            let known = known.join(", ");
            return Err(wrong(format!("it has {known} and not {key}: {advice}")).into());
        }
    }
    if file.len() != file.layout().total {
        return Err(wrong(format!(
            "it is one shard, with {} of {} rows; join them with `ddae-infer merge`",
            file.len(),
            file.layout().total
        ))
        .into());
    }
    let mut moments = Accumulator::new(file.dim(&layer.0)?);
    let mut features = Vec::new();
    each_block(&file, &layer.0, |rows| {
        moments.add(rows.view()).map_err(|error| wrong(error.to_string()))?;
        if wanted.features {
            features.push(rows);
        }
        Ok(())
    })?;
    let mut of_logits = Vec::new();
    if wanted.logits {
        each_block(&file, &logits, |rows| {
            of_logits.push(rows);
            Ok(())
        })?;
    }
    let statistics = moments.finish().map_err(|error| wrong(error.to_string()))?;
    let provenance = file.provenance();
    let precision = provenance.model_precision.as_deref();
    let edited = provenance.graph_digest.as_deref().filter(|_| provenance.edited == Some(true));
    let layer = (!layer.is_of_inception()).then(|| layer.to_string());
    let others = || edited.into_iter().chain(layer.as_deref());
    let network = provenance.model.as_deref().map(|checkpoint| network(checkpoint, precision, others()));
    Ok(Seen {
        statistics: Statistics { network, ..statistics },
        features: joined(&features),
        logits: joined(&of_logits),
    })
}

/// Hands on the rows of all views, one view after the other.
fn each_block(
    file: &FeatureFile,
    key: &FeatureKey,
    mut block: impl FnMut(Array2<f32>) -> Result<(), InferError>,
) -> Result<(), InferError> {
    for view in 0..file.views() {
        for begin in (0..file.len()).step_by(ROWS) {
            block(file.read(key, view, begin..file.len().min(begin + ROWS))?)?;
        }
    }
    Ok(())
}

/// Blocks below each other; none where there are none.
fn joined(blocks: &[Array2<f32>]) -> Option<Array2<f32>> {
    let views: Vec<_> = blocks.iter().map(|block| block.view()).collect();
    ndarray::concatenate(ndarray::Axis(0), &views).ok()
}
