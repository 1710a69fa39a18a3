//! Which graph sees the images, and how they come to it.

use ddae_data::decode::Colour;
use ddae_infer::InferError;
use ddae_infer::fid::encoder::{self, EncoderOptions, Values};
use ddae_infer::fid::{Convention, ImageGraph, ImageSource, Layer};
use ddae_infer::model_file::ModelFile;
use ddae_onnx::metadata::GraphKind;

use super::{Arguments, Side};

/// A graph, and what its file says of itself, where it is one of ours.
pub struct Opened {
    pub graph: ImageGraph,
    pub model: Option<ModelFile>,
}

impl Opened {
    /// The graph, where there are images to be seen.
    ///
    /// # Errors
    /// When one is missing, is not needed, or does not do what is asked for.
    pub fn of(arguments: &Arguments, sides: &[Side]) -> anyhow::Result<Option<Opened>> {
        let usage = |message: String| Err(InferError::Argument(message).into());
        let is_of_layers = |side: &Side| matches!(side.source, ImageSource::Features(_));
        if arguments.layer.is_some() && arguments.encoder.is_none() && !sides.iter().any(is_of_layers) {
            return usage("--layer is for .h5 files and for encoders, and there are none".to_string());
        }
        let Some(side) = sides.iter().find(|side| side.source.needs_inception()) else {
            check_without_images(arguments)?;
            return Ok(None);
        };
        let is_of_set =
            |side: &Side| matches!(side.source, ImageSource::DataSet { .. } | ImageSource::Images { .. });
        let has_graph = arguments.inception.is_some() || arguments.encoder.is_some();
        if has_graph && arguments.data_root.is_some() && !sides.iter().any(is_of_set) {
            return usage("--data-root is for data sets, and there are none".to_string());
        }
        let rule = arguments.reading.resize;
        if let (Some(like), Some(_)) = (arguments.like, rule) {
            return usage(format!(
                "--like {like} says how images are resized, and so does --resize; give one of them"
            ));
        }
        let wants_score = arguments.measures.has(super::metrics::Metric::Is);
        let fake_is_seen = sides.last().is_some_and(|side| side.source.needs_inception());
        let opened = match (&arguments.inception, &arguments.encoder) {
            (Some(path), _) => {
                let model = arguments.running.open(path, &[GraphKind::Features], "fid")?;
                let graph = ImageGraph::inception(&model, arguments.like.unwrap_or_default(), rule)?;
                Opened { graph, model: Some(model) }
            }
            (None, Some(path)) if encoder::is_ours(path)? => {
                let options = [
                    ("--like", arguments.like.is_some()),
                    ("--encoder-size", arguments.encoder_size.is_some()),
                    ("--encoder-values", arguments.encoder_values.is_some()),
                ];
                if let Some((option, _)) = options.into_iter().find(|(_, is_given)| *is_given) {
                    return usage(format!(
                        "{option} is for encoders of other programs; {} says itself what it takes",
                        path.display()
                    ));
                }
                let model = arguments.running.open(path, &[GraphKind::Encoder], "fid")?;
                let graph = ImageGraph::encoder(&model)?;
                if let Some(layer) = arguments.layer.as_deref().filter(|&layer| layer != graph.layer()) {
                    return usage(format!("--layer {layer}: the encoder gives {}", graph.layer()));
                }
                Opened { graph, model: Some(model) }
            }
            (None, Some(path)) => {
                let options = EncoderOptions {
                    output: arguments.layer.as_deref(),
                    size: arguments.encoder_size,
                    values: arguments.encoder_values.unwrap_or(Values::Imagenet),
                    convention: arguments.like.unwrap_or(Convention::CleanFid),
                };
                if rule.is_some() {
                    return usage("--resize: images are resized for the encoder as --like says".to_string());
                }
                Opened { graph: encoder::open(path, &options)?, model: None }
            }
            (None, None) => {
                return usage(format!(
                    "{} are images: give the graph that sees them with --inception FILE (`ddae-infer fid --help` says how \
                     to export it)",
                    side.text
                ));
            }
        };
        if wants_score && !opened.graph.network.is_inception() {
            return usage(
                "--metrics is: Inception scores are of Inception; give its graph with --inception"
                    .to_string(),
            );
        }
        if wants_score && fake_is_seen && !opened.graph.has_logits() {
            return Err(InferError::Model {
                path: opened.graph.path,
                message: "it does not give logits_unbiased, which Inception scores are computed on; export it with \
                          `--taps pool,logits_unbiased` (weights without 'fc' have none)"
                    .to_string(),
            }
            .into());
        }
        Ok(Some(opened))
    }
}

/// Refuses what is for images alone.
fn check_without_images(arguments: &Arguments) -> Result<(), InferError> {
    let graphs = [("--inception", arguments.inception.is_some()), ("--encoder", arguments.encoder.is_some())];
    if let Some((option, _)) = graphs.into_iter().find(|(_, is_given)| *is_given) {
        let message = format!("{option}: there are no images for it, only statistics and features");
        return Err(InferError::Argument(message));
    }
    let options = [
        ("--limit", arguments.limit.is_some(), "images"),
        ("--like", arguments.like.is_some(), "images"),
        ("--data-root", arguments.data_root.is_some(), "data sets"),
        ("--resize", arguments.reading.resize.is_some(), "images"),
        ("--colour", arguments.reading.colour != Colour::Keep, "images"),
        ("--orient", arguments.reading.orient, "images"),
        ("--skip-broken", arguments.skip.skip_broken, "images"),
    ];
    match options.into_iter().find(|(_, is_given, _)| *is_given) {
        Some((option, _, what)) => Err(InferError::Argument(format!(
            "{option} is for {what}, and there are only statistics and features"
        ))),
        None => Ok(()),
    }
}

/// The layer of feature files that belongs to what is asked for.
pub fn layer(arguments: &Arguments, opened: Option<&Opened>) -> Result<Layer, InferError> {
    match (&arguments.layer, opened) {
        (_, Some(opened)) if !opened.graph.network.is_inception() => {
            Ok(Layer::of_output(opened.graph.layer()))
        }
        (Some(text), _) => Layer::parse(text),
        (None, _) => Ok(Layer::default()),
    }
}

/// Height and width, as in 224x224.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let side = |side: &str| side.parse().ok().filter(|side| (1..=4096).contains(side));
    let sides = text.split_once('x').and_then(|(height, width)| Some([side(height)?, side(width)?]));
    sides.ok_or_else(|| "a height and a width of 1 to 4096 are wanted, as in 224x224".to_string())
}
