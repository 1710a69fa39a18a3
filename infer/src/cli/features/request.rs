//! From what was typed to what is computed.

use std::ops::Range;

use ddae_base::Stop;
use ddae_base::arguments::values::List;
use ddae_data::datasets::Broken;
use ddae_data::decode::Reading;
use ddae_data::resize::Rule;
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::features::{
    CROP_PADDING, Extraction, FeatureJob, FeatureOptions, Images, Latents, NoiseSource, OwnSize, Recipe,
    Source, Views, begun_in, sides, usual_shards, views,
};
use ddae_infer::model_file::ModelFile;
use ddae_store::{FeatureType, Layout, shard_rows};
use serde::{Deserialize, Serialize};

use super::{Arguments, latents};
use crate::cli::several::Role;
use crate::cli::shard::Shard;
use crate::cli::split::Wanted;

/// A job that has been found possible.
pub(super) struct FeatureRequest {
    pub(super) extraction: Extraction,
    pub(super) layout: Layout,
    pub(super) shards: usize,
    /// The part of the job that this machine or process computes; none for all.
    pub(super) shard: Option<Shard>,
    /// The shards of that part.
    only: Option<Range<usize>>,
    /// Images that cannot be read and are left out.
    pub(super) broken: Vec<Broken>,
}

/// Who computes.
pub(super) enum Sharing {
    /// This process, or those that it starts.
    By(Role),
    /// This process, for the one that started it and said this.
    Of(Shared),
}

/// What the processes that compute need not find out themselves.
#[derive(Deserialize, Serialize)]
pub(super) struct Shared {
    shards: usize,
    images_digest: Option<String>,
    /// Position, key and reason.
    broken: Vec<(usize, String, String)>,
}

impl FeatureRequest {
    /// Opens the data set and checks all options against it and the graph.
    /// `from` is what makes or holds what `model` takes, where that is no images.
    pub(super) fn new(
        arguments: &Arguments,
        model: &ModelFile,
        from: Option<&Latents>,
        device: Device,
        sharing: Sharing,
        stop: Option<&Stop>,
    ) -> Result<FeatureRequest, InferError> {
        let recipe = Recipe::new(model, from, &List::joined(&arguments.timesteps))?;
        let (role, shared) = match sharing {
            Sharing::By(role) => (role, None),
            Sharing::Of(shared) => (Role::Alone, Some(shared)),
        };
        let recipe = match (role, shared.as_ref().and_then(|shared| shared.images_digest.clone())) {
            (Role::Launcher(_), _) => recipe.for_others(),
            (_, Some(digest)) => recipe.of_images(digest),
            _ => recipe,
        };
        let (source, views, broken) = match from {
            Some(Latents::File(path, stored)) => {
                latents::refuse_image_options(arguments, path, stored)?;
                (Source::Latents(stored.clone()), views(stored), Vec::new())
            }
            _ => {
                let broken = shared.as_ref().map(Shared::broken);
                let look = Look { broken, stop };
                let (images, broken) = images(arguments, recipe.imaged(), model.data_set.as_deref(), look)?;
                let views = Views {
                    count: usize::from(arguments.views.unwrap_or(1)),
                    crop_padding: if arguments.crop { CROP_PADDING } else { 0 },
                    flip: arguments.flip,
                    resized_crop: arguments.resized_crop,
                };
                (Source::Images(images), views, broken)
            }
        };
        let options = FeatureOptions {
            views,
            noise: arguments.noise,
            seed: arguments.seed,
            batch: arguments.running.batch(),
            dtype: arguments.dtype,
            compression: arguments.compression,
            images_by: latents::images_by(arguments),
        };
        let (extraction, layout) = recipe.plan(source, &options, device)?;
        let rows = extraction.source.len();
        let (shard, shards) = match shared {
            Some(shared) => (None, shared.shards),
            None => {
                let shard = Shard::asked(arguments.shard, arguments.shards)?;
                (shard, shards(arguments, shard, role.processes(), rows)?)
            }
        };
        if shards > rows {
            let divided = match (shard, role) {
                (Some(shard), Role::Launcher(count)) => {
                    format!("--shard {shard} of {count} processes each is one of ")
                }
                _ => String::new(),
            };
            let message = format!("{divided}{shards} shards of {rows} images: give 1 to {rows}");
            return Err(InferError::Argument(message));
        }
        let only = shard.map(|shard| {
            let each = shards / shard.of;
            shard.index * each..(shard.index + 1) * each
        });
        Ok(FeatureRequest { extraction, layout, shards, shard, only, broken })
    }

    /// The job.
    pub(super) fn job<'a>(&'a self, arguments: &'a Arguments) -> FeatureJob<'a> {
        FeatureJob {
            extraction: &self.extraction,
            layout: &self.layout,
            prefix: &arguments.output,
            shards: self.shards,
            only: self.only.clone(),
            overwrite: arguments.overwrite,
        }
    }

    /// The rows of these shards.
    pub(super) fn rows(&self, of: &[usize]) -> usize {
        of.iter().map(|&shard| shard_rows(self.layout.total, shard, self.shards).len()).sum()
    }

    /// What the processes that compute need not find out themselves.
    pub(super) fn shared(&self) -> Shared {
        let broken = self.broken.iter();
        Shared {
            shards: self.shards,
            images_digest: self.layout.provenance.images_digest.clone(),
            broken: broken
                .map(|Broken { index, key, reason }| (*index, key.clone(), reason.clone()))
                .collect(),
        }
    }

    /// What will be computed, in a few lines.
    pub(super) fn describe(&self, device: Device) -> String {
        let Extraction { source, views, batch, .. } = &self.extraction;
        let shapes = self.extraction.taps.iter().cycle().map(|tap| sides(&tap.shape));
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

impl Shared {
    fn broken(&self) -> Vec<Broken> {
        let broken = self.broken.iter().cloned();
        broken.map(|(index, key, reason)| Broken { index, key, reason }).collect()
    }
}

/// In how many shards a job of so many rows is computed, of which this machine, with `processes` of them, computes `shard`.
///
/// # Errors
/// When the folder of the output cannot be listed.
fn shards(
    arguments: &Arguments,
    shard: Option<Shard>,
    processes: usize,
    rows: usize,
) -> Result<usize, InferError> {
    if let Some(shard) = shard {
        return Ok(shard.of.saturating_mul(processes));
    }
    if let Some(shards) = arguments.shards {
        return Ok(as_size(shards));
    }
    if processes == 1 {
        return Ok(usual_shards(rows));
    }
    // One that was begun goes on, whatever the number of processes is now; one of more images is another.
    match begun_in(&arguments.output)?.filter(|&begun| !arguments.overwrite && begun <= rows) {
        Some(shards) => Ok(shards),
        None => Ok(usual_shards(rows).next_multiple_of(processes).min(rows)),
    }
}

/// A number of images or shards; one beyond the machine's range is as good as the largest.
fn as_size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How images are found that cannot be read.
struct Look<'a> {
    /// Those that another process found.
    broken: Option<Vec<Broken>>,
    stop: Option<&'a Stop>,
}

/// The images, in the network's shape, and those that are left out.
fn images(
    arguments: &Arguments,
    model: &ModelFile,
    trained_on: Option<&str>,
    look: Look,
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
    let split = limited(stored.fit(image)?)?;
    let (split, broken) = match look.broken {
        Some(broken) => (split.without(&broken)?, broken),
        None => arguments.skip.of(split, ddae_base::is_quiet(), look.stop)?,
    };
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
