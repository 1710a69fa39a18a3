//! From what was typed to rows of images and the steps of a sampler.

use ddae_data::datasets::{self, Broken};
use ddae_data::split::Split;
use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::features::part_of;
use ddae_infer::model_file::ModelFile;
use ddae_infer::reconstruct::settings::digests;
use ddae_infer::reconstruct::{ReconstructSettings, Way};
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::SamplerPlan;
use ddae_model::diffusion::sampler::ddim;
use ddae_model::networks::Role;
use ddae_onnx::metadata::Pixels;

use super::Arguments;
use crate::cli::sheets;
use crate::cli::split::Wanted;

/// Images of a data set that are taken unless others are asked for.
const USUAL: std::ops::Range<usize> = 0..8;
/// Variations of an image unless their number is asked for.
const VARIATIONS: u16 = 4;

/// A run that has been found possible.
pub struct ReconstructRequest {
    pub plan: SamplerPlan,
    /// The sources.
    pub split: Split,
    pub rows: Rows,
    pub settings: ReconstructSettings,
    /// Whether the encoder takes bytes.
    pub bytes: bool,
    /// Length of a latent.
    pub width: usize,
    /// Sources that cannot be read and are left out.
    pub broken: Vec<Broken>,
}

/// What is drawn, and how it is arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A row for each source: its variations.
    Variations {
        /// Rows.
        sources: usize,
        /// Images in a row.
        variations: usize,
    },
    /// A row for each variation: from the first source to the second.
    Between {
        /// Rows.
        variations: usize,
        /// Images in a row.
        count: usize,
        /// The way.
        way: Way,
    },
}

impl Rows {
    /// Number of rows, and of images drawn in each.
    pub fn sizes(self) -> [usize; 2] {
        match self {
            Rows::Variations { sources, variations } => [sources, variations],
            Rows::Between { variations, count, .. } => [variations, count],
        }
    }

    /// Number of images drawn.
    pub fn drawn(self) -> usize {
        self.sizes().iter().product()
    }

    /// The sources before and after what is drawn in a row.
    pub fn frame(self, row: usize) -> (usize, Option<usize>) {
        match self {
            Rows::Variations { .. } => (row, None),
            Rows::Between { .. } => (0, Some(1)),
        }
    }

    /// Columns of the sheet.
    pub fn columns(self) -> usize {
        let frame = 1 + usize::from(self.frame(0).1.is_some());
        self.sizes()[1] + frame
    }

    /// Latents, one after the other, and seeds of the images of these numbers, which count row by row. `sources` are
    /// the latents of the sources, of this width each; `seed` is that of the first variation.
    pub fn jobs(self, numbers: &[usize], sources: &[f32], width: usize, seed: u64) -> (Vec<f32>, Vec<u64>) {
        let [_, columns] = self.sizes();
        let latent = |source: usize| &sources[source * width..(source + 1) * width];
        let mut latents = Vec::with_capacity(numbers.len() * width);
        let mut seeds = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (row, column) = (number / columns, number % columns);
            let variation = match self {
                Rows::Variations { .. } => {
                    latents.extend_from_slice(latent(row));
                    column
                }
                Rows::Between { count, way, .. } => {
                    let share = column as f64 / (count - 1) as f64;
                    latents.extend(way.at(latent(0), latent(1), share));
                    row
                }
            };
            seeds.push(seed.wrapping_add(variation as u64));
        }
        (latents, seeds)
    }
}

impl ReconstructRequest {
    /// Opens the images and checks all options against them and the graphs.
    pub fn new(
        arguments: &Arguments,
        encoder: &ModelFile,
        sampler: &ModelFile,
        device: Device,
    ) -> Result<ReconstructRequest, InferError> {
        let argument = |message: String| InferError::Argument(message);
        let (shape, width) = fitting(encoder, sampler)?;
        // The graph takes it in float32.
        if !(arguments.guidance as f32).is_finite() {
            return Err(argument(format!(
                "--guidance is {}; it must be a number in float32",
                arguments.guidance
            )));
        }
        let Some(ProcessConfig::Ddpm(process)) = &sampler.model.process else {
            return Err(unusable(sampler, "it does not say which process it is a step of"));
        };
        let (steps, eta) = (arguments.steps, arguments.eta);
        let plan = ddim(process, steps, eta);
        let plan = plan.map_err(|error| argument(error.to_string()))?;
        let split = images(arguments, shape)?;
        let (split, broken) = arguments.skip.of(split, ddae_base::is_quiet(), None)?;
        let rows = rows(arguments, split.len())?;
        let ([count, _], columns) = (rows.sizes(), rows.columns());
        let instead = "take fewer images, or fewer variations of them";
        sheets::check("-o", &arguments.output, columns, count * columns, shape, instead)?;
        let settings = ReconstructSettings {
            steps,
            eta,
            guidance: arguments.guidance,
            seed: arguments.seed,
            variations: match rows {
                Rows::Variations { variations, .. } | Rows::Between { variations, .. } => variations,
            },
            interpolate: arguments.interpolate.map(usize::from),
            way: match rows {
                Rows::Variations { .. } => None,
                Rows::Between { way, .. } => Some(way),
            },
            provider: device.provider().to_string(),
            precision: device.precision().to_string(),
            tool: concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string(),
            encoder: origin(encoder),
            sampler: origin(sampler),
            encoder_graph: Some(encoder.graph_digest.clone()),
            sampler_graph: Some(sampler.graph_digest.clone()),
            encoder_calibration: encoder.description.calibration.clone(),
            encoder_config: encoder.description.config.clone(),
            sampler_config: sampler.description.config.clone(),
            sources: digests(&split)?,
        };
        let bytes = encoder.description.pixels == Pixels::Bytes;
        Ok(ReconstructRequest { plan, split, rows, settings, bytes, width, broken })
    }
}

/// Where a file's weights come from: its checkpoint, which of them, and at which precision.
fn origin(file: &ModelFile) -> String {
    let description = &file.description;
    let weights = description.weights.map_or("", |set| set.name());
    format!("{} {weights} {}", description.digest, description.precision.name())
}

fn unusable(file: &ModelFile, message: &str) -> InferError {
    InferError::Model { path: file.path.clone(), message: format!("{message}; export it again") }
}

/// The images' shape and the latents' length, of an encoder and a sampler that fit together.
fn fitting(encoder: &ModelFile, sampler: &ModelFile) -> Result<([usize; 3], usize), InferError> {
    let argument = |message: String| Err(InferError::Argument(message));
    let (network, made_by) = (&sampler.model.architecture, &encoder.model.architecture);
    let guidance = network.denoiser().ok().and_then(|network| network.guidance());
    let (Some(guidance), Some(draws)) = (guidance, network.image_shape()) else {
        return argument(format!(
            "--sampler: this draws with {}, which takes no latents; `ddae-infer sample` draws with it",
            sampler.model.architecture.name()
        ));
    };
    let (Role::Encoder(code), Some(sees)) = (made_by.network().role(), made_by.image_shape()) else {
        return Err(unusable(encoder, "its configuration is not that of an encoder"));
    };
    if encoder.description.unit_length {
        return argument(
            "--encoder: this one divides latents by their length, and the decoder knows them as they are; export it \
             without --normalise"
                .to_string(),
        );
    }
    let (made, taken) = (code.width(), guidance.channels);
    if made != taken {
        return argument(format!(
            "--encoder makes latents of {made} and --sampler takes latents of {taken}; give two graphs of one \
             checkpoint"
        ));
    }
    if sees != draws {
        let text = |[c, h, w]: [usize; 3]| format!("{c}x{h}x{w}");
        return argument(format!(
            "--encoder sees images of {} and --sampler draws {}; export one of them with another --image-size",
            text(sees),
            text(draws)
        ));
    }
    Ok((draws, taken))
}

/// What is odd about the two files together, but may be wanted.
pub fn mismatch(encoder: &ModelFile, sampler: &ModelFile) -> Option<String> {
    let (a, b) = (&encoder.description, &sampler.description);
    if a.digest != b.digest {
        return Some(format!(
            "--encoder is of {} and --sampler of another checkpoint, {}: latents of one mean nothing to the other unless \
             both were trained together",
            a.checkpoint, b.checkpoint
        ));
    }
    (a.weights != b.weights).then(|| {
        "--encoder and --sampler have different weights of one checkpoint (ema and model)".to_string()
    })
}

/// The sources, in the networks' shape.
fn images(arguments: &Arguments, shape: [usize; 3]) -> Result<Split, InferError> {
    let Some(name) = &arguments.data else {
        let of_data = [
            ("--data-root", arguments.data_root.is_some()),
            ("--split", arguments.split.is_some()),
            ("--indices", arguments.indices.is_some()),
        ];
        if let Some((option, _)) = of_data.iter().find(|(_, is_given)| *is_given) {
            let message = format!("{option} is for images of a data set (--data), and files are given");
            return Err(InferError::Argument(message));
        }
        let files = datasets::of_files(arguments.images.clone(), shape);
        return Ok(files.read_as(&arguments.reading.reading()).fit(shape)?);
    };
    let wanted = Wanted {
        data: name,
        root: arguments.data_root.as_deref(),
        labels: None,
        split: arguments.split.as_deref(),
        usual: "test",
        reading: arguments.reading.reading(),
        quiet: ddae_base::is_quiet(),
    };
    let part = wanted.open()?;
    let which = part_of(&part);
    let indices = match &arguments.indices {
        Some(indices) => indices.0.clone(),
        None => USUAL.take(part.len()).collect(),
    };
    if let Some(index) = indices.iter().find(|&&index| index >= part.len()) {
        let (count, last) = (part.len(), part.len() - 1);
        let message = format!("--indices {index}: {name} has {count} {which} images, 0 to {last}");
        return Err(InferError::Argument(message));
    }
    Ok(part.fit(shape)?.subset(&indices)?)
}

fn rows(arguments: &Arguments, sources: usize) -> Result<Rows, InferError> {
    let Some(count) = arguments.interpolate else {
        let variations = usize::from(arguments.variations.unwrap_or(VARIATIONS));
        return Ok(Rows::Variations { sources, variations });
    };
    if sources != 2 {
        let message = format!("--interpolate leads from one image to another: give two, not {sources}");
        return Err(InferError::Argument(message));
    }
    let variations = usize::from(arguments.variations.unwrap_or(1));
    Ok(Rows::Between { variations, count: usize::from(count), way: arguments.way.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_share_the_latent_of_their_row_and_the_noise_of_their_column() {
        let rows = Rows::Variations { sources: 2, variations: 3 };
        assert_eq!((rows.drawn(), rows.columns(), rows.frame(1)), (6, 4, (1, None)));
        let (latents, seeds) = rows.jobs(&[0, 2, 4], &[1.0, 2.0, 3.0, 4.0], 2, 10);
        assert_eq!((latents, seeds), (vec![1.0, 2.0, 1.0, 2.0, 3.0, 4.0], vec![10, 12, 11]));
    }

    #[test]
    fn a_way_begins_and_ends_at_its_sources() {
        let rows = Rows::Between { variations: 2, count: 5, way: Way::Linear };
        assert_eq!((rows.drawn(), rows.columns(), rows.frame(1)), (10, 7, (0, Some(1))));
        let (latents, seeds) = rows.jobs(&[0, 1, 4, 9], &[0.0, 8.0], 1, 0);
        assert_eq!((latents, seeds), (vec![0.0, 2.0, 8.0, 8.0], vec![0, 0, 0, 1]));
    }
}
