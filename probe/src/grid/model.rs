//! The graph that a grid runs: made of weights, or an ONNX file as it is.

use std::path::{Path, PathBuf};

use ddae_base::text::nearest;
use ddae_checkpoint::Checkpoint;
use ddae_export::ExportError;
use ddae_export::export::{ExportPlan, FileOptions};
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::Staging;
use ddae_infer::model_file::ModelFile;
use ddae_model::config::{AnyConfig, ModelConfig, ProcessConfig};
use ddae_model::diffusion::feature_timesteps;
use ddae_model::graph::GraphError;
use ddae_onnx::metadata::{GraphDescription, GraphKind, Pixels};

use crate::error::{ProbeError, Result};

/// The timesteps at which the linear probes of DDAE are published.
const TIMESTEPS_OF_DDPM: [i64; 3] = [1, 11, 21];
const TIMESTEPS_OF_EDM: [i64; 3] = [3, 4, 5];

/// What is searched.
pub enum Model {
    /// Weights, and the export that makes a graph of them.
    Weights(Box<WeightPlan>),
    /// A graph with the layers that it has.
    File(Box<ModelFile>),
}

/// An export of a graph with all layers that are wanted.
pub struct WeightPlan {
    plan: ExportPlan,
    /// What was taken of a run folder, and what was not, a line each.
    pub notes: Vec<String>,
}

/// What a graph can be asked.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its layers with their widths, in its order.
    pub layers: Vec<(String, usize)>,
    /// The data set that its network was trained on, where that is known.
    pub data_set: Option<String>,
    /// The shape of the images that the network sees, or of the latents.
    pub shape: Option<[usize; 3]>,
    /// What the graph takes.
    pub pixels: Pixels,
    process: Option<ProcessConfig>,
    fixed: Option<i64>,
}

/// Whether `path` holds weights rather than a graph: a folder, or a file that is a checkpoint by its content.
pub fn is_weights(path: &Path) -> bool {
    path.is_dir() || Checkpoint::recognises(path)
}

impl Model {
    /// Opens weights and plans an export of the layers that are named, or of all.
    ///
    /// # Errors
    /// When the weights cannot be read, their network has no features, or there is no such layer.
    pub fn of_weights(path: &Path, options: &WeightOptions, layers: &[String]) -> Result<Model> {
        let source =
            WeightSource::open(path, &WeightOptions { kind: GraphKind::Features, ..options.clone() })?;
        let mut notes: Vec<String> =
            source.passed_over.iter().map(|file| format!("passed over: {file}")).collect();
        if path.is_dir() {
            notes.push(format!("of {} its {} is taken", path.display(), source.checkpoint.path().display()));
        }
        let taps = if layers.is_empty() { vec!["all".to_string()] } else { layers.to_vec() };
        let request = GraphRequest { kind: GraphKind::Features, taps, ..GraphRequest::default() };
        let plan = ExportPlan::new(source, request, FileOptions::default()).map_err(|error| match error {
            ExportError::Graph(GraphError::UnknownLayer { name, known }) => unknown_layer(&name, &known),
            other => other.into(),
        })?;
        Ok(Model::Weights(Box::new(WeightPlan { plan, notes })))
    }

    /// What it can be asked.
    pub fn offer(&self) -> Offer {
        match self {
            Model::Weights(weights) => {
                let (config, model) = weights.plan.configuration();
                let data_set = match config {
                    AnyConfig::Run(run) => Some(run.dataset().to_string()),
                    AnyConfig::Model(_) => None,
                };
                Offer::new(&weights.plan.description, model, data_set)
            }
            Model::File(file) => Offer::new(&file.description, &file.model, file.data_set.clone()),
        }
    }

    /// What it says of itself.
    pub fn description(&self) -> &GraphDescription {
        match self {
            Model::Weights(weights) => &weights.plan.description,
            Model::File(file) => &file.description,
        }
    }
}

impl WeightPlan {
    /// The graph as the file `target`: one that is there of the same weights and layers, or else a new one, verified as
    /// `ddae-export` does. Returns the files.
    ///
    /// `staged` is told what there is to remove while it is made, and told of nothing at the end.
    ///
    /// # Errors
    /// When another graph is there and is not to be replaced, or the export fails.
    pub fn write(
        self,
        target: &Path,
        overwrite: bool,
        staged: &dyn Fn(Option<[PathBuf; 2]>),
        progress: &dyn Fn(&str),
    ) -> Result<()> {
        if target.exists() && !overwrite {
            let found = ModelFile::open(target, &[GraphKind::Features], "grid", false)?;
            let unchecked = GraphDescription { verification: None, errors: None, ..found.description };
            let wanted = &self.plan.description;
            if unchecked == *wanted {
                return Ok(());
            }
            let what = match (unchecked.digest == wanted.digest, unchecked.step, wanted.step) {
                (false, Some(found), Some(now)) if found != now => {
                    format!("is of the checkpoint of step {found}, and this one is of step {now}")
                }
                (false, ..) => "is of other weights".to_string(),
                (true, ..) => {
                    "was made of the same weights in another way (layers, configuration or version)"
                        .to_string()
                }
            };
            return Err(ProbeError::File {
                path: target.to_path_buf(),
                reason: format!("it {what}: give --overwrite to begin anew, or another -o"),
            });
        }
        let staging = Staging::beside(target)?;
        staged(Some(staging.leftovers()));
        let exported = self.plan.export(staging, progress);
        staged(None);
        exported?;
        Ok(())
    }
}

impl Offer {
    fn new(description: &GraphDescription, model: &ModelConfig, data_set: Option<String>) -> Offer {
        let layers = description.taps.iter();
        Offer {
            layers: layers.map(|tap| (tap.name.clone(), tap.shape.iter().product())).collect(),
            data_set,
            shape: model.architecture.image_shape(),
            pixels: description.pixels,
            process: model.process.clone(),
            fixed: description.timestep,
        }
    }

    /// The timesteps `asked` for, or the published grid as far as the process has it; 0 alone of a network without a process,
    /// which sees images as they are.
    ///
    /// # Errors
    /// When the graph has one built in, or there are no such timesteps.
    pub fn timesteps(&self, asked: &[i64]) -> Result<Vec<i64>> {
        let usage = |reason: String| Err(ProbeError::Usage(reason));
        if let Some(fixed) = self.fixed {
            return usage(format!(
                "timestep {fixed} is built into this graph, and a grid compares several: export it without --timestep, or \
                 measure its layers with `ddae-infer features` and `ddae-probe linear`"
            ));
        }
        let Some(process) = &self.process else {
            return match asked {
                [] => Ok(vec![0]),
                _ => usage("--timesteps: this network has none; it sees images without noise".to_string()),
            };
        };
        let range = feature_timesteps(process);
        let (first, last) = (range.start(), range.end());
        if let Some(timestep) = asked.iter().find(|timestep| !range.contains(timestep)) {
            return usage(format!("--timesteps {timestep}: this model has {first} to {last}"));
        }
        if let Some(i) = (1..asked.len()).find(|&i| asked[..i].contains(&asked[i])) {
            return usage(format!("--timesteps names {} twice", asked[i]));
        }
        if !asked.is_empty() {
            return Ok(asked.to_vec());
        }
        let published = match process {
            ProcessConfig::Ddpm(_) => TIMESTEPS_OF_DDPM,
            ProcessConfig::Edm(_) => TIMESTEPS_OF_EDM,
        };
        match published.into_iter().filter(|timestep| range.contains(timestep)).collect::<Vec<_>>() {
            none if none.is_empty() => usage(format!(
                "--timesteps is needed, {first} to {last}: the published ones are not among these"
            )),
            found => Ok(found),
        }
    }

    /// Whether images are seen with noise.
    pub fn takes_noise(&self) -> bool {
        self.process.is_some()
    }

    /// The layers `asked` for, or all.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn chosen(&self, asked: &[String]) -> Result<Vec<String>> {
        let known: Vec<&str> = self.layers.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(name) = asked.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(unknown_layer(name, &known.join(", ")));
        }
        if let Some(i) = (1..asked.len()).find(|&i| asked[..i].contains(&asked[i])) {
            return Err(ProbeError::Usage(format!("--layers names {} twice", asked[i])));
        }
        match asked.is_empty() {
            true => Ok(known.into_iter().map(str::to_string).collect()),
            false => Ok(asked.to_vec()),
        }
    }
}

/// `known` is a list with commas.
fn unknown_layer(name: &str, known: &str) -> ProbeError {
    let meant =
        nearest(name, known.split(", ")).map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
    ProbeError::Usage(format!("--layers {name}: there is no such layer{meant}; there are {known}"))
}

#[cfg(test)]
mod tests {
    use ddae_model::config::{DdpmConfig, EdmConfig, Timesteps};

    use super::*;

    fn offer(process: Option<ProcessConfig>, fixed: Option<i64>) -> Offer {
        let layers = [("out_1", 4), ("out_2", 8)].map(|(name, width)| (name.to_string(), width)).to_vec();
        Offer { layers, data_set: None, shape: Some([1, 8, 8]), pixels: Pixels::Unit, process, fixed }
    }

    fn ddpm(n_t: usize) -> ProcessConfig {
        let mut config = DdpmConfig::published(Timesteps::Fraction);
        config.n_t = n_t;
        ProcessConfig::Ddpm(config)
    }

    #[test]
    fn timesteps_are_the_published_ones_that_there_are() {
        let of =
            |process, asked: &[i64]| offer(process, None).timesteps(asked).map_err(|error| error.to_string());
        assert_eq!(of(Some(ddpm(1000)), &[]), Ok(vec![1, 11, 21]));
        assert_eq!(of(Some(ddpm(15)), &[]), Ok(vec![1, 11]));
        assert_eq!(of(Some(ProcessConfig::Edm(EdmConfig::published())), &[]), Ok(vec![3, 4, 5]));
        assert_eq!(of(None, &[]), Ok(vec![0]));
        assert_eq!(of(Some(ddpm(1000)), &[101, 1]), Ok(vec![101, 1]));
        let refused = |process, asked: &[i64], wanted: &str| {
            let error = of(process, asked).expect_err(wanted);
            assert!(error.contains(wanted), "{error}");
        };
        refused(Some(ddpm(100)), &[11, 101], "--timesteps 101: this model has 1 to 100");
        refused(Some(ddpm(100)), &[11, 1, 11], "--timesteps names 11 twice");
        refused(None, &[11], "this network has none");
        let error = offer(Some(ddpm(100)), Some(7)).timesteps(&[]).expect_err("built in").to_string();
        assert!(error.starts_with("timestep 7 is built into this graph"), "{error}");
    }

    #[test]
    fn layers_are_named_as_the_graph_names_them() {
        let offer = offer(None, None);
        assert_eq!(offer.chosen(&[]).expect("all"), ["out_1", "out_2"]);
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            offer.chosen(&names).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&["out_2"]), Ok(vec!["out_2".to_string()]));
        let error = chosen(&["out2"]).expect_err("unknown");
        assert_eq!(
            error,
            "--layers out2: there is no such layer (did you mean out_2?); there are out_1, out_2"
        );
        assert_eq!(chosen(&["out_1", "out_1"]).expect_err("twice"), "--layers names out_1 twice");
    }
}
