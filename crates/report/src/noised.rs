//! What a network sees: images at rising noise, by the process of a run.

use ddae_base::random::named_stream;
use ddae_base::read_bounded;
use ddae_model::config::{ProcessConfig, RunConfig};
use ddae_model::diffusion::ddpm::Tables;
use ddae_model::diffusion::{edm, feature_timesteps};

use crate::ReportError;
use crate::images::{Atlas, sheet};
use crate::page::Picture;
use crate::run::Run;

/// Where on the way from the image to noise the strips stop, as shares of it.
const STOPS: [f64; 8] = [0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0];
/// Seed of the noise.
const SEED: u64 = 0;
/// The most bytes of a configuration.
const LONGEST_CONFIG: usize = 1 << 16;

/// Images (`[C, H, W]` planes of levels) as they are, and at rising noise: a row for each. None for runs that do not say
/// their process, for SODAs, whose views are augmented first, and for latent spaces.
///
/// # Errors
/// When images are not of the shape that is said.
pub fn strips(run: &Run, images: &[Vec<u8>], shape: [usize; 3]) -> Result<Option<Picture>, ReportError> {
    let text = read_bounded(&run.folder.join("config.yaml"), LONGEST_CONFIG)
        .ok()
        .and_then(|text| String::from_utf8(text).ok());
    let Some(config) = text.and_then(|text| RunConfig::parse(&text, "config.yaml").ok()) else {
        return Ok(None);
    };
    let Some(config) = config.diffusion() else { return Ok(None) };
    if config.image_shape() != shape {
        return Ok(None);
    }
    let levels = levels(&config.process);
    let mut stream = named_stream(SEED, "report");
    let mut atlas = Atlas::default();
    for image in images {
        atlas.add(image, shape)?;
        let mut noise = vec![0.0; image.len()];
        stream.fill_normal(&mut noise);
        for &(_, signal, spread) in &levels {
            let noised = image.iter().zip(&noise).map(|(&level, eps)| {
                let x = f32::from(level) / 127.5 - 1.0;
                // Shown with a scale of 1, as the noise of an EDM outgrows any image.
                let seen = (signal * x + spread * eps) / (signal * signal + spread * spread).sqrt();
                ((seen + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
            });
            atlas.add(&noised.collect::<Vec<u8>>(), shape)?;
        }
    }
    let names: Vec<&str> = levels.iter().map(|(name, ..)| name.as_str()).collect();
    let caption = format!(
        "{}: images as they are, and at {} (seed {SEED}; scaled to the spread of images)",
        run.name,
        names.join(", ")
    );
    Ok(Some(Picture { caption, png: sheet(&atlas, levels.len() as u32 + 1)? }))
}

/// Name, factor of the image and factor of the noise of each stop.
fn levels(process: &ProcessConfig) -> Vec<(String, f32, f32)> {
    let range = feature_timesteps(process);
    let (first, last) = (*range.start(), *range.end());
    let at = |share: f64| ((last as f64 * share).round() as i64).clamp(first, last);
    let mut steps: Vec<i64> = STOPS.iter().map(|&share| at(share)).collect();
    steps.dedup();
    match process {
        ProcessConfig::Ddpm(config) => {
            let tables = Tables::training(config);
            let level = |&t: &i64| {
                let t = t as usize;
                Some((
                    format!("t{t}"),
                    *tables.sqrt_alpha_bar.get(t)?,
                    *tables.sqrt_one_minus_alpha_bar.get(t)?,
                ))
            };
            steps.iter().filter_map(level).collect()
        }
        ProcessConfig::Edm(config) => {
            let sigmas = edm::feature_sigmas(config);
            let level = |&step: &i64| {
                let sigma = *sigmas.get(step as usize)?;
                Some((format!("step {step} (σ {sigma:.3})"), 1.0, sigma as f32))
            };
            let mut found: Vec<_> = steps.iter().filter_map(level).collect();
            found.sort_by(|a, b| a.2.total_cmp(&b.2));
            found
        }
    }
}
