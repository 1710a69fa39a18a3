//! Feature files: shapes, provenance, and the same numbers however the work is split.

use ddae_store::{FeatureFile, FeatureKey, FeatureType};

use crate::place::Place;
use crate::tiny::{CHANNELS, CLASSES, TAPS, TEST, TRAIN, trained, with};

/// Everything in a feature file: labels, indices, and each dataset's views.
pub type Content = (Vec<i64>, Vec<u64>, Vec<(FeatureKey, Vec<Vec<f32>>)>);

/// Reads all of a feature file.
#[track_caller]
pub fn content(place: &Place, name: &str) -> Content {
    let file = FeatureFile::open(place.path(name)).expect("a feature file");
    let features = file.keys().iter().map(|key| {
        let view = |view| file.read(key, view, 0..file.len()).expect("features").iter().copied().collect();
        (key.clone(), (0..file.views()).map(view).collect())
    });
    (file.labels().expect("labels"), file.indices().expect("indices"), features.collect())
}

#[test]
fn files_hold_the_promised_shapes_and_say_what_made_them() {
    for (split, each) in [("train", TRAIN), ("test", TEST)] {
        let file = FeatureFile::open(trained().path(&format!("{split}.h5"))).expect("a feature file");
        let keys: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
        let expected: Vec<String> =
            [1, 11].iter().flat_map(|t| TAPS.iter().map(move |tap| format!("t{t}/{tap}"))).collect();
        assert_eq!(keys, expected);
        assert_eq!((file.views(), file.len(), file.dtype()), (1, 3 * each, FeatureType::F32));
        for key in file.keys() {
            assert_eq!(file.dim(key).expect("a known key"), CHANNELS);
            let values = file.read(key, 0, 0..file.len()).expect("features");
            let spread = values.std(0.0);
            assert!(values.iter().all(|v| v.is_finite()) && spread > 1e-3, "{key}: deviation {spread}");
        }
        let labels: Vec<i64> = (0..3).flat_map(|label| std::iter::repeat_n(label, each)).collect();
        assert_eq!(file.labels().expect("labels"), labels);
        assert_eq!(file.indices().expect("indices"), (0..3 * each as u64).collect::<Vec<_>>());

        let attributes = file.attributes();
        let own = trained().run("ddae-export inspect features.onnx --json").json();
        assert_eq!(attributes["model"], own["metadata"]["ddae.digest"]);
        assert_eq!(attributes["data_set"], format!("folder/{split}"));
        assert_eq!(attributes["classes"], serde_json::json!(CLASSES));
        assert_eq!(attributes["timesteps"], serde_json::json!([1, 11]));
        assert_eq!(attributes["taps"], serde_json::json!(TAPS));
        assert_eq!((&attributes["seed"], &attributes["views"]), (&0.into(), &1.into()));
        assert_eq!(attributes["provider"], "CPUExecutionProvider");
        assert!(attributes["config"].as_str().expect("text").contains("n_T: 100"));
    }
}

const JOB: &str = "ddae-infer features features.onnx --data-root data --split test --timesteps 11";

/// Noise and augmentation belong to an image, not to a batch, thread or shard.
#[test]
fn the_features_do_not_depend_on_how_the_work_is_split() {
    let place = with(&["data", "features.onnx"]);
    let views = "--views 3 --flip --crop --seed 5";
    place.done(&format!("{JOB} -o whole {views} --threads 1 --batch 7"));
    let whole = content(&place, "whole.h5");
    assert_eq!(whole.2[0].1.len(), 3);
    assert!(whole.2[0].1[0] != whole.2[0].1[1], "views differ");

    place.done(&format!("{JOB} -o split {views} --threads 2 --batch 7 --shards 4"));
    assert!(content(&place, "split.h5") == whole, "in shards");

    // Two machines: the one that finds all shards joins them.
    let printed = place.done(&format!("{JOB} -o joined {views} --threads 1 --batch 7 --shard 1/2"));
    assert!(printed.contains("shards still to come: 0"), "{printed}");
    assert_eq!(
        place.names("").iter().filter(|name| name.starts_with("joined")).collect::<Vec<_>>(),
        ["joined.0001-of-0002.h5"]
    );
    place.done(&format!("{JOB} -o joined {views} --threads 1 --batch 7 --shard 0/2"));
    assert!(content(&place, "joined.h5") == whole, "on two machines");
    assert!(!place.path("joined.0001-of-0002.h5").exists(), "shards are removed once they are joined");
}

/// Another batch size is another order of sums in the runtime, and nothing else.
#[test]
fn another_batch_size_gives_the_same_features_but_for_rounding() {
    let place = with(&["data", "features.onnx"]);
    place.done(&format!("{JOB} -o one --batch 1 --threads 1"));
    place.done(&format!("{JOB} -o many --batch 30 --threads 1"));
    let (one, many) = (content(&place, "one.h5"), content(&place, "many.h5"));
    for ((key, one), (_, many)) in one.2.iter().zip(&many.2) {
        let error = ddae_tests::relative_error(&one[0], &many[0]);
        assert!(error < ddae_tests::tolerance::NETWORK, "{key}: {error}");
    }
}

#[test]
fn the_same_job_twice_gives_the_same_file_and_a_third_time_nothing_to_do() {
    let place = with(&["data", "features.onnx"]);
    let job = |name: &str| format!("{JOB} -o {name} --threads 1");
    place.done(&job("first"));
    place.done(&job("second"));
    assert!(place.read("first.h5") == place.read("second.h5"), "the files differ");
    let printed = place.done(&job("first"));
    assert!(printed.starts_with("first.h5 is complete already"), "{printed}");
    // What was made with other settings is not taken for this job's, nor replaced without being asked to.
    let ended = place.run(&format!("{} --seed 1", job("first")));
    let error = ended.error(&[1, 2]);
    assert!(error.contains("first.h5 holds seed 0 where this job has 1: choose another output"), "{error}");
    assert!(place.read("first.h5") == place.read("second.h5"));
    place.done(&format!("{} --seed 1 --overwrite", job("first")));
    assert!(place.read("first.h5") != place.read("second.h5"));
}

#[test]
fn half_precision_and_compression_keep_the_numbers() {
    let place = with(&["data", "features.onnx"]);
    place.done(&format!("{JOB} -o plain"));
    place.done(&format!("{JOB} -o small --dtype f16 --compression zlib"));
    let (plain, small) = (content(&place, "plain.h5"), content(&place, "small.h5"));
    assert_eq!(FeatureFile::open(place.path("small.h5")).expect("a file").dtype(), FeatureType::F16);
    for ((key, plain), (_, small)) in plain.2.iter().zip(&small.2) {
        let error = ddae_tests::relative_error(&small[0], &plain[0]);
        assert!(error > 0.0 && error < 1e-3, "{key}: {error}");
    }
}

/// A graph of one timestep, with bytes as input, gives what the general graph gives at that timestep.
#[test]
fn a_fixed_timestep_and_byte_images_change_nothing() {
    let place = with(&["data", "features.onnx", "run"]);
    place.done("ddae-export run --graph features --taps out_2 --timestep 11 --input u8 -o fixed.onnx");
    place.done(&format!("{JOB} -o general"));
    place.done("ddae-infer features fixed.onnx --data-root data --split test -o fixed");
    let (general, fixed) = (content(&place, "general.h5"), content(&place, "fixed.h5"));
    assert_eq!(fixed.2.len(), 1);
    let (key, values) = &fixed.2[0];
    let (_, theirs) = general.2.iter().find(|(other, _)| other == key).expect("the same layer");
    let error = ddae_tests::relative_error(&values[0], &theirs[0]);
    assert!(error < ddae_tests::tolerance::NETWORK, "{error}");
    let ended = place.run("ddae-infer features fixed.onnx --data-root data --timesteps 12 -o other");
    assert!(ended.error(&[2]).contains("timestep 11 built in"), "{ended}");
}
