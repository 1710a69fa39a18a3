//! Bad input gets one line that names it and says what to do, exit code 1 (failure) or 2 (usage), and leaves nothing.

use std::fs;

use ddae_onnx::write::metadata_suffix;

use crate::scene::{MODELS, content, data, done, infer, names, refuses};

#[test]
fn model_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let good = fs::read(&MODELS.features).expect("a file");
    fs::write(root.join("empty.onnx"), "").expect("a file");
    fs::write(root.join("cut.onnx"), &good[..good.len() / 2]).expect("a file");
    fs::write(root.join("text.onnx"), "hello, this is no model at all\n".repeat(9)).expect("a file");
    // A whole file of another program: without our metadata.
    let mut foreign = good.clone();
    let at = good.windows(11).position(|bytes| bytes == b"ddae.format").expect("metadata");
    foreign[at..at + 4].copy_from_slice(b"that");
    fs::write(root.join("foreign.onnx"), foreign).expect("a file");
    fs::create_dir(root.join("folder.onnx")).expect("a folder");
    for (name, wanted) in [
        ("missing.onnx", "…cannot read missing.onnx: there is no such file or folder…"),
        ("empty.onnx", "…empty.onnx is empty…"),
        ("cut.onnx", "…cut.onnx is not an ONNX file, or it was cut off…"),
        ("text.onnx", "…text.onnx is not an ONNX file, or it was cut off…"),
        ("foreign.onnx", "…foreign.onnx…it was not written by ddae-export; export it again…"),
        (
            "folder.onnx",
            "…cannot use folder.onnx: it is a folder; give the ONNX file that ddae-export wrote…",
        ),
    ] {
        refuses(
            root,
            [
                (1, format!("features {name} --data-root DATA --timesteps 1 -o out"), wanted),
                (1, format!("sample {name} -o out"), wanted),
            ],
        );
    }
}

#[test]
fn graphs_of_another_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = |file: &str, kind: &str, command: &str, wanted: &str| {
        format!(
            "…{file} is a graph of kind '{kind}', and '{command}' wants '{wanted}': export it with `ddae-export \
             CHECKPOINT --graph {wanted}`"
        )
    };
    refuses(
        folder.path(),
        [
            (1, "sample FEATURES -o out", wanted("features.onnx", "features", "sample", "sampler")),
            (
                1,
                "features DDPM --data-root DATA -o out",
                wanted("ddpm.onnx", "sampler", "features", "features"),
            ),
        ],
    );
}

/// The library of the tests is that for the CPU.
#[test]
fn cuda_where_there_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = "cuda:… cannot be used: …or use --device cpu";
    refuses(
        folder.path(),
        [
            (1, "features FEATURES --data-root DATA --timesteps 1 -o out --device cuda", wanted),
            (1, "sample DDPM -o out --device cuda:3 --tf32", wanted),
            (2, "sample DDPM -o out --tf32", "--tf32 is for --device cuda; the CPU computes in float32"),
            (
                2,
                "sample DDPM -o out --no-cuda-graph",
                "--no-cuda-graph is for --device cuda; the CPU has no graphs",
            ),
            (2, "sample DDPM -o out --device tpu", "…'tpu' is no device; there are cpu, cuda and cuda:N…"),
        ],
    );
}

#[test]
fn files_for_gpus_on_the_cpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = metadata_suffix(&[("ddae.target".to_string(), "cuda".to_string())]);
    for (name, model) in [("f.onnx", &MODELS.features), ("s.onnx", &MODELS.ddpm)] {
        let file = [fs::read(model).expect("a file"), target.clone()].concat();
        fs::write(folder.path().join(name), file).expect("a file");
    }
    let wanted = "…cannot use …onnx: it was exported for GPUs (--target cuda): run it with --device cuda, or export it \
                  without --target for the CPU";
    refuses(
        folder.path(),
        [
            (1, "features f.onnx --data-root DATA --timesteps 1 -o out --edited", wanted),
            (1, "sample s.onnx -o out --edited", wanted),
        ],
    );
}

#[test]
fn a_missing_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    for (library, reason) in [("nowhere/libonnxruntime.so", "nowhere"), ("/dev/null", "/dev/null")] {
        let mut command = crate::scene::command(folder.path(), "sample DDPM -o out");
        let ended = ddae_tests::programs::run(command.env("ORT_DYLIB_PATH", library));
        let message = ended.error(&[1]);
        assert!(
            message.starts_with("error: cannot load ONNX Runtime from ") && message.contains(reason),
            "{message}"
        );
        assert!(message.ends_with("run `cargo xtask setup`, or set ORT_DYLIB_PATH to libonnxruntime.so"));
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn options_of_features() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let job = "features FEATURES --data-root DATA -o out";
    let cases = [
        ("--timesteps 0", "--timesteps 0: this model has 1 to 100…"),
        ("--timesteps 5,101", "--timesteps 101: this model has 1 to 100…"),
        ("--timesteps -3", "--timesteps -3: this model has 1 to 100…"),
        ("--timesteps 5,7,5", "--timesteps '5,7,5': 5 is asked for twice…"),
        ("--timesteps 5 --timesteps 7:1", "…ends before it begins…"),
        ("--timesteps -1", "…-1…"),
        (
            "",
            "--timesteps is needed, 1 to 100: the model's configuration has no 'linear' section to take it from…",
        ),
        ("--timesteps 5 --shards 43", "43 shards of 42 images: give 1 to 42"),
        ("--timesteps 5 --shard 0/43", "43 shards of 42 images: give 1 to 42"),
        (
            "--timesteps 5 --data imagenet",
            "there is no data set named 'imagenet'; known names: fashion-sample, …",
        ),
        ("--timesteps x", "…"),
        ("--timesteps 5 --shard 2/2", "…"),
        ("--timesteps 5 --shard 1", "…"),
        ("--timesteps 5 --shard a/b", "…"),
        ("--timesteps 5 --views 0", "…"),
        ("--timesteps 5 --limit 0", "…"),
        ("--timesteps 5 --batch 0", "…"),
        ("--timesteps 5 --shards 0", "…"),
        ("--timesteps 5 --dtype f64", "…"),
        ("--timesteps 5 --compression rar", "…"),
        ("--timesteps 5 --dry-run --json", "…"),
    ];
    refuses(root, cases.map(|(line, wanted)| (2, format!("{job} {line}"), wanted)));
    let job = "features FEATURES --data-root DATA --timesteps 5 -o";
    let new = "'new/' is a folder: give a name in it as well, such as …/train";
    let above = "'..' is a folder: give a name in it as well, such as …/train";
    refuses(
        root,
        [
            (2, "features FEATURES", "…"),
            (2, &format!("{job} new/"), new),
            (2, "merge new/", new),
            (2, &format!("{job} .."), above),
            (2, "merge ..", above),
            (
                2,
                "features FIXED --data-root DATA -o out --timesteps 12",
                "…this graph has timestep 11 built in…",
            ),
            (
                2,
                "features FEATURES --timesteps 1 -o out",
                "the data set 'folder' needs its folder: give --data-root DIR with train/CLASS/*.png inside",
            ),
        ],
    );
}

#[test]
fn data_sets() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    // An image that turns out to be none in the middle of the work.
    let copy = root.join("data");
    for class in ["dark", "light"] {
        let (from, to) = (data().join("train").join(class), copy.join("train").join(class));
        fs::create_dir_all(&to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an image").path();
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    fs::write(copy.join("train/light/27.png"), "hello").expect("a file");
    let cases = [
        (1, "--data cifar10 --data-root nowhere", "cifar10 is not in nowhere: expected …"),
        (
            1,
            "--data fashion-sample",
            "fashion-sample/train holds images of 1x28x28, which cannot become 1x12x12: …",
        ),
        (
            1,
            "--data-root data --shards 1",
            "…data/train/light/27.png: it is text, which is not read…; --skip-broken leaves out images that cannot be read",
        ),
        (2, "--data-root data --split test", "--split test: folder has no such split; it has train"),
    ];
    let job = "features FEATURES --timesteps 5 -o out";
    refuses(root, cases.map(|(code, line, wanted)| (code, format!("{job} {line}"), wanted)));
    // Left out when that is asked for: the others are what they are without it.
    let line = format!("{job} --data-root data --skip-broken --shards 3");
    let out = done(root, &line);
    assert!(out.contains("1 images cannot be read and are left out: out.broken.txt"), "{out}");
    let list = fs::read_to_string(root.join("out.broken.txt")).expect("a list");
    assert!(
        list.starts_with("train/light/27.png\tit is text, which is not read; expected a whole"),
        "{list}"
    );
    assert_eq!(list.lines().count(), 1);
    done(root, "features FEATURES --timesteps 5 -o whole --data-root DATA");
    let (labels, indices, features) = content(&root.join("out.h5"));
    let (all_labels, all_indices, all_features) = content(&root.join("whole.h5"));
    let at = (0..all_indices.len()).find(|&at| !indices.contains(&all_indices[at])).expect("one is missing");
    let without = |mut all: Vec<u64>| {
        all.remove(at);
        all
    };
    assert_eq!(without(all_indices), indices);
    assert_eq!(labels.len() + 1, all_labels.len());
    let (ours, theirs) = (&features[0].1[0], &all_features[0].1[0]);
    let width = theirs.len() / all_labels.len();
    assert_eq!([&theirs[..at * width], &theirs[(at + 1) * width..]].concat(), *ours);
    // The same command again, by which a stopped job goes on, finds the same list.
    assert!(done(root, &line).contains("out.h5 is complete already"));
}

#[test]
fn files_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::write(root.join("out.h5"), "hello").expect("a file");
    fs::write(root.join("file"), "hello").expect("a file");
    let job = "features FEATURES --data-root DATA --timesteps 5 -o";
    refuses(
        root,
        [
            (1, &*format!("{job} out"), "out.h5: not a feature file: it is not an HDF5 file…"),
            (1, &*format!("{job} file/out"), "cannot …file…"),
            (1, "sample DDPM -o file", "file: it is a file; give a folder for the images"),
        ],
    );
}

#[test]
fn options_of_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = "no: this folder does not exist; make it first (mkdir -p)";
    refuses(
        folder.path(),
        [
            (2, "sample DDPM -o out --steps 0", "0 steps: this sampler takes 1 to 100"),
            (2, "sample DDPM -o out --steps 101", "101 steps: this sampler takes 1 to 100"),
            (2, "sample DDPM -o out --eta 1.5", "eta is 1.5; it must be in [0, 1]"),
            (2, "sample DDPM -o out --eta -1", "eta is -1; it must be in [0, 1]"),
            (2, "sample DDPM -o out --eta nan", "--eta 'nan': a number is wanted…"),
            (
                2,
                "sample DDPM -o out --sampler edm",
                "a DDPM is sampled with ddpm, ddim or dpm-solver, not edm",
            ),
            (
                2,
                "sample DDPM -o out --sampler ddpm --steps 50",
                "--sampler ddpm takes all 100 steps; give --sampler ddim for fewer",
            ),
            (2, "sample DDPM -o out --sampler ddpm --eta 1", "--eta is for --sampler ddim and edm, not ddpm"),
            (2, "sample EDM -o out --sampler ddim", "an EDM is sampled with edm or dpm-solver, not ddim"),
            (2, "sample EDM -o out --sampler ddpm", "an EDM is sampled with edm or dpm-solver, not ddpm"),
            (2, "sample EDM -o out --steps 1", "1 steps: this sampler takes 2 to 10000"),
            (2, "sample DDPM --no-png", "--no-png leaves nothing to write: give --npy or --sheet as well"),
            (
                2,
                "sample DDPM -o out --sheet sheet.png --seeds 0-9999 --columns 2",
                "--sheet: 10000 images in 2 columns are 102 x 250002 pixels, and 65535 is the most on a side; change \
                 --columns, or leave the sheet out",
            ),
            (2, "sample DDPM -o out --seeds 9-1", "…"),
            (2, "sample DDPM -o out --seeds 1,1", "…"),
            (2, "sample DDPM", "…"),
            (2, "sample DDPM -o out --no-png", "…"),
            (2, "sample DDPM -o out --columns 0", "…"),
            (2, "sample DDPM -o out --columns 4", "…"),
            (1, "sample DDPM -o out --sheet no/sheet.png", missing),
            (1, "sample DDPM -o out --npy no/x.npy", missing),
            (1, "sample DDPM -o out --npy .", ".: it is a folder; give the name of a file"),
        ],
    );
}

/// An image of the folder that was damaged since is named, not drawn over.
#[test]
fn a_damaged_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let line = "sample DDPM --steps 2 --seeds 0-3 -o out";
    infer(root, line).success();
    let damaged = root.join("out/000002.png");
    let check = |wanted: &str| {
        let wanted = format!("out/000002.png: …{wanted}; remove it and run again");
        refuses(root, [(1, format!("{line} --sheet sheet.png --npy x.npy"), wanted)]);
    };
    for bytes in ["hello", ""] {
        fs::write(&damaged, bytes).expect("a file");
        check("");
    }
    image::RgbImage::new(3, 3).save(&damaged).expect("an image");
    check("an image of 3x3x3 and not of 1x12x12");
}

/// A reader that has seen enough is no failure.
#[test]
fn a_closed_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_ddae-infer");
    let script =
        format!("{{ {program} sample {} --dry-run -o out; echo $? >code; }} | true", MODELS.ddpm.display());
    let status = std::process::Command::new("sh").args(["-c", &script]).current_dir(folder.path()).status();
    assert!(status.is_ok_and(|status| status.success()));
    assert_eq!(fs::read_to_string(folder.path().join("code")).expect("a code"), "0\n");
}

/// What a file says of itself is checked before it is believed.
#[test]
fn metadata_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let good = fs::read(&MODELS.fixed).expect("a file");
    let deep = "[".repeat(60_000);
    for (key, value, wanted) in [
        ("ddae.timestep", "101", "its 'ddae.timestep' is 101, and its process has 1 to 100; export it again"),
        ("ddae.timestep", "-1", "its 'ddae.timestep' is -1, and its process has 1 to 100; export it again"),
        (
            "ddae.taps",
            r#"[{"name": "out_2", "shape": [4294967296, 4294967296]}]"#,
            "its layer out_2 is of [4294967296, 4294967296], more than any is; export it again",
        ),
        (
            "ddae.config",
            deep.as_str(),
            "the configuration in it: its brackets nest more than 64 deep; no configuration does; export it again",
        ),
        (
            "ddae.taps",
            deep.as_str(),
            "the file's metadata entry 'ddae.taps' is '[[[[…', which is not a list of layers…",
        ),
    ] {
        let entries = [(key.to_string(), value.to_string())];
        fs::write(root.join("a.onnx"), [&good[..], &metadata_suffix(&entries)].concat()).expect("written");
        refuses(
            root,
            [(1, "features a.onnx --edited --data-root DATA -o out", format!("cannot use a.onnx: {wanted}"))],
        );
    }
}

#[test]
fn a_batch_that_does_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = crate::scene::command(folder.path(), "features FIXED --data-root DATA -o out");
    let ended = ddae_tests::programs::run(command.env("DDAE_MEMORY", "1kB"));
    let message = ended.error(&[1]);
    assert!(
        message.starts_with("error: a batch of 16 images needs at least 11.2 KiB of memory, and 1000 bytes"),
        "{message}"
    );
    assert!(message.contains(": give a smaller --batch "), "{message}");
}
