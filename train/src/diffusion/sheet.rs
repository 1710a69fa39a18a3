//! Sheets of generated images above real ones.

use std::ops::Range;
use std::path::Path;

use ddae_data::sheet::Sheet;
use ddae_data::split::Split;
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::sampler::{Sampler, ancestral};
use ddae_model::diffusion::{PlanError, SamplerPlan};
use ddae_model::tensor::Tensor as Array;
use tch::Device;

use crate::TrainError;
use crate::ranks::Division;
use crate::sampler::Sampler as TorchSampler;
use crate::torch::Parameters;

/// Rows of real images under the samples.
const REAL_ROWS: usize = 2;

/// Samples drawn at a time on the CPU, where more are no faster: eight ranks share 64.
const ON_CPU: usize = 8;

/// The deviation of noise that may be left in images in [-1, 1]: some six of 255 levels.
const INVISIBLE: f64 = 0.05;
/// The factor of the image in the noisiest state from which samples may still begin as pure noise.
const FORGOTTEN: f64 = 0.1;

/// How the images of sheets are sampled.
#[derive(Clone, Debug)]
pub struct SheetPlan {
    /// The network calls.
    pub sampler: SamplerPlan,
    /// The same in words.
    pub description: String,
}

/// DDIM (eta 0) for a DDPM, EDM's sampler without churn for an EDM, with the published number of steps. In fewer steps both
/// make images that look untrained, and DPM-Solver++ is taken. So it is, or ancestral sampling where all timesteps are wanted or
/// nothing else can be computed, for schedules of which DDIM's last step leaves noise in the images: the inverted one, and others
/// of few timesteps.
///
/// # Errors
/// When the process cannot be sampled with so many steps.
pub fn plan(process: &ProcessConfig, steps: Option<usize>) -> Result<SheetPlan, PlanError> {
    let usual = Sampler::of(process);
    let published = usual.default_steps(process);
    let steps = steps.unwrap_or(published);
    let plan = usual.plan(process, steps, 0.0)?;
    let described = |sampler: &Sampler, plan: SamplerPlan, steps: usize, reason: &str| {
        let (name, calls) = (sampler.name, plan.steps.len());
        let description = format!("sampled by {name} in {steps} steps, {calls} network calls{reason}");
        SheetPlan { sampler: plan, description }
    };
    let (reason, others) = match process {
        ProcessConfig::Ddpm(config) if left_noise(&plan) > INVISIBLE => {
            let levels = 127.5 * left_noise(&plan);
            let reason = format!(": {} would leave noise of {levels:.0} of 255 levels in them", usual.name);
            let all = ("ddpm", config.n_t);
            let fewer = ("dpm-solver", steps.min(config.n_t.saturating_sub(1)));
            (reason, if steps == config.n_t { vec![all] } else { vec![fewer, all] })
        }
        _ if steps < published => {
            (format!(": {} needs more, {published} if not said", usual.name), vec![("dpm-solver", steps)])
        }
        _ => return Ok(described(usual, plan, steps, "")),
    };
    let other = others.into_iter().find_map(|(name, steps)| {
        let sampler = Sampler::named(name)?;
        Some(described(sampler, sampler.plan(process, steps, 0.0).ok()?, steps, &reason))
    });
    Ok(other.unwrap_or_else(|| described(usual, plan, steps, "")))
}

/// The deviation of the noise that DDIM's last step leaves in images in [-1, 1].
fn left_noise(ddim: &SamplerPlan) -> f64 {
    ddim.steps.last().map_or(0.0, |step| step.coefficients[2])
}

/// What is wrong with the samples of a process whatever is learned: they begin as pure noise, and its noisiest images are not.
pub fn note(process: &ProcessConfig) -> Option<String> {
    let (left, advice) = match process {
        ProcessConfig::Ddpm(config) => {
            let first =
                ancestral(config).steps.first().map_or(0.0, |step| f64::from(step.preconditioning[0]));
            (first, "larger betas or more timesteps (n_T)")
        }
        ProcessConfig::Edm(config) => {
            let left = config.sigma_data / config.sigma_data.hypot(config.sigma_max);
            (left, "a larger sigma_max")
        }
    };
    (left > FORGOTTEN).then(|| {
        format!(
            "samples begin as pure noise, but at its noisiest this process leaves {:.0} % of an image's contrast: they will \
             look wrong however long the training; {advice} would mend it",
            100.0 * left
        )
    })
}

/// How many of the `count` samples of a sheet are drawn at a time, on each of `world` ranks. Most ranks draw some, if there are enough.
/// On the CPU that is the same whatever the number of ranks, and so is every bit of the picture. On GPUs, a rank draws its part at
/// once, or as many as the images of a `pass` in training.
pub(crate) fn batch(count: usize, pass: usize, world: usize, device: Device) -> usize {
    match device {
        Device::Cpu => ON_CPU,
        _ => count.div_ceil(world).clamp(1, pass.max(1)),
    }
}

/// The samples of a sheet.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// Their number.
    pub count: usize,
    /// How many are drawn at a time.
    pub batch: usize,
    /// What all draws are a function of.
    pub seed: u64,
    /// The classes, which the samples are of in turn; 0 where the network is not told.
    pub classes: usize,
}

/// Writes a PNG sheet of samples above two rows of the first images of `real`. Every rank draws a part of them, and rank 0 writes.
/// `false` if the sampler was to stop, and there is no sheet.
///
/// # Errors
/// libtorch's, or the system's.
pub fn write(
    sampler: &TorchSampler,
    weights: &Parameters,
    draws: Draws,
    among: Division,
    real: &Split,
    path: &Path,
) -> Result<bool, TrainError> {
    let Draws { count, batch, .. } = draws;
    let shape = real.shape();
    let size = real.image_len();
    let drawn = among.gathered([count, size], batch, |part| samples(sampler, weights, draws, part))?;
    let Some(drawn) = drawn else { return Ok(false) };
    if !among.leads() {
        return Ok(true);
    }
    let columns = (count as f64).sqrt().ceil() as usize;
    let rows = count.div_ceil(columns);
    let captions = std::iter::repeat_n("sample", rows).chain(std::iter::repeat_n("real", REAL_ROWS));
    let mut sheet = Sheet::new(columns, shape)?.gap(2).scale(scale(shape)).captions(captions);
    for image in drawn.chunks_exact(size) {
        sheet.push_f32(image)?;
    }
    for _ in count..rows * columns {
        sheet.push_f32(&vec![1.0; size])?;
    }
    let mut levels = vec![0; size];
    for i in 0..REAL_ROWS * columns {
        // A data set smaller than the sheet begins anew.
        real.read(i % real.len().max(1), &mut levels)?;
        sheet.push_u8(&levels)?;
    }
    sheet.write_png(path)?;
    Ok(true)
}

/// The samples at these numbers, one after the other. `None` if the sampler was to stop.
fn samples(
    sampler: &TorchSampler,
    weights: &Parameters,
    Draws { batch, seed, classes, .. }: Draws,
    numbers: Range<usize>,
) -> Result<Option<Vec<f32>>, TrainError> {
    let mut drawn = Vec::new();
    for first in numbers.clone().step_by(batch) {
        let numbers = first as u64..(first + batch).min(numbers.end) as u64;
        let class = |number: u64| (number % classes as u64) as i64;
        let guides: Vec<_> = (classes > 0)
            .then(|| numbers.clone().map(class).collect::<Vec<i64>>())
            .map(|of| ("label", Array::i64(&[of.len()], of)))
            .into_iter()
            .collect();
        let Some(images) = sampler.sample(weights, numbers, seed, &guides)? else { return Ok(None) };
        drawn.extend(images);
    }
    Ok(Some(drawn))
}

/// Pixels of a sheet along each side of an image's pixel, so that small images can be seen.
pub(crate) fn scale([_, height, _]: [usize; 3]) -> usize {
    (96 / height.max(1)).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use ddae_model::config::{Betas, DdpmConfig, EdmConfig, Prediction, Timesteps};

    use super::*;

    fn ddpm(betas: Betas, n_t: usize) -> DdpmConfig {
        DdpmConfig::of(n_t, betas, Timesteps::Fraction)
    }

    fn zero_snr(config: DdpmConfig) -> ProcessConfig {
        ProcessConfig::Ddpm(DdpmConfig { zero_snr: true, prediction: Prediction::VPrediction, ..config })
    }

    /// The deviation of sampled numbers where those of the data are normal with deviation `of`, and the network is perfect: what
    /// it finds is then proportional to what it sees.
    fn sampled(process: &ProcessConfig, plan: &SamplerPlan, of: f64) -> f64 {
        let square = of * of;
        // Variances of x and carry, and their covariance.
        let (mut xx, mut cc, mut xc) = (plan.start_scale * plan.start_scale, 0.0, 0.0);
        for step in &plan.steps {
            let k = |i: usize| step.coefficients[i];
            // next = x + carry + noise, next_carry = x + carry.
            let (next, next_carry) = match process {
                ProcessConfig::Ddpm(_) => {
                    let [signal, spread] = [0, 1].map(|i| f64::from(step.preconditioning[i]));
                    let image = signal * square / (signal * signal * square + spread * spread);
                    let noise = (1.0 - signal * image) / spread;
                    ([k(0) + k(1) * image + k(2) * noise, k(4), k(3)], [image, 0.0])
                }
                ProcessConfig::Edm(_) => {
                    let sigma = (4.0 * f64::from(step.t)).exp();
                    let image = square / (square + sigma * sigma);
                    ([k(0) + k(1) * image, k(2), k(3)], [k(4) + k(5) * image, k(6)])
                }
            };
            let product =
                |a: &[f64], b: &[f64]| a[0] * b[0] * xx + a[1] * b[1] * cc + (a[0] * b[1] + a[1] * b[0]) * xc;
            (xx, cc, xc) = (
                product(&next, &next) + next[2] * next[2],
                product(&next_carry, &next_carry),
                product(&next, &next_carry),
            );
        }
        xx.sqrt()
    }

    /// What sheets are taken with: coarse structure comes out with most of its contrast, and where the data have next to none,
    /// nothing is left of the noise.
    #[test]
    fn sheets_of_all_schedules_show_what_was_learned() {
        let linear = Betas::Linear([1e-4, 0.02]);
        let scaled = Betas::ScaledLinear([0.00085, 0.012]);
        let of = |betas, n_t| ProcessConfig::Ddpm(ddpm(betas, n_t));
        let index = |betas, n_t| ProcessConfig::Ddpm(DdpmConfig::of(n_t, betas, Timesteps::Index));
        let edm = ProcessConfig::Edm(EdmConfig::published());
        let steep = Betas::Linear([1e-3, 0.2]);
        for (process, steps, taken) in [
            (of(linear, 1000), None, "ddim in 100 steps, 100 network calls"),
            (of(linear, 1000), Some(1000), "ddim in 1000 steps, 1000 network calls"),
            (of(linear, 1000), Some(10), "dpm-solver in 10 steps, 10 network calls: ddim needs more"),
            (of(Betas::Cosine, 1000), None, "ddim in 100 steps"),
            (of(scaled, 1000), None, "ddim in 100 steps"),
            (of(steep, 100), None, "ddim in 100 steps"),
            (of(Betas::Cosine, 10), None, "ddpm in 10 steps, 10 network calls: ddim would leave noise of 20"),
            (
                of(Betas::Inverted, 1000),
                None,
                "dpm-solver in 100 steps, 100 network calls: ddim would leave noise of 18",
            ),
            (of(Betas::Inverted, 1000), Some(20), "dpm-solver in 20 steps"),
            (of(Betas::Inverted, 1000), Some(1000), "ddpm in 1000 steps"),
            (of(Betas::Inverted, 100), None, "ddpm in 100 steps"),
            (index(linear, 1000), None, "ddim in 100 steps"),
            (index(linear, 1000), Some(20), "dpm-solver in 20 steps"),
            (index(Betas::Inverted, 1000), None, "ddim in 100 steps"),
            (zero_snr(ddpm(linear, 1000)), None, "ddim in 100 steps"),
            (zero_snr(ddpm(Betas::Inverted, 1000)), None, "dpm-solver in 100 steps"),
            (edm.clone(), None, "edm in 18 steps, 35 network calls"),
            (edm.clone(), Some(40), "edm in 40 steps"),
            (edm.clone(), Some(6), "dpm-solver in 6 steps, 6 network calls: edm needs more"),
        ] {
            let SheetPlan { sampler, description } = plan(&process, steps).expect("a plan");
            assert!(description.starts_with(&format!("sampled by {taken}")), "{description}: {taken}");
            assert_eq!(note(&process), None, "{description}");
            let [coarse, none] = [0.5, 0.01].map(|of| sampled(&process, &sampler, of));
            assert!((0.36..0.60).contains(&coarse), "{description}: {coarse}");
            assert!(none < INVISIBLE, "{description}: {none}");
        }
    }

    /// That the test above can fail: what sheets were made with before.
    #[test]
    fn the_published_samplers_do_not_suit_all_schedules() {
        let process = ProcessConfig::Ddpm(ddpm(Betas::Inverted, 1000));
        let plan =
            |process: &ProcessConfig, steps| Sampler::of(process).plan(process, steps, 0.0).expect("a plan");
        assert!(sampled(&process, &plan(&process, 100), 0.01) > 0.14);
        let edm = ProcessConfig::Edm(EdmConfig::published());
        assert!(sampled(&edm, &plan(&edm, 6), 0.5) > 0.8);
    }

    #[test]
    fn a_process_that_does_not_end_in_noise_is_pointed_out() {
        let note = |process| note(&process).expect("a note");
        let few = note(ProcessConfig::Ddpm(ddpm(Betas::Linear([1e-4, 0.02]), 100)));
        assert!(few.contains("leaves 60 % of an image's contrast") && few.contains("n_T"), "{few}");
        let small = note(ProcessConfig::Edm(EdmConfig { sigma_max: 2.0, ..EdmConfig::published() }));
        assert!(small.contains("leaves 24 %") && small.contains("sigma_max"), "{small}");
    }
}
