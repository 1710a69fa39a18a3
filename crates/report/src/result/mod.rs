//! What `ddae-probe … --json` printed, read from files.

mod noise;

use std::path::{Path, PathBuf};

use ddae_base::{read_bounded, shell};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ReportError;
pub use noise::{AtTimestep, NoiseProbe};

/// The most bytes of a file with results: a confusion matrix of 1,000 classes has some 3 MB.
const LARGEST: usize = 64 << 20;

/// A result of any kind.
#[derive(Clone, Debug)]
pub enum Measured {
    /// `ddae.probe/1`, or the measure of the choice in `ddae.grid/1`.
    Probe(Box<Probe>),
    /// `ddae.contrastive/1`.
    Contrast(Box<Contrast>),
    /// `ddae.noise_probe/1`.
    Noise(Box<NoiseProbe>),
}

/// Which program printed a result, how it was called, and where.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct MadeBy {
    /// The program and its version.
    pub tool: String,
    /// The command line.
    pub command: String,
    /// The machine.
    pub machine: String,
}

/// What a probe found.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    /// The file that it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// What it is called in plots.
    #[serde(skip)]
    pub name: String,
    /// The command.
    pub probe: String,
    /// The features that were used.
    pub features: String,
    /// Their number.
    pub dim: u64,
    /// Accuracy on the test set, 0 to 1.
    pub accuracy: f64,
    /// Its standard error, where it is said.
    #[serde(default)]
    pub standard_error: Option<f64>,
    /// Mean and deviation of several seeds, where there are several.
    #[serde(default)]
    pub seeds: Option<Seeds>,
    /// Test samples whose class was found.
    pub correct: u64,
    /// The classes.
    pub classes: Vec<Class>,
    /// `[true class][predicted class]`.
    pub confusion: Vec<Vec<u64>>,
    /// How features were chosen.
    pub selection: Selection,
    /// What the numbers depend on.
    pub protocol: Map<String, Value>,
    /// The training split.
    pub train: Split,
    /// The test split.
    pub test: Split,
    /// What to know before trusting the numbers.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How it was made, where it is said.
    #[serde(default)]
    pub made_by: Option<MadeBy>,
}

/// Accuracies with several seeds.
#[derive(Clone, Debug, Deserialize)]
pub struct Seeds {
    /// One for each.
    pub accuracies: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

/// One class on the test set.
#[derive(Clone, Debug, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Test samples of it.
    pub samples: u64,
    /// Those that were found.
    pub correct: u64,
}

/// How features were chosen.
#[derive(Clone, Debug, Deserialize)]
pub struct Selection {
    /// In words.
    pub features: String,
    /// Training samples that were held out.
    #[serde(default)]
    pub held_out_samples: u64,
    /// What was tried.
    #[serde(default)]
    pub trials: Vec<Trial>,
}

/// Features that were tried.
#[derive(Clone, Debug, Deserialize)]
pub struct Trial {
    /// Their name.
    pub features: String,
    /// Accuracy on held-out training samples.
    #[serde(default)]
    pub held_out_accuracy: Option<f64>,
    /// Number of those samples, where it is not that of all trials.
    #[serde(default)]
    pub samples: Option<u64>,
    /// Accuracy on the test set, where features were chosen there.
    #[serde(default)]
    pub test_accuracy: Option<f64>,
}

/// What a file of features says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Split {
    /// The file, or the data set.
    #[serde(default)]
    pub origin: String,
    /// Its samples.
    pub samples: u64,
    /// Everything else.
    #[serde(default)]
    pub attributes: Map<String, Value>,
}

/// Alignment and uniformity.
#[derive(Clone, Debug, Deserialize)]
pub struct Contrast {
    /// The file that it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// Of each of the features.
    pub features: Vec<FeatureContrast>,
    /// Images that were compared.
    pub pictures: u64,
    /// Images in a batch.
    pub batch: u64,
    /// Which views of which files.
    pub noisings: String,
    /// What the file says of itself.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// What to know before trusting the numbers.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How it was made, where it is said.
    #[serde(default)]
    pub made_by: Option<MadeBy>,
}

/// Of one of the features.
#[derive(Clone, Debug, Deserialize)]
pub struct FeatureContrast {
    /// Their name.
    pub features: String,
    /// Mean squared distance of two noisings, 0 to 4.
    pub alignment: f64,
    /// Logarithm of the mean Gaussian kernel, -8 to 0.
    pub uniformity: f64,
}

/// Reads the results in a file: one object, or several after each other.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn read(path: &Path) -> Result<Vec<Measured>, ReportError> {
    let text = read_bounded(path, LARGEST).map_err(|error| ReportError::file(path, error))?;
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(&text).into_iter::<Value>() {
        let value = value.map_err(|error| {
            ReportError::file(path, format!("is not what 'ddae-probe … --json' prints ({error}): write it as in 'ddae-probe knn … --json > knn.json'"))
        })?;
        found.push(one(path, value)?);
    }
    if found.is_empty() {
        return Err(ReportError::file(
            path,
            "is empty: write results into it as in 'ddae-probe knn … --json > knn.json'",
        ));
    }
    Ok(found)
}

fn one(path: &Path, mut value: Value) -> Result<Measured, ReportError> {
    let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default().to_string();
    let damaged =
        |error: serde_json::Error| ReportError::file(path, format!("is no whole {schema}: {error}"));
    match schema.as_str() {
        "ddae.probe/1" | "ddae.grid/1" => {
            if schema == "ddae.grid/1" {
                // The measure of its choice is a probe's, with all pairs among what was tried.
                let (mut probe, made_by) = (value["probe"].take(), value["made_by"].take());
                if let Some(probe) = probe.as_object_mut() {
                    probe.insert("made_by".to_string(), made_by);
                }
                value = probe;
            }
            let mut probe: Probe = serde_json::from_value(value).map_err(damaged)?;
            probe.file = path.to_path_buf();
            probe.check().map_err(|reason| ReportError::file(path, reason))?;
            Ok(Measured::Probe(Box::new(probe)))
        }
        "ddae.contrastive/1" => {
            let mut contrast: Contrast = serde_json::from_value(value).map_err(damaged)?;
            contrast.file = path.to_path_buf();
            Ok(Measured::Contrast(Box::new(contrast)))
        }
        "ddae.noise_probe/1" => {
            let mut noise: NoiseProbe = serde_json::from_value(value).map_err(damaged)?;
            noise.file = path.to_path_buf();
            noise.check().map_err(|reason| ReportError::file(path, reason))?;
            Ok(Measured::Noise(Box::new(noise)))
        }
        "ddae.error/1" => {
            Err(ReportError::file(path, "holds the error of a command that failed: run it again"))
        }
        "" => Err(ReportError::file(path, "has no 'schema': give what 'ddae-probe … --json' prints")),
        other => Err(ReportError::file(
            path,
            format!(
                "holds {}, which a report does not show; it shows ddae.probe/1 (logistic, linear, mlp, knn), \
                 ddae.grid/1 (grid), ddae.noise_probe/1 (noise-mlp) and ddae.contrastive/1 (contrastive)",
                ddae_base::text::excerpt(other, 60)
            ),
        )),
    }
}

impl Measured {
    /// The file that it was read from.
    pub fn file(&self) -> &Path {
        match self {
            Measured::Probe(probe) => &probe.file,
            Measured::Contrast(contrast) => &contrast.file,
            Measured::Noise(noise) => &noise.file,
        }
    }
}

impl Probe {
    /// Whether the numbers belong together.
    fn check(&self) -> Result<(), String> {
        let classes = self.classes.len();
        if self.confusion.len() != classes || self.confusion.iter().any(|row| row.len() != classes) {
            return Err(format!("the confusion matrix is not of the {classes} classes"));
        }
        let samples: u64 = self.classes.iter().map(|class| class.samples).sum();
        if samples != self.test.samples || samples == 0 || self.correct > samples {
            return Err(format!("its classes have {samples} test samples, of {}", self.test.samples));
        }
        if !(0.0..=1.0).contains(&self.accuracy) {
            return Err(format!("the accuracy is {}, not between 0 and 1", self.accuracy));
        }
        Ok(())
    }

    /// The standard error of the accuracy: as the file says it, or that of a share of so many samples.
    pub fn error(&self) -> f64 {
        self.standard_error.unwrap_or_else(|| standard_error(self.accuracy, self.test.samples))
    }

    /// Finished epochs of the checkpoint, where they are known.
    pub fn epoch(&self) -> Option<u64> {
        self.train.attributes.get("epoch").and_then(Value::as_u64)
    }

    /// Training samples of each class that were learned from, where they were few.
    pub fn shots(&self) -> Option<u64> {
        self.protocol.get("shots").and_then(Value::as_u64)
    }

    /// The seed of what was drawn.
    pub fn seed(&self) -> Option<u64> {
        self.protocol.get("seed").and_then(Value::as_u64)
    }

    /// The command that finds the numbers again, from the folder in which it was run: as it was recorded, or, of files
    /// that do not say it, as the protocol tells.
    pub fn command(&self) -> String {
        if let Some(made_by) = &self.made_by {
            return made_by.command.clone();
        }
        let mut command = format!("ddae-probe {}", shell::word(&self.probe));
        let mut add =
            |option: &str, value: &str| command.push_str(&format!(" {option} {}", shell::word(value)));
        if self.features == "pixels" {
            add("--pixels", self.train.origin.rsplit_once('/').map_or(&self.train.origin, |(name, _)| name));
        } else {
            add("--train", &self.train.origin);
            add("--test", &self.test.origin);
            let tried: Vec<&str> =
                self.selection.trials.iter().map(|trial| trial.features.as_str()).collect();
            add("--features", &if tried.is_empty() { self.features.clone() } else { tried.join(",") });
        }
        let text = |key: &str| {
            self.protocol
                .get(key)
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string))
        };
        let c = text("c_from").filter(|from| from == "given").and_then(|_| text("c"));
        let options = [
            ("--protocol", text("selection")),
            ("--held-out", text("held_out")),
            ("--seed", text("seed")),
            ("--normalise", text("normalise")),
            ("--k", text("k")),
            ("--metric", text("metric")),
            ("--votes", text("votes")),
            ("--c", c),
            ("--solver", text("solver")),
            ("--max-iterations", text("max_iterations")),
            (
                "--preset",
                text("preset").map(|preset| preset.split(' ').next().unwrap_or_default().to_string()),
            ),
            ("--epochs", text("epochs")),
            ("--lr", text("learning_rate")),
            ("--batch", text("batch")),
            (
                "--batch-norm",
                text("batch_norm").map(|norm| (if norm == "none" { "off" } else { "on" }).to_string()),
            ),
            (
                "--views",
                text("train_views")
                    .and_then(|views| views.split_once(" of ").map(|(name, _)| name.to_string())),
            ),
        ];
        options.iter().for_each(|(option, value)| {
            if let Some(value) = value {
                add(option, value);
            }
        });
        command
    }
}

impl Contrast {
    /// Finished epochs of the checkpoint, where they are known.
    pub fn epoch(&self) -> Option<u64> {
        self.attributes.get("epoch").and_then(Value::as_u64)
    }
}

/// The standard error of a share of independent samples, √(p (1 - p) / n).
pub fn standard_error(share: f64, samples: u64) -> f64 {
    if samples == 0 { 0.0 } else { (share * (1.0 - share) / samples as f64).max(0.0).sqrt() }
}

/// Gives each result a name of its own: probe and features, where these are not enough the file, and of several in a file
/// their number.
pub fn name(results: &mut [Measured]) {
    let kept = |text: String, shots: Option<u64>| match shots {
        Some(shots) => format!("{text}, {shots} of each class"),
        None => text,
    };
    let shorts: Vec<String> = results
        .iter()
        .map(|result| match result {
            Measured::Probe(probe) => kept(format!("{} {}", probe.probe, probe.features), probe.shots()),
            Measured::Noise(noise) => format!("noise-mlp {}", noise.tap),
            Measured::Contrast(_) => "contrastive".to_string(),
        })
        .collect();
    let with = |of: fn(&Path) -> String| {
        let of = |(result, short): (&Measured, &String)| format!("{}: {short}", of(result.file()));
        results.iter().zip(&shorts).map(of).collect::<Vec<String>>()
    };
    let stems = with(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let paths = with(|file| file.display().to_string());
    let count = |names: &[String], name: &String| names.iter().filter(|known| *known == name).count();
    for (i, result) in results.iter_mut().enumerate() {
        let known = [&shorts, &stems, &paths].into_iter().find(|names| count(names, &names[i]) == 1);
        let name = known.map_or_else(
            || {
                // Several of one file, or of files of one name in several folders.
                let one_file = count(&stems, &stems[i]) == count(&paths, &paths[i]);
                let names = if one_file { &stems } else { &paths };
                format!("{}, number {}", names[i], count(&names[..=i], &names[i]))
            },
            |names| names[i].clone(),
        );
        match result {
            Measured::Probe(probe) => probe.name = name,
            Measured::Noise(noise) => noise.name = name,
            // Its plots have the names of features.
            Measured::Contrast(_) => {}
        }
    }
}

/// Timestep and layer of a single feature: `t11/out_6`.
pub fn place(features: &str) -> Option<(i64, &str)> {
    let (timestep, layer) = features.strip_prefix('t')?.split_once('/')?;
    (!layer.contains('+')).then_some((timestep.parse().ok()?, layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result as earlier versions printed it.
    const OLD: &str = r#"{"schema":"ddae.probe/1","probe":"knn","features":"t11/out_2","dim":4,"accuracy":0.75,"correct":3,
        "classes":[{"label":0,"name":"ant","samples":2,"correct":2,"accuracy":1.0},{"label":1,"name":"bee","samples":2,"correct":1,"accuracy":0.5}],
        "confusion":[[2,0],[1,1]],"selection":{"features":"chosen on held-out training samples","held_out_samples":8,
        "trials":[{"features":"t11/out_2","held_out_accuracy":0.8,"test_accuracy":null,"settings":[]},{"features":"t21/out_2","held_out_accuracy":0.7,"test_accuracy":null,"settings":[]}]},
        "protocol":{"k":20,"metric":"euclidean","votes":"uniform","normalise":"l2","train_views":"average of 2","selection":"held-out","held_out":0.2,"seed":3},
        "train":{"origin":"my train.h5","samples":40,"views":2,"attributes":{"epoch":4}},"test":{"origin":"test.h5","samples":4,"views":1,"attributes":{}},"warnings":[]}"#;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.json");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn what_a_file_does_not_say_follows_from_what_it_says() {
        let (_folder, path) = file(&format!("{OLD}\n{OLD}"));
        let mut found = read(&path).expect("results");
        name(&mut found);
        let [Measured::Probe(first), Measured::Probe(_)] = found.as_slice() else {
            panic!("two probes: {found:?}")
        };
        assert!((first.error() - (0.75f64 * 0.25 / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!((first.epoch(), first.seed()), (Some(4), Some(3)));
        assert!(first.name == "r: knn t11/out_2, number 1", "two of a file: {}", first.name);
        assert_eq!(
            first.command(),
            "ddae-probe knn --train 'my train.h5' --test test.h5 --features t11/out_2,t21/out_2 --protocol held-out \
             --held-out 0.2 --seed 3 --normalise l2 --k 20 --metric euclidean --votes uniform --views average"
        );
    }

    #[test]
    fn what_the_file_says_of_its_making_is_believed() {
        let made = r#""made_by":{"tool":"ddae-probe 9","command":"ddae-probe knn -k 1","machine":"m"},"standard_error":0.5,"#;
        let (_folder, path) = file(&OLD.replace(r#""probe":"knn","#, &format!(r#"{made}"probe":"knn","#)));
        let found = read(&path).expect("results");
        let [Measured::Probe(probe)] = found.as_slice() else { panic!("a probe: {found:?}") };
        assert_eq!((probe.command().as_str(), probe.error()), ("ddae-probe knn -k 1", 0.5));
    }

    #[test]
    fn other_files_are_refused() {
        for (text, wanted) in [
            ("", "is empty"),
            ("accuracy 80 %", "is not what 'ddae-probe … --json' prints"),
            ("{}", "has no 'schema'"),
            (r#"{"schema":"ddae.fid/1"}"#, "holds ddae.fid/1, which a report does not show"),
            (r#"{"schema":"ddae.error/1","error":"x"}"#, "holds the error of a command that failed"),
            (r#"{"schema":"ddae.probe/1"}"#, "is no whole ddae.probe/1: missing field"),
            (&OLD.replace("[[2,0],[1,1]]", "[[2,0]]"), "the confusion matrix is not of the 2 classes"),
            (
                &OLD.replace(r#""origin":"test.h5","samples":4"#, r#""origin":"test.h5","samples":5"#),
                "its classes have 4 test samples, of 5",
            ),
            (&OLD.replace("0.75", "75"), "the accuracy is 75, not between 0 and 1"),
        ] {
            let (_folder, path) = file(text);
            let error = read(&path).expect_err("refused").to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert_eq!(place("t11/out_6"), Some((11, "out_6")));
        assert_eq!([place("t11/out_6+t21/out_7"), place("pixels"), place("tx/a")], [None; 3]);
    }
}
