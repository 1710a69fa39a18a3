//! From a graph and what is asked of it to what is computed, and what the file says of that.

use ddae_base::memory;
use ddae_data::digest::DigestOf;
use ddae_data::split::Split;
use ddae_model::diffusion::feature_timesteps;
use ddae_onnx::metadata::{GraphKind, Pixels};
use ddae_store::{Compression, FeatureType, Layout, Provenance};
use serde_json::{Map, json};

use super::extraction::{Extraction, Layer, NOISE_STREAM, Noising, Views};
use super::latents::{self, Latents, latent_shape};
use super::noise::NoiseSource;
use super::source::{LATENT, Source};
use crate::cuda;
use crate::device::Device;
use crate::error::InferError;
use crate::model_file::ModelFile;

/// Images in a shard unless the number of shards is given.
const SHARD_ROWS: usize = 5000;

/// Zeros on each side of an image that is cropped (torchvision's `RandomCrop(size, padding=4)`, as published).
pub const CROP_PADDING: usize = 4;

/// The number of shards in which so many rows are computed unless it is given.
pub fn usual_shards(rows: usize) -> usize {
    rows.div_ceil(SHARD_ROWS)
}

/// What a split is called within its data set: `test` of `cifar10/test`.
pub fn part_of(split: &Split) -> &str {
    split.name().rsplit('/').next().unwrap_or_default()
}

/// A graph, and the timesteps at which its features are wanted.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    model: &'a ModelFile,
    from: Option<&'a Latents>,
    latent_shape: Option<[usize; 3]>,
    timesteps: Vec<i64>,
    /// The digest of the images, where another process found it.
    images_digest: Option<String>,
    /// Whether this process computes, and so begins something on the device.
    computes: bool,
}

/// What is chosen beside graph, timesteps and images.
#[derive(Clone, Copy, Debug)]
pub struct FeatureOptions {
    /// The views of each image.
    pub views: Views,
    /// Where the noise comes from, where the graph takes some; keyed unless it is said.
    pub noise: Option<NoiseSource>,
    /// Seed of noise and augmentation.
    pub seed: u64,
    /// Images per run of the graph, at most.
    pub batch: usize,
    /// How features are stored.
    pub dtype: FeatureType,
    /// How they are compressed.
    pub compression: Compression,
    /// How the images are told from others.
    pub images_by: DigestOf,
}

impl<'a> Recipe<'a> {
    /// Of the graph `model`, and what makes or holds latents for it where it takes those, at the timesteps `asked` for, or
    /// at the graph's own.
    ///
    /// # Errors
    /// When the graph wants to be told classes, latents are missing, or there are no such timesteps.
    pub fn new(
        model: &'a ModelFile,
        from: Option<&'a Latents>,
        asked: &[i64],
    ) -> Result<Recipe<'a>, InferError> {
        if model.inputs.iter().any(|name| name == "label") {
            let message = "this graph is told the class of each image ('label'), which is what probes ask of its \
                           features: export it without --label";
            return Err(InferError::Argument(message.to_string()));
        }
        let wanted = model.model.architecture.image_shape();
        let latent_shape =
            match (latent_shape(model.description.pixels, wanted, from)?, model.description.kind) {
                (None, GraphKind::Latent) => latents::made_by(model),
                (shape, _) => shape,
            };
        let timesteps = timesteps(asked, model)?;
        Ok(Recipe { model, from, latent_shape, timesteps, images_digest: None, computes: true })
    }

    /// Of images whose digest is known, so that they are not read for it.
    pub fn of_images(self, digest: String) -> Recipe<'a> {
        Recipe { images_digest: Some(digest), ..self }
    }

    /// The same, planned for other processes to compute: this one begins nothing on the device.
    pub fn for_others(self) -> Recipe<'a> {
        Recipe { computes: false, ..self }
    }

    /// The graph that sees the images.
    pub fn imaged(&self) -> &'a ModelFile {
        self.from.and_then(Latents::graph).unwrap_or(self.model)
    }

    /// What is computed of the rows of `source`, whose images have the shape that the graph takes, and what files of it say.
    ///
    /// # Errors
    /// When options contradict the graph or each other, a batch does not fit into memory, or an image cannot be read.
    pub fn plan(
        &self,
        source: Source,
        options: &FeatureOptions,
        device: Device,
    ) -> Result<(Extraction, Layout), InferError> {
        let extraction = Extraction {
            latents: self.latent_shape,
            timesteps: self.timesteps.clone(),
            noising: noising(self.model),
            noise: options.noise.unwrap_or_default(),
            bytes: self.imaged().description.pixels == Pixels::Bytes,
            taps: layers(self.model, self.latent_shape),
            views: options.views,
            seed: options.seed,
            batch: options.batch.min(source.len()),
            draw_on_device: self.computes && draws(device),
            source,
        };
        if let (Some(noise), false) = (options.noise, extraction.takes_noise()) {
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
        let layout = Layout {
            keys: extraction.keys(),
            views: extraction.views.count,
            total: extraction.source.len(),
            dtype: options.dtype,
            compression: options.compression,
            provenance: provenance(options, self, &extraction, device)?,
        };
        Ok((extraction, layout))
    }
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

/// Everything that the numbers depend on, and what readers want to know.
fn provenance(
    options: &FeatureOptions,
    recipe: &Recipe,
    extraction: &Extraction,
    device: Device,
) -> Result<Provenance, InferError> {
    let Recipe { model, from, .. } = recipe;
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
        images_digest: match (&recipe.images_digest, split) {
            (Some(known), Some(_)) => Some(known.clone()),
            (_, split) => split.map(|split| split.digest(options.images_by)).transpose()?,
        },
        seed: Some(options.seed),
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
        latents_provider: Some(None),
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
