//! Feature files as sets of images.

use std::path::Path;

use ddae_data::resize::Rule;
use ddae_model::config::AnyConfig;
use ddae_model::networks::{Architecture, InceptionConfig};
use ddae_onnx::metadata::{GraphKind, Precision};
use ddae_store::{FeatureFile, FeatureKey, Provenance};
use ndarray::Array2;

use super::collected::{Rows, Seen, Wanted};
use super::images::INCEPTION_SIZE;
use super::network::{Network, Way};
use super::statistics::{Accumulator, Statistics};
use super::{FidError, LOGITS, TAP};
use crate::error::InferError;

/// Rows of a feature file that are read at a time.
const BLOCK: usize = 1024;

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

/// A feature file that `ddae-infer features` made: the mean and covariance of all views, which are as many images as one of
/// them has, and where they are wanted the features and logits of all.
///
/// # Errors
/// When it cannot be read, is a shard, or does not have the layer, or, where they are wanted, Inception's logits; when there
/// is not the memory.
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
    let count = file.len() * file.views();
    let mut features = Rows::default();
    each_block(&file, &layer.0, |rows| {
        moments.add(rows.view()).map_err(|error| wrong(error.to_string()))?;
        if wanted.features {
            features.add(&rows, count)?;
        }
        Ok(())
    })?;
    let mut of_logits = Rows::default();
    if wanted.logits {
        each_block(&file, &logits, |rows| of_logits.add(&rows, count))?;
    }
    let statistics = moments.finish().map_err(|error| wrong(error.to_string()))?;
    let network = network(file.provenance(), layer).map(|network| network.to_string());
    Ok(Seen {
        statistics: Statistics { network, count: Some(file.len() as u64), ..statistics },
        features: features.finish(),
        logits: of_logits.finish(),
        tokens: None,
    })
}

/// What the features of a layer are of, where the file says it.
pub(super) fn network(provenance: &Provenance, layer: &Layer) -> Option<Network> {
    let checkpoint = provenance.model.clone()?;
    let inception = inception(provenance).filter(|_| layer.is_of_inception());
    let precision = provenance.model_precision.clone();
    Some(Network {
        checkpoint,
        precision: precision.filter(|precision| precision != Precision::F32.name()),
        edited: provenance.graph_digest.clone().filter(|_| provenance.edited == Some(true)),
        layer: inception.is_none().then(|| layer.to_string()),
        way: inception.map_or(Way::AsTheyAre, |config| way(&config, provenance)),
    })
}

/// The Inception that made the features, if it did.
fn inception(provenance: &Provenance) -> Option<InceptionConfig> {
    let config = provenance.config.as_deref()?;
    let config = AnyConfig::parse(config, "the configuration of the features", &[]).ok()?;
    match config.model_for(GraphKind::Features).architecture {
        Architecture::Inception(config) => Some(config),
        _ => None,
    }
}

/// How images came to Inception. A graph for its own size does not resize them, and the extraction did unless it was told to
/// refuse others: by the rule that was chosen, or else the usual one.
fn way(config: &InceptionConfig, provenance: &Provenance) -> Way {
    if config.image_size != INCEPTION_SIZE {
        return Way::AsTheyAre;
    }
    let reading = provenance.reading.clone().flatten().unwrap_or_default();
    let mut words = reading.split_whitespace().skip_while(|word| *word != "--resize").skip(1);
    let rule = words.next().map_or(Rule::default().to_string(), str::to_string);
    match rule == Rule::None.to_string() {
        true => Way::AsTheyAre,
        false => Way::Rule(rule),
    }
}

/// Hands on the rows of all views, one view after the other.
fn each_block(
    file: &FeatureFile,
    key: &FeatureKey,
    mut block: impl FnMut(Array2<f32>) -> Result<(), InferError>,
) -> Result<(), InferError> {
    for view in 0..file.views() {
        for begin in (0..file.len()).step_by(BLOCK) {
            block(file.read(key, view, begin..file.len().min(begin + BLOCK))?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ddae_model::config::ModelConfig;

    use super::*;

    #[test]
    fn what_a_file_says_of_its_features() {
        let of_config = |config: &str, reading: Option<&str>| Provenance {
            model: Some("ab".to_string()),
            config: Some(config.to_string()),
            reading: Some(reading.map(str::to_string)),
            ..Provenance::default()
        };
        let inception = |side: usize| {
            ModelConfig::of(Architecture::Inception(InceptionConfig {
                image_size: [side, side],
                classifier: false,
            }))
            .to_yaml()
        };
        let other = include_str!("../../../configs/demo.yaml");
        let pool = Layer::default();
        let block = Layer::parse("t0/maxpool1").expect("a layer");
        for (config, reading, layer, wanted) in [
            (&*inception(32), None, &pool, "ab"),
            (&inception(32), Some("--resize adm"), &pool, "ab"),
            (&inception(32), None, &block, "ab/t0/maxpool1"),
            (&inception(299), None, &pool, "ab/resize-cover"),
            (&inception(299), Some("--orient"), &pool, "ab/resize-cover"),
            (&inception(299), Some("--resize adm --colour rgb"), &pool, "ab/resize-adm"),
            (&inception(299), Some("--resize none"), &pool, "ab"),
            // A layer of that name, and another network.
            (other, None, &pool, "ab/t0/pool"),
            ("", None, &pool, "ab/t0/pool"),
        ] {
            let found = network(&of_config(config, reading), layer).expect("a network").to_string();
            assert_eq!(found, wanted, "{reading:?}");
        }
        assert_eq!(network(&Provenance::default(), &pool), None);
    }
}
