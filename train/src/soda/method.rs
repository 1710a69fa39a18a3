//! SODA as a [`Method`] of training.

use std::path::Path;

use ddae_base::random::{Purpose, stream};
use ddae_data::augment::{ImageKey, SodaViews};
use ddae_data::interleave::interleave;
use ddae_data::loader::{Batch, Loader, LoaderOptions, Pairs};
use ddae_data::statistics::channel_statistics;
use ddae_data::{DataError, OpenOptions, Split, datasets};
use ddae_model::config::{ChannelStatistics, ProcessConfig, SodaDiffusion, SodaRun};
use ddae_model::diffusion::{SamplerPlan, loss_graph, model_sampler_graph};
use ddae_model::networks::{decoder_graph, resnet_graph};
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Kind, TchError, Tensor};

use super::encoder::{Encoder, Preparation};
use super::scores::{self, Splits};
use super::sheet::Reconstruction;
use crate::TrainError;
use crate::diffusion::sheet::SheetPlan;
use crate::diffusion::{draws, sheet};
use crate::ranks::{Division, Part, Shares};
use crate::sampler::Sampler;
use crate::torch::{Parameters, TorchError};
use crate::training::method::{Epoch, Recorder};
use crate::training::validation::FixedImages;
use crate::training::{Evaluation, Method, Options, Place, Scores, Summary, TrainingPlan, record, train};

/// A training run of a SODA.
#[derive(Debug)]
pub struct SodaTraining {
    /// The run.
    pub plan: TrainingPlan,
    config: SodaRun,
    /// How the images of a sheet are sampled.
    sampler: SamplerPlan,
    /// What k-NN and linear probe work on, where they can.
    splits: Option<Splits>,
}

impl SodaTraining {
    /// Opens the data set in the folder `data_root` as `opening` says, builds both networks and counts the steps, shared out as
    /// said. Sheets are sampled in
    /// `sample_steps`, or in the published number.
    ///
    /// # Errors
    /// When one of them cannot be had, or the process cannot be sampled in so many steps.
    pub fn new(
        config: SodaRun,
        data_root: Option<&Path>,
        opening: &OpenOptions,
        sample_steps: Option<usize>,
        shares: Shares,
    ) -> Result<SodaTraining, TrainError> {
        let graph = loss_graph(&config.clone().into(), true)?;
        let data = datasets::open_with(&config.dataset, data_root, opening)?;
        let mut plan = TrainingPlan::new(config.clone().into(), &data, graph, shares)?;
        let splits = match Splits::new(&plan.train, plan.unseen()) {
            Ok(splits) => Some(splits),
            Err(reason) => {
                plan.notes.push(reason);
                None
            }
        };
        if config.normalisation.is_none() {
            plan.notes.push("the images' mean and standard deviation are measured first".to_string());
        }
        let process = ProcessConfig::Ddpm(config.diffusion.process());
        let SheetPlan { sampler, description } = sheet::plan(&process, sample_steps)?;
        plan.sheets = description;
        plan.notes.extend(sheet::note(&process));
        Ok(SodaTraining { plan, config, sampler, splits })
    }

    /// Trains until the last epoch.
    ///
    /// # Errors
    /// When the images cannot be normalised, and those of [`train()`].
    pub fn train(mut self, options: &Options) -> Result<Summary, TrainError> {
        let normalisation = match self.config.normalisation.take() {
            Some(known) => known,
            None => measured(&self.plan.train)?,
        };
        self.config.normalisation = Some(normalisation.clone());
        self.plan.config = self.config.clone().into();
        let SodaTraining { plan, config, sampler, splits } = self;
        train(options, &plan, |place| {
            let step = model_sampler_graph(&config.decoder_model())?;
            Ok(Soda {
                process: ProcessConfig::Ddpm(config.diffusion.process()),
                sampler: Sampler::new(&step, sampler, config.image_shape(), place)?.stopped_by(&options.stop),
                encoder: Encoder::new(&config.networks.encoder, place)?,
                config,
                normalisation,
                splits,
                place,
                workers: options.workers(place.device),
            })
        })
    }
}

/// Mean and standard deviation of each channel.
fn measured(split: &Split) -> Result<ChannelStatistics, TrainError> {
    let statistics = channel_statistics(split, |_| {})?;
    let wrong = |message| TrainError::Argument(format!("{}, measured: {message}", split.name()));
    statistics.check().map_err(wrong)?;
    Ok(statistics)
}

/// Training of a SODA.
#[derive(Debug)]
struct Soda {
    config: SodaRun,
    normalisation: ChannelStatistics,
    process: ProcessConfig,
    sampler: Sampler,
    encoder: Encoder,
    splits: Option<Splits>,
    place: Place,
    /// Threads that read the images of evaluations ahead.
    workers: usize,
}

impl Soda {
    /// Every rank encodes a part of the images; rank 0 scores.
    fn scores(
        &self,
        splits: &Splits,
        average: &Parameters,
        wanted: &Evaluation,
        batch: usize,
        among: Division,
    ) -> Result<Option<Scores>, TrainError> {
        let of = |split, crops| {
            let preparation =
                Preparation { normalisation: &self.normalisation, crops, batch, workers: self.workers };
            self.encoder.split(average, split, &preparation, among)
        };
        let Some(base) = of(&splits.base, Some((wanted.seed, wanted.epoch)))? else { return Ok(None) };
        let Some(queries) = of(&splits.queries, None)? else { return Ok(None) };
        match among.leads() {
            true => scores::scores(splits, base, queries).map(Some),
            false => Ok(Some(Scores::default())),
        }
    }
}

/// What is hidden of the latents of `count` images, 1 for hidden and 0 for shown: `[B]`, or `[B, parts]` where they have
/// several parts.
fn mask(config: &SodaDiffusion, parts: usize, count: usize, device: Device) -> Result<Tensor, TchError> {
    let (count, parts) = (count as i64, parts as i64);
    let below = |size: &[i64], p: f64| Tensor::f_rand(size, (Kind::Float, device))?.f_lt(p);
    let hidden = match parts {
        1 => below(&[count], config.drop_prob)?,
        _ => {
            let whole = below(&[count, 1], config.drop_prob)?;
            whole.f_logical_or(&below(&[count, parts], config.layer_mask_prob)?)?
        }
    };
    hidden.f_to_kind(Kind::Float)
}

/// The same for images of a validation loss, drawn for each of them alone.
fn fixed_mask(config: &SodaDiffusion, parts: usize, images: &FixedImages) -> Result<Tensor, TchError> {
    let hidden = images.mask_streams().flat_map(|mut rng| {
        let whole = rng.chance(config.drop_prob);
        (0..parts).map(move |_| {
            let part = parts > 1 && rng.chance(config.layer_mask_prob);
            f32::from(whole || part)
        })
    });
    let hidden = Tensor::f_from_slice(&hidden.collect::<Vec<f32>>())?;
    if parts > 1 { hidden.f_reshape([-1, parts as i64]) } else { Ok(hidden) }
}

/// The latents of two images of noise; and what the decoder makes of two more at two noise levels, the one guided
/// by its latent and the other not.
fn recorded(config: &SodaRun, average: &Weights) -> Result<Vec<(String, Array)>, TrainError> {
    let [c, h, w] = config.image_shape();
    let noise = |index: u64| {
        let mut values = vec![0f32; 2 * c * h * w];
        stream(0, Purpose::Noise, index, 0).fill_normal(&mut values);
        Array::f32(&[2, c, h, w], values)
    };
    let source = [("x", noise(1))];
    let z = record::output(&resnet_graph(&config.networks.encoder)?, average, &source)?;
    let decoder = &config.networks.decoder;
    let mask = [vec![0.0; decoder.z_parts], vec![1.0; decoder.z_parts]].concat();
    let shape = if decoder.z_parts > 1 { vec![2, decoder.z_parts] } else { vec![2] };
    let inputs = [
        ("x", noise(0)),
        ("t", Array::f32(&[2], vec![0.01, 0.5])),
        ("z", z.clone()),
        ("mask", Array::f32(&shape, mask)),
    ];
    let y = record::output(&decoder_graph(decoder)?, average, &inputs)?;
    let latents = record::named("record_encoder.", source.into_iter().chain([("z", z)]));
    Ok(record::named("record.", inputs.into_iter().chain([("y", y)])).chain(latents).collect())
}

impl Method for Soda {
    type Batch = Batch<Pairs>;
    type Batches = Loader<Pairs>;

    fn batches(&self, plan: &TrainingPlan, epoch: Epoch) -> Result<Loader<Pairs>, DataError> {
        let options = LoaderOptions {
            batch: plan.batch.total,
            shuffle: true,
            seed: epoch.seed,
            epoch: epoch.number,
            start_batch: epoch.start as usize,
            drop_last: self.config.training.drops_last(),
            workers: epoch.workers,
            parts: plan.batch.loader_parts(),
        };
        Loader::pairs(&plan.train, &options, &self.normalisation, self.config.augmentation)
    }

    fn inputs(&self, batch: &Batch<Pairs>, part: Part) -> Result<Vec<(&'static str, Tensor)>, TorchError> {
        let (shape, device) = (self.config.image_shape(), self.place.device);
        let source = draws::images(&batch.images.sources, shape, device)?;
        let image = draws::images(&batch.images.targets, shape, device)?;
        let [level, noise] = draws::of_process(&self.process, part, shape, device)?;
        let parts = self.config.networks.decoder.z_parts;
        let mask = mask(&self.config.diffusion, parts, part.total, device).and_then(|mask| part.of(mask));
        let mask = mask.map_err(|e| TorchError::at("mask", e))?;
        Ok(vec![("source", source), ("image", image), ("level", level), ("noise", noise), ("mask", mask)])
    }

    fn fixed_inputs(&self, images: &FixedImages) -> Result<Vec<(&'static str, Tensor)>, TrainError> {
        let (shape, device) = (self.config.image_shape(), self.place.device);
        let mut views = SodaViews::new(shape, &self.normalisation, self.config.augmentation)?;
        let (mut sources, mut targets) = (Vec::new(), Vec::new());
        images.read(|id, levels| {
            // The views of an epoch that no run reaches.
            let key = ImageKey { seed: 0, epoch: u64::MAX, id };
            views.source(levels, key, &mut sources);
            interleave(views.target(levels, key), shape[0], &mut targets);
        })?;
        let source = draws::images(&sources, shape, device)?;
        let image = draws::images(&targets, shape, device)?;
        let [level, noise] = draws::fixed(&self.process, images, shape, device)?;
        let mask = fixed_mask(&self.config.diffusion, self.config.networks.decoder.z_parts, images);
        let mask = mask.map_err(|e| TorchError::at("mask", e))?;
        Ok(vec![
            ("source", source),
            ("image", image),
            ("level", level),
            ("noise", noise),
            ("mask", draws::uploaded(&mask, device)?),
        ])
    }

    fn rate_ratio(&self, parameter: &str) -> f64 {
        if parameter.starts_with("encoder.") { self.config.lrate_ratio } else { 1.0 }
    }

    fn recorder(&self) -> Recorder {
        let config = self.config.clone();
        Box::new(move |average| recorded(&config, average))
    }

    fn has_scores(&self) -> bool {
        self.splits.is_some()
    }

    fn evaluate(
        &self,
        plan: &TrainingPlan,
        average: &Parameters,
        wanted: &Evaluation,
        among: Division,
    ) -> Result<Option<Scores>, TrainError> {
        let scores = match &self.splits {
            Some(splits) if wanted.scores => self.scores(splits, average, wanted, plan.batch.pass, among)?,
            _ => Some(Scores::default()),
        };
        let (Some(scores), Some(path)) = (&scores, &wanted.sheet) else { return Ok(scores) };
        let reconstruction = Reconstruction {
            encoder: &self.encoder,
            sampler: &self.sampler,
            weights: average,
            normalisation: &self.normalisation,
            augmentation: self.config.augmentation,
            seed: wanted.seed,
        };
        let split = self.splits.as_ref().map_or(&plan.train, |splits| &splits.queries);
        let count = self.config.training.n_sample.min(split.len());
        let batch = sheet::batch(count, plan.batch.pass, among.world(), self.place.device);
        let whole = reconstruction.write(split, count, batch, among, path)?;
        Ok(whole.then(|| scores.clone()))
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::config::Betas;

    use super::*;

    fn config(drop_prob: f64, layer_mask_prob: f64) -> SodaDiffusion {
        SodaDiffusion { betas: Betas::Linear([1e-4, 0.02]), n_t: 1000, drop_prob, layer_mask_prob }
    }

    #[test]
    fn latents_are_hidden_as_often_as_said() {
        tch::manual_seed(7);
        let hidden = mask(&config(0.1, 0.0), 1, 20_000, Device::Cpu).expect("a mask");
        assert_eq!(hidden.size(), [20_000]);
        let share = hidden.mean(Kind::Float).double_value(&[]);
        assert!((share - 0.1).abs() < 0.01, "{share}");
        for (drop_prob, expected) in [(0.0, 0.0), (1.0, 1.0)] {
            let hidden = mask(&config(drop_prob, 0.0), 1, 100, Device::Cpu).expect("a mask");
            assert_eq!(hidden.mean(Kind::Float).double_value(&[]), expected);
        }
    }

    #[test]
    fn parts_are_hidden_on_their_own_and_all_together() {
        tch::manual_seed(8);
        let hidden = mask(&config(0.1, 0.25), 4, 20_000, Device::Cpu).expect("a mask");
        assert_eq!(hidden.size(), [20_000, 4]);
        let share = hidden.mean(Kind::Float).double_value(&[]);
        assert!((share - (0.1 + 0.9 * 0.25)).abs() < 0.01, "{share}");
        let all = hidden.prod_dim_int(1, false, Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((all - (0.1 + 0.9 * 0.25f64.powi(4))).abs() < 0.01, "{all}");
        let alone = mask(&config(0.3, 0.0), 4, 1000, Device::Cpu).expect("a mask");
        assert!(alone.eq_tensor(&alone.select(1, 0).unsqueeze(1)).all().int64_value(&[]) == 1);
    }
}
