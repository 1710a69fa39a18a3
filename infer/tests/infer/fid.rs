//! Fréchet distances: against pytorch-fid's, and of images through Inception with the fixtures' weights.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ddae_checkpoint::write_tensors;
use ddae_export::export::{ExportPlan, FileOptions};
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::Staging;
use ddae_infer::fid::{Accumulator, Statistics, archive, frechet_distance};
use ddae_onnx::metadata::GraphKind;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::cases::imported::fid_inception;
use ddae_tests::{fixture, relative_error, rule_values, tolerance};
use ndarray::{Array2, Axis};
use serde_json::json;
use tempfile::TempDir;

use crate::scene::{done, infer, names, refuses};

#[test]
fn the_distance_is_that_of_pytorch_fid() {
    let case = fixture("frechet_distance");
    let statistics = |name: &str| {
        let (shape, values) = case.f64(name);
        let rows = Array2::from_shape_vec((shape[0], shape[1]), values).expect("a matrix");
        let mut accumulator = Accumulator::new(shape[1]);
        for batch in rows.axis_chunks_iter(Axis(0), 37) {
            accumulator.add(batch).expect("finite");
        }
        accumulator.finish().expect("statistics")
    };
    let (a, b) = (statistics("input.a"), statistics("input.b"));
    for (a, b) in [(&a, &b), (&b, &a)] {
        let distance = frechet_distance(a, b).expect("a distance").total();
        let error = relative_error(&[distance], &case.f64("output.fid").1);
        println!("frechet_distance: {error:.1e}");
        assert!(error <= tolerance::NETWORK, "{distance}: relative error {error:e}");
    }
}

/// Inception for images of 32x32, `inception.onnx`, and folders of such images: `real` with 6, `fake` with 5.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("inception.safetensors");
    write_tensors(&weights, Default::default(), fid_inception().weights.iter()).expect("a file of weights");
    let options = WeightOptions { image_size: Some([32, 32]), ..WeightOptions::default() };
    let source = WeightSource::open(&weights, &options).expect("a source");
    let request = GraphRequest {
        kind: GraphKind::Features,
        taps: vec!["maxpool1".to_string(), "pool".to_string()],
        ..GraphRequest::default()
    };
    let plan = ExportPlan::new(source, request, FileOptions::default()).expect("a plan");
    plan.export(Staging::beside(&folder.path().join("inception.onnx")).expect("a folder"), |_| {})
        .expect("an export");
    fs::remove_file(weights).expect("removed");
    for (name, count) in [("real", 6), ("fake", 5)] {
        // The folder is a data set as well, of one class.
        let of_class = folder.path().join(format!("{name}/train/all"));
        fs::create_dir_all(&of_class).expect("a folder");
        for i in 0..count {
            let levels = rule_values(&format!("{name} {i}"), 3 * 32 * 32, 0.0, 256.0);
            let levels = levels.into_iter().map(|level| level as u8).collect();
            let image = image::RgbImage::from_raw(32, 32, levels).expect("3072 levels");
            image.save(of_class.join(format!("{i}.png"))).expect("an image");
        }
    }
    folder
});

fn inception() -> PathBuf {
    PLACE.path().join("inception.onnx")
}

fn images(name: &str) -> PathBuf {
    PLACE.path().join(format!("{name}/train/all"))
}

/// A command line with INCEPTION, REAL and FAKE for the graph and the folders of images, ROOT for the data set of the first.
fn line(text: &str) -> String {
    let words = [
        ("INCEPTION", inception()),
        ("REAL", images("real")),
        ("FAKE", images("fake")),
        ("ROOT", PLACE.path().join("real")),
    ];
    words
        .into_iter()
        .fold(text.to_string(), |text, (word, path)| text.replace(word, &path.display().to_string()))
}

/// Statistics from the rows of a feature file, in two passes.
fn by_hand(path: &Path) -> Statistics {
    let file = FeatureFile::open(path).expect("a feature file");
    let rows = file.read(&FeatureKey::new(0, "pool"), 0, 0..file.len()).expect("rows").mapv(f64::from);
    let mean = rows.mean_axis(Axis(0)).expect("rows");
    let centred = &rows - &mean;
    let covariance = centred.t().dot(&centred) / (file.len() - 1) as f64;
    Statistics { mean, covariance, count: Some(file.len() as u64), network: None }
}

#[test]
fn statistics_that_are_kept_have_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = ddae_base::lock::Lock::output(&folder.path().join("real.npz")).expect("free");
    let ended = infer(folder.path(), &line("fid REAL FAKE --inception INCEPTION --save-real real.npz"));
    let wanted = "error: real.npz: another ddae-infer is writing here; wait for it, or choose another output";
    assert_eq!(ended.error(&[1]), wanted);
    drop(held);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn images_features_and_statistics_have_the_same_distance() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let of_images = infer(
        root,
        &line(
            "fid REAL FAKE --inception INCEPTION --save-real real.npz --save-fake fake.npz --json --batch 4",
        ),
    )
    .json();
    let fid = of_images["fid"].as_f64().expect("a number");
    assert!(fid > 0.01, "{fid}");
    let parts = ["of_means", "of_covariances"].map(|part| of_images[part].as_f64().expect("a number"));
    assert!((parts[0] + parts[1] - fid).abs() < 1e-12 * fid);
    assert_eq!((&of_images["features"], &of_images["images"]), (&json!(2048), &json!(11)));
    assert_eq!(of_images["real"]["pictures"], 6);
    assert_eq!((&of_images["fake"]["pictures"], &of_images["precision"]), (&json!(5), &json!("f32")));
    let warning = of_images["warnings"][1].as_str().expect("a warning");
    assert!(warning.contains("has 5 images, not more than the 2048 features"), "{warning}");
    assert_eq!(names(root), ["fake.npz", "real.npz"]);

    // Other batches, another number of sessions, and a data set in place of a folder: the same bits.
    let again = "fid folder FAKE --data-root ROOT --inception INCEPTION --batch 3 --threads 1 --json";
    assert_eq!(infer(root, &line(again)).json()["fid"], of_images["fid"]);

    // What was kept, against itself and against features.
    let kept = infer(root, "fid real.npz fake.npz --json").json();
    assert_eq!(kept["schema"], "ddae.fid/1");
    assert_eq!(kept["fid"], of_images["fid"]);
    assert_eq!(kept["real"]["network"], of_images["real"]["network"]);
    let features = "features INCEPTION --data folder --data-root ROOT -o real";
    done(root, &line(features));
    assert_eq!(infer(root, "fid real.h5 fake.npz --json").json()["fid"], of_images["fid"]);
    let same = infer(root, "fid real.h5 real.npz --json").json();
    assert!(same["fid"].as_f64().expect("a number").abs() < 1e-8 * fid, "{same}");

    // By hand.
    let (real, fake) =
        (by_hand(&root.join("real.h5")), archive::read(&root.join("fake.npz")).expect("statistics"));
    let expected = frechet_distance(&real, &fake).expect("a distance").total();
    assert!((fid / expected - 1.0).abs() < 1e-9, "{fid} {expected}");

    // Features of images that were changed are not what is published.
    done(root, &line("features INCEPTION --data folder --data-root ROOT -o flipped --flip"));
    let warning = infer(root, "fid flipped.h5 fake.npz --json").json()["warnings"][0].clone();
    let expected =
        "the images of flipped.h5 were changed before Inception saw them (flip): as published, they are not";
    assert_eq!(warning, expected);

    let text = done(root, "fid real.npz fake.npz");
    assert!(
        text.starts_with(&format!("FID       {fid:.4}\nparts     {:.4} of the means", parts[0])),
        "{text}"
    );
    assert!(text.contains("\nreal      real.npz (6 images)\nfake      fake.npz (5 images)\n"), "{text}");
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = done(
        folder.path(),
        &line("fid REAL fake.npz --inception INCEPTION --limit 3 --save-real x.npz --dry-run"),
    );
    let expected =
        format!("real      3 images of {}\nfake      statistics in fake.npz\n", images("real").display());
    assert!(text.starts_with(&expected), "{text}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::write(root.join("text.npz"), "hello").expect("a file");
    fs::create_dir(root.join("empty")).expect("a folder");
    fs::create_dir(root.join("small")).expect("a folder");
    image::GrayImage::new(28, 28).save(root.join("small/0.png")).expect("an image");
    let statistics = |network: Option<&str>, dim: usize| Statistics {
        mean: ndarray::Array1::zeros(dim),
        covariance: Array2::eye(dim),
        count: None,
        network: network.map(str::to_string),
    };
    for (name, statistics) in [
        ("plain", statistics(None, 3)),
        ("wide", statistics(None, 4)),
        ("first", statistics(Some("aa"), 3)),
        ("second", statistics(Some("bb"), 3)),
        ("far", Statistics { mean: ndarray::arr1(&[1e200, 0.0, 0.0]), ..statistics(None, 3) }),
    ] {
        archive::write(&root.join(format!("{name}.npz")), &statistics).expect("written");
    }
    let cases = [
        (
            "fid nowhere FAKE --inception INCEPTION",
            2,
            "\"nowhere\" is neither a folder of images, nor statistics",
        ),
        ("fid REAL FAKE", 2, "are images: give the graph that sees them with --inception FILE"),
        ("fid plain.npz plain.npz --inception INCEPTION", 2, "--inception: there are no images for it"),
        ("fid plain.npz plain.npz --limit 5", 2, "--limit is for images"),
        ("fid plain.npz plain.npz --data-root x", 2, "--data-root is for data sets"),
        ("fid REAL FAKE --inception INCEPTION --limit 1", 2, "a whole number of at least 2 is wanted"),
        (
            "fid REAL FAKE --inception FEATURES",
            1,
            "it is a UNet, and distances are those of Inception; export it with",
        ),
        ("fid REAL FAKE --inception DDPM", 1, "is a graph of kind 'sampler', and 'fid' wants 'features'"),
        (
            "fid REAL empty --inception INCEPTION",
            1,
            "empty: there is no image file (.png, .jpg, .webp, .bmp, .gif, .tif, .ppm and the like) in this folder",
        ),
        (
            "fid REAL small --inception INCEPTION",
            1,
            "0.png: it is 28x28 (height x width) and the graph is for 32x32",
        ),
        ("fid REAL FAKE --inception INCEPTION --save-real no/x.npz", 1, "this folder does not exist"),
        ("fid REAL text.npz --inception INCEPTION", 1, "text.npz: it is no .npz file"),
        (
            "fid REAL FAKE --inception INCEPTION --data-root x",
            2,
            "--data-root is for data sets, and there are none",
        ),
        (
            "fid plain.npz plain.npz --save-real x.json",
            2,
            "x.json: statistics are kept in files that end in .npz",
        ),
        (
            "fid plain.npz plain.npz --save-real x.npz --save-fake x.npz",
            2,
            "--save-real and --save-fake name the same file",
        ),
        (
            "fid plain.npz wide.npz --save-fake ./plain.npz",
            2,
            "--save-fake would replace plain.npz, which is the other set",
        ),
        ("fid plain.npz wide.npz", 1, "the real statistics are of 3 features and the fake ones of 4"),
        ("fid first.npz second.npz", 1, "were made by the network aa and the fake ones by bb"),
        ("fid plain.npz far.npz", 1, "the distance of the means is too large for 64-bit floats"),
        ("fid far.npz plain.npz --json", 1, "the distance of the means is too large for 64-bit floats"),
        ("fid plain.npz none.npz", 1, "cannot read none.npz: there is no such file or folder"),
    ];
    refuses(root, cases.map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))));
}
