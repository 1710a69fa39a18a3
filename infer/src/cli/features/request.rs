//! From what was typed to what is computed.

use ddae_base::Stop;
use ddae_base::arguments::values::List;
use ddae_data::datasets::Broken;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::features::{
    CROP_PADDING, Extraction, FeatureOptions, NoiseSource, Recipe, Views, usual_shards,
};
use ddae_infer::model_file::ModelFile;
use ddae_store::Layout;

use super::Arguments;
use crate::cli::shard::Shard;
use crate::cli::split::Wanted;

/// A job that has been found possible.
pub(super) struct FeatureRequest {
    pub(super) extraction: Extraction,
    pub(super) layout: Layout,
    pub(super) shards: usize,
    /// The one of them that this process computes; none for all.
    pub(super) shard: Option<Shard>,
    /// Images that cannot be read and are left out.
    pub(super) broken: Vec<Broken>,
}

impl FeatureRequest {
    /// Opens the data set and checks all options against it and the graph.
    /// `latents` is the graph that makes what `model` takes, where that is no images.
    pub(super) fn new(
        arguments: &Arguments,
        model: &ModelFile,
        latents: Option<&ModelFile>,
        device: Device,
        stop: Option<&Stop>,
    ) -> Result<FeatureRequest, InferError> {
        let recipe = Recipe::new(model, latents, &List::joined(&arguments.timesteps))?;
        let split = split(arguments, recipe.imaged(), model.data_set.as_deref())?;
        let (split, broken) = arguments.skip.of(split, ddae_base::is_quiet(), stop)?;
        let options = FeatureOptions {
            views: Views {
                count: usize::from(arguments.views),
                crop_padding: if arguments.crop { CROP_PADDING } else { 0 },
                flip: arguments.flip,
                resized_crop: arguments.resized_crop,
            },
            noise: arguments.noise,
            seed: arguments.seed,
            batch: arguments.running.batch(),
            dtype: arguments.dtype,
            compression: arguments.compression,
            images_by: arguments.images_by,
        };
        let (extraction, layout) = recipe.plan(split, &options, device)?;
        let rows = extraction.split.len();
        let shard = Shard::asked(arguments.shard, arguments.shards)?;
        let asked = shard.map(|shard| shard.of).or(arguments.shards.map(as_size));
        let shards = asked.unwrap_or_else(|| usual_shards(rows));
        if shards > rows {
            let message = format!("{shards} shards of {rows} images: give 1 to {rows}");
            return Err(InferError::Argument(message));
        }
        Ok(FeatureRequest { extraction, layout, shards, shard, broken })
    }

    /// What will be computed, in a few lines.
    pub(super) fn describe(&self, device: Device) -> String {
        let Extraction { split, views, batch, .. } = &self.extraction;
        let keys: Vec<String> =
            self.layout.keys.iter().map(|(key, width)| format!("{key} [{width}]")).collect();
        let crop = if views.crop_padding > 0 { ", cropped" } else { "" };
        let flip = if views.flip { ", mirrored" } else { "" };
        let resized = if views.resized_crop { ", resized crops" } else { "" };
        let noise = match self.extraction.noise {
            NoiseSource::Keyed => String::new(),
            noise => format!(", noise {noise}"),
        };
        let reading = split.reading();
        let read = if reading.is_empty() { String::new() } else { format!(", read with {reading}") };
        format!(
            "images    {} of {}, {} view{} each{crop}{flip}{resized}{read}{noise}\nfeatures  {} in {}\ndevice    {device}, batches of {batch}",
            split.len(),
            split.name(),
            views.count,
            if views.count == 1 { "" } else { "s" },
            keys.join(", "),
            self.layout.dtype,
        )
    }
}

/// A number of images or shards; one beyond the machine's range is as good as the largest.
fn as_size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The images, in the network's shape.
fn split(arguments: &Arguments, model: &ModelFile, trained_on: Option<&str>) -> Result<Split, InferError> {
    let Some(name) = arguments.data.as_deref().or(trained_on) else {
        let message = "--data is needed: the graph does not say what its network was trained on";
        return Err(InferError::Argument(message.to_string()));
    };
    let wanted = Wanted {
        data: name,
        root: arguments.data_root.as_deref(),
        labels: arguments.labels.clone(),
        split: arguments.split.as_deref(),
        usual: "train",
        reading: arguments.reading.reading(),
        quiet: ddae_base::is_quiet(),
    };
    let split = wanted.open()?;
    let image = model.model.architecture.image_shape().ok_or_else(|| InferError::Model {
        path: model.path.clone(),
        message: format!("{} takes no images", model.model.architecture.name()),
    })?;
    let split = split.fit(image)?;
    match arguments.limit.map(as_size) {
        Some(limit) if limit < split.len() => Ok(split.subset(&(0..limit).collect::<Vec<_>>())?),
        _ => Ok(split),
    }
}
