//! `ddae-infer inspect`, and a row's image found by its path.

use ddae_base::random::{ImageKey, Purpose, stream_of};
use ddae_infer::device::Device;
use ddae_infer::engine::{Engine, Keep, Value};
use ddae_model::tensor::Tensor;
use ddae_store::{FeatureFile, FeatureKey};
use serde_json::json;

use crate::scene::{MODELS, TEST, data, done, infer, result};

const JOB: &str = "features FEATURES --data-root DATA --split test --timesteps 11,21 --seed 7 -o out";

/// From the file alone and the picture at its path: the features of a row are computed anew.
#[test]
fn a_row_leads_to_its_image_and_the_image_to_its_features() {
    let folder = tempfile::tempdir().expect("a folder");
    done(folder.path(), JOB);
    let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
    let paths = file.paths(0..TEST).expect("paths");
    let (labels, indices) = (file.labels().expect("labels"), file.indices().expect("indices"));
    let provenance = file.provenance();
    let classes = provenance.classes.clone().expect("classes");
    let data_set = provenance.data_set.clone().expect("a data set");
    let mut engine = Engine::open(&MODELS.features, Device::Cpu).expect("a session");
    for (row, path) in paths.iter().enumerate() {
        // The folder of a class is its name.
        let found =
            [data().join(path), data().join("test").join(path)].into_iter().find(|path| path.is_file());
        let found = found.unwrap_or_else(|| panic!("{path} is no file of the data set"));
        let folder = found.parent().and_then(|folder| folder.file_name()).expect("a folder");
        assert_eq!(folder.to_str(), Some(classes[labels[row] as usize].as_str()));
        let levels = image::open(&found).expect("an image").into_luma8().into_raw();
        let key = ImageKey::new(&data_set, indices[row], &levels).stream_key(7, Purpose::Noise, 11);
        let mut noise = vec![0f32; levels.len()];
        stream_of(key).fill_normal(&mut noise);
        let floats = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
        let inputs = [
            ("image", Value::from(Tensor::f32(&[1, 1, 12, 12], floats))),
            ("noise", Value::from(Tensor::f32(&[1, 1, 12, 12], noise))),
            ("timestep", Value::from(Tensor::i64(&[1], vec![11]))),
        ];
        let inputs: Vec<_> = inputs.iter().map(|(name, value)| (*name, value)).collect();
        let computed = engine.run(&inputs, Keep::Host).expect("features");
        let stored = file.read(&FeatureKey::new(11, "out_1"), 0, row..row + 1).expect("features");
        assert_eq!(computed[0].floats().expect("floats").1, stored.as_slice().expect("one row"), "{path}");
    }
}

#[test]
fn what_a_feature_file_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, JOB);
    let printed = done(root, "inspect out.h5");
    for line in [
        "out.h5: features of folder/test, format version 2\n",
        "\nimages      10, 1 view each\n",
        "\nstored      f32, compression off\n",
        "\nfeatures    t21/out_2 [1, 10, 32]\n",
        "\nclasses     2: dark, light\n",
        "\n  seed             7\n",
        "\n  noise            keyed\n",
        "\n  weights          null\n",
    ] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
    let object = infer(root, "inspect out.h5 --json").json();
    assert_eq!(
        (&object["is"], &object["rows"], &object["paths"]),
        (&json!("features"), &json!(10), &json!(true))
    );
    assert_eq!(object["schema"], "ddae.inspect_features/1");
    assert_eq!(object["datasets"][3], json!({ "name": "t21/out_2", "width": 32 }));
    assert_eq!(object["provenance"]["timesteps"], json!([11, 21]));

    let file = FeatureFile::open(root.join("out.h5")).expect("a feature file");
    let path = file.paths(6..7).expect("paths").remove(0);
    let row = result(root, "inspect out.h5 --row 6 --json");
    assert_eq!(result(root, &format!("inspect out.h5 --path {path} --json")), row);
    assert_eq!(row["schema"], "ddae.inspect_row/1");
    assert_eq!((&row["path"], &row["label"], &row["class"]), (&json!(path), &json!(1), &json!("light")));
    assert_eq!(row["features"]["t11/out_1"][0].as_array().map(Vec::len), Some(32));
    let printed = done(root, "inspect out.h5 --row 6");
    assert!(
        printed.starts_with(&format!("row 6 of out.h5: image 6, {path}\nlabel 1 (light)\nt11/out_1 [32]: ")),
        "{printed}"
    );

    let of_shard = format!("{JOB} --shard 1/2").replace("-o out", "-o part");
    done(root, &of_shard);
    let printed = done(root, "inspect part.0001-of-0002.h5");
    assert!(printed.contains("\nimages      5, rows 5..10 of 10, 1 view each\n"), "{printed}");
}

#[test]
fn what_an_onnx_file_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = done(folder.path(), "inspect FIXED");
    assert!(printed.contains("fixed.onnx: ONNX graph of kind features\n"), "{printed}");
    assert!(
        printed.contains("\ninputs        image, noise\n") && printed.contains("\ntimestep      11\n"),
        "{printed}"
    );
    let object = infer(folder.path(), "inspect FIXED --json").json();
    assert_eq!(object["schema"], "ddae.inspect_graph/1");
    assert_eq!((&object["is"], &object["edited"]), (&json!("onnx"), &json!(false)));
    // Whoever runs the graph is told how its noise is drawn.
    let noise = object["description"]["noise"].as_str().expect("JSON");
    assert!(noise.contains(r#""fixed":"chacha8 of seed and timestep","none":"zeros""#), "{noise}");
}

#[test]
fn what_cannot_be_inspected() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, JOB);
    std::fs::write(root.join("notes.txt"), "notes").expect("written");
    let first = FeatureFile::open(root.join("out.h5")).expect("a file").paths(0..1).expect("paths").remove(0);
    for (line, expected) in [
        ("inspect out.h5 --row 10", "error: --row 10: out.h5 has 10 rows, counted from 0".to_string()),
        (
            "inspect out.h5 --path dark/none.png",
            format!("error: --path: no row of out.h5 is of 'dark/none.png'; its paths are like '{first}'"),
        ),
    ] {
        assert_eq!(infer(root, line).error(&[2]), expected);
    }
    let message = infer(root, "inspect FIXED --row 1").error(&[2]).to_string();
    assert!(
        message.starts_with("error: --row and --path are for feature files; ")
            && message.ends_with("fixed.onnx is none"),
        "{message}"
    );
    assert!(infer(root, "inspect notes.txt").error(&[1]).contains("notes.txt"));
    assert!(infer(root, "inspect nothing.h5").error(&[1]).starts_with("error: cannot read nothing.h5: "));
}
