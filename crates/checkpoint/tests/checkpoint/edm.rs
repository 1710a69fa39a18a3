//! EDM's pickles: modules with what they were made with, as data, and storages that are files of `torch.save` inside.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, Format, WeightSet};
use ddae_model::tensor::Tensor;
use ddae_tests::cases::song::{config, weights};
use ddae_tests::{fixture, fixtures};
use serde_json::json;

use crate::graph_of;
use crate::torch_save::*;

fn open(bytes: Vec<u8>) -> Checkpoint {
    Checkpoint::from_bytes(Path::new("w.pkl"), bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// What `torch.save` writes of a storage of floats, in the old and the new format.
fn files(values: &[f32]) -> [Vec<u8>; 2] {
    let (count, elements) = (values.len(), floats(values));
    let reference = storage("FloatStorage", "0", count as i64);
    [legacy(&reference, &[("0", count as u64, &elements)]), archive(&reference, &[("0", &elements)])]
}

fn parameter(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let data = tensor(storage, offset, shape, strides);
    call(global("torch._utils", "_rebuild_parameter"), &[data, b"\x88".to_vec(), hooks])
}

#[test]
fn published_pickles_hold_their_tensors_and_arguments() {
    for (name, label_dim, modules) in [("edm_vp_tiny", 0, 87), ("edm_ve_tiny", 10, 89)] {
        let checkpoint =
            Checkpoint::open(&fixtures().join(format!("{name}.pkl"))).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(checkpoint.format(), Format::Pickle);
        assert_eq!(checkpoint.weight_sets()[0], WeightSet::Ema);
        let config = config(&fixture(name));
        let graph = ddae_model::networks::song_unet_graph(&config, true, label_dim > 0).expect("a graph");
        let expected = weights(&graph);
        let found = checkpoint.weights(WeightSet::Ema, &graph).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(found, expected, "{name}");
        assert_eq!(
            checkpoint.shapes(WeightSet::Ema).expect("a set").len(),
            expected.len(),
            "{name}: and no others"
        );

        let all = checkpoint.modules();
        // Sets and hooks are empty in all of them; two containers are torch's own.
        assert_eq!(all.len(), modules - 2, "{name}");
        let (outer, inner) = (&all[0], &all[1]);
        assert_eq!((&*outer.name, &*outer.class, outer.positional), ("ema", "EDMPrecond", 0));
        assert_eq!((&*inner.name, &*inner.class, inner.positional), ("ema.model", "SongUNet", 0));
        for (key, value) in [
            ("img_resolution", json!(16)),
            ("label_dim", json!(label_dim)),
            ("channel_mult", json!([1, 2])),
            ("dropout", json!(0.1)),
            ("decoder_type", json!("standard")),
        ] {
            assert_eq!(inner.arguments[key], value, "{name} {key}");
        }
        assert!(
            checkpoint
                .values()
                .iter()
                .any(|(name, value)| name == "dataset_kwargs.path" && value == "'cifar10-32x32.zip'")
        );
    }
}

#[test]
fn storages_by_value_are_read_in_both_formats() {
    for file in files(&[0.5, 1.5, 2.5, 3.5, 4.5, 5.5]) {
        // Two tensors look at one storage, the second by the memo.
        let first = [by_value(&file), b"q\x07".to_vec()].concat();
        let value = dict(&[
            ("a", tensor(first, 0, &[2, 3], &[3, 1])),
            ("b", parameter(b"h\x07".to_vec(), 1, &[2, 2], &[1, 3])),
        ]);
        let checkpoint = open(pickle(&value));
        assert_eq!(checkpoint.format(), Format::Pickle);
        let read = |name: &str| checkpoint.read(name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read("a"), Tensor::f32(&[2, 3], vec![0.5, 1.5, 2.5, 3.5, 4.5, 5.5]));
        assert_eq!(read("b"), Tensor::f32(&[2, 2], vec![1.5, 4.5, 2.5, 5.5]));
        // The same inside of files of torch.save.
        for file in [legacy(&value, &[]), archive(&value, &[])] {
            assert_eq!(open(file).read("b").unwrap_or_else(|e| panic!("{e}")), read("b"));
        }
    }
}

#[test]
fn modules_are_data() {
    let [file, _] = files(&[1.0, 2.0]);
    let weight = || parameter(by_value(&file), 0, &[2], &[1]);
    let inner = persistent(
        "Inner",
        &[
            ("sizes", list(&[int(3), int(4)])),
            ("limit", [b"G".to_vec(), f64::INFINITY.to_be_bytes().to_vec()].concat()),
            ("f", global("os", "system")),
        ],
        [&[("weight", weight()), ("bias", b"N".to_vec())], &[("table", weight())], &[]],
    );
    let outer = persistent("Outer", &[], [&[], &[], &[("model", inner)]]);
    let checkpoint = open(pickle(&dict(&[("ema", outer)])));
    let names: Vec<&str> = checkpoint.tensors().iter().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["ema.model.table", "ema.model.weight"]);
    let [outer, inner] = checkpoint.modules() else { panic!("two modules") };
    assert_eq!((&*outer.name, &*outer.class), ("ema", "Outer"));
    assert_eq!((&*inner.name, &*inner.class), ("ema.model", "Inner"));
    assert_eq!(json!(inner.arguments), json!({"sizes": [3, 4], "limit": "inf", "f": "os.system"}));
    assert!(checkpoint.foreign_objects().contains(&"os.system".to_string()));
    assert!(!Path::new("ran-by-a-pickle").exists(), "nothing is run");
}

/// A storage that cannot be read is an error where its tensor is wanted.
#[test]
fn damaged_storages_are_named() {
    let [old, new] = files(&[1.0, 2.0]);
    let other = legacy(&dict(&[]), &[]);
    let longer = legacy(&storage("FloatStorage", "0", 3), &[("0", 2, &floats(&[1.0, 2.0]))]);
    for (file, message) in [
        (&old[..old.len() - 1], "ends in the middle of its storage '0'"),
        (&new[..new.len() - 30], "is not a complete PyTorch file"),
        (&other, "is of something else than a storage"),
        (&longer, "holds 8 bytes of its storage '0', which is of 3 values of f32"),
        (b"\x80\x02N.", "is a pickle, but not one of torch.save"),
        (b"nothing", "is no file of torch.save"),
        (b"", "is no file of torch.save"),
    ] {
        let value = dict(&[
            ("bad.weight", tensor(by_value(file), 0, &[2], &[1])),
            ("good.weight", tensor(by_value(&old), 0, &[2], &[1])),
        ]);
        let checkpoint = open(pickle(&value));
        let read = |name: &str| checkpoint.weights(WeightSet::Ema, &graph_of(&[(name, &[2])]));
        assert_eq!(read("good.weight").expect("weights").len(), 1);
        let error = read("bad.weight").unwrap_err().to_string();
        assert!(error.contains("'bad.weight'") && error.contains(message), "{error}");
    }
    // Beyond the storage's end.
    let beyond = pickle(&dict(&[("w", tensor(by_value(&old), 1, &[2], &[1]))]));
    let error = Checkpoint::from_bytes(Path::new("w.pkl"), beyond).err().expect("refused").to_string();
    assert!(error.contains("'w' [2] lies outside its storage of 2 values"), "{error}");
}

/// Arguments are kept as far as an honest network has them, however often they refer to the same text.
#[test]
fn arguments_do_not_repeat_a_file() {
    let long = [text(&"x".repeat(900)), b"q\x09".to_vec()].concat();
    let mut parts = vec![long];
    parts.extend(vec![b"h\x09".to_vec(); 20_000]);
    let [file, _] = files(&[1.0]);
    let weight = parameter(by_value(&file), 0, &[1], &[1]);
    let module = persistent("Net", &[("list", list(&parts))], [&[("weight", weight)], &[], &[]]);
    let checkpoint = open(pickle(&dict(&[("net", module)])));
    let kept = json!(checkpoint.modules()[0].arguments).to_string().len();
    assert!((1_000..100_000).contains(&kept), "{kept}");
}
