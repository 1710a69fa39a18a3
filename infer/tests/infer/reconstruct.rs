//! `ddae-infer reconstruct`: what is drawn from which latent, files, going on, bad input.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ddae_base::random::{Purpose, stream};
use ddae_model::config::{ChannelStatistics, DdpmConfig, ModelConfig, ProcessConfig};
use ddae_model::diffusion::sampler::ddim;
use ddae_model::networks::{Architecture, DecoderConfig, EncoderArch, EncoderConfig, UNetConfig};
use ddae_model::tensor::Tensor;
use ddae_onnx::metadata::GraphKind;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_tests::cases::Run;
use ddae_tests::cases::samplers::Calls;
use ddae_tests::programs::{Ended, run};
use tempfile::TempDir;

use crate::scene::{Export, command, data, ddpm_process, export_graph, names};

/// Graphs for grey images of 12x12 and latents of 8.
struct Soda {
    folder: TempDir,
}

static SODA: LazyLock<Soda> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, model: &ModelConfig, kind: GraphKind, bytes: bool| {
        let what = Export { kind, taps: vec![], timestep: None, bytes, label: false, unpooled: false };
        let graph = model.architecture.network_graph(false).expect("a network");
        export_graph(folder.path(), name, &model.to_yaml(), &graph, what);
    };
    write("encoder", &encoder(8, 12), GraphKind::Encoder, false);
    write("bytes", &encoder(8, 12), GraphKind::Encoder, true);
    write("wide", &encoder(9, 12), GraphKind::Encoder, false);
    write("large", &encoder(8, 16), GraphKind::Encoder, false);
    let normalisation = Some(ChannelStatistics { mean: vec![0.5], std: vec![0.25] });
    write("statistics", &ModelConfig { normalisation, ..encoder(8, 12) }, GraphKind::Encoder, false);
    write("sampler", &decoder(), GraphKind::Sampler, false);
    Soda { folder }
});

fn encoder(feature_dim: usize, side: usize) -> ModelConfig {
    let config = EncoderConfig {
        arch: EncoderArch::ResNet18,
        feature_dim,
        cifar_small_image: true,
        image_shape: [1, side, side],
    };
    let normalisation = ChannelStatistics { mean: vec![0.4], std: vec![0.3] };
    ModelConfig { normalisation: Some(normalisation), ..ModelConfig::of(Architecture::SodaEncoder(config)) }
}

fn process() -> DdpmConfig {
    serde_json::from_value(ddpm_process()).expect("a DDPM")
}

fn decoder() -> ModelConfig {
    let config = UNetConfig {
        image_shape: [1, 12, 12],
        n_channels: 32,
        ch_mults: vec![1, 1],
        is_attn: vec![false, true],
        n_blocks: 1,
        z_channels: 8,
        ..UNetConfig::ddpm()
    };
    let process = Some(ProcessConfig::Ddpm(process()));
    ModelConfig { process, ..ModelConfig::of(Architecture::SodaDecoder(DecoderConfig(config))) }
}

fn file(name: &str) -> PathBuf {
    SODA.folder.path().join(format!("{name}.onnx"))
}

/// A folder with the images of three test files, `a.png` to `c.png`.
fn place() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, from) in [("a", "dark/00"), ("b", "light/01"), ("c", "dark/02")] {
        let from = data().join(format!("test/{from}.png"));
        fs::copy(from, folder.path().join(format!("{name}.png"))).expect("a copy");
    }
    folder
}

/// Runs `reconstruct` with few steps; `--encoder NAME` and `--sampler NAME` are those above.
fn reconstruct(folder: &Path, line: &str) -> Ended {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    for (option, usual) in [("--encoder", "encoder"), ("--sampler", "sampler")] {
        match words.iter().position(|word| word == option) {
            Some(at) => words[at + 1] = file(&words[at + 1]).display().to_string(),
            None => words.extend([option.to_string(), file(usual).display().to_string()]),
        }
    }
    if !words.iter().any(|word| word == "--steps") {
        words.extend(["--steps".to_string(), "4".to_string()]);
    }
    run(command(folder, "reconstruct").args(words))
}

#[track_caller]
fn done(folder: &Path, line: &str) -> String {
    reconstruct(folder, line).success().to_string()
}

/// The images of a sheet, row by row.
fn cells(path: &Path) -> Vec<Vec<Vec<u8>>> {
    let sheet = image::open(path).expect("a sheet").into_luma8();
    // 12 pixels at 4 times their size, with gaps of 2.
    let [columns, rows] = [sheet.width(), sheet.height()].map(|side| (side - 2) / 50);
    let cell = |row: u32, column: u32| {
        let at = |i: u32| (2 + column * 50 + i % 12 * 4, 2 + row * 50 + i / 12 * 4);
        (0..144).map(|i| sheet.get_pixel(at(i).0, at(i).1).0[0]).collect()
    };
    (0..rows).map(|row| (0..columns).map(|column| cell(row, column)).collect()).collect()
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).expect("an image").into_luma8().into_raw()
}

/// What is drawn from the latent of an image: by hand.
fn expected(source: &[u8], seed: u64, guidance: f32) -> Vec<u8> {
    let mut encoder = OnnxNetwork::open(&file("encoder"), 1).expect("a session");
    let mut sampler = OnnxNetwork::open(&file("sampler"), 1).expect("a session");
    let image = Tensor::f32(&[1, 1, 12, 12], source.iter().map(|&level| f32::from(level) / 255.0).collect());
    let z = encoder.run(&[("image", image)]).expect("a latent").remove(0).1;
    let plan = ddim(&process(), 4, 0.0).expect("a plan");
    let mut run: Run = Box::new(move |inputs| sampler.run(inputs).expect("a step"));
    let noise = |draw: usize, values: &mut [f32]| {
        stream(seed, Purpose::Sample, 0, draw as u64).fill_normal(values);
    };
    let guides = [("z", z), ("guidance", Tensor::f32(&[1], vec![guidance]))];
    let drawn = plan.run(&mut Calls(&mut run), [1, 1, 12, 12], &guides, noise).expect("an image");
    drawn.iter().map(|value| (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8).collect()
}

#[test]
fn each_row_is_a_source_and_what_its_latent_leads_to() {
    let folder = place();
    let root = folder.path();
    let printed = done(root, "a.png b.png --variations 3 --seed 5 -o sheet.png");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("6 images in ") && lines[0].ends_with(", 4 steps of ddim, guidance 0.3"));
    assert_eq!(lines[1..], ["sheet   sheet.png"]);
    let rows = cells(&root.join("sheet.png"));
    assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    for (row, name) in rows.iter().zip(["a.png", "b.png"]) {
        let source = pixels(&root.join(name));
        assert!(row[0] == source, "{name}");
        for (i, drawn) in row[1..].iter().enumerate() {
            assert!(*drawn == expected(&source, 5 + i as u64, 0.3), "{name}, variation {i}");
        }
    }
    assert_ne!(rows[0][1], rows[1][1]);
    assert_ne!(rows[0][1], rows[0][2]);

    done(root, "a.png --variations 1 --seed 5 --guidance 2 -o led.png");
    let led = cells(&root.join("led.png"));
    assert!(led[0][1] == expected(&led[0][0], 5, 2.0) && led[0][1] != rows[0][1]);
}

#[test]
fn images_are_the_same_however_the_work_is_divided() {
    let folder = place();
    let root = folder.path();
    done(root, "a.png b.png c.png --variations 2 --threads 1 -o sheet.png");
    let sheet = fs::read(root.join("sheet.png")).expect("a file");
    for options in ["--batch 1 --threads 2", "--batch 4 --threads 1", "--encoder bytes"] {
        done(root, &format!("a.png b.png c.png --variations 2 {options} -o other.png"));
        assert!(fs::read(root.join("other.png")).expect("a file") == sheet, "{options}");
    }
    // The same images out of their data set, the dark ones first.
    let options = format!("--data folder --data-root {} --indices 0,1", data().display());
    done(root, &format!("{options} --variations 2 -o other.png"));
    let (of_files, of_data) = (cells(&root.join("sheet.png")), cells(&root.join("other.png")));
    assert!(of_data == [of_files[0].clone(), of_files[2].clone()]);
}

#[test]
fn a_way_leads_from_one_image_to_the_other() {
    let folder = place();
    let root = folder.path();
    done(root, "a.png b.png --variations 2 -o sheet.png");
    let rows = cells(&root.join("sheet.png"));
    for way in ["linear", "spherical"] {
        done(root, &format!("a.png b.png --interpolate 3 --variations 2 --way {way} -o way.png"));
        let found = cells(&root.join("way.png"));
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        for (variation, row) in found.iter().enumerate() {
            assert!(row[0] == rows[0][0] && row[4] == rows[1][0], "{way}");
            assert!(row[1] == rows[0][1 + variation], "{way}: the beginning");
            // An arc's end is that of a line but for rounding.
            let distance = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(distance(&row[3], &rows[1][1 + variation]) <= Some(1), "{way}: the end");
            assert!(row[2] != row[1] && row[2] != row[3], "{way}: the middle");
        }
    }
}

#[test]
fn a_folder_keeps_what_was_drawn() {
    let folder = place();
    let root = folder.path();
    let line = "a.png b.png --variations 2 --pictures kept -o sheet.png";
    let printed = done(root, line);
    assert!(printed.contains("\nfolder  kept\nsheet   sheet.png\n"), "{printed}");
    let kept = ["000000.png", "000001.png", "000002.png", "000003.png", "run.json"];
    assert_eq!(names(&root.join("kept")), kept);
    let sheet = fs::read(root.join("sheet.png")).expect("a file");
    let rows = cells(&root.join("sheet.png"));
    assert_eq!(pixels(&root.join("kept/000002.png")), rows[1][1]);

    fs::remove_file(root.join("kept/000003.png")).expect("removed");
    let printed = done(root, &format!("{line} --dry-run"));
    assert_eq!(
        printed,
        "sources   2 of 1x12x12 from files\nimages    4, 1 of them still to draw\n\
         sampler   ddim, 4 steps, eta 0, guidance 0.3\ndevice    cpu, batches of 16 at most\n"
    );
    let report = reconstruct(root, &format!("{line} --json")).json();
    assert_eq!(report["schema"], "ddae.reconstruct/1");
    assert_eq!(
        (&report["pictures"], &report["drawn"], &report["sources"]),
        (&4.into(), &1.into(), &2.into())
    );
    assert!(fs::read(root.join("sheet.png")).expect("a file") == sheet);

    for (other, what) in [
        ("a.png b.png --variations 3", "variations 2, and this run has 3"),
        ("a.png b.png --variations 2 --guidance 0", "guidance 0.3, and this run has 0.0"),
        ("a.png c.png --variations 2", "another sources"),
        // Of the same checkpoint, for images of another normalisation.
        ("a.png b.png --variations 2 --encoder statistics", "another encoder_config"),
    ] {
        let ended = reconstruct(root, &format!("{other} --pictures kept -o sheet.png"));
        let message = ended.error(&[1]);
        assert!(
            message.contains(&format!("kept holds images with {what}: choose another folder")),
            "{message}"
        );
    }
    done(root, "a.png --variations 1 --pictures kept -o sheet.png --overwrite");
    assert_eq!(names(&root.join("kept")), ["000000.png", "run.json"]);
}

#[test]
fn bad_input_gets_one_line() {
    let folder = place();
    let root = folder.path();
    fs::write(root.join("cut.png"), &fs::read(root.join("a.png")).expect("a file")[..60]).expect("a file");
    fs::write(root.join("text.jpg"), "hello").expect("a file");
    image::RgbImage::new(12, 12).save(root.join("colour.png")).expect("an image");
    let before = names(root);
    let folder_data = format!("--data folder --data-root {}", data().display());
    for (line, code, message) in [
        ("missing.png -o s.png", 1, "cannot open missing.png: there is no such file or folder"),
        ("cut.png -o s.png", 1, "cut.png: it cannot be decoded"),
        ("text.jpg -o s.png", 1, "text.jpg: it is text, which is not read"),
        ("colour.png -o s.png", 1, "colour.png: it is a colour image"),
        ("a.png -o nowhere/s.png", 1, "nowhere: this folder does not exist"),
        (
            "a.png --interpolate 4 -o s.png",
            2,
            "--interpolate leads from one image to another: give two, not 1",
        ),
        ("a.png b.png c.png --interpolate 4 -o s.png", 2, "give two, not 3"),
        ("a.png b.png --interpolate 1 -o s.png", 2, "a whole number from 2 to 65535 is wanted"),
        ("a.png --way linear -o s.png", 2, "--interpolate N is missing"),
        ("a.png --guidance nan -o s.png", 2, "--guidance 'nan': a number is wanted"),
        ("a.png --guidance 1e39 -o s.png", 2, "it must be a number in float32"),
        ("a.png --steps 0 -o s.png", 2, "0 steps: this sampler takes 1 to 100"),
        ("a.png --eta 2 -o s.png", 2, "eta is 2; it must be in [0, 1]"),
        ("a.png --variations 5000 -o s.png", 2, "take fewer images, or fewer variations of them"),
        ("-o s.png", 2, "IMAGE... is missing"),
        (
            "a.png --indices 3 -o s.png",
            2,
            "--indices is for images of a data set (--data), and files are given",
        ),
        ("a.png --encoder wide -o s.png", 2, "--encoder makes latents of 9 and --sampler takes latents of 8"),
        ("a.png --encoder large -o s.png", 2, "--encoder sees images of 1x16x16 and --sampler draws 1x12x12"),
        (
            "a.png --encoder sampler -o s.png",
            1,
            "is a graph of kind 'sampler', and 'reconstruct --encoder' wants 'encoder'",
        ),
        ("a.png --sampler encoder -o s.png", 1, "'reconstruct --sampler' wants 'sampler'"),
    ] {
        let ended = reconstruct(root, line);
        let found = ended.error(&[code]);
        assert!(found.contains(message), "{line}: {found}");
        assert_eq!(names(root), before, "{line}");
    }
    let ended = reconstruct(root, &format!("{folder_data} --indices 0,10 -o s.png"));
    assert!(ended.error(&[2]).contains("--indices 10: folder has 10 test images, 0 to 9"), "{ended}");
    let ended = reconstruct(root, &format!("{folder_data} --indices 0,0 -o s.png"));
    assert!(ended.error(&[2]).contains("0 is asked for twice"), "{ended}");
}

#[test]
fn samplers_are_not_mixed_up() {
    let folder = place();
    let root = folder.path();
    let ended = run(command(root, "sample").arg(file("sampler")).args(["-o", "out"]));
    assert_eq!(
        ended.error(&[2]),
        "error: this sampler draws what latents of an encoder say: `ddae-infer reconstruct` gives it those"
    );
    let line = format!("reconstruct a.png --sampler DDPM -o s.png --encoder {}", file("encoder").display());
    let message = crate::scene::infer(root, &line);
    assert!(
        message.error(&[2]).contains("which takes no latents; `ddae-infer sample` draws with it"),
        "{message}"
    );
    // The graphs here come from two files of weights, which is said, and allowed.
    let ended = reconstruct(root, "a.png --variations 1 -o s.png");
    assert!(
        ended.stderr.contains("warning: --encoder is of encoder.safetensors and --sampler of another"),
        "{ended}"
    );
    let ended = reconstruct(root, "a.png --variations 1 -o s.png -q");
    assert_eq!(ended.stderr, "");
}
