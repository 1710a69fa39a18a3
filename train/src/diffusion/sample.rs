//! Sheets of generated pictures above real ones.

use std::path::Path;

use ddae_data::random::{Purpose, stream};
use ddae_data::sheet::Sheet;
use ddae_data::split::Split;
use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::{Plan, PlanError, SamplerKind, sampler_graph};
use ddae_model::tensor::Tensor as Array;
use tch::{Device, Kind, Tensor};

use crate::TrainError;
use crate::run::interrupt;
use crate::torch::{Layout, Mode, Network, Parameters, Precision, convert};

/// Steps of DDIM, as published.
const DDIM_STEPS: usize = 100;
/// Steps of EDM's sampler, as published.
const EDM_STEPS: usize = 18;
/// Rows of real pictures under the samples.
const REAL_ROWS: usize = 2;

/// DDIM (eta 0) for a DDPM, EDM's sampler without churn for an EDM; with the published number of steps, or another.
///
/// # Errors
/// When the process cannot be sampled with so many steps.
pub fn plan(config: &Config, steps: Option<usize>) -> Result<Plan, PlanError> {
    match &config.process {
        ProcessConfig::Ddpm(ddpm) => {
            let steps = steps.unwrap_or(DDIM_STEPS.min(ddpm.n_t));
            Plan::ddpm(ddpm, SamplerKind::Ddim { steps, eta: 0.0 })
        }
        ProcessConfig::Edm(edm) => {
            let steps = steps.unwrap_or(EDM_STEPS);
            Plan::edm(edm, SamplerKind::Edm { steps, eta: 0.0 })
        }
    }
}

/// Generates pictures with libtorch.
#[derive(Debug)]
pub struct Sampler {
    network: Network,
    plan: Plan,
    picture: [usize; 3],
    mode: Mode,
}

impl Sampler {
    /// A sampler that follows `plan`.
    ///
    /// # Errors
    /// When the network cannot be built, or libtorch refuses.
    pub fn new(
        config: &Config,
        plan: Plan,
        device: Device,
        layout: Layout,
        precision: Precision,
    ) -> Result<Sampler, TrainError> {
        let network = Network::new(&sampler_graph(config)?, device, Kind::Float, layout)?;
        let mode = Mode { train: false, precision };
        Ok(Sampler { network, plan, picture: config.network.image_shape, mode })
    }

    /// The pictures `numbers`, `[C, H, W]` in [0, 1] each, one after the other. A picture depends on the seed and its
    /// number alone. `None` if an [interrupt] came.
    ///
    /// # Errors
    /// libtorch's.
    pub fn sample(
        &self,
        weights: &Parameters,
        numbers: std::ops::Range<u64>,
        seed: u64,
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let [channels, height, width] = self.picture;
        let size = channels * height * width;
        let shape = [(numbers.end - numbers.start) as usize, channels, height, width];
        let noise = |draw: usize| {
            let mut values = vec![0f32; shape[0] * size];
            for (picture, number) in values.chunks_exact_mut(size).zip(numbers.clone()) {
                stream(seed, Purpose::Sample, number, draw as u64).fill_normal(picture);
            }
            values
        };
        let call = |inputs: &[(&str, Array)]| {
            if interrupt::asked() {
                return Err(None);
            }
            self.call(weights, inputs).map_err(Some)
        };
        match self.plan.run(shape, noise, call) {
            Ok(pictures) => Ok(Some(pictures.to_f64_vec().into_iter().map(|v| v as f32).collect())),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    fn call(&self, weights: &Parameters, inputs: &[(&str, Array)]) -> Result<Vec<Array>, TrainError> {
        let tensors: Vec<(&str, Tensor)> = inputs
            .iter()
            .map(|(name, array)| Ok((*name, convert::to_torch(array)?)))
            .collect::<Result<_, TrainError>>()?;
        let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let results = tch::no_grad(|| self.network.forward(weights, &inputs, self.mode))?;
        results.iter().map(|result| Ok(convert::from_torch(result)?)).collect()
    }

    /// Writes a PNG sheet of `count` samples above two rows of the first pictures of `real`. `false` if an
    /// [interrupt] came, and there is no sheet.
    ///
    /// # Errors
    /// libtorch's, or the system's.
    pub fn sheet(
        &self,
        weights: &Parameters,
        count: usize,
        batch: usize,
        seed: u64,
        real: &Split,
        path: &Path,
    ) -> Result<bool, TrainError> {
        let size: usize = self.picture.iter().product();
        let columns = (count as f64).sqrt().ceil() as usize;
        let rows = count.div_ceil(columns);
        let captions = std::iter::repeat_n("sample", rows).chain(std::iter::repeat_n("real", REAL_ROWS));
        let scale = (96 / self.picture[1].max(1)).clamp(1, 4);
        let mut sheet = Sheet::new(columns, self.picture)?.gap(2).scale(scale).captions(captions);
        for first in (0..count).step_by(batch) {
            let numbers = first as u64..(first + batch).min(count) as u64;
            let Some(pictures) = self.sample(weights, numbers, seed)? else { return Ok(false) };
            for picture in pictures.chunks_exact(size) {
                sheet.push_f32(picture)?;
            }
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
}
