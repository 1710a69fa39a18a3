//! What generated images are measured by: against the tools that publish these numbers (`tests/fixtures/generation.py`), and
//! what it is called.

mod encoders;
mod files;
mod labels;
mod numbers;
mod refusals;
mod resizing;
mod tools;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ddae_checkpoint::write_tensors;
use ddae_export::export::{ExportPlan, FileOptions};
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::Staging;
use ddae_model::networks::{InceptionConfig, inception_graph};
use ddae_onnx::metadata::GraphKind;
use ddae_tests::cases::imported::inception_weights;
use ddae_tests::{Fixture, relative_error, rule_values};
use serde_json::Value;
use tempfile::TempDir;

/// How near numbers of the tools must be, relative.
const TOLERANCE: f64 = 1e-4;

#[track_caller]
fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    let error = relative_error(ours, theirs);
    println!("{what}: {error:.1e}");
    assert!(error <= TOLERANCE, "{what}: {ours:?} and {theirs:?}: relative error {error:e}");
}

/// A number, or several, of the fixture.
fn stored(case: &Fixture, name: &str) -> Vec<f64> {
    case.f64(&format!("output.{name}")).1
}

/// Levels of the fixture's pictures, `[3, H, W]`, each with a brightness and contrast of its own.
fn picture(set: &str, index: usize, [height, width]: [usize; 2]) -> Vec<u8> {
    let (lo, hi) = match set {
        "real" => (index % 8 * 10, 256 - index % 11 * 9),
        _ => (index % 7 * 9, 176 - index % 9 * 18),
    };
    let levels = rule_values(&format!("{set} {index}"), 3 * height * width, lo as f64, hi as f64);
    levels.into_iter().map(|level| level as u8).collect()
}

fn save(path: &Path, levels: &[u8], [height, width]: [usize; 2]) {
    let image = image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        image::Rgb([0, 1, 2].map(|channel| levels[channel * height * width + at]))
    });
    image.save(path).expect("an image");
}

/// Inception with the rule's weights, for 299x299 with its logits, `inception.onnx`, and for 32x32 without, `small.onnx`; and
/// the fixture's pictures: 24 in `real`, 24 in `fake`.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("inception.safetensors");
    let config = InceptionConfig { image_size: [299, 299], classifier: true };
    let graph = inception_graph(&config).expect("a graph");
    // The graph gives the features alone, and the file is to hold the classifier, too.
    write_tensors(&weights, Default::default(), inception_weights(&graph).iter()).expect("a file of weights");
    for (name, taps, side) in [("inception", "pool,logits_unbiased", 299), ("small", "pool", 32)] {
        let options = WeightOptions { image_size: Some([side, side]), ..WeightOptions::default() };
        let source = WeightSource::open(&weights, &options).expect("a source");
        let taps = taps.split(',').map(str::to_string).collect();
        let request = GraphRequest { kind: GraphKind::Features, taps, ..GraphRequest::default() };
        let plan = ExportPlan::new(source, request, FileOptions::default()).expect("a plan");
        let target = folder.path().join(format!("{name}.onnx"));
        plan.export(Staging::beside(&target).expect("a folder"), |_| {}).expect("an export");
    }
    fs::remove_file(weights).expect("removed");
    for set in ["real", "fake"] {
        fs::create_dir(folder.path().join(set)).expect("a folder");
        for index in 0..24 {
            let path = folder.path().join(format!("{set}/{index:03}.png"));
            save(&path, &picture(set, index, [32, 32]), [32, 32]);
        }
    }
    folder
});

/// A command line with the files of [`PLACE`] in place of the words for them.
fn line(text: &str) -> String {
    let path = |name: &str| PLACE.path().join(name).display().to_string();
    [("INCEPTION", "inception.onnx"), ("SMALL", "small.onnx"), ("REAL", "real"), ("FAKE", "fake")]
        .into_iter()
        .fold(text.to_string(), |text, (word, name)| text.replace(word, &path(name)))
}

fn number(object: &Value, path: &str) -> f64 {
    object.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} of {object}"))
}
