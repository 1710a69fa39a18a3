//! `ddae-infer features`: what the file holds, going on, other jobs in the way.

use ddae_store::{FeatureFile, FeatureKey, FeatureType, ShardWriter};
use serde_json::json;

use crate::scene::{TEST, TRAIN, content, done, infer, names};

const JOB: &str = "features FEATURES --data-root DATA --timesteps 11,21 -o out";

#[test]
fn the_file_holds_everything_and_says_what_made_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = done(folder.path(), &format!("{JOB} --split test --views 3 --flip --seed 7 --shards 2"));
    let mut lines = printed.lines();
    let summary = lines.next().expect("a summary");
    // An image counts once, however many views and timesteps it has.
    assert!(summary.starts_with(&format!("{TEST} images in ")), "{summary}");
    assert!(summary.contains("/s, CPUExecutionProvider, ") && summary.ends_with(" GB at most): out.h5"));
    assert!(summary.contains(", 6 runs of the graph each, "), "{summary}");
    assert_eq!(lines.next(), Some("next: ddae-probe logistic --train TRAIN.h5 --test out.h5"));
    assert_eq!(names(folder.path()), ["out.h5"]);

    let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
    let keys: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
    assert_eq!(keys, ["t11/out_1", "t11/out_2", "t21/out_1", "t21/out_2"]);
    assert_eq!((file.views(), file.len(), file.dtype()), (3, TEST, FeatureType::F32));
    assert_eq!(file.labels().expect("labels"), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(file.indices().expect("indices"), (0..TEST as u64).collect::<Vec<_>>());
    let attributes = file.attributes();
    for (name, value) in [
        ("data_set", json!("folder/test")),
        ("split", json!("test")),
        ("classes", json!(["dark", "light"])),
        ("seed", json!(7)),
        ("views", json!(3)),
        ("flip", json!(true)),
        ("crop_padding", json!(0)),
        ("timesteps", json!([11, 21])),
        ("taps", json!(["out_1", "out_2"])),
        ("checkpoint", json!("features.safetensors")),
        ("weights", json!(null)),
        ("provider", json!("CPUExecutionProvider")),
        ("precision", json!("f32")),
        ("pooling", json!("mean over the picture")),
        ("image_shape", json!([1, 12, 12])),
        ("pixels", json!("[0,1]")),
        ("noise_stream", json!("chacha8 of seed, split, image, its levels, view and timestep")),
        ("noise", json!("keyed")),
        ("latents", json!(null)),
        ("latents_digest", json!(null)),
        ("latents_seed", json!(null)),
        ("tap_shapes", json!(null)),
        ("before_resize", json!(false)),
        ("tool", json!(concat!("ddae-infer ", env!("CARGO_PKG_VERSION")))),
    ] {
        assert_eq!(attributes.get(name), Some(&value), "{name}");
    }
    for name in ["model", "graph_digest"] {
        assert_eq!(attributes[name].as_str().map(str::len), Some(64), "{name}");
    }
    assert_eq!(attributes["images_digest"].as_str().map(str::len), Some(8 + 64));
    assert_eq!(file.provenance().other, Default::default());
    assert!(attributes["config"].as_str().expect("text").contains("n_T: 100"));
}

#[test]
fn a_finished_job_is_not_computed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), JOB);
    let file = folder.path().join("out.h5");
    let before = std::fs::read(&file).expect("the file");
    // `-o out.h5` means the same, and storing it in another way is no other job.
    for options in ["", "--batch 5 --threads 1", "--compression zlib", "--shards 3"] {
        let printed = done(folder.path(), &format!("{JOB}.h5 {options}"));
        assert!(printed.starts_with("out.h5 is complete already\n"), "{printed}");
    }
    assert!(std::fs::read(&file).expect("the file") == before);
    let object = infer(folder.path(), &format!("{JOB} --json")).json();
    assert_eq!((&object["images"], &object["file"]), (&json!(0), &json!("out.h5")));
    assert_eq!(object["images_per_second"], 0.0);
    // The same job gives the same bytes.
    done(folder.path(), &format!("{JOB} --overwrite --threads 1 --shards 5"));
    assert!(std::fs::read(&file).expect("the file") == before);
}

#[test]
fn files_of_other_jobs_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), JOB);
    let file = folder.path().join("out.h5");
    let before = std::fs::read(&file).expect("the file");
    for (line, message) in [
        (format!("{JOB} --seed 1"), "error: out.h5 holds seed 0 where this job has 1"),
        (format!("{JOB} --flip"), "error: out.h5 holds flip false where this job has true"),
        (format!("{JOB} --split test"), "error: out.h5 holds number of rows 42 where this job has 10"),
        (format!("{JOB} --dtype f16"), "error: out.h5 holds dtype f32 where this job has f16"),
        (
            "features FIXED --data-root DATA -o out".to_string(),
            "error: out.h5 holds list of datasets t11/out_1 [32], t11/out_2 [32], t21/out_1 [32], t21/out_2 [3… where \
             this job has t11/out_2 [32]",
        ),
    ] {
        let ended = infer(folder.path(), &line);
        let wanted = format!("{message}: choose another output with -o, or give --overwrite");
        assert_eq!(ended.error(&[1]), wanted);
        assert_eq!(infer(folder.path(), &format!("{line} --dry-run")).error(&[1]), wanted);
    }
    assert!(std::fs::read(&file).expect("the file") == before);
    done(folder.path(), &format!("{JOB} --seed 1 --overwrite"));
    let seed = FeatureFile::open(&file).expect("a feature file").attributes()["seed"].clone();
    assert_eq!(seed, 1);
    assert_eq!(names(folder.path()), ["out.h5"]);
}

/// A shard that an older version computed is one of this job's as far as it says, and what it does not say is pointed out.
#[test]
fn shards_of_an_older_version() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("{JOB} --shard 0/2"));
    let path = folder.path().join("out.0000-of-0002.h5");
    let shard = FeatureFile::open(&path).expect("a shard");
    let mut layout = shard.layout().clone();
    (layout.provenance.graph_digest, layout.provenance.pixels) = (None, None);
    let prefix = folder.path().join("old");
    let mut writer = ShardWriter::create(&prefix, 0, 2, shard.rows(), &layout).expect("a shard");
    for key in shard.keys() {
        let features = shard.read(key, 0, 0..shard.len()).expect("features");
        writer.write(key, 0, 0, features.view()).expect("written");
    }
    writer.write_labels(0, &shard.labels().expect("labels")).expect("written");
    let paths = shard.paths(0..shard.len()).expect("paths");
    writer.write_paths(|row| paths[row].clone()).expect("written");
    drop(shard);
    std::fs::rename(writer.finish().expect("a shard"), &path).expect("renamed");

    let ended = infer(folder.path(), &format!("{JOB} --seed 1 --shards 2"));
    assert!(ended.error(&[1]).starts_with("error: out.0000-of-0002.h5 holds seed 0 where this job has 1"));
    for printed in ["21 images", "out.h5 is complete already"] {
        let ended = infer(folder.path(), &format!("{JOB} --shards 2"));
        let note = "note: out.h5 was computed by another version, at least in part, and does not say its pixels, \
                    graph_digest: not compared with this job's\n";
        assert!(ended.stdout.starts_with(printed) && ended.stderr.ends_with(note), "{ended}");
        assert!(!done(folder.path(), &format!("{JOB} --shards 2 --quiet")).is_empty());
    }
}

#[test]
fn half_precision_and_compression() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), JOB);
    done(folder.path(), &format!("{JOB}2 --dtype f16 --compression lzf"));
    let (plain, small) = (folder.path().join("out.h5"), folder.path().join("out2.h5"));
    assert_eq!(FeatureFile::open(&small).expect("a file").dtype(), FeatureType::F16);
    let values = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    for ((key, plain), (_, small)) in content(&plain).2.iter().zip(&content(&small).2) {
        let error = ddae_tests::relative_error(&values(&small[0]), &values(&plain[0]));
        assert!(error > 0.0 && error < 1e-3, "{key}: {error}");
    }
}

/// Another division of the same job would throw the finished shards away.
#[test]
fn shards_of_another_division_are_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), &format!("{JOB} --shard 1/3"));
    assert_eq!(names(folder.path()), ["out.0001-of-0003.h5"]);
    let ended = infer(folder.path(), &format!("{JOB} --shards 4"));
    assert_eq!(
        ended.error(&[1]),
        "error: out.0001-of-0003.h5: a shard of a run in 3 shards, and this one has 4: go on with 3, or give \
         --overwrite to begin anew"
    );
    let printed = done(folder.path(), &format!("{JOB} --shards 3 --dry-run"));
    assert!(printed.ends_with("2 of 3 shards to compute (28 images) for out.h5\n"), "{printed}");
    let object = infer(folder.path(), &format!("{JOB} --shards 3 --json")).json();
    assert_eq!((&object["images"], &object["runs_per_image"]), (&json!(28), &json!(2)));
    assert_eq!(names(folder.path()), ["out.h5"]);
}

/// What an ended process of the job left does not stay, and what others left does.
#[test]
fn leftovers_are_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let digits = "0123456789abcdef.partial";
    let others = [
        format!("other.0000-of-0002.h5.{digits}"),
        format!("out.0000-of-0009.h5.{digits}"),
        "out.0001-of-0002.h5.partial".to_string(),
    ];
    let own = ["out", "out.0000-of-0002", "out.0001-of-0002"];
    for name in others.iter().cloned().chain(own.map(|name| format!("{name}.h5.{digits}"))) {
        std::fs::write(folder.path().join(name), "half").expect("a file");
    }
    for name in own {
        std::fs::write(folder.path().join(format!("{name}.h5.lock")), "").expect("a file");
    }
    done(folder.path(), &format!("{JOB} --shards 2"));
    let mut left = others.to_vec();
    left.push("out.h5".to_string());
    left.sort();
    assert_eq!(names(folder.path()), left);
}

/// A run that finds its own result complete removes its own shards, of a run that was ended after it joined them, and
/// nobody else's.
#[test]
fn only_shards_of_the_job_are_removed() {
    let (folder, aside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (root, aside) = (folder.path(), aside.path());
    let shards = ["out.0000-of-0003.h5", "out.0001-of-0003.h5", "out.0002-of-0003.h5"];
    let bring = |name: &str| std::fs::copy(aside.join(name), root.join(name)).expect("a copy");
    done(root, JOB);
    // The job's own shard, one of another job, one of another division, and a file that is none.
    for (line, shard) in [
        ("--shard 0/3", shards[0]),
        ("--shard 1/2", "out.0001-of-0002.h5"),
        ("--seed 1 --shard 1/3", shards[1]),
    ] {
        done(aside, &format!("{JOB} {line}"));
        bring(shard);
        std::fs::remove_file(aside.join(shard)).expect("removed");
    }
    std::fs::write(root.join(shards[2]), "notes").expect("a file");
    for line in [format!("{JOB} --shards 3"), "merge out --shards 3".to_string()] {
        done(root, &line);
        assert_eq!(names(root), ["out.0001-of-0003.h5", "out.0002-of-0003.h5", "out.h5"], "{line}");
        done(aside, &format!("{JOB} --shard 0/3").replace("-o out", "-o again"));
        std::fs::rename(aside.join("again.0000-of-0003.h5"), root.join(shards[0])).expect("renamed");
    }
}

/// Another process is at work on a shard.
#[test]
fn a_shard_in_work_is_not_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = folder.path().join("out.0001-of-0002.h5");
    done(folder.path(), &format!("{JOB} --shard 1/2"));
    let own = std::fs::read(&shard).expect("a shard");
    std::fs::remove_file(&shard).expect("removed");
    done(folder.path(), JOB);
    std::fs::write(&shard, own).expect("a shard");
    let held = ddae_base::lock::Lock::output(&shard).expect("free");
    done(folder.path(), &format!("{JOB} --shards 2"));
    assert!(shard.is_file());
    let message = infer(folder.path(), &format!("{JOB} --shards 2 --overwrite")).error(&[1]).to_string();
    assert!(message.contains("out.0001-of-0002.h5: another ddae-infer is writing here"), "{message}");
    drop(held);
    done(folder.path(), &format!("{JOB} --shards 2"));
    assert_eq!(names(folder.path()), ["out.h5"]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = done(
        folder.path(),
        "features FEATURES --data-root DATA --timesteps 11 --views 2 --crop -o new/out --dry-run",
    );
    assert_eq!(
        printed,
        format!(
            "images    {TRAIN} of folder/train, 2 views each, cropped\n\
             features  t11/out_1 [32], t11/out_2 [32] in f32\n\
             device    cpu, batches of 16\n\
             1 of 1 shards to compute ({TRAIN} images) for new/out.h5\n"
        )
    );
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_output_folder_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), "features FIXED --data-root DATA --split test -o a/b/out");
    assert_eq!(names(folder.path()), ["a/b/out.h5"]);
}

/// The timestep of the configuration's linear probe, and the data set that the model was trained on.
#[test]
fn defaults_come_from_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = include_str!("../../../configs/demo.yaml");
    let mut config = ddae_model::config::Config::parse(text, "demo.yaml", &[]).expect("a configuration");
    let ddae_model::networks::Architecture::UNet(network) = &mut config.network else { panic!("a UNet") };
    network.n_channels = 32;
    config.linear.as_mut().expect("a probe").timestep = 13;
    crate::scene::export(folder.path(), "demo", &config, crate::scene::Export::features(&["out_1"]));
    let printed = done(folder.path(), "features demo.onnx -o out --limit 20 --dry-run");
    assert!(printed.starts_with("images    20 of fashion-sample/train, 1 view each\nfeatures  t13/out_1 ["));
}
