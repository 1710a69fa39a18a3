//! What generated images are measured by: against the tools that publish these numbers (`tests/fixtures/generation.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ddae_checkpoint::write_tensors;
use ddae_export::export::{ExportPlan, FileOptions};
use ddae_export::lower::lower;
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::Staging;
use ddae_infer::fid::random_state::RandomState;
use ddae_infer::fid::{
    Accumulator, Convention, KernelOptions, Statistics, frechet_distance, inception_score, kernel_distance,
    precision_recall,
};
use ddae_model::graph::{Conv, Graph, Path as LayerPath, Shape};
use ddae_model::networks::{InceptionConfig, inception_graph};
use ddae_model::tensor::DType;
use ddae_onnx::metadata::GraphKind;
use ddae_onnx::write::LARGEST_MESSAGE;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::cases::imported::inception_weights;
use ddae_tests::cases::rule_weights;
use ddae_tests::{Fixture, fixture, relative_error, rule_values};
use ndarray::{Array2, ArrayView2};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::{done, infer, refuses};

/// What the issue of these metrics asks for, relative.
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

/// Points of five degrees of freedom in `dim` dimensions, none below 0.
fn features(name: &str, count: usize, dim: usize, spread: f64, shift: f64) -> Array2<f32> {
    let values = |name: &str, rows: usize, columns: usize, lo: f64, hi: f64| {
        let values = rule_values(name, rows * columns, lo, hi).into_iter().map(f64::from).collect();
        Array2::from_shape_vec((rows, columns), values).expect("a matrix")
    };
    let codes = values(&format!("{name}.codes"), count, 5, -spread, spread);
    let noise = values(&format!("{name}.noise"), count, dim, 0.0, 0.2);
    (codes.dot(&values("axes", 5, dim, -1.0, 1.0)) + noise).mapv(|value| (value + shift).max(0.0) as f32)
}

fn sets() -> (Array2<f32>, Array2<f32>) {
    (features("real", 450, 64, 1.0, 0.0), features("fake", 500, 64, 1.2, 0.1))
}

#[test]
fn choices_are_those_of_numpy() {
    let case = fixture("generation");
    let integers = |name: &str| case.i64(name).1.into_iter().map(|value| value as usize).collect::<Vec<_>>();
    let permutation = RandomState::new(2020).permutation(500);
    assert_eq!(permutation[..40], integers("output.permutation"));
    let mut state = RandomState::new(7);
    let choices: Vec<usize> = (0..3).flat_map(|_| state.choice(70_000, 20)).collect();
    assert_eq!(choices, integers("output.choices"));
    assert_eq!(RandomState::new(0).permutation(1), [0]);
    assert!(RandomState::new(0).permutation(0).is_empty());
}

#[test]
fn metrics_of_features_are_those_of_the_tools() {
    let case = fixture("generation");
    let (real, fake) = sets();
    let (real, fake) = (real.view(), fake.view());

    let options = KernelOptions { subset_size: 200, ..KernelOptions::default() };
    let kernel = kernel_distance(real, fake, options).expect("a distance");
    close("kid", &[kernel.mean, kernel.deviation], &stored(&case, "kid"));
    // clean-fid draws in the same order; its numbers depend on numpy's global seed.
    close("kid of clean-fid", &[kernel.mean], &stored(&case, "kid_clean"));

    for neighbours in [3, 5] {
        let found = precision_recall(real, fake, neighbours).expect("both");
        let ours = [found.precision, found.recall, found.f_score()];
        close("precision and recall", &ours, &stored(&case, &format!("prc_{neighbours}")));
        assert!(found.precision > 0.1 && found.precision < 0.95, "a number that tells something: {found:?}");
    }

    let logits = Array2::from_shape_vec((505, 30), rule_values("logits", 505 * 30, -4.0, 4.0)).expect("rows");
    for (name, seed) in [("is", Some(2020)), ("is_in_order", None)] {
        let score = inception_score(logits.view(), 10, seed).expect("a score");
        close(name, &[score.mean, score.deviation], &stored(&case, name));
    }

    let statistics = |rows: ArrayView2<f32>| {
        let mut moments = Accumulator::new(rows.ncols());
        moments.add(rows).expect("finite");
        moments.finish().expect("statistics")
    };
    let distance = frechet_distance(&statistics(real), &statistics(fake)).expect("a distance").total();
    close("fid of torch-fidelity", &[distance], &stored(&case, "fid"));
    close("fid of clean-fid", &[distance], &stored(&case, "fid_clean"));
}

/// Copies of one point, and points that lie exactly on a ball.
#[test]
fn balls_have_their_rims() {
    let rows = |values: &[f32]| Array2::from_shape_vec((values.len(), 1), values.to_vec()).expect("rows");
    // The third neighbour of each real point is 3 away; 6 is on the rim of the ball around 3, and 6.001 is not.
    let real = rows(&[0.0, 1.0, 2.0, 3.0]);
    let fake = rows(&[6.0, 6.001, 6.001, 6.001]);
    let found = precision_recall(real.view(), fake.view(), 3).expect("both");
    assert_eq!((found.precision, found.recall, found.f_score()), (0.25, 0.0, 0.0));
    let same = rows(&[5.0; 6]);
    let found = precision_recall(same.view(), same.view(), 3).expect("both");
    assert_eq!((found.precision, found.recall, found.f_score()), (1.0, 1.0, 1.0));
    // Far from 0, where float32 loses what tells points apart, unless they are taken about their centre.
    let far = |values: &[f32]| rows(&values.iter().map(|value| value + 4096.0).collect::<Vec<_>>());
    let found = precision_recall(far(&[0.0, 1.0, 2.0, 3.0]).view(), far(&[6.0, 7.0, 9.0, 9.5]).view(), 3);
    assert_eq!(found.expect("both").precision, 0.25);
    let error = precision_recall(real.view(), same.view(), 4).expect_err("too few").to_string();
    assert!(error.starts_with("the nearest neighbour number 4 of an image"), "{error}");
    let large = rows(&[1e30, -1e30, 0.0, 1.0]);
    let error = precision_recall(large.view(), real.view(), 3).expect_err("too large").to_string();
    assert!(error.starts_with("the distance of two images is too large"), "{error}");
}

#[test]
fn metrics_of_nothing_are_refused() {
    let (real, fake) = sets();
    let few = KernelOptions { subset_size: 451, ..KernelOptions::default() };
    let error = kernel_distance(real.view(), fake.view(), few).expect_err("too few").to_string();
    assert!(error.contains("the smaller set has 450"), "{error}");
    let mut broken = Array2::zeros((4, 3));
    let error = inception_score(broken.view(), 5, None).expect_err("too few").to_string();
    assert!(error.starts_with("5 splits of 4 images"), "{error}");
    broken[[2, 1]] = f32::NAN;
    let error = inception_score(broken.view(), 2, None).expect_err("no number").to_string();
    assert!(error.starts_with("image 2 has the feature NaN in column 1"), "{error}");
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

const TOOLS: [Convention; 3] = [Convention::PytorchFid, Convention::TorchFidelity, Convention::CleanFid];

#[test]
fn images_are_resized_as_by_the_tools() {
    let case = fixture("generation");
    for [height, width] in [[32, 32], [47, 64], [400, 350], [299, 299]] {
        let levels = picture("real", 3, [height, width]);
        for tool in TOOLS {
            let ours = tool.resized(&levels, [3, height, width], [299, 299]);
            let ours: Vec<f32> = (0..3 * 23 * 23)
                .map(|i| ours[(i / (23 * 23) * 299 + i / 23 % 23 * 13) * 299 + i % 23 * 13])
                // pytorch-fid resizes what is between 0 and 1 already.
                .map(|level| if tool == Convention::PytorchFid { level / 255.0 } else { level })
                .collect();
            let theirs = case.f32(&format!("output.resized.{tool}.{height}x{width}")).1;
            let error = relative_error(&ours, &theirs);
            println!("{tool} {height}x{width}: {error:.1e}");
            assert!(error <= 1e-6, "{tool} {height}x{width}: {error:e}");
        }
    }
}

/// Inception for 299x299 with the rule's weights and its logits, `inception.onnx`, and the fixture's pictures: 24 in `real`,
/// 24 in `fake`.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("inception.safetensors");
    let config = InceptionConfig { image_size: [299, 299], classifier: true };
    let graph = inception_graph(&config).expect("a graph");
    // The graph gives the features alone, and the file is to hold the classifier, too.
    write_tensors(&weights, Default::default(), inception_weights(&graph).iter()).expect("a file of weights");
    for (name, taps) in [("inception", "pool,logits_unbiased"), ("features", "pool")] {
        let source = WeightSource::open(&weights, &WeightOptions::default()).expect("a source");
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
    [("INCEPTION", "inception.onnx"), ("NO-LOGITS", "features.onnx"), ("REAL", "real"), ("FAKE", "fake")]
        .into_iter()
        .fold(text.to_string(), |text, (word, name)| text.replace(word, &path(name)))
}

fn number(object: &Value, path: &str) -> f64 {
    object.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} of {object}"))
}

/// Whole runs on 24 generated pictures against 24 others.
#[test]
fn runs_give_the_numbers_of_the_tools() {
    let (case, folder) = (fixture("generation"), tempfile::tempdir().expect("a folder"));
    let run = |tool: &str, options: &str| {
        let text = format!(
            "fid REAL FAKE --inception INCEPTION --like {tool} --save-real {tool}.npz --json {options}"
        );
        infer(folder.path(), &line(&text)).json()
    };
    let theirs = |tool: &str, name: &str| stored(&case, &format!("run.24.{tool}.{name}"))[0];

    let kid = "--kid-subsets 20 --kid-subset-size 12";
    let found = run("torch-fidelity", &format!("--metrics fid,kid,prc,is --splits 2 {kid}"));
    for (path, name) in [
        ("/fid", "frechet_inception_distance"),
        ("/kid/mean", "kernel_inception_distance_mean"),
        ("/kid/deviation", "kernel_inception_distance_std"),
        ("/prc/precision", "precision"),
        ("/prc/recall", "recall"),
        ("/prc/f_score", "f_score"),
        ("/inception_score/mean", "inception_score_mean"),
        ("/inception_score/deviation", "inception_score_std"),
    ] {
        close(&format!("torch-fidelity {name}"), &[number(&found, path)], &[theirs("torch-fidelity", name)]);
    }
    assert_eq!(
        (&found["like"], &found["name"], &found["kid"]["seed"]),
        (&json!("torch-fidelity"), &json!("FID"), &json!(2020))
    );
    assert_eq!(found["weights"]["published"], false);
    let other = run("torch-fidelity", &format!("--metrics kid --seed 1 {kid}"));
    assert_ne!(other["kid"]["mean"], found["kid"]["mean"]);
    assert_eq!(other.get("fid"), None, "what is not asked for");

    let found = run("pytorch-fid", "");
    close("pytorch-fid fid", &[number(&found, "/fid")], &[theirs("pytorch-fid", "fid")]);
    let found = run("clean-fid", &format!("--metrics fid,kid {kid}"));
    close("clean-fid fid", &[number(&found, "/fid")], &[theirs("clean-fid", "fid")]);
    close("clean-fid kid", &[number(&found, "/kid/mean")], &[theirs("clean-fid", "kid")]);
    let found = run("clean-fid", "--metrics kid --kid-subsets 1");
    assert_eq!(found["kid"]["subset_size"], 24, "no more than there are, as clean-fid");

    // Statistics of one convention are not those of another.
    let error = infer(folder.path(), "fid pytorch-fid.npz clean-fid.npz").error(&[1]).to_string();
    assert!(error.contains("/clean-fid: distances are between features of the same weights"), "{error}");
}

/// The features themselves, by the tools' own network.
#[test]
fn features_are_those_of_the_tools() {
    let (case, folder) = (fixture("generation"), tempfile::tempdir().expect("a folder"));
    let root = folder.path();
    fs::create_dir(root.join("three")).expect("a folder");
    for index in 0..3 {
        let name = format!("three/{index}.png");
        fs::copy(PLACE.path().join(format!("real/00{index}.png")), root.join(name)).expect("a copy");
    }
    for tool in ["torch-fidelity", "clean-fid"] {
        done(
            root,
            &line(&format!("fid three three --inception INCEPTION --like {tool} --save-real {tool}.npz")),
        );
        let kept = ddae_infer::fid::archive::read(&root.join(format!("{tool}.npz"))).expect("statistics");
        let (shape, pool) = case.f32(&format!("output.pool.{tool}"));
        let mut moments = Accumulator::new(shape[1]);
        moments.add(ArrayView2::from_shape((3, shape[1]), &pool).expect("rows")).expect("finite");
        let Statistics { mean, covariance, .. } = moments.finish().expect("statistics");
        let slice = |values: &ndarray::Array2<f64>| values.iter().copied().collect::<Vec<_>>();
        close(&format!("{tool} mean"), &kept.mean.to_vec(), &mean.to_vec());
        close(&format!("{tool} covariance"), &slice(&kept.covariance), &slice(&covariance));
    }
}

#[test]
fn pictures_of_any_size_are_seen_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for (index, size) in [[32, 32], [20, 50], [310, 305]].into_iter().enumerate() {
        fs::create_dir_all(root.join("mixed")).expect("a folder");
        save(&root.join(format!("mixed/{index}.png")), &picture("real", index, size), size);
        fs::create_dir_all(root.join("apart")).expect("a folder");
        // Resized by hand to whole levels: not quite the same features.
        let resized =
            Convention::CleanFid.resized(&picture("real", index, size), [3, size[0], size[1]], [299, 299]);
        let levels: Vec<u8> = resized.iter().map(|level| level.round() as u8).collect();
        save(&root.join(format!("apart/{index}.png")), &levels, [299, 299]);
    }
    let found = infer(root, &line("fid mixed apart --inception INCEPTION --like clean-fid --json")).json();
    let fid = number(&found, "/fid");
    let scale = number(
        &infer(root, &line("fid mixed FAKE --inception INCEPTION --like clean-fid --json")).json(),
        "/fid",
    );
    assert!(fid < 1e-3 * scale, "{fid} of {scale}");
}

/// A small encoder of another program, for 16x16: `encoder.onnx` gives tokens and their mean.
fn other_encoder(folder: &Path) -> PathBuf {
    let mut g = Graph::new();
    let image = g.input("pixel_values", DType::F32, Shape::batch(&[3, 16, 16])).expect("an input");
    let map = g.conv2d(&LayerPath::root().at("stem"), image, Conv::same(8, 3)).expect("a map");
    let pooled = g.pool(map).expect("a mean");
    g.output("pooler_output", pooled);
    let other = g.affine(pooled, 2.0, 1.0).expect("another");
    g.output("twice", other);
    let weights = rule_weights(&g);
    let path = folder.join("encoder.onnx");
    let model = lower(&g, &weights).expect("an ONNX graph");
    model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
    path
}

#[test]
fn encoders_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    other_encoder(root);
    let found = |options: &str| {
        infer(root, &line(&format!("fid REAL FAKE --encoder encoder.onnx {options} --json"))).json()
    };
    let first = found("--layer pooler_output --metrics fid,prc");
    assert_eq!(
        (&first["features"], &first["like"], &first["layer"]),
        (&json!(8), &json!("clean-fid"), &json!("pooler_output"))
    );
    assert_eq!((first.get("fid"), &first["name"]), (None, &json!("FD")), "not called FID");
    let twice = found("--layer twice");
    close("of features twice as far", &[number(&twice, "/fd")], &[4.0 * number(&first, "/fd")]);
    // By hand: values of ImageNet's mean and deviation against values from 0 to 1.
    let unit = number(&found("--layer pooler_output --encoder-values unit"), "/fd");
    let signed = number(&found("--layer pooler_output --encoder-values signed"), "/fd");
    assert!((signed / unit - 4.0).abs() < 1e-3, "{signed} {unit}");
    assert!(number(&first, "/fd") > 10.0 * unit);
    let text = done(
        root,
        &line("fid REAL FAKE --encoder encoder.onnx --layer twice --encoder-size 16x16 --save-real real.npz"),
    );
    assert!(text.starts_with("FD        "), "{text}");
    assert!(
        text.contains(
            "\nfeatures  8, of the output twice of encoder.onnx; images resized to 16x16 like clean-fid\n"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "next: ddae-infer fid real.npz IMAGES --encoder encoder.onnx --layer twice --encoder-size 16x16\n"
        ),
        "{text}"
    );
    refuses(
        root,
        [
            (
                "fid REAL FAKE --encoder encoder.onnx",
                2,
                "gives pooler_output, twice: choose one with --layer NAME",
            ),
            ("fid REAL FAKE --encoder encoder.onnx --layer x", 2, "gives pooler_output, twice, and not x"),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --encoder-size 8x8",
                1,
                "its images are of 16x16",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --metrics is",
                2,
                "Inception scores are of Inception",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --resize stretch",
                2,
                "--resize: images are resized for the encoder",
            ),
            (
                "fid REAL FAKE --encoder INCEPTION",
                1,
                "is a graph of kind 'features', and 'fid' wants 'encoder'",
            ),
            (
                "fid real.npz FAKE --encoder encoder.onnx --layer pooler_output",
                1,
                "distances are between features of the same weights",
            ),
        ]
        .map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))),
    );
}

/// Features of any network, from files.
#[test]
fn features_of_our_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for set in ["real", "fake"] {
        done(
            root,
            &line(&format!("features NO-LOGITS --data {} -o {set}", PLACE.path().join(set).display())),
        );
    }
    let pool = infer(root, "fid real.h5 fake.h5 --json --metrics fid,kid,prc --kid-subset-size 12").json();
    let key = FeatureKey::new(0, "pool");
    let rows = |set: &str| {
        let file = FeatureFile::open(root.join(format!("{set}.h5"))).expect("a file");
        file.read(&key, 0, 0..file.len()).expect("rows")
    };
    let (real, fake) = (rows("real"), rows("fake"));
    let options = KernelOptions { subset_size: 12, ..KernelOptions::default() };
    let kernel = kernel_distance(real.view(), fake.view(), options).expect("a distance");
    assert_eq!(number(&pool, "/kid/mean"), kernel.mean);
    let found = precision_recall(real.view(), fake.view(), 3).expect("both");
    assert_eq!(number(&pool, "/prc/recall"), found.recall);
    let named = infer(root, "fid real.h5 fake.h5 --json --layer t0/pool").json();
    assert_eq!(named["fid"], pool["fid"]);
    refuses(
        root,
        [
            ("fid real.h5 fake.h5 --layer t11/out_6", 1, "it has t0/pool and not t11/out_6"),
            ("fid real.h5 fake.h5 --metrics is", 1, "--taps pool,logits_unbiased"),
        ]
        .map(|(text, code, wanted)| (code, text.to_string(), format!("…{wanted}…"))),
    );
}

#[test]
fn what_would_be_wrong_is_refused_before_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let statistics = Statistics {
        mean: ndarray::Array1::zeros(3),
        covariance: Array2::eye(3),
        count: None,
        network: None,
    };
    let kept = |name: &str, count: Option<u64>| {
        let statistics = Statistics { count, ..statistics.clone() };
        ddae_infer::fid::archive::write(&root.join(name), &statistics).expect("written");
    };
    kept("unknown.npz", None);
    kept("fifty.npz", Some(50_000));
    kept("fewer.npz", Some(49_999));
    let text = done(root, "fid unknown.npz fifty.npz --metrics fid-50k");
    assert!(text.starts_with("FID-50k   0.0000\n"), "{text}");
    assert!(done(root, "fid unknown.npz fewer.npz").starts_with("FID       0.0000\n"));
    let cases = [
        (
            "fid unknown.npz fewer.npz --metrics fid-50k",
            2,
            "FID-50k is of 50,000 generated images, and here are 49999",
        ),
        ("fid fifty.npz unknown.npz --metrics fid-50k", 2, "it is not known how many are meant here"),
        ("fid REAL FAKE --inception INCEPTION --metrics fid-50k", 2, "and here are 24; ask for fid"),
        (
            "fid unknown.npz fifty.npz --metrics kid",
            1,
            "unknown.npz: it holds a mean and a covariance, which do not give kid and prc",
        ),
        ("fid REAL FAKE --inception INCEPTION --metrics kid", 1, "100 subsets of 1000 images"),
        ("fid REAL FAKE --inception INCEPTION --metrics is --splits 25", 1, "25 splits of 24 images"),
        (
            "fid REAL FAKE --inception INCEPTION --metrics prc --neighbours 24",
            1,
            "the nearest neighbour number 24",
        ),
        ("fid REAL FAKE --inception NO-LOGITS --metrics is", 1, "it does not give logits_unbiased"),
        ("fid REAL FAKE --inception INCEPTION --seed 3", 2, "--seed is for --metrics kid or is"),
        ("fid REAL FAKE --inception INCEPTION --kid-subsets 3", 2, "--kid-subsets is for --metrics kid"),
        ("fid REAL FAKE --inception INCEPTION --layer pool", 2, "cannot be used with"),
        (
            "fid REAL FAKE --inception INCEPTION --like clean-fid --resize stretch",
            2,
            "--like clean-fid says how images are resized",
        ),
        ("fid unknown.npz fifty.npz --like clean-fid", 2, "--like is for images"),
    ];
    refuses(root, cases.map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))));
}
