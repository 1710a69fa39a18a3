//! Features of every kind of source, written by the tools that people use (`data/tests/sources/make.py`): extracted, and a
//! row's image found by its path.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_store::FeatureFile;
use serde_json::json;

use crate::scene::{data, done, infer};

/// Files that webdataset and pyarrow wrote.
fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/sources").join(name)
}

/// Extracts the split, and finds the row of the last image by its path; gives the paths.
#[track_caller]
fn extracted(root: &Path, source: &str, split: &str, out: &str) -> Vec<String> {
    let line =
        format!("features FEATURES --data {source} --split {split} --colour grey --timesteps 5 --threads 1");
    done(root, &format!("{line} -o {out}"));
    let file = FeatureFile::open(root.join(format!("{out}.h5"))).expect("a feature file");
    let paths = file.paths(0..file.len()).expect("paths");
    let last = file.len() - 1;
    let found = infer(root, &format!("inspect {out}.h5 --path {} --json", paths[last])).json();
    assert_eq!((&found["row"], &found["path"]), (&json!(last), &json!(paths[last])), "{source}");
    assert_eq!(found["label"], json!(file.labels().expect("labels")[last]), "{source}");
    let row = &file.read(&file.keys()[0], 0, last..last + 1).expect("features");
    assert_eq!(found["features"][file.keys()[0].to_string()][0][0], json!(row[[0, 0]]), "{source}");
    paths
}

#[test]
fn streams_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, train, test) in [
        ("webdataset", "birds-train-000000.tar/sample", "birds-val-000000.tar/"),
        ("hub", "data/train-0000", "data/validation-00000-of-00001.parquet/"),
    ] {
        let source = stored(name).display().to_string();
        let of_train = extracted(folder.path(), &source, "train", &format!("{name}-train"));
        assert!(of_train.len() == 5 && of_train[0].starts_with(train), "{of_train:?}");
        let of_test = extracted(folder.path(), &source, "test", &format!("{name}-test"));
        assert!(of_test.len() == 2 && of_test.iter().all(|path| path.starts_with(test)), "{of_test:?}");
    }
}

/// The same images by a folder of classes, a list of paths and a table with labels: the same features.
#[test]
fn folders_lists_and_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (mut list, mut table) = (String::new(), "path,label\n".to_string());
    for class in ["dark", "light"] {
        let mut images: Vec<PathBuf> = fs::read_dir(data().join("test").join(class))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        images.sort();
        for image in images {
            list += &format!("{} {class}\n", image.display());
            table += &format!("{},{class}\n", image.display());
        }
    }
    fs::write(root.join("list.txt"), list).expect("written");
    fs::write(root.join("table.csv"), table).expect("written");
    let whole = extracted(root, &data().display().to_string(), "test", "folder");
    assert_eq!((whole.len(), whole[0].as_str()), (crate::scene::TEST, "test/dark/00.png"));
    let all = |name: &str| {
        let file = FeatureFile::open(root.join(format!("{name}.h5"))).expect("a feature file");
        (file.labels().expect("labels"), file.provenance().classes.clone(), file.len())
    };
    for name in ["list.txt", "table.csv"] {
        let out = name.split('.').next().expect("a name");
        let paths = extracted(root, name, "train", out);
        assert!(paths[0].ends_with("test/dark/00.png"), "{paths:?}");
        assert_eq!(all(out), all("folder"), "{name}");
    }
}
