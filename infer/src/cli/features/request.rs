//! From what was typed to what is computed.

use ddae_base::arguments::values::List;
use ddae_base::{Stop, memory};
use ddae_data::datasets::Broken;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::cuda;
use ddae_infer::device::Device;
use ddae_infer::features::{Extraction, NOISE_STREAM, NoiseSource, Noising, Views};
use ddae_infer::model_file::ModelFile;
use ddae_model::diffusion::feature_timesteps;
use ddae_model::networks::Role;
use ddae_onnx::metadata::{GraphKind, Pixels};
use ddae_store::{Layout, Provenance};
use serde_json::{Map, json};

use super::Arguments;
use crate::cli::shard::Shard;
use crate::cli::split::{Wanted, part_of};

/// Images in a shard unless the number of shards is given.
const SHARD_ROWS: usize = 5000;
/// Zeros on each side of an image that is cropped (torchvision's `RandomCrop(size, padding=4)`, as published).
const CROP_PADDING: usize = 4;

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
        if model.inputs.iter().any(|name| name == "label") {
            let message = "this graph is told the class of each image ('label'), which is what probes ask of its \
                           features: export it without --label";
            return Err(InferError::Argument(message.to_string()));
        }
        let latent_shape = latent_shape(model, latents)?;
        let timesteps = timesteps(&List::joined(&arguments.timesteps), model)?;
        let imaged = latents.unwrap_or(model);
        let split = split(arguments, imaged, model.data_set.as_deref())?;
        let (split, broken) = arguments.skip.of(split, ddae_base::is_quiet(), stop)?;
        let taps = model.description.taps.iter();
        let views = Views {
            count: usize::from(arguments.views),
            crop_padding: if arguments.crop { CROP_PADDING } else { 0 },
            flip: arguments.flip,
            resized_crop: arguments.resized_crop,
        };
        let extraction = Extraction {
            latents: latent_shape,
            timesteps,
            noising: noising(model),
            noise: arguments.noise.unwrap_or_default(),
            bytes: imaged.description.pixels == Pixels::Bytes,
            taps: taps.map(|tap| (tap.name.clone(), tap.shape.iter().product())).collect(),
            views,
            seed: arguments.seed,
            batch: arguments.running.batch().min(split.len()),
            draw_on_device: draws(device),
            split,
        };
        if let (Some(noise), false) = (arguments.noise, extraction.takes_noise()) {
            return Err(InferError::Argument(format!(
                "--noise {noise}: this graph takes no noise; it sees images as they are"
            )));
        }
        if extraction.views.count > 1 && !extraction.views_differ() {
            let why = match (extraction.takes_noise(), extraction.noise) {
                (false, _) | (_, NoiseSource::Keyed) => "this graph sees images without noise",
                (_, NoiseSource::Fixed) => "with --noise fixed all have the same noise",
                (_, NoiseSource::None) => "with --noise none there is no noise",
            };
            return Err(InferError::Argument(format!(
                "--views {}: {why}, and all views would be alike; add --resized-crop, or --crop and --flip",
                extraction.views.count
            )));
        }
        // Bytes, the same as floats where the graph takes those, and noise.
        let (floats, noise) = (!extraction.bytes, extraction.noising != Noising::None);
        let each = (1 + 4 * u64::from(floats) + 4 * u64::from(noise)) * extraction.split.image_len() as u64;
        let needed = (extraction.batch as u64).saturating_mul(each);
        let what = format!("a batch of {} images", extraction.batch);
        memory::check(what, needed, "give a smaller --batch")?;
        let rows = extraction.split.len();
        let layout = Layout {
            keys: extraction.keys(),
            views: extraction.views.count,
            total: rows,
            dtype: arguments.dtype,
            compression: arguments.compression,
            provenance: provenance(arguments, model, latents, &extraction, device)?,
        };
        let shard = Shard::asked(arguments.shard, arguments.shards)?;
        let asked = shard.map(|shard| shard.of).or(arguments.shards.map(as_size));
        let shards = asked.unwrap_or_else(|| rows.div_ceil(SHARD_ROWS));
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

/// How the graph noises the images: that of a diffusion process does, others see them as they are.
fn noising(model: &ModelFile) -> Noising {
    match (model.description.kind, model.description.timestep) {
        (GraphKind::Features, _) if model.model.process.is_none() => Noising::None,
        (GraphKind::Features, Some(_)) => Noising::BuiltIn,
        (GraphKind::Features, None) => Noising::Given,
        _ => Noising::None,
    }
}

/// The shape of the latents that `latents` makes for `model`; none where that takes images.
fn latent_shape(model: &ModelFile, latents: Option<&ModelFile>) -> Result<Option<[usize; 3]>, InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    let wanted = model.model.architecture.image_shape();
    match (model.description.pixels == Pixels::Latent, latents) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            argument("--latents is for graphs that take latents; this one takes images".to_string())
        }
        (true, None) => argument(
            "this graph takes latents of an autoencoder: give the graph that makes them with --latents FILE \
             (`ddae-export sd-vae --graph latent`)"
                .to_string(),
        ),
        (true, Some(latents)) => {
            let made = match latents.model.architecture.network().role() {
                Role::LatentEncoder(encoder) => Some(encoder.latent_shape()),
                _ => None,
            };
            if made.is_none() || made != wanted {
                let shape = |shape: Option<[usize; 3]>| {
                    shape.map_or("none".to_string(), |[c, h, w]| format!("{c}x{h}x{w}"))
                };
                let (made, wanted) = (shape(made), shape(wanted));
                return argument(format!(
                    "--latents: it makes latents of {made}, and the graph takes {wanted}; export it with another --image-size"
                ));
            }
            Ok(made)
        }
    }
}

/// The timesteps asked for, or the graph's own.
fn timesteps(asked: &[i64], model: &ModelFile) -> Result<Vec<i64>, InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    let process = match &model.model.process {
        Some(process) if noising(model) != Noising::None => process,
        _ if asked.is_empty() => return Ok(vec![0]),
        _ => return argument("--timesteps: this graph has none; it sees images without noise".to_string()),
    };
    if let Some(fixed) = model.description.timestep {
        if asked.iter().any(|&timestep| timestep != fixed) || asked.len() > 1 {
            return argument(format!(
                "--timesteps: this graph has timestep {fixed} built in; for others, export one without --timestep"
            ));
        }
        return Ok(vec![fixed]);
    }
    let linear = model.training.as_ref().and_then(|training| training.linear.as_ref());
    let asked = match (asked, linear) {
        ([], Some(linear)) => vec![linear.timestep],
        (asked, _) => asked.to_vec(),
    };
    let range = feature_timesteps(process);
    let (first, last) = (range.start(), range.end());
    if asked.is_empty() {
        return argument(format!(
            "--timesteps is needed, {first} to {last}: the model's configuration has no 'linear' section to take it from"
        ));
    }
    if let Some(timestep) = asked.iter().find(|timestep| !range.contains(timestep)) {
        return argument(format!("--timesteps {timestep}: this model has {first} to {last}"));
    }
    for (i, timestep) in asked.iter().enumerate() {
        if asked[..i].contains(timestep) {
            return argument(format!("--timesteps names {timestep} twice"));
        }
    }
    Ok(asked)
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

/// Everything that the numbers depend on, and what readers want to know.
fn provenance(
    arguments: &Arguments,
    model: &ModelFile,
    latents: Option<&ModelFile>,
    extraction: &Extraction,
    device: Device,
) -> Result<Provenance, InferError> {
    let description = &model.description;
    let Extraction { split, views, .. } = extraction;
    // In the word of earlier versions, whose files it must agree with.
    let pooling =
        if description.kind == GraphKind::Encoder { "none" } else { "mean over the picture" }.to_string();
    Ok(Provenance {
        model: Some(description.digest.clone()),
        latents: Some(latents.map(|latents| latents.description.digest.clone())),
        weights: Some(description.weights.map(|set| set.name().to_string())),
        epoch: Some(description.epoch),
        step: Some(description.step),
        checkpoint: Some(description.checkpoint.clone()),
        data_set: Some(split.name().to_string()),
        split: Some(part_of(split).to_string()),
        images_digest: Some(split.digest(arguments.images_by)?),
        seed: Some(arguments.seed),
        noise_stream: Some(extraction.is_drawn().then(|| NOISE_STREAM.to_string())),
        noise: Some(extraction.takes_noise().then(|| extraction.noise.name().to_string())),
        views: Some(views.count),
        crop_padding: Some(views.crop_padding),
        flip: Some(views.flip),
        resized_crop: Some(views.resized_crop),
        reading: Some(Some(split.reading()).filter(|reading| !reading.is_empty())),
        graph: Some(description.kind.name().to_string()),
        image_shape: Some(split.shape()),
        pixels: Some(description.pixels.name().to_string()),
        unit_length: Some(description.unit_length),
        pooling: Some(pooling),
        provider: Some(device.provider().to_string()),
        precision: Some(device.precision().to_string()),
        model_precision: Some(description.precision.name().to_string()),
        calibration: Some(json!(description.calibration)),
        graph_digest: Some(model.graph_digest.clone()),
        latents_digest: Some(latents.map(|latents| latents.graph_digest.clone())),
        edited: Some(model.is_edited || latents.is_some_and(|latents| latents.is_edited)),
        tool: Some(concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string()),
        exporter: Some(description.tool.clone()),
        timesteps: Some(extraction.timesteps.clone()),
        taps: Some(extraction.taps.iter().map(|(tap, _)| tap.clone()).collect()),
        classes: Some(split.classes().to_vec()),
        config: Some(description.config.clone()),
        other: Map::new(),
    })
}

/// Whether noise is drawn on the device: where it has this project's kernels.
fn draws(device: Device) -> bool {
    match device {
        Device::Cpu => false,
        Device::Cuda { number, .. } => cuda::kernels(number).is_ok(),
    }
}
