//! From what was typed to what is computed.

use ddae_base::arguments::values::List;
use ddae_base::{Stop, memory};
use ddae_data::datasets::Broken;
use ddae_data::decode::Reading;
use ddae_data::resize::Rule;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::cuda;
use ddae_infer::device::Device;
use ddae_infer::features::{
    Extraction, Images, LATENT, Layer, NOISE_STREAM, NoiseSource, Noising, OwnSize, Source, Views,
};
use ddae_infer::model_file::ModelFile;
use ddae_model::diffusion::feature_timesteps;
use ddae_onnx::metadata::{GraphKind, Pixels};
use ddae_store::{FeatureType, Layout, Provenance};
use serde_json::{Map, json};

use super::Arguments;
use super::latents::{self, Latents};
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
    /// `from` is what makes or holds what `model` takes, where that is no images.
    pub(super) fn new(
        arguments: &Arguments,
        model: &ModelFile,
        from: Option<&Latents>,
        device: Device,
        stop: Option<&Stop>,
    ) -> Result<FeatureRequest, InferError> {
        if model.inputs.iter().any(|name| name == "label") {
            let message = "this graph is told the class of each image ('label'), which is what probes ask of its \
                           features: export it without --label";
            return Err(InferError::Argument(message.to_string()));
        }
        let latent_shape = latents::latent_shape(model, from)?;
        let timesteps = timesteps(&List::joined(&arguments.timesteps), model)?;
        let imaged = from.and_then(Latents::graph).unwrap_or(model);
        let (source, views, broken) = match from {
            Some(Latents::File(path, stored)) => {
                latents::refuse_image_options(arguments, path, stored)?;
                (Source::Latents(stored.clone()), latents::views(stored), Vec::new())
            }
            _ => {
                let (images, broken) = images(arguments, imaged, model.data_set.as_deref(), stop)?;
                let views = Views {
                    count: usize::from(arguments.views.unwrap_or(1)),
                    crop_padding: if arguments.crop { CROP_PADDING } else { 0 },
                    flip: arguments.flip,
                    resized_crop: arguments.resized_crop,
                };
                (Source::Images(images), views, broken)
            }
        };
        let extraction = Extraction {
            latents: latent_shape,
            timesteps,
            noising: noising(model),
            noise: arguments.noise.unwrap_or_default(),
            bytes: imaged.description.pixels == Pixels::Bytes,
            taps: layers(model, latent_shape),
            views,
            seed: arguments.seed,
            batch: arguments.running.batch().min(source.len()),
            draw_on_device: draws(device),
            source,
        };
        if let (Some(noise), false) = (arguments.noise, extraction.takes_noise()) {
            return Err(InferError::Argument(format!(
                "--noise {noise}: this graph takes no noise; it sees images as they are"
            )));
        }
        let is_stored = matches!(extraction.source, Source::Latents(_));
        if extraction.views.count > 1 && !is_stored && !extraction.views_differ() {
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
        let numbers = extraction.source.shape().iter().product::<usize>() as u64;
        let each = (1 + 4 * u64::from(floats) + 4 * u64::from(noise)) * numbers;
        let needed = (extraction.batch as u64).saturating_mul(each);
        let what = format!("a batch of {} images", extraction.batch);
        memory::check(what, needed, "give a smaller --batch")?;
        let rows = extraction.source.len();
        let layout = Layout {
            keys: extraction.keys(),
            views: extraction.views.count,
            total: rows,
            dtype: arguments.dtype,
            compression: arguments.compression,
            provenance: provenance(arguments, model, from, &extraction, device)?,
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
        let Extraction { source, views, batch, .. } = &self.extraction;
        let shapes = self.extraction.taps.iter().cycle().map(|tap| latents::sides(&tap.shape));
        let keys: Vec<String> =
            self.layout.keys.iter().zip(shapes).map(|((key, _), shape)| format!("{key} [{shape}]")).collect();
        let crop = if views.crop_padding > 0 { ", cropped" } else { "" };
        let flip = if views.flip { ", mirrored" } else { "" };
        let resized = if views.resized_crop { ", resized crops" } else { "" };
        let (before, read, what) = match source {
            Source::Images(images) => {
                let reading = images.split.reading();
                let read = if reading.is_empty() { String::new() } else { format!(", read with {reading}") };
                (if images.own.is_some() { " before they are resized" } else { "" }, read, "images    ")
            }
            Source::Latents(_) => ("", String::new(), "latents   "),
        };
        let noise = match self.extraction.noise {
            NoiseSource::Keyed => String::new(),
            noise => format!(", noise {noise}"),
        };
        let size = self.extraction.has_maps().then(|| {
            let bytes = self.bytes();
            format!("\nsize      {:.2} GB before compression", bytes as f64 / 1e9)
        });
        format!(
            "{what}{} of {}, {} view{} each{crop}{flip}{resized}{before}{read}{noise}\nfeatures  {} in {}{}\ndevice    {device}, batches of {batch}",
            source.len(),
            source.name(),
            views.count,
            if views.count == 1 { "" } else { "s" },
            keys.join(", "),
            self.layout.dtype,
            size.unwrap_or_default(),
        )
    }

    /// Bytes of all features, uncompressed.
    fn bytes(&self) -> u64 {
        let number = match self.layout.dtype {
            FeatureType::F32 => 4,
            FeatureType::F16 => 2,
        };
        let width: u64 = self.layout.keys.iter().map(|(_, width)| *width as u64).sum();
        width * number * (self.layout.views as u64) * (self.layout.total as u64)
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
        (GraphKind::Latent, _) => Noising::Posterior,
        _ => Noising::None,
    }
}

/// The layers that the graph gives; of one of latents these.
fn layers(model: &ModelFile, latent_shape: Option<[usize; 3]>) -> Vec<Layer> {
    match (model.description.kind, latent_shape) {
        (GraphKind::Latent, Some(shape)) => vec![Layer { name: LATENT.to_string(), shape: shape.to_vec() }],
        _ => {
            let taps = model.description.taps.iter();
            taps.map(|tap| Layer { name: tap.name.clone(), shape: tap.shape.clone() }).collect()
        }
    }
}

/// The timesteps asked for, or the graph's own.
fn timesteps(asked: &[i64], model: &ModelFile) -> Result<Vec<i64>, InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    let process = match &model.model.process {
        Some(process) if matches!(noising(model), Noising::BuiltIn | Noising::Given) => process,
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

/// The images, in the network's shape, and those that are left out.
fn images(
    arguments: &Arguments,
    model: &ModelFile,
    trained_on: Option<&str>,
    stop: Option<&Stop>,
) -> Result<(Images, Vec<Broken>), InferError> {
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
    let stored = wanted.open()?;
    let image = model.model.architecture.image_shape().ok_or_else(|| InferError::Model {
        path: model.path.clone(),
        message: format!("{} takes no images", model.model.architecture.name()),
    })?;
    let limited = |split: Split| match arguments.limit.map(as_size) {
        Some(limit) if limit < split.len() => split.subset(&(0..limit).collect::<Vec<_>>()),
        _ => Ok(split),
    };
    let (split, broken) = arguments.skip.of(limited(stored.fit(image)?)?, ddae_base::is_quiet(), stop)?;
    let own = match arguments.before_resize {
        true => own_size(arguments, &stored, image)?,
        false => None,
    };
    let own = match own {
        Some((own, rule)) => Some(OwnSize { split: limited(own)?.without(&broken)?, rule }),
        None => None,
    };
    Ok((Images { split, own }, broken))
}

/// The images at their own size and how they are resized to `image`, for --before-resize; none where they have that size.
fn own_size(
    arguments: &Arguments,
    stored: &Split,
    image: [usize; 3],
) -> Result<Option<(Split, Rule)>, InferError> {
    let [channels, height, width] = image;
    let [_, own_height, own_width] = stored.shape();
    if !arguments.crop && !arguments.flip && !arguments.resized_crop {
        let message = "--before-resize is about images that are cropped or mirrored: give --crop, --flip or --resized-crop";
        return Err(InferError::Argument(message.to_string()));
    }
    if [own_height, own_width] == [height, width] {
        return Ok(None);
    }
    let Reading { resize, colour, orient, .. } = arguments.reading.reading();
    let Some(rule) = resize.filter(|&rule| rule != Rule::None) else {
        let message = format!(
            "--before-resize: images of {own_height}x{own_width} are cropped before they are resized to {height}x{width}: say by \
             which rule, as in --resize cover"
        );
        return Err(InferError::Argument(message));
    };
    // An image of another size than the others is an error.
    let own = stored.read_as(&Reading::new(Some(Rule::None), colour, orient));
    Ok(Some((own.fit([channels, own_height, own_width])?, rule)))
}

/// Everything that the numbers depend on, and what readers want to know.
fn provenance(
    arguments: &Arguments,
    model: &ModelFile,
    from: Option<&Latents>,
    extraction: &Extraction,
    device: Device,
) -> Result<Provenance, InferError> {
    let description = &model.description;
    let Extraction { source, views, .. } = extraction;
    let is_map = extraction.has_maps();
    // In the word of earlier versions, whose files it must agree with.
    let is_pooled = description.kind == GraphKind::Features && !is_map;
    let pooling = if is_pooled { "mean over the picture" } else { "none" }.to_string();
    let made_by = from.and_then(Latents::graph);
    let (split, is_before) = match source {
        Source::Images(images) => (Some(&images.split), images.own.is_some()),
        Source::Latents(_) => (None, false),
    };
    let made = Provenance {
        model: Some(description.digest.clone()),
        latents: Some(made_by.map(|latents| latents.description.digest.clone())),
        weights: Some(description.weights.map(|set| set.name().to_string())),
        epoch: Some(description.epoch),
        step: Some(description.step),
        checkpoint: Some(description.checkpoint.clone()),
        data_set: Some(source.name().to_string()),
        split: split.map(|split| part_of(split).to_string()),
        images_digest: split.map(|split| split.digest(latents::images_by(arguments))).transpose()?,
        seed: Some(arguments.seed),
        noise_stream: Some(extraction.is_drawn().then(|| NOISE_STREAM.to_string())),
        noise: Some(extraction.takes_noise().then(|| extraction.noise.name().to_string())),
        views: Some(views.count),
        crop_padding: Some(views.crop_padding),
        flip: Some(views.flip),
        resized_crop: Some(views.resized_crop),
        before_resize: Some(is_before),
        reading: Some(split.map(Split::reading).filter(|reading| !reading.is_empty())),
        graph: Some(description.kind.name().to_string()),
        image_shape: Some(source.shape()),
        pixels: Some(description.pixels.name().to_string()),
        unit_length: Some(description.unit_length),
        pooling: Some(pooling),
        provider: Some(device.provider().to_string()),
        precision: Some(device.precision().to_string()),
        model_precision: Some(description.precision.name().to_string()),
        calibration: Some(json!(description.calibration)),
        graph_digest: Some(model.graph_digest.clone()),
        latents_digest: Some(made_by.map(|latents| latents.graph_digest.clone())),
        latents_seed: Some(None),
        latents_noise: Some(None),
        latents_dtype: Some(None),
        latents_precision: Some(None),
        edited: Some(model.is_edited || made_by.is_some_and(|latents| latents.is_edited)),
        tool: Some(concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string()),
        exporter: Some(description.tool.clone()),
        timesteps: Some(extraction.timesteps.clone()),
        taps: Some(extraction.taps.iter().map(|tap| tap.name.clone()).collect()),
        tap_shapes: Some(
            is_map.then(|| extraction.taps.iter().map(|tap| latents::sides(&tap.shape)).collect()),
        ),
        classes: split.map(|split| split.classes().to_vec()),
        config: Some(description.config.clone()),
        other: Map::new(),
    };
    Ok(match latents::stored(source) {
        Some(stored) => latents::with_latents(made, stored, extraction),
        None => made,
    })
}

/// Whether noise is drawn on the device: where it has this project's kernels.
fn draws(device: Device) -> bool {
    match device {
        Device::Cpu => false,
        Device::Cuda { number, .. } => cuda::kernels(number).is_ok(),
    }
}
