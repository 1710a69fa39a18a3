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
    /// A list of the right ones in their order, or that of a network with one weight more or less, beside counters.
    List,
    LongList,
    ShortList,
    /// A list alone: of the right ones, and of others.
    GoodList,
    OtherList,
    /// The same as an optimiser's.
    Moments,
    /// A number, and a tensor of one.
    Number,
    Count,
}

use Part::{Count, Dotless, Good, GoodList, List, LongList, Moments, Number, Other, OtherList, ShortList};

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
            List | LongList | ShortList => {
                let more = Tensor::f32(&[1, 2], vec![0.0; 2]);
                let more = matches!(part, LongList).then_some(&more);
                let count = weights.len() - usize::from(matches!(part, ShortList));
                let tensors = weights.into_iter().map(|(_, tensor)| tensor).take(count).chain(more);
                let parts: Vec<Vec<u8>> = tensors.map(|tensor| self.tensor(tensor)).collect();
                let entries = [("decay", int(1)), ("num_updates", int(7)), ("shadow_params", list(&parts))];
                entries.map(|(name, value)| (named(name), value)).to_vec()
            }
            GoodList | OtherList | Moments => {
                let is_good = matches!(part, GoodList);
                let tensor = |tensor: &Tensor| if is_good { tensor.clone() } else { zeros(tensor) };
                let parts: Vec<Vec<u8>> =
                    weights.into_iter().map(|(_, weight)| self.tensor(&tensor(weight))).collect();
                vec![(prefix.to_string(), list(&parts))]
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
    let rows: [(&str, FileLayout, &str); 30] = [
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
        (
            "torch_ema within average_parameters()",
            &[("model", &[("", Other)]), ("ema", &[("", List), ("collected_params", OtherList)])],
            "ema.shadow_params",
        ),
        (
            "torch_ema and an optimiser's moments",
            &[("model", &[("", Other)]), ("ema", &[("", List)]), ("optimizer", &[("exp_avg", Moments)])],
            "ema.shadow_params",
        ),
        ("a list alone", &[("model", &[("", Other)]), ("", &[("ema", GoodList)])], "ema"),
        ("ema_params", &[("model", &[("", Other)]), ("", &[("ema_params", GoodList)])], "ema_params"),
        ("ema.shadow", &[("model", &[("", Other)]), ("ema", &[("shadow", GoodList)])], "ema.shadow"),
        (
            "ema.shadow, ema.backup",
            &[("model", &[("", Other)]), ("ema", &[("shadow.", Good), ("backup.", Other)])],
            "ema.shadow",
        ),
        ("LitEma of any name", &[("net", &[("", Other)]), ("smooth", &[("", Dotless)])], "smooth"),
        (
            "LitEma's counters",
            &[("net", &[("", Other)]), ("smooth", &[("", Good), ("decay", Count), ("num_updates", Count)])],
            "smooth",
        ),
        ("before_ema", &[("before_ema", &[("", Other)]), ("ema", &[("", Good)])], "ema"),
        ("moments by name", &[("ema", &[("", Good)]), ("optimizer", &[("square_avg.", Other)])], "ema"),
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
                let count = others.filter(|(_, part)| !matches!(part, Number | Count | Moments)).count();
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
}

/// What is no certain average is not taken for one, and an average without names is not passed over.
#[test]
fn what_is_not_certain_is_an_error() {
    let place = Place::new();
    let several = "more than one set could be meant; choose with --weights NAME: it holds";
    let twenty: Vec<String> = (0..20).map(|number| format!("ema{number:02}")).collect();
    let mut many: Vec<(&str, &[(&str, Part)])> = vec![("model", &[("", Good)])];
    many.extend(twenty.iter().map(|name| (name.as_str(), &[("", List)][..])));
    let rows: [(&str, FileLayout, String); 12] = [
        (
            "two averages",
            &[("ema_0999", &[("", Other)]), ("ema_09999", &[("", Good)])],
            format!("{several} 2 sets of weights, 'ema_0999' (moving average), 'ema_09999' (moving average)"),
        ),
        (
            "two lists",
            &[("model", &[("", Good)]), ("ema1", &[("", List)]), ("ema2", &[("", List)])],
            format!("{several} 3 sets of weights, 'ema1.shadow_params' (moving average), 'ema2."),
        ),
        (
            "no average",
            &[("model_no_ema", &[("", Other)]), ("model", &[("", Good)])],
            format!("{several} 2 sets of weights, 'model', 'model_no_ema'"),
        ),
        (
            "before the average",
            &[("before_ema", &[("", Other)]), ("model", &[("", Good)])],
            format!("{several} 2 sets of weights, 'before_ema', 'model'"),
        ),
        (
            "an optimiser's moments",
            &[("model", &[("", Good)]), ("optimizer", &[("square_avg.", Other)])],
            format!("{several} 2 sets of weights, 'model', 'optimizer.square_avg'"),
        ),
        (
            "a list of another network",
            &[("model", &[("", Good)]), ("ema", &[("", LongList)])],
            "its moving average, 'ema.shadow_params', has no names, and its order fits no weights beside it; choose \
             others with --weights NAME: it holds one set of weights, 'model'"
                .to_string(),
        ),
        (
            "a list of a part",
            &[("model", &[("", Good)]), ("ema", &[("", ShortList)])],
            "its order fits no weights beside it".to_string(),
        ),
        (
            "a list beside a named average",
            &[("model", &[("", Good)]), ("model_ema", &[("", Good)]), ("ema", &[("", LongList)])],
            "its order fits no weights beside it".to_string(),
        ),
        (
            "a list in an optimiser",
            &[("model", &[("", Good)]), ("optimizer", &[("ema", OtherList)])],
            format!("{several} 2 sets of weights, 'model', 'optimizer.ema'"),
        ),
        (
            "very many lists",
            &many,
            "its moving average, 'ema16.shadow_params', has no names, and it holds more averages".to_string(),
        ),
        (
            "dotless names of another network",
            &[("model", &[("net.", Good)]), ("ema", &[("x", Count), ("decay", Count), ("num_updates", Count)])],
            "its moving average, 'ema', has no names, and without their dots they are those of no weights".to_string(),
        ),
        (
            "a list and no weights",
            &[("ema", &[("", List)])],
            "its order fits no weights beside it; take a file that holds the weights in training".to_string(),
        ),
    ];
    for (what, layout, message) in rows {
        for file in files(&place, layout, false) {
            place.fail(file, 1, &message);
            if layout.iter().any(|(key, _)| *key == "model") {
                place.done(&format!("{file} --weights model -o out.onnx --force"));
                assert!(is_good(&place, "out.onnx"), "{what}");
            }
        }
    }
    // What has no names is asked for by none.
    let [file, _] = files(&place, &[("model", &[("", Good)]), ("ema", &[("", LongList)])], false);
    let message = "its moving average, 'ema.shadow_params', has no names, and its order fits no weights";
    place.fail(&format!("{file} --weights ema"), 1, message);
    place.fail(&format!("{file} --weights ema.shadow_params"), 1, message);
    assert!(
        place
            .done(&format!("inspect {file}"))
            .contains("'ema.shadow_params': a moving average without names")
    );
    // Safetensors are sorted, and do not tell the names of a list.
    let case = noise_mlp();
    let count = case.weights.iter().count();
    let names: Vec<String> = case.weights.iter().map(|(name, _)| format!("model.{name}")).collect();
    let listed: Vec<String> = (0..count).map(|number| format!("ema.shadow_params.{number}")).collect();
    let tensors = || case.weights.iter().map(|(_, tensor)| tensor);
    let all = names.iter().zip(tensors()).chain(listed.iter().zip(tensors()));
    place.safetensors("list.safetensors", all.map(|(name, tensor)| (name.as_str(), tensor)));
    place.fail("list.safetensors", 1, "has no names, and safetensors keep no order, which would tell them");
    place.done("list.safetensors --weights model -o out.onnx --force");
    assert!(is_good(&place, "out.onnx"));
}

/// Where roles leave several, the word is a name; and what was asked for by name is called so.
#[test]
fn sets_by_their_names() {
    let place = Place::new();
    let plain: FileLayout = &[("model", &[("", Good)]), ("other", &[("", Other)])];
    let averages: FileLayout =
        &[("ema", &[("", Good)]), ("model_ema", &[("", Other)]), ("model", &[("", Other)])];
    let bare: FileLayout = &[("", &[("", Good)]), ("other", &[("", Other)])];
    for (layout, asked, told, line, file_name) in [
        (plain, "model", None, "weights: 'model'\n", "new-model-network.onnx"),
        (plain, "model.", None, "weights: 'model'\n", "new-model-network.onnx"),
        (averages, "ema", Some("ema"), "weights: the moving average, 'ema'\n", "new-network.onnx"),
        (bare, "", None, "network: ", "new-bare-network.onnx"),
    ] {
        let [file, _] = files(&place, layout, false);
        place.done(&format!("{file} --weights={asked} -o out.onnx --force"));
        assert!(is_good(&place, "out.onnx"), "{asked}");
        let out = place.done(&format!("{file} --weights={asked} --dry-run"));
        assert!(out.contains(line) && out.contains(&format!("would write {file_name}")), "{asked}: {out}");
        let told = told.map_or(serde_json::Value::Null, Into::into);
        assert_eq!(place.json("inspect out.onnx")["metadata"]["ddae.weights"], told, "{asked}");
    }
    let [file, _] = files(&place, plain, false);
    let out = place.done(&format!("{file} --weights other --dry-run"));
    assert!(
        out.contains("weights: 'other'\n") && out.contains("would write new-other-network.onnx"),
        "{out}"
    );
    let [file, _] = files(&place, bare, false);
    place.fail(file, 1, "it holds 2 sets of weights, '' (names without a prefix), 'other'");
    // Its numbers are its own.
    let sets = place.json(&format!("inspect {file}"))["sets"].clone();
    assert_eq!((&sets[0]["tensors"], &sets[0]["elements"]), (&sets[1]["tensors"], &sets[1]["elements"]));
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
