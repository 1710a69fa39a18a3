//! Graphs of other programs, in place of Inception: DINOv2 and the like.

use std::path::Path;

use clap::ValueEnum;
use ddae_onnx::identity;
use ddae_onnx::messages::{Dimension, ValueInfoProto};
use ddae_onnx::read;

use super::convention::Convention;
use super::images::{ImageGraph, Preparation};
use super::network::{Network, Way};
use crate::error::InferError;

/// What values a network takes for the levels 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Values {
    /// 0 to 1, less ImageNet's mean, by its deviation; DINOv2 takes these
    Imagenet,
    /// 0 to 1
    Unit,
    /// -1 to 1
    Signed,
}

impl Values {
    /// Mean and deviation of a value between 0 and 1, by channel.
    fn normalisation(self) -> [[f32; 3]; 2] {
        match self {
            Values::Imagenet => [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
            Values::Unit => [[0.0; 3], [1.0; 3]],
            Values::Signed => [[0.5; 3], [0.5; 3]],
        }
    }

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Values::Imagenet => "imagenet",
            Values::Unit => "unit",
            Values::Signed => "signed",
        }
    }
}

/// What a graph of another program does not say.
#[derive(Clone, Debug)]
pub struct EncoderOptions<'a> {
    /// The output that is measured on; needed where there are several.
    pub output: Option<&'a str>,
    /// Height and width of its images; needed where it takes any.
    pub size: Option<[usize; 2]>,
    /// What it takes.
    pub values: Values,
    /// How images are brought to its size.
    pub convention: Convention,
}

/// Whether `ddae-export` wrote the file.
///
/// # Errors
/// When it is no ONNX file.
pub fn is_ours(path: &Path) -> Result<bool, InferError> {
    Ok(read::model(path)?.metadata_props.iter().any(|entry| entry.key.starts_with("ddae.")))
}

/// Finds in the file of another program what is to be known of it. Its one input must be of images `[B, 3, H, W]`, its
/// output of features `[B, D]` or tokens `[B, N, D]`, of which the first counts.
///
/// # Errors
/// When it is another graph, or something of `options` is missing or does not fit.
pub fn open(path: &Path, options: &EncoderOptions) -> Result<ImageGraph, InferError> {
    let unusable = |message: String| InferError::Model { path: path.to_path_buf(), message };
    let graph = read::model(path)?.graph.ok_or_else(|| unusable("it holds no graph".to_string()))?;
    let is_weight = |input: &ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == input.name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !is_weight(input)).collect();
    let &[input] = inputs.as_slice() else {
        let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
        return Err(unusable(format!("it takes {}; wanted is one input, of images", names.join(", "))));
    };
    let sides = sides(input);
    let &[batch, channels, height, width] = sides.as_slice() else {
        return Err(unusable(format!("its input {} is not of images [B, 3, H, W]", input.name)));
    };
    if channels.is_some_and(|channels| channels != 3) {
        return Err(unusable(format!(
            "its input {} is not of images of 3 channels [B, 3, H, W]",
            input.name
        )));
    }
    let fixed = height.zip(width).map(|(height, width)| [height, width]);
    let size = match (fixed, options.size) {
        (Some(fixed), Some(given)) if fixed != given => {
            let message =
                format!("its images are of {}x{}, and not of what --encoder-size says", fixed[0], fixed[1]);
            return Err(unusable(message));
        }
        (Some(size), _) | (None, Some(size)) => size,
        (None, None) => {
            return Err(InferError::Argument(format!(
                "{} takes images of any size: give that of its training with --encoder-size HxW (DINOv2's is 224x224)",
                path.display()
            )));
        }
    };
    let outputs: Vec<&str> = graph.output.iter().map(|output| &*output.name).collect();
    let output = match (options.output, outputs.as_slice()) {
        (Some(name), outputs) if outputs.contains(&name) => name,
        (None, &[only]) => only,
        (given, outputs) => {
            let outputs = outputs.join(", ");
            let found = given.map_or(String::new(), |name| format!(", and not {name}"));
            return Err(InferError::Argument(format!(
                "{} gives {outputs}{found}: choose one with --layer NAME",
                path.display()
            )));
        }
    };
    let digest = identity::of(path).map_err(InferError::io("read", path))?.graph;
    let [mean, deviation] = options.values.normalisation();
    let convention = options.convention;
    let [height, width] = size;
    let layer = format!("{output}/{height}x{width}/{}", options.values.name());
    let network = Network {
        checkpoint: digest,
        precision: None,
        edited: None,
        layer: Some(layer),
        way: Way::Like(convention),
    };
    Ok(ImageGraph {
        path: path.to_path_buf(),
        shape: [3, height, width],
        network,
        input: input.name.clone(),
        preparation: Preparation::Resized { convention, divisor: 255.0, mean, deviation },
        features: output.to_string(),
        logits: None,
        batch,
    })
}

/// The sides of a value, none for those that are known when it runs.
fn sides(value: &ValueInfoProto) -> Vec<Option<usize>> {
    let tensor = value.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let side = |side: &Option<Dimension>| match side {
        Some(Dimension::Size(size)) => usize::try_from(*size).ok().filter(|&size| size > 0),
        Some(Dimension::Name(_)) | None => None,
    };
    shape.map_or(Vec::new(), |shape| shape.dim.iter().map(|dim| side(&dim.value)).collect())
}
