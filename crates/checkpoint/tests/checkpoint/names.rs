//! Weights found by names: behind prefixes, in sets, and through a table of other names.

use std::collections::HashMap;

use ddae_checkpoint::{Checkpoint, LayoutKind, NameMap, ParameterSource, WeightSet, write_tensors};
use ddae_model::tensor::Tensor;

use crate::graph_of;

/// A file of tensors of float32.
fn file(tensors: &[(&str, &[usize], &[f32])]) -> Checkpoint {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    let tensors: Vec<(&str, Tensor)> =
        tensors.iter().map(|(name, shape, values)| (*name, Tensor::f32(shape, values.to_vec()))).collect();
    write_tensors(&path, HashMap::new(), tensors.iter().map(|(name, tensor)| (*name, tensor)))
        .expect("a file");
    Checkpoint::open(&path).expect("a checkpoint")
}

#[test]
fn whatever_stands_before_the_names_is_found_out() {
    let graph = graph_of(&[("norm.weight", &[1]), ("norm.bias", &[1]), ("attn.norm.weight", &[1])]);
    let value = |file: &Checkpoint, set, name: &str| {
        let weights = file.weights(set, &graph).expect("the weights");
        weights.get(name).and_then(Tensor::as_f32).expect("a parameter").to_vec()
    };
    for prefix in ["", "module.", "model.", "_orig_mod.module.nn_model.", "pipeline.unet."] {
        let names = ["norm.weight", "norm.bias", "attn.norm.weight", "attn.norm.bias"]
            .map(|n| format!("{prefix}{n}"));
        let tensors: Vec<(&str, &[usize], &[f32])> = names
            .iter()
            .zip([[1.0], [2.0], [3.0], [4.0]].iter())
            .map(|(n, v)| (n.as_str(), &[1][..], &v[..]))
            .collect();
        let file = file(&tensors);
        assert_eq!(file.layout().kind(), LayoutKind::StateDict);
        for set in [WeightSet::Ema, WeightSet::Model] {
            assert_eq!(value(&file, set, "norm.weight"), [1.0], "'{prefix}'");
            assert_eq!(value(&file, set, "attn.norm.weight"), [3.0], "'{prefix}'");
        }
    }
    // A decoder beside an encoder, each averaged and in training.
    let soda = file(&[
        ("MODEL.module.decoder.norm.weight", &[1], &[1.0]),
        ("MODEL.module.decoder.norm.bias", &[1], &[2.0]),
        ("MODEL.module.decoder.attn.norm.weight", &[1], &[3.0]),
        ("EMA.ema_model.decoder.norm.weight", &[1], &[4.0]),
        ("EMA.ema_model.decoder.norm.bias", &[1], &[5.0]),
        ("EMA.ema_model.decoder.attn.norm.weight", &[1], &[6.0]),
        ("EMA.ema_model.encoder.norm.weight", &[1], &[7.0]),
    ]);
    assert_eq!(soda.layout().kind(), LayoutKind::Soda);
    assert_eq!(value(&soda, WeightSet::Ema, "norm.weight"), [4.0]);
    assert_eq!(value(&soda, WeightSet::Model, "norm.weight"), [1.0]);
    let encoder = graph_of(&[("encoder.norm.weight", &[1])]);
    let weights = soda.weights(WeightSet::Ema, &encoder).expect("the weights");
    assert_eq!(weights.get("encoder.norm.weight"), Some(&Tensor::f32(&[1], vec![7.0])));
}

#[test]
fn a_set_that_is_not_there_is_not_replaced_in_silence() {
    let graph = graph_of(&[("w", &[1])]);
    let error = |file: &Checkpoint, set| file.weights(set, &graph).expect_err("not there").to_string();
    let model = file(&[("MODEL.module.w", &[1], &[1.0])]);
    assert_eq!(model.weight_sets(), [WeightSet::Model]);
    let message = error(&model, WeightSet::Ema);
    assert!(
        message.ends_with(
            "holds no EMA weights (checkpoint of the published DDAE code, no EMA weights, weights in training under \
             'MODEL.module.'); take --weights model"
        ),
        "{message}"
    );
    assert!(model.parameters(WeightSet::Ema).is_err());
    let average = file(&[("ema.w", &[1], &[1.0])]);
    assert!(error(&average, WeightSet::Model).contains("holds no weights in training"));
}

#[test]
fn errors_name_what_there_is() {
    let names =
        file(&[("model.a.weight", &[2], &[1.0, 2.0]), ("model.b", &[1], &[1.0]), ("model.c", &[1], &[1.0])]);
    let error = |parameters: &[(&str, &[usize])]| {
        names.weights(WeightSet::Ema, &graph_of(parameters)).expect_err("it does not fit").to_string()
    };
    let message = error(&[("a.weight", &[2]), ("a.bias", &[2])]);
    let wanted = "parameter 'a.bias' [2] of the network is not in the file, which holds 3 tensors (model.a.weight, \
                  model.b, model.c): is this the checkpoint of another architecture?";
    assert!(message.ends_with(wanted), "{message}");
    let message = error(&[("a.weight", &[3])]);
    assert!(message.contains("parameter 'a.weight' is [2] in the file and [3] in the network"), "{message}");
}

#[test]
fn a_table_of_other_names_joins_and_reshapes() {
    let file = file(&[
        ("unet.attn.to_q.weight", &[1, 2], &[1.0, 2.0]),
        ("unet.attn.to_k.weight", &[1, 2], &[3.0, 4.0]),
        ("unet.attn.to_v.weight", &[2, 2], &[5.0, 6.0, 7.0, 8.0]),
        ("unet.attn.proj.weight", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0]),
        ("unet.norm.weight", &[1], &[9.0]),
    ]);
    let graph = graph_of(&[("qkv.weight", &[4, 2]), ("output.weight", &[2, 2]), ("norm.weight", &[1])]);
    let mut map = NameMap::new();
    map.join("qkv.weight", &["attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"]);
    let projection = ParameterSource { tensors: vec!["attn.proj.weight".to_string()], reshape: true };
    map.insert("output.weight", projection.clone());
    let weights = file.mapped_weights(WeightSet::Ema, &graph, &map).expect("weights");
    let joined = Tensor::f32(&[4, 2], (1u8..=8).map(f32::from).collect());
    assert_eq!(weights.get("qkv.weight"), Some(&joined));
    assert_eq!(weights.get("output.weight"), Some(&Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0])));
    assert_eq!(weights.get("norm.weight"), Some(&Tensor::f32(&[1], vec![9.0])));

    let error =
        |map: &NameMap| file.mapped_weights(WeightSet::Ema, &graph, map).expect_err("wrong").to_string();
    let mut strict = map.clone();
    strict.insert("output.weight", ParameterSource { reshape: false, ..projection });
    let message = error(&strict);
    assert!(
        message.contains("'output.weight' is [2, 2, 1, 1] in the file and [2, 2] in the network"),
        "{message}"
    );
    let mut unlike = map.clone();
    unlike.join("qkv.weight", &["attn.to_q.weight", "attn.proj.weight"]);
    assert!(error(&unlike).contains("'qkv.weight' is [1, 2] in the file and [4, 2] in the network"));
    let mut absent = map.clone();
    absent.rename("norm.weight", "group_norm.weight");
    let message = error(&absent);
    assert!(
        message.contains("parameter 'group_norm.weight' [1] of the network is not in the file"),
        "{message}"
    );

    // Such a table is data.
    let text = serde_json::to_string(&map).expect("JSON");
    assert_eq!(serde_json::from_str::<NameMap>(&text).expect("a table"), map);
}
