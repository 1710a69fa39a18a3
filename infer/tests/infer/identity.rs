//! What is made is told from what was made with another file, or of other images.

use std::fs;
use std::path::Path;

use ddae_store::FeatureFile;
use serde_json::{Map, Value};

use crate::scene::{MODELS, data, done, infer, names};

/// Copies an ONNX file and changes the last of its weights, as an editor would that keeps its metadata.
fn edited(original: &Path, copy: &Path) {
    let mut bytes = fs::read(original).expect("a file");
    // Weights fill the file but for its beginning and its end; this one is a float in (0.01, 1).
    let is_weight = |at: &usize| {
        let value = f32::from_le_bytes(bytes[*at..at + 4].try_into().expect("four bytes"));
        (0.01..1.0).contains(&value)
    };
    let at = (bytes.len() / 2..bytes.len()).find(is_weight).expect("a weight");
    bytes[at + 2] ^= 0x40;
    fs::write(copy, bytes).expect("written");
}

#[test]
fn an_edited_file_is_refused_unless_it_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    edited(&MODELS.features, &root.join("features.onnx"));
    edited(&MODELS.ddpm, &root.join("ddpm.onnx"));
    for line in [
        "features features.onnx --data-root DATA --timesteps 11 -o out",
        "sample ddpm.onnx --steps 4 --seeds 0-1 -o images",
    ] {
        let ended = infer(root, line);
        let said = ended.error(&[1]);
        let wanted = "it was changed after ddae-export wrote it, so that what it says of itself need not be true: export it \
                      again, or say --edited to use it as it is";
        assert!(said.ends_with(wanted), "{said}");
        done(root, &format!("{line} --edited"));
    }
}

#[test]
fn features_of_an_edited_file_are_not_those_of_the_original() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    edited(&MODELS.features, &root.join("features.onnx"));
    let job = "--data-root DATA --timesteps 11 -o out";
    done(root, &format!("features FEATURES {job} --shard 0/2"));
    let other = format!("features features.onnx --edited {job}");
    let ended = infer(root, &format!("{other} --shard 1/2"));
    let said = ended.error(&[1]);
    assert!(said.starts_with("error: out.0000-of-0002.h5 holds graph_digest "), "{said}");
    // Made elsewhere and brought here, its shard is not joined either.
    done(root, &format!("{other}ther --shard 1/2"));
    fs::rename(root.join("outther.0001-of-0002.h5"), root.join("out.0001-of-0002.h5")).expect("renamed");
    let ended = infer(root, "merge out");
    let said = ended.error(&[1]);
    assert!(said.contains("holds graph_digest "), "{said}");
    assert!(!root.join("out.h5").exists());
}

#[test]
fn images_drawn_with_an_edited_file_are_not_continued() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    edited(&MODELS.ddpm, &root.join("ddpm.onnx"));
    done(root, "sample DDPM --steps 4 --seeds 0-1 -o images");
    let before = names(root);
    let ended = infer(root, "sample ddpm.onnx --edited --steps 4 --seeds 0-3 -o images");
    let said = ended.error(&[1]);
    assert!(said.contains("another graph"), "{said}");
    assert_eq!(names(root), before);
    // A folder of a version that did not say it goes on.
    let record = fs::read_to_string(root.join("images/run.json")).expect("a record");
    let mut record: Map<String, Value> = serde_json::from_str(&record).expect("JSON");
    assert!(record.remove("graph").is_some());
    fs::write(root.join("images/run.json"), Value::Object(record).to_string()).expect("written");
    done(root, "sample DDPM --steps 4 --seeds 0-3 -o images");
    let record = fs::read_to_string(root.join("images/run.json")).expect("a record");
    assert!(!record.contains("\"graph\""), "what made the first images is not known");
}

/// The same names, sizes and labels; one image is another.
#[test]
fn shards_of_other_images_are_not_joined() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for split in ["train", "test"] {
        for class in ["dark", "light"] {
            let (from, to) = (data().join(split).join(class), root.join("other").join(split).join(class));
            fs::create_dir_all(&to).expect("a folder");
            for entry in fs::read_dir(from).expect("a folder") {
                let path = entry.expect("an entry").path();
                fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
            }
        }
    }
    let changed = root.join("other/train/light/41.png");
    image::GrayImage::from_pixel(12, 12, image::Luma([7])).save(&changed).expect("an image");
    let job = "features FEATURES --timesteps 11 -o out";
    done(root, &format!("{job} --data-root DATA --shard 0/2"));
    // The changed image is not even among those of this shard's job that are there.
    let ended = infer(root, &format!("{job} --data-root other --shard 1/2"));
    let said = ended.error(&[1]);
    let digest = |path: &str| {
        let file = FeatureFile::open(root.join(path)).expect("a feature file");
        file.attributes()["images_digest"].as_str().expect("text").to_string()
    };
    assert!(said.starts_with("error: out.0000-of-0002.h5 holds images_digest "), "{said}");
    assert!(digest("out.0000-of-0002.h5").starts_with("content:"));

    // By names and sizes alone they are told apart only where those differ.
    let by_files = "features FEATURES --timesteps 11 --images-by files";
    done(root, &format!("{by_files} -o files --data-root DATA --shard 0/2"));
    assert!(digest("files.0000-of-0002.h5").starts_with("files:"));
    let ended = infer(root, &format!("{by_files} -o files --data-root other --shard 1/2"));
    let said = ended.error(&[1]);
    assert!(said.starts_with("error: files.0000-of-0002.h5 holds images_digest "), "{said}");
    let ended = infer(root, &format!("{job} --images-by names --data-root DATA"));
    assert!(ended.error(&[2]).contains("wanted is content or files"), "{ended}");
}
