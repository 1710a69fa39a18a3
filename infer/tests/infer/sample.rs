//! `ddae-infer sample`: files, going on, other settings in the way.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ddae_infer::device::Device;
use ddae_infer::sample::Sampling;
use ddae_infer::workers::Workers;
use ddae_model::diffusion::sampler::ddim;
use serde_json::{Value, json};

use crate::scene::{MODELS, ddpm_process, done, infer, names};

const SAMPLE: &str = "sample DDPM --steps 4";

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).expect("an image").into_luma8().into_raw()
}

/// Shape and values of an array file.
fn npy(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).expect("a file");
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..10 + length].to_vec()).expect("text");
    let shape = header.split_once("'shape': ").expect("a shape").1.trim_end().to_string();
    (shape, bytes[10 + length..].to_vec())
}

#[test]
fn images_array_and_sheet_hold_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let line = format!("{SAMPLE} --seeds 0-4,9 --sheet sheet.png --columns 3 --npy array.npy");
    let printed = done(root, &format!("{line} -o images"));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("6 images in ") && lines[0].ends_with(", 4 steps of ddim"), "{printed}");
    assert_eq!(lines[1..], ["folder  images", "sheet   sheet.png", "npy     array.npy"]);
    let images = names(&root.join("images"));
    assert_eq!(
        images,
        ["000000.png", "000001.png", "000002.png", "000003.png", "000004.png", "000009.png", "run.json"]
    );
    let (shape, values) = npy(&root.join("array.npy"));
    assert_eq!(shape, "(6, 12, 12, 1), }");
    let drawn: Vec<u8> =
        images[..6].iter().flat_map(|name| pixels(&root.join("images").join(name))).collect();
    assert!(values == drawn);
    // 3 columns of 12 pixels at 4 times their size, with gaps of 2.
    let sheet = image::open(root.join("sheet.png")).expect("a sheet").into_luma8();
    assert_eq!(sheet.dimensions(), (3 * 50 + 2, 2 * 50 + 2));
    assert_eq!(sheet.get_pixel(2 + 50 + 4 * 5, 2 + 4 * 7).0[0], drawn[144 + 7 * 12 + 5]);

    // Without PNG files the others are the same.
    let before = (
        fs::read(root.join("sheet.png")).expect("a file"),
        fs::read(root.join("array.npy")).expect("a file"),
    );
    done(root, &format!("{line} --no-png"));
    let after = (
        fs::read(root.join("sheet.png")).expect("a file"),
        fs::read(root.join("array.npy")).expect("a file"),
    );
    assert!(before == after);
    assert_eq!(names(root).len(), 9);
}

#[test]
fn a_image_is_drawn_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let line = format!("{SAMPLE} --seeds 0-5 -o images --json");
    let drawn = |line: &str| infer(root, line).json()["drawn"].clone();
    assert_eq!(drawn(&line), 6);
    let third = root.join("images/000002.png");
    let before = fs::read(&third).expect("an image");
    assert_eq!(drawn(&line), 0);
    fs::remove_file(&third).expect("removed");
    let printed = done(root, &format!("{SAMPLE} --seeds 0-7 -o images --dry-run"));
    assert!(printed.starts_with("images    8 of 1x12x12, 3 of them still to draw\n"), "{printed}");
    assert!(printed.contains("\nsampler   ddim, 4 steps, eta 0: 4 network calls for each\n"), "{printed}");
    assert_eq!(drawn(&line), 1);
    assert!(fs::read(&third).expect("an image") == before);
    // More seeds join them; the sheet shows old and new.
    assert_eq!(drawn(&format!("{SAMPLE} --seeds 0-7 -o images --json --npy all.npy")), 2);
    assert_eq!(npy(&root.join("all.npy")).1[2 * 144..3 * 144], pixels(&third));
    assert_eq!(drawn(&format!("{line} --overwrite")), 6);
    assert_eq!(names(&root.join("images")).len(), 9);
}

#[test]
fn images_of_other_settings_are_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &format!("{SAMPLE} --seeds 0-3 -o images"));
    let before = fs::read(root.join("images/000000.png")).expect("an image");
    for (line, what) in [
        (format!("{SAMPLE} --eta 0.5"), "eta 0.0, and this run has 0.5"),
        ("sample DDPM --steps 5".to_string(), "steps 4, and this run has 5"),
        ("sample DDPM --sampler ddpm".to_string(), "sampler \"ddim\", and this run has \"ddpm\""),
        ("sample EDM --steps 4".to_string(), "another config"),
    ] {
        let message = infer(root, &format!("{line} --seeds 9 -o images")).error(&[1]).to_string();
        assert_eq!(
            message,
            format!("error: images holds images with {what}: choose another folder, or give --overwrite")
        );
    }
    assert!(fs::read(root.join("images/000000.png")).expect("an image") == before);
    // A file of the same checkpoint in other numbers.
    let record = root.join("images/run.json");
    let text = fs::read_to_string(&record).expect("a record");
    let key = "\"model_precision\": \"f32\"";
    assert!(text.contains(key), "{text}");
    fs::write(&record, text.replace(key, "\"model_precision\": \"f16\"")).expect("a file");
    let ended = infer(root, &format!("{SAMPLE} --seeds 9 -o images"));
    let wanted = "model_precision \"f16\", and this run has \"f32\"";
    assert!(ended.error(&[1]).contains(wanted), "{ended}");
    // Overwritten, the folder holds no image of the old settings.
    done(root, &format!("{SAMPLE} --eta 0.5 --seeds 1-2 -o images --overwrite"));
    assert_eq!(names(&root.join("images")), ["000001.png", "000002.png", "run.json"]);
    let record = fs::read_to_string(root.join("images/run.json")).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(
        (&record["sampler"], &record["steps"], &record["eta"]),
        (&json!("ddim"), &json!(4), &json!(0.5))
    );
    assert_eq!(record["provider"], "CPUExecutionProvider");
}

/// Images that somebody else put there are neither taken for ours nor removed.
#[test]
fn foreign_images_are_safe() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().join("images");
    fs::create_dir(&images).expect("a folder");
    fs::write(images.join("000002.png"), "a holiday").expect("a file");
    fs::write(images.join("notes.txt"), "hello").expect("a file");
    for option in ["", "--overwrite"] {
        let message = infer(folder.path(), &format!("{SAMPLE} -o images {option}")).error(&[1]).to_string();
        assert_eq!(
            message,
            "error: images/000002.png: it is there, but no run.json that says what made it: choose another folder"
        );
    }
    fs::remove_file(images.join("000002.png")).expect("removed");
    done(folder.path(), &format!("{SAMPLE} --seeds 1 -o images"));
    assert_eq!(names(&images), ["000001.png", "notes.txt", "run.json"]);
    // A record that cannot be read is one of other settings.
    fs::write(images.join("run.json"), "{").expect("a file");
    let message = infer(folder.path(), &format!("{SAMPLE} --seeds 1 -o images")).error(&[1]).to_string();
    assert!(message.contains("holds images with a run.json that is damaged"), "{message}");
    done(folder.path(), &format!("{SAMPLE} --seeds 3 -o images --overwrite"));
    assert_eq!(names(&images), ["000003.png", "notes.txt", "run.json"]);
}

#[test]
fn samplers_follow_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = |line: &str| {
        let object = infer(folder.path(), &format!("{line} --seeds 0 --no-png --npy x.npy --json")).json();
        (object["settings"]["sampler"].clone(), object["settings"]["steps"].clone())
    };
    assert_eq!(settings("sample DDPM"), (json!("ddim"), json!(100)));
    assert_eq!(settings("sample DDPM --sampler ddpm"), (json!("ddpm"), json!(100)));
    assert_eq!(settings("sample EDM"), (json!("edm"), json!(18)));
    assert_eq!(settings("sample EDM --steps 3"), (json!("edm"), json!(3)));
}

/// What a broken model gives is not drawn as black.
#[test]
fn values_that_are_no_numbers_are_refused() {
    let process = serde_json::from_value(ddpm_process()).expect("a DDPM");
    let mut plan = ddim(&process, 2, 0.0).expect("a plan");
    plan.steps[1].coefficients[0] = f64::NAN;
    let mut workers = Workers::open(&MODELS.ddpm, Device::Cpu, 1).expect("a session");
    let sampling = Sampling { plan: &plan, shape: [1, 12, 12], batch: 2, guide: None, classes: None };
    let drawn = sampling.run(&mut workers, &[7, 8, 9], &AtomicBool::new(false), |_| (), |_, _| Ok(()));
    let message = drawn.expect_err("no images").to_string();
    assert_eq!(message, "the image of seed 7 holds NaN: check the model's weights and its precision");
}
