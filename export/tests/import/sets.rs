//! Files with several sets of weights: each is found by its names and shapes, whatever it is called, what is certainly an
//! average is taken, and where two remain the user chooses. One row a form that others publish, in both formats of PyTorch.

use std::fs;

use ddae_model::tensor::Tensor;
use ddae_tests::cases::Case;
use ddae_tests::cases::published::noise_mlp;

use crate::place::Place;
use crate::torch_save::*;

/// What stands at a place of a file.
#[derive(Clone, Copy)]
enum Part {
    /// The weights that are right.
    Good,
    /// Others of the same shapes.
    Other,
    /// The right ones under their names without dots, with the counters of `LitEma`.
    Dotless,
    /// A list of the right ones in their order, or that of a network with one weight more.
    List,
    LongList,
    /// A number, and a tensor of one.
    Number,
    Count,
}

use Part::{Count, Dotless, Good, List, LongList, Number, Other};

/// Tensors that are written one after the other.
#[derive(Default)]
struct Writer {
    storages: Vec<(String, Vec<u8>)>,
}

impl Writer {
    fn tensor(&mut self, value: &Tensor) -> Vec<u8> {
        let key = self.storages.len().to_string();
        let shape: Vec<i64> = value.shape().iter().map(|&size| size as i64).collect();
        let strides: Vec<i64> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let reference = storage("FloatStorage", &key, shape.iter().product());
        self.storages.push((key, floats(value.as_f32().expect("f32"))));
        tensor(reference, 0, &shape, &strides)
    }

    /// The entries of a part whose names begin with `prefix`.
    fn entries(&mut self, part: Part, prefix: &str, case: &Case) -> Vec<(String, Vec<u8>)> {
        let named = |name: &str| format!("{prefix}{name}");
        let zeros = |tensor: &Tensor| {
            let shape = tensor.shape();
            Tensor::f32(shape, vec![0.0; shape.iter().product()])
        };
        let weights: Vec<(&str, &Tensor)> = case.weights.iter().collect();
        match part {
            Good => weights.into_iter().map(|(name, tensor)| (named(name), self.tensor(tensor))).collect(),
            Other => {
                weights.into_iter().map(|(name, tensor)| (named(name), self.tensor(&zeros(tensor)))).collect()
            }
            Dotless => {
                let counts = [("decay", 0.9999), ("num_updates", 7.0)];
                let counts =
                    counts.map(|(name, value)| (named(name), self.tensor(&Tensor::f32(&[], vec![value]))));
                let rest = weights
                    .into_iter()
                    .map(|(name, tensor)| (named(&name.replace('.', "")), self.tensor(tensor)));
                rest.chain(counts).collect()
            }
            List | LongList => {
                let more = Tensor::f32(&[1], vec![0.0]);
                let more = matches!(part, LongList).then_some(&more);
                let parts: Vec<Vec<u8>> = weights
                    .into_iter()
                    .map(|(_, tensor)| tensor)
                    .chain(more)
                    .map(|tensor| self.tensor(tensor))
                    .collect();
                let entries = [("decay", int(1)), ("num_updates", int(7)), ("shadow_params", list(&parts))];
                entries.map(|(name, value)| (named(name), value)).to_vec()
            }
            Number => vec![(prefix.to_string(), int(7))],
            Count => vec![(prefix.to_string(), self.tensor(&Tensor::f32(&[], vec![7.0])))],
        }
    }
}

/// Files in both formats: below each key of the outermost dictionary (or in it, for the empty key; or in a list) the parts
/// with what their names begin with.
fn files(place: &Place, layout: FileLayout, as_list: bool) -> [&'static str; 2] {
    let case = noise_mlp();
    let mut writer = Writer::default();
    let mut outer: Vec<(String, Vec<u8>)> = Vec::new();
    for (key, parts) in layout {
        let inner: Vec<(String, Vec<u8>)> =
            parts.iter().flat_map(|(prefix, part)| writer.entries(*part, prefix, &case)).collect();
        match *key {
            "" => outer.extend(inner),
            key => {
                let inner: Vec<(&str, Vec<u8>)> =
                    inner.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
                outer.push((key.to_string(), ordered(&inner)));
            }
        }
    }
    let value = match as_list {
        true => list(&outer.into_iter().map(|(_, value)| value).collect::<Vec<_>>()),
        false => dict(&outer.iter().map(|(n, v)| (n.as_str(), v.clone())).collect::<Vec<_>>()),
    };
    let zipped: Vec<(&str, &[u8])> = writer.storages.iter().map(|(k, b)| (k.as_str(), &b[..])).collect();
    let old: Vec<(&str, u64, &[u8])> =
        writer.storages.iter().map(|(k, b)| (k.as_str(), b.len() as u64 / 4, &b[..])).collect();
    fs::write(place.path("new.pth"), archive(&value, &zipped)).expect("a file");
    fs::write(place.path("old.pth"), legacy(&value, &old)).expect("a file");
    ["new.pth", "old.pth"]
}

/// Whether an exported file computes what the right weights do; those that are zeros give zeros.
fn is_good(place: &Place, file: &str) -> bool {
    let case = noise_mlp();
    let inputs: Vec<(&str, Tensor)> = case.inputs.iter().map(|(n, t)| (*n, t.clone())).collect();
    let outputs = place.outputs(file, &inputs);
    let values = outputs[0].1.as_f32().expect("f32");
    if values.iter().all(|&value| value == 0.0) {
        return false;
    }
    place.check(file, &case, &["logits"]);
    true
}

/// The keys of a file, each with prefixes of names and what is under them.
type FileLayout<'a> = &'a [(&'a str, &'a [(&'a str, Part)])];

#[test]
fn what_is_certainly_an_average_is_taken() {
    let rows: [(&str, FileLayout, &str); 20] = [
        ("timm", &[("state_dict", &[("", Other)]), ("state_dict_ema", &[("", Good)])], "state_dict_ema"),
        ("model, model_ema", &[("model", &[("", Other)]), ("model_ema", &[("", Good)])], "model_ema"),
        ("ema_state_dict", &[("model", &[("", Other)]), ("ema_state_dict", &[("", Good)])], "ema_state_dict"),
        (
            "ema_model_state_dict",
            &[("model_state_dict", &[("module.", Other)]), ("ema_model_state_dict", &[("", Good)])],
            "ema_model_state_dict",
        ),
        (
            "Lightning",
            &[("epoch", &[("n", Number)]), ("state_dict", &[("model.", Other), ("model_ema.", Good)])],
            "state_dict.model_ema",
        ),
        ("LitEma", &[("state_dict", &[("model.", Other), ("model_ema.", Dotless)])], "state_dict.model_ema"),
        ("net_ema", &[("state_dict", &[("net.", Other), ("net_ema.", Good)])], "state_dict.net_ema"),
        (
            "ema_pytorch in Lightning",
            &[("state_dict", &[("ema.ema_model.", Good), ("ema.online_model.", Other), ("net.", Other)])],
            "state_dict.ema.ema_model",
        ),
        ("MODEL, EMA", &[("MODEL", &[("", Other)]), ("EMA", &[("", Good)])], "EMA"),
        (
            "DDAE",
            &[
                ("MODEL", &[("module.nn_model.", Other)]),
                ("EMA", &[("online_model.nn_model.", Other), ("ema_model.nn_model.", Good)]),
            ],
            "EMA.ema_model.nn_model",
        ),
        ("BasicSR", &[("params", &[("", Other)]), ("params_ema", &[("", Good)])], "params_ema"),
        ("DiT", &[("model", &[("", Other)]), ("ema", &[("", Good)]), ("opt", &[("n", Number)])], "ema"),
        ("camel case", &[("net", &[("", Other)]), ("netEma", &[("", Good)])], "netEma"),
        ("non_ema", &[("non_ema", &[("", Other)]), ("ema", &[("", Good)])], "ema"),
        (
            "AveragedModel",
            &[("swa", &[("n_averaged", Count), ("module.", Good)]), ("raw", &[("", Other)])],
            "swa.module",
        ),
        (
            "AveragedModel of any name",
            &[("second", &[("n_averaged", Count), ("module.", Good)]), ("first", &[("", Other)])],
            "second.module",
        ),
        ("torch_ema", &[("model", &[("", Other)]), ("ema", &[("", List)])], "ema.shadow_params"),
        ("score_sde", &[("ema", &[("", List)]), ("model", &[("module.", Other)])], "ema.shadow_params"),
        ("bare", &[("", &[("", Good)])], ""),
        ("one of others", &[("net", &[("", Good)]), ("optimizer", &[("n", Number)])], "net"),
    ];
    let place = Place::new();
    for (what, layout, name) in rows {
        for file in files(&place, layout, false) {
            let out = place.done(&format!("{file} -o out.onnx --force"));
            assert!(is_good(&place, "out.onnx"), "{what}, {file}: {out}");
            let metadata = &place.json("inspect out.onnx")["metadata"];
            match name {
                "" => assert_eq!(metadata["ddae.weights_name"], serde_json::Value::Null, "{what}"),
                name => {
                    assert!(out.contains(&format!("'{name}'")), "{what}: {out}");
                    assert_eq!(metadata["ddae.weights_name"], name, "{what}");
                }
            }
            let others = layout.iter().flat_map(|(_, parts)| parts.iter());
            if others.clone().any(|(_, part)| matches!(part, Other)) {
                assert_eq!(metadata["ddae.weights"], "ema", "{what}");
                // Every set is listed.
                let sets = place.json(&format!("inspect {file}"))["sets"].as_array().map(Vec::len);
                let count = others.filter(|(_, part)| !matches!(part, Number | Count)).count();
                assert_eq!(sets, Some(count), "{what}");
                place.done(&format!("{file} --weights model -o model.onnx --force"));
                assert!(!is_good(&place, "model.onnx"), "{what}: --weights model");
            }
        }
    }
}

#[test]
fn where_two_remain_the_user_chooses() {
    let place = Place::new();
    let a_and_b: FileLayout = &[("a", &[("net.", Other)]), ("b", &[("net.", Good)])];
    for (layout, as_list, good, other) in [(a_and_b, false, "b", "a.net"), (a_and_b, true, "1.net", "0")] {
        for file in files(&place, layout, as_list) {
            let names = if as_list { "'0.net', '1.net'" } else { "'a.net', 'b.net'" };
            let message = format!(
                "{file}: more than one set could be meant; choose with --weights NAME: it holds 2 sets of weights, {names}"
            );
            place.fail(file, 1, &message);
            place.fail(&format!("{file} --weights model"), 1, &message);
            place.fail(&format!("{file} --weights ema"), 1, "--weights ema: no moving average is there");
            place.fail(
                &format!("{file} --weights c"),
                1,
                "--weights c: no weights are called so: it holds 2 sets",
            );
            place.done(&format!("{file} --weights {good} -o good.onnx --force"));
            place.done(&format!("{file} --weights {other} -o other.onnx --force"));
            assert!(is_good(&place, "good.onnx") && !is_good(&place, "other.onnx"), "{file}");
            // A configuration does not tell which.
            let config = place.json("inspect good.onnx")["metadata"]["ddae.config"].clone();
            fs::write(place.path("mlp.yaml"), config.as_str().expect("YAML")).expect("a file");
            place.fail(&format!("{file} --config mlp.yaml"), 1, &message);
            place.done(&format!("{file} --config mlp.yaml --weights {good} -o again.onnx --force"));
            assert!(is_good(&place, "again.onnx"), "{file}");
        }
    }
    // Two averages, and one whose names cannot be told.
    let averages: FileLayout = &[("ema_0999", &[("", Other)]), ("ema_09999", &[("", Good)])];
    let [file, _] = files(&place, averages, false);
    place.fail(
        file,
        1,
        "it holds 2 sets of weights, 'ema_0999' (moving average), 'ema_09999' (moving average)",
    );
    let unlike: FileLayout = &[("model", &[("", Good)]), ("ema", &[("", LongList)])];
    let [file, _] = files(&place, unlike, false);
    place.fail(
        file,
        1,
        "its moving average, 'ema.shadow_params', has no names, and its order fits no weights beside it",
    );
    place.done(&format!("{file} --weights model -o out.onnx --force"));
    assert!(is_good(&place, "out.onnx"));
    assert!(
        place
            .done(&format!("inspect {file}"))
            .contains("'ema.shadow_params': a moving average without names")
    );
}

/// The same bytes under two names are one set.
#[test]
fn one_set_under_two_names_is_one() {
    let place = Place::new();
    let case = noise_mlp();
    let mut writer = Writer::default();
    let entries = writer.entries(Good, "", &case);
    let entries: Vec<(&str, Vec<u8>)> = entries.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    let weights = [ordered(&entries), b"r\x09\x00\x00\x00".to_vec()].concat();
    let value = dict(&[("model", weights), ("net", b"j\x09\x00\x00\x00".to_vec())]);
    let storages: Vec<(&str, &[u8])> = writer.storages.iter().map(|(k, b)| (k.as_str(), &b[..])).collect();
    fs::write(place.path("two.pth"), archive(&value, &storages)).expect("a file");
    place.done("two.pth -o out.onnx");
    assert!(is_good(&place, "out.onnx"));
}
