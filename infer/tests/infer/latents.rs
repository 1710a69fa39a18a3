//! Latents in a file of their own, and features of them.

use std::path::Path;

use ddae_base::random::{ImageKey, Purpose};
use ddae_data::augment::{Augmentation, Augmenter};
use ddae_data::datasets;
use ddae_data::resize::Rule;
use ddae_model::tensor::Tensor;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::relative_error;
use serde_json::json;

use crate::codes::{dit, export, latent, latent_encoder};
use crate::scene::{Export, TEST, content, data, done, infer, names, refuses};

const IMAGES: &str = "--data folder --data-root DATA --split test";
const COPIES: &str = "--views 3 --crop --flip --seed 5";

/// The graphs of a tiny DiT and of the encoder of its latents.
fn graphs(folder: &Path) {
    export(folder, "dit", &dit(), Export::features(&["layer-0"]));
    export(folder, "vae", &latent_encoder([8, 8]), latent());
}

/// Features of stored latents are, to the last byte of the file, those of the graph by the way.
#[test]
fn stored_latents_give_the_features_that_the_graph_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    graphs(root);
    let direct = format!("features dit.onnx --latents vae.onnx {IMAGES} --timesteps 0,81");
    done(root, &format!("{direct} {COPIES} -o direct"));
    let printed = done(root, &format!("features vae.onnx {IMAGES} {COPIES} --shards 3 -o latents"));
    assert!(
        printed.ends_with("next: ddae-infer features MODEL.onnx --latents latents.h5 -o features\n"),
        "{printed}"
    );
    done(root, "features dit.onnx --latents latents.h5 --timesteps 0,81 --seed 5 --batch 4 -o stored");
    let read = |name: &str| std::fs::read(root.join(name)).expect("a file");
    assert!(read("direct.h5") == read("stored.h5"));

    // On two machines, and with another batch.
    let job = "features dit.onnx --latents latents.h5 --timesteps 0,81 --seed 5 --batch 3";
    done(root, &format!("{job} --shard 1/2 -o parts"));
    done(root, &format!("{job} --shard 0/2 -o parts"));
    assert!(read("direct.h5") == read("parts.h5"));
    assert!(names(root).iter().all(|name| !name.contains("-of-")));

    let file = FeatureFile::open(root.join("latents.h5")).expect("a feature file");
    assert_eq!(file.keys(), [FeatureKey::new(0, "latent")]);
    assert_eq!((file.views(), file.len(), file.dim(&file.keys()[0]).expect("a width")), (3, TEST, 64));
    let attributes = file.attributes();
    for (name, value) in [
        ("graph", json!("latent")),
        ("pooling", json!("none")),
        ("tap_shapes", json!(["4x4x4"])),
        ("noise", json!("keyed")),
        ("crop_padding", json!(4)),
        ("image_shape", json!([1, 8, 8])),
        ("timesteps", json!([0])),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(file.image_keys(0..TEST).expect("keys").len(), TEST);
    assert!(done(root, "inspect latents.h5").contains("features    t0/latent [3, 10, 64] of 4x4x4\n"));
}

/// Another seed, noise or precision of the latents is said, and told from the graph by the way.
#[test]
fn what_is_otherwise_than_by_the_way_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    graphs(root);
    let of = |name: &str| FeatureFile::open(root.join(name)).expect("a feature file").attributes();
    done(root, &format!("features vae.onnx {IMAGES} {COPIES} -o plain"));
    done(root, &format!("features vae.onnx {IMAGES} {COPIES} --noise none --dtype f16 -o mean"));
    done(root, "features dit.onnx --latents plain.h5 --timesteps 81 --seed 6 -o a");
    done(root, "features dit.onnx --latents mean.h5 --timesteps 81 --seed 6 -o b");
    let names = ["seed", "latents_seed", "latents_noise", "latents_dtype", "latents_precision", "views"];
    let said = |name: &str| names.map(|attribute| of(name)[attribute].clone());
    assert_eq!(said("a.h5"), [json!(6), json!(5), json!(null), json!(null), json!(null), json!(3)]);
    assert_eq!(said("b.h5"), [json!(6), json!(5), json!("none"), json!("f16"), json!(null), json!(3)]);
    // Both were made on the same device.
    assert_eq!(of("a.h5").get("latents_provider"), Some(&json!(null)));
    assert_eq!(of("a.h5")["images_digest"], of("plain.h5")["images_digest"]);
    assert_eq!(of("a.h5")["latents"], of("plain.h5")["model"]);
    assert_eq!(of("a.h5")["latents_digest"], of("plain.h5")["graph_digest"]);
    // Copies have noise of their own, and another seed is another draw.
    let (a, again) = (content(&root.join("a.h5")), {
        done(root, "features dit.onnx --latents plain.h5 --timesteps 81 --seed 7 -o c");
        content(&root.join("c.h5"))
    });
    let views = &a.2[0].1;
    assert!(views[0] != views[1] && views[1] != views[2] && views[0] != again.2[0].1[0]);
    assert_eq!(a.0, again.0);
    let wanted = "error: a.h5 holds seed 6 where this job has 7";
    let line = "features dit.onnx --latents plain.h5 --timesteps 81 --seed 7 -o a";
    assert!(infer(root, line).error(&[1]).starts_with(wanted));
    // Shards of a job on other latents are another job's.
    done(root, "features dit.onnx --latents plain.h5 --timesteps 81 --shard 0/2 -o d");
    let ended = infer(root, "features dit.onnx --latents mean.h5 --timesteps 81 --shard 1/2 -o d");
    let error = ended.error(&[1]);
    assert!(error.contains("holds latents_noise null where this job has \"none\""), "{error}");
}

#[test]
fn files_and_options_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    graphs(root);
    export(root, "wide", &latent_encoder([16, 16]), latent());
    done(root, &format!("features vae.onnx {IMAGES} --views 2 -o latents"));
    done(root, &format!("features vae.onnx {IMAGES} --shard 0/2 -o part"));
    done(root, &format!("features wide.onnx {IMAGES} -o wide"));
    done(root, "features FEATURES --data-root DATA --split test --timesteps 11 -o features");
    std::fs::write(root.join("text.h5"), "no HDF5").expect("written");
    let job = |file: &str| format!("features dit.onnx --latents {file} --timesteps 0 -o out");
    let of = |option: &str| {
        let option = option.split(' ').next().unwrap_or_default();
        format!(
            "…{option} is about images, and latents.h5 holds latents that were made of them: give it where they are made…"
        )
    };
    let options = [
        "--data folder",
        "--data-root DATA",
        "--split test",
        "--labels l.csv",
        "--limit 3",
        "--crop",
        "--flip",
        "--resized-crop",
        "--before-resize",
        "--images-by files",
        "--skip-broken",
        "--resize adm",
        "--orient",
        "--colour grey",
    ];
    refuses(root, options.map(|option| (2, format!("{} {option}", job("latents.h5")), of(option))));
    refuses(
        root,
        [
            (
                2,
                format!("{} --views 3", job("latents.h5")),
                "…--views 3: latents.h5 holds 2 copies of each image, and each is a view…",
            ),
            (
                1,
                job("features.h5"),
                "…features.h5: it holds features of a graph of kind 'features', and --latents wants those of one of kind \
                 'latent'…",
            ),
            (
                1,
                job("part.0000-of-0002.h5"),
                "…it is a shard with rows 0 to 4 of 10: join all shards with `ddae-infer merge`…",
            ),
            (2, job("wide.h5"), "…wide.h5 holds latents of 4x8x8, and the graph takes 4x4x4…"),
            (1, job("text.h5"), "…text.h5…"),
            (
                2,
                "features FEATURES --latents latents.h5 --timesteps 11 -o out".to_string(),
                "…--latents is for graphs that take latents; this one takes images…",
            ),
            (
                2,
                "features vae.onnx --latents latents.h5 -o out".to_string(),
                "…--latents is for graphs that take latents; this one takes images…",
            ),
            (
                2,
                format!("features vae.onnx {IMAGES} --timesteps 3 -o out"),
                "…--timesteps: this graph has none…",
            ),
            (
                2,
                format!("features vae.onnx {IMAGES} --before-resize -o out"),
                "…--before-resize is about images that are cropped or mirrored: give --crop, --flip or --resized-crop…",
            ),
            (
                2,
                format!("features vae.onnx {IMAGES} --crop --before-resize -o out"),
                "…--before-resize: images of 12x12 are cropped before they are resized to 8x8: say by which rule, as in \
                 --resize cover…",
            ),
        ],
    );
    let told = done(root, &format!("{} --dry-run", job("latents.h5")));
    assert!(told.starts_with("latents   10 of folder/test, 2 views each\n"), "{told}");
    let told = done(root, &format!("features vae.onnx {IMAGES} --views 2 --dry-run -o other"));
    assert!(
        told.contains("features  t0/latent [4x4x4] in f32\nsize      0.00 GB before compression\n"),
        "{told}"
    );
}

/// The published probe of DiT crops CIFAR's images at 32x32 and resizes them to 256x256 after that.
#[test]
fn images_are_cropped_at_their_own_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let vae = export(root, "vae", &latent_encoder([24, 24]), latent());
    let job = format!("features vae.onnx {IMAGES} {COPIES} --resize cover");
    let told = done(root, &format!("{job} --before-resize --dry-run -o own"));
    assert!(told.contains(", cropped, mirrored before they are resized, read with --resize cover"), "{told}");
    done(root, &format!("{job} --before-resize -o own"));
    done(root, &format!("{job} -o after"));
    let own = FeatureFile::open(root.join("own.h5")).expect("a feature file");
    assert_eq!(own.attributes()["before_resize"], true);
    assert!(content(&root.join("own.h5")).2 != content(&root.join("after.h5")).2);

    let stored = datasets::open("folder", Some(data())).expect("images").test;
    let fitted = stored.fit([1, 24, 24]).expect("resized");
    let augmentation = Augmentation::Crop { padding: Some(4), flip: true };
    let mut augmenter = Augmenter::new(augmentation, [1, 12, 12]).expect("grey");
    let mut network = OnnxNetwork::open(&vae, 1).expect("a session");
    for (row, view) in [(0, 0), (3, 2), (TEST - 1, 1)] {
        // Draws are keyed by the image as the graph would see it.
        let mut levels = vec![0; 24 * 24];
        fitted.read(row, &mut levels).expect("an image");
        let key = ImageKey::new("folder/test", row as u64, &levels);
        let mut small = vec![0; 144];
        stored.read(row, &mut small).expect("an image");
        augmenter.apply(&mut small, &mut key.stream(5, Purpose::Augment, view as u64));
        let large = Rule::Cover.apply(&small, [1, 12, 12], [24, 24]).expect("resized");
        let image =
            Tensor::f32(&[1, 1, 24, 24], large.iter().map(|&level| f32::from(level) / 255.0).collect());
        let mut noise = vec![0.0; 4 * 12 * 12];
        let variant = (view as u64) << 32 | u64::from(u32::MAX);
        key.stream(5, Purpose::Noise, variant).fill_normal(&mut noise);
        let noise = Tensor::f32(&[1, 4, 12, 12], noise);
        let expected = network.run(&[("image", image), ("noise", noise)]).expect("a latent").remove(0).1;
        let found = own.read(&own.keys()[0], view, row..row + 1).expect("a latent");
        let error = relative_error(found.as_slice().expect("a row"), expected.as_f32().expect("f32"));
        assert!(error < 1e-5, "{row} {view}: {error:e}");
    }
}

/// Maps of a graph that was exported with --unpooled, whose means are the pooled features.
#[test]
fn maps_are_stored_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let unpooled = Export { unpooled: true, ..Export::features(&["out_1", "out_2"]) };
    let config = crate::scene::tiny(crate::scene::ddpm_process());
    crate::scene::export(root, "maps", &config, unpooled);
    let job = "--data-root DATA --split test --timesteps 11,21 --seed 3";
    let told = done(root, &format!("features maps.onnx {job} --dry-run -o maps"));
    assert!(told.contains("t11/out_1 [32x6x6]"), "{told}");
    done(root, &format!("features maps.onnx {job} -o maps"));
    done(root, &format!("features FEATURES {job} -o means"));
    let open = |name: &str| FeatureFile::open(root.join(name)).expect("a feature file");
    let (maps, means) = (open("maps.h5"), open("means.h5"));
    assert_eq!((maps.keys(), &maps.attributes()["pooling"]), (means.keys(), &json!("none")));
    let shapes = maps.provenance().tap_shapes.clone().flatten().expect("shapes");
    assert_eq!(shapes.len(), 2);
    for (number, key) in maps.keys().iter().enumerate() {
        let sides: Vec<usize> =
            shapes[number % 2].split('x').map(|side| side.parse().expect("a side")).collect();
        let area = sides[1] * sides[2];
        assert_eq!(maps.dim(key).expect("a width"), sides[0] * area);
        let rows = maps.read(key, 0, 0..TEST).expect("maps");
        let averaged: Vec<f32> = rows
            .rows()
            .into_iter()
            .flat_map(|row| {
                let row = row.to_vec();
                row.chunks_exact(area)
                    .map(|plane| plane.iter().sum::<f32>() / area as f32)
                    .collect::<Vec<_>>()
            })
            .collect();
        let expected = means.read(key, 0, 0..TEST).expect("features");
        let error = relative_error(&averaged, expected.as_slice().expect("rows"));
        assert!(error < 1e-5, "{key}: {error:e}");
    }
    let line = format!("features FEATURES {job} -o maps");
    assert!(infer(root, &line).error(&[1]).contains("list of datasets"));
}
