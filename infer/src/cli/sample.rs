//! `ddae-infer sample`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ddae_data::sheet::Sheet;
use ddae_infer::error::InferError;
use ddae_infer::model_file::ModelFile;
use ddae_infer::sample::{
    NpyWriter, PictureFolder, Sampling, Settings, picture_path, read_picture, to_levels,
};
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::{Plan, SamplerKind};
use ddae_model::onnx_metadata::GraphKind;
use serde_json::json;

use super::progress::Progress;
use super::seeds::Seeds;
use super::{Running, Usage, stop_flag};

/// Draws pictures with a sampler graph.
///
/// Each picture is a function of the graph, the sampler's settings and its seed: the same pictures whatever the batch
/// size and the number of threads. Pictures that are in the folder already are not drawn again, so an interrupted
/// run goes on with the same command.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The graph: `ddae-export CHECKPOINT --graph sampler`
    model: PathBuf,

    /// Seeds of the pictures: 0-4999, or 3,7,10-12
    #[arg(long, default_value = "0-63")]
    seeds: Seeds,

    /// Folder for PNG files named by their seeds, 000042.png
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// The sampler [default: ddim for a DDPM, edm for an EDM]
    #[arg(long, value_enum)]
    sampler: Option<Sampler>,

    /// Steps [default: ddim 100, edm 18; ddpm always takes all timesteps]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Noise added on the way, 0 to 1 (ddim: eta; edm: churn)
    #[arg(long, default_value_t = 0.0)]
    eta: f64,

    /// A sheet of all pictures
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,

    /// Columns of the sheet
    #[arg(long, default_value_t = 8, value_name = "N")]
    columns: usize,

    /// All pictures as one array of uint8 [N, H, W, C]
    #[arg(long, value_name = "FILE.npy")]
    npy: Option<PathBuf>,

    /// Draw pictures again that are there, and replace pictures of other settings
    #[arg(long)]
    overwrite: bool,

    /// Say what would be done, and stop
    #[arg(long)]
    dry_run: bool,

    /// The summary as JSON on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    running: Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sampler {
    /// Ancestral sampling over all timesteps
    Ddpm,
    /// DDIM
    Ddim,
    /// EDM's Heun method
    Edm,
}

impl Arguments {
    /// The sampler's name, steps and plan for a model.
    fn plan(&self, process: &ProcessConfig) -> Result<(&'static str, usize, Plan), Usage> {
        let usage = |error: ddae_model::diffusion::PlanError| Usage(error.to_string());
        let default = match process {
            ProcessConfig::Ddpm(_) => Sampler::Ddim,
            ProcessConfig::Edm(_) => Sampler::Edm,
        };
        let (name, steps, kind) = match self.sampler.unwrap_or(default) {
            Sampler::Ddpm => {
                let all = if let ProcessConfig::Ddpm(ddpm) = process { ddpm.n_t } else { 0 };
                if self.steps.is_some_and(|steps| steps != all) {
                    return Err(Usage(format!("--sampler ddpm takes all {all} steps; use ddim for fewer")));
                }
                if self.eta != 0.0 {
                    return Err(Usage("--sampler ddpm has no --eta; ddim has".to_string()));
                }
                ("ddpm", all, SamplerKind::Ddpm)
            }
            Sampler::Ddim => {
                let steps = self.steps.unwrap_or(100);
                ("ddim", steps, SamplerKind::Ddim { steps, eta: self.eta })
            }
            Sampler::Edm => {
                let steps = self.steps.unwrap_or(18);
                ("edm", steps, SamplerKind::Edm { steps, eta: self.eta })
            }
        };
        let plan = match process {
            ProcessConfig::Ddpm(config) => Plan::ddpm(config, kind),
            ProcessConfig::Edm(config) => Plan::edm(config, kind),
        };
        Ok((name, steps, plan.map_err(usage)?))
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.columns == 0 {
        bail!(Usage("--columns must be at least 1".to_string()));
    }
    let running = &arguments.running;
    let mut model =
        ModelFile::open(&arguments.model, GraphKind::Sampler, "sample", running.device, running.threads())?;
    let (sampler, steps, plan) = arguments.plan(&model.config.process)?;
    let shape = model.config.network.image_shape;
    let settings = Settings {
        model: model.description.digest.clone(),
        sampler: sampler.to_string(),
        steps,
        eta: arguments.eta,
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    if arguments.dry_run {
        println!(
            "{} pictures {shape:?} with {sampler}, {} network calls each, on {} ({} sessions), into {}",
            arguments.seeds.0.len(),
            plan.steps.len(),
            model.provider,
            model.workers.len(),
            arguments.output.display()
        );
        return Ok(());
    }
    let stop = stop_flag()?;
    let folder = PictureFolder::open(&arguments.output, &settings, arguments.overwrite)?;
    let missing: Vec<u64> = arguments
        .seeds
        .0
        .iter()
        .copied()
        .filter(|seed| arguments.overwrite || !folder.holds(*seed))
        .collect();
    let mut progress = Progress::new(missing.len());
    let batch = running.batch().min(missing.len().div_ceil(model.workers.len()).max(1));
    let sampling = Sampling { model: &mut model, plan: &plan, batch };
    let drawn = sampling.run(&missing, stop, |at, picture| {
        folder.write(missing[at], &to_levels(picture), shape)?;
        progress.add(1);
        Ok(())
    });
    progress.finish();
    drawn?;
    if stop.load(Ordering::Relaxed) && missing.iter().any(|seed| !folder.holds(*seed)) {
        let kept = "the pictures drawn so far are kept; the same command goes on".to_string();
        return Err(InferError::Interrupted(kept).into());
    }
    let seeds = &arguments.seeds.0;
    if let Some(path) = &arguments.sheet {
        write_sheet(path, &arguments.output, seeds, shape, arguments.columns)?;
    }
    if let Some(path) = &arguments.npy {
        write_npy(path, &arguments.output, seeds, shape)?;
    }
    report(arguments, &model, &settings, missing.len(), &progress)
}

fn write_sheet(path: &Path, folder: &Path, seeds: &[u64], shape: [usize; 3], columns: usize) -> Result<()> {
    let scale = (56 / shape[1].max(shape[2])).max(1);
    let mut sheet = Sheet::new(columns, shape)?.gap(2).scale(scale);
    for seed in seeds {
        sheet.push_u8(&read_picture(&picture_path(folder, *seed), shape)?)?;
    }
    sheet.write_png(path).with_context(|| "cannot write the sheet")
}

fn write_npy(path: &Path, folder: &Path, seeds: &[u64], shape: [usize; 3]) -> Result<()> {
    let mut writer = NpyWriter::create(path, seeds.len(), shape)?;
    for seed in seeds {
        writer.push(&read_picture(&picture_path(folder, *seed), shape)?)?;
    }
    Ok(writer.finish()?)
}

fn report(
    arguments: &Arguments,
    model: &ModelFile,
    settings: &Settings,
    drawn: usize,
    progress: &Progress,
) -> Result<()> {
    let (total, folder) = (arguments.seeds.0.len(), arguments.output.display());
    if arguments.json {
        let summary = json!({
            "pictures": total, "drawn": drawn, "seconds": progress.seconds(), "pictures_per_second": progress.rate(),
            "provider": model.provider, "folder": arguments.output, "settings": settings,
        });
        println!("{summary}");
        return Ok(());
    }
    println!(
        "{drawn} pictures drawn in {:.1} s ({:.2}/s, {}, {} steps of {}), {total} in {folder}",
        progress.seconds(),
        progress.rate(),
        model.provider,
        settings.steps,
        settings.sampler
    );
    if let Some(sheet) = &arguments.sheet {
        println!("sheet: {}", sheet.display());
    }
    Ok(())
}
