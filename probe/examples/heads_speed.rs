//! How long the linear heads of all features of a file take, trained side by side, against one of them:
//! `cargo run --release -p ddae-probe --example heads_speed -- SAMPLES FEATURES HEADS`. The last line is JSON, in seconds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ddae_base::random::numbered_stream;
use ddae_classify::linear::Preset;
use ddae_probe::experiment::{self, ExperimentPlan, Selection};
use ddae_probe::source::feature_set::FeatureSet;
use ddae_probe::source::table::Views;
use ddae_probe::source::{Input, ProbeSource};
use ddae_probe::trained::{Layers, TrainedProbe};
use ddae_store::{Compression, FeatureKey, FeatureType, Layout, Provenance, ShardWriter};
use ndarray::Array2;

const CLASSES: usize = 10;

/// A feature file of `heads` layers: noise with the class's own feature raised.
fn write(
    prefix: &Path,
    samples: usize,
    dim: usize,
    heads: usize,
    seed: u64,
) -> Result<PathBuf, Box<dyn Error>> {
    let keys: Vec<FeatureKey> = (0..heads).map(|head| FeatureKey::new(1, format!("out_{head}"))).collect();
    let layout = Layout {
        keys: keys.iter().map(|key| (key.clone(), dim)).collect(),
        views: 1,
        total: samples,
        dtype: FeatureType::F32,
        compression: Compression::Off,
        provenance: Provenance::default(),
    };
    let mut writer = ShardWriter::create(prefix, 0, 1, 0..samples, &layout)?;
    let mut random = numbered_stream(seed);
    for key in &keys {
        let mut values =
            Array2::from_shape_simple_fn((samples, dim), || (2.0 * random.uniform() - 1.0) as f32);
        for (sample, mut row) in values.rows_mut().into_iter().enumerate() {
            row[sample % CLASSES] += 0.5;
        }
        writer.write(key, 0, 0, values.view())?;
    }
    writer.write_labels(0, &(0..samples).map(|sample| (sample % CLASSES) as i64).collect::<Vec<_>>())?;
    Ok(writer.finish()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [samples, dim, heads] = numbers[..] else { return Err("SAMPLES FEATURES HEADS are wanted".into()) };
    let folder = tempfile::tempdir()?;
    let train = write(&folder.path().join("train"), samples, dim, heads, 0)?;
    let test = write(&folder.path().join("test"), samples / 10, dim, heads, 1)?;
    let preset = Preset::Ddae;
    let probe = TrainedProbe { preset, options: preset.options(), layers: Layers::One };
    let time = |count: usize| -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        let source = ProbeSource::open(&Input::new(&train), &Input::new(&test))?;
        let features =
            (0..count).map(|head| FeatureSet::Taps(vec![FeatureKey::new(1, format!("out_{head}"))]));
        let plan = ExperimentPlan {
            features: features.collect(),
            selection: Selection::Published,
            held_out: 0.2,
            views: Views::Drawn,
            seed: 0,
            shots: None,
        };
        let report = experiment::run(&source, &probe, &plan, &mut ())?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{count} heads: {seconds:.2} s, accuracy {:.4}", report.accuracy);
        Ok(seconds)
    };
    // Once to have the file in memory.
    time(1)?;
    let (one, all) = (time(1)?, time(heads)?);
    println!("{heads} heads of {samples} x {dim} take {:.1} times as long as one", all / one);
    println!("{}", serde_json::json!({ "heads": heads, "one": one, "all": all }));
    Ok(())
}
