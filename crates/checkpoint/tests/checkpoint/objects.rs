//! Python objects in PyTorch files: beside the weights they are data and do not matter, whatever they are; nothing is looked
//! up or called.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, ElementType, WeightSet};
use ddae_model::tensor::Tensor;

use crate::graph_of;
use crate::torch_save::*;

/// A value and its storages in both formats.
fn both(value: &[u8], class_size: usize, bytes: &[u8]) -> [Checkpoint; 2] {
    let count = (bytes.len() / class_size) as u64;
    [archive(value, &[("0", bytes)]), legacy(value, &[("0", count, bytes)])]
        .map(|file| Checkpoint::from_bytes(Path::new("w.pth"), file).unwrap_or_else(|e| panic!("{e}")))
}

/// Two weights, as parameters of a network.
fn weight() -> Vec<u8> {
    tensor(storage("FloatStorage", "0", 2), 0, &[2], &[1])
}

fn bytes() -> Vec<u8> {
    floats(&[1.5, -2.5])
}

fn build(object: Vec<u8>, state: Vec<u8>) -> Vec<u8> {
    [object, state, b"b".to_vec()].concat()
}

fn new(module: &str, name: &str) -> Vec<u8> {
    [global(module, name), b")\x81".to_vec()].concat()
}

fn float(value: f64) -> Vec<u8> {
    [b"G".to_vec(), value.to_be_bytes().to_vec()].concat()
}

/// A numpy array, as numpy pickles it.
fn array() -> Vec<u8> {
    let dtype = build(
        call(global("numpy", "dtype"), &[text("f8"), b"\x89".to_vec(), b"\x88".to_vec()]),
        tuple(&[int(3), text("<"), b"NNN".to_vec(), int(-1), int(-1), int(0)]),
    );
    let made = call(
        global("numpy.core.multiarray", "_reconstruct"),
        &[global("numpy", "ndarray"), ints(&[0]), b"C\x01b".to_vec()],
    );
    build(made, tuple(&[int(1), ints(&[1]), dtype, b"\x89".to_vec(), b"C\x08abcdefgh".to_vec()]))
}

/// What stands beside the weights, and what is shown of it: the first value.
fn beside() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let generator = build(
        call(global("numpy.random._pickle", "__randomstate_ctor"), &[text("MT19937")]),
        dict(&[("bit_generator", text("MT19937")), ("state", dict(&[("key", array()), ("pos", int(7))]))]),
    );
    let set = call(global("__builtin__", "set"), &[list(&[int(1), int(2)])]);
    let counter =
        call(global("collections", "Counter"), &[[b"}(".to_vec(), int(3), int(1), b"u".to_vec()].concat()]);
    // A node of omegaconf refers to what holds it.
    let node = build(
        new("omegaconf.nodes", "AnyNode"),
        dict(&[("_val", float(0.5)), ("_parent", b"h\x05".to_vec())]),
    );
    let config = [
        new("omegaconf.dictconfig", "DictConfig"),
        b"q\x05".to_vec(),
        dict(&[("_content", dict(&[("lr", node)])), ("_parent", b"N".to_vec())]),
        b"b".to_vec(),
    ]
    .concat();
    let namespace = build(new("argparse", "Namespace"), dict(&[("lr", float(0.1)), ("log", set.clone())]));
    let easy = [new("easydict", "EasyDict"), items(&[("lr", float(0.2))])].concat();
    let slots = build(new("mine", "Settings"), tuple(&[b"N".to_vec(), dict(&[("lr", int(3))])]));
    let partial = call(global("functools", "partial"), &[global("torch.nn.functional", "silu")]);
    let of_call =
        call(call(global("builtins", "getattr"), &[global("mine", "Outer"), text("Inner")]), &[int(1)]);
    let date =
        call(global("datetime", "datetime"), &[b"C\x0a\x07\xe7\x05\x01\x00\x00\x00\x00\x00\x00".to_vec()]);
    vec![
        ("an array of numpy", array(), "x", "numpy.core.multiarray._reconstruct(numpy.ndarray, …, 'b')"),
        ("a generator of numpy", generator, "x.bit_generator", "'MT19937'"),
        ("a set", set, "x", "__builtin__.set(…)"),
        ("a set of protocol 4", b"\x8f(K\x01K\x02\x90".to_vec(), "x", "(1, 2)"),
        ("a frozen set", b"(K\x01\x91".to_vec(), "x", "(1)"),
        ("a Counter", counter, "x", "collections.Counter(…)"),
        (
            "a defaultdict",
            [
                call(global("collections", "defaultdict"), &[global("builtins", "list")]),
                items(&[("a", int(1))]),
            ]
            .concat(),
            "x.a",
            "1",
        ),
        (
            "a path",
            call(global("pathlib", "PosixPath"), &[text("a"), text("b")]),
            "x",
            "pathlib.PosixPath('a', 'b')",
        ),
        ("a configuration of omegaconf", config, "x._content.lr._val", "0.5"),
        ("settings of argparse", namespace, "x.lr", "0.1"),
        ("a sub-classed dictionary", easy, "x.lr", "0.2"),
        ("an object with slots", slots, "x.lr", "3"),
        ("a date", date, "x", "datetime.datetime(10 bytes)"),
        ("a function", global("mine", "schedule"), "x", "mine.schedule"),
        ("a partial function", partial, "x", "functools.partial(torch.nn.functional.silu)"),
        ("a class that a call gives", of_call, "x", "…"),
        ("an object of Python 2", b"(imine\nOld\n".to_vec(), "x", "mine.Old()"),
        ("an integer of Python 2", b"I4294967296\n".to_vec(), "x", "4294967296"),
        ("keywords", [global("mine", "Key"), b")}\x92".to_vec()].concat(), "x", "mine.Key()"),
        (
            "a tensor of another type",
            call(global("torch._utils", "_rebuild_qtensor"), &[storage("FloatStorage", "0", 2)]),
            "x",
            "torch._utils._rebuild_qtensor(…)",
        ),
    ]
}

#[test]
fn objects_beside_the_weights_do_not_matter() {
    let graph = graph_of(&[("w", &[2])]);
    for (what, object, name, shown) in beside() {
        // Before the weights and after them, as a key, and thrown away.
        let value = [
            dict(&[("x", object.clone()), ("state_dict", ordered(&[("w", weight())]))]),
            b"(".to_vec(),
            object.clone(),
            b"Nu".to_vec(),
            object,
            b"0".to_vec(),
        ]
        .concat();
        for file in both(&value, 4, &bytes()) {
            let weights = file.weights(WeightSet::Ema, &graph).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(weights.get("w"), Some(&Tensor::f32(&[2], vec![1.5, -2.5])), "{what}");
            let found = file.values().iter().find(|(found, _)| found == name);
            assert_eq!(found.map(|(_, value)| value.as_str()), Some(shown), "{what}: {:?}", file.values());
        }
    }
}

/// What was referred to is said, and that nothing of it ran.
#[test]
fn objects_are_named_and_never_called() {
    let harm = call(global("posix", "system"), &[text("touch PWNED")]);
    let value = dict(&[("w", weight()), ("x", harm.clone())]);
    for file in both(&value, 4, &bytes()) {
        assert_eq!(file.foreign_objects(), ["posix.system"]);
        assert_eq!(file.values(), [("x".to_string(), "posix.system('touch PWNED')".to_string())]);
        assert_eq!(file.tensors().len(), 1);
    }
    // With nothing else there is nothing to read.
    for file in [archive(&harm, &[]), legacy(&dict(&[("x", harm)]), &[])] {
        let message = Checkpoint::from_bytes(Path::new("w.pth"), file).err().expect("no tensors").to_string();
        let wanted = "w.pth: holds no tensors, but refers to the Python object 'posix.system', which is not known here: \
                      nothing was run; take a file that holds tensors (a state dict)";
        assert_eq!(message, wanted);
    }
    assert!(!Path::new("PWNED").exists());
}

#[test]
fn a_wanted_tensor_that_is_not_understood_is_named() {
    let (wanted, others) = (graph_of(&[("b", &[2])]), graph_of(&[("a", &[2])]));
    let quantized = call(global("torch._utils", "_rebuild_qtensor"), &[storage("FloatStorage", "0", 2)]);
    for (object, what) in [
        (quantized, "torch._utils._rebuild_qtensor(…)"),
        (call(global("mine", "Weight"), &[weight()]), "mine.Weight(…)"),
        (
            tensor(storage("ComplexFloatStorage", "1", 2), 0, &[2], &[1]),
            "a tensor of torch.ComplexFloatStorage",
        ),
    ] {
        let value = dict(&[("a", weight()), ("b", object)]);
        let is_complex = what.contains("Complex");
        let storages = [("0", 2, bytes()), ("1", 2, vec![0; 16])];
        let storages = &storages[..if is_complex { 2 } else { 1 }];
        let zipped: Vec<(&str, &[u8])> = storages.iter().map(|(key, _, bytes)| (*key, &bytes[..])).collect();
        let old: Vec<(&str, u64, &[u8])> =
            storages.iter().map(|(key, n, bytes)| (*key, *n, &bytes[..])).collect();
        for file in [archive(&value, &zipped), legacy(&value, &old)] {
            let file = Checkpoint::from_bytes(Path::new("w.pth"), file).unwrap_or_else(|e| panic!("{e}"));
            let message = file.weights(WeightSet::Ema, &wanted).expect_err("not read").to_string();
            assert_eq!(message, format!("w.pth: holds 'b' as {what}, which is not read"));
            assert!(file.weights(WeightSet::Ema, &others).is_ok(), "it is not wanted");
        }
    }
}

#[test]
fn tensors_in_every_form() {
    let hooks = || call(global("collections", "OrderedDict"), &[]);
    let arguments =
        |storage: Vec<u8>| vec![storage, int(0), ints(&[2]), ints(&[1]), b"\x89".to_vec(), hooks()];
    let rebuild = || global("torch._utils", "_rebuild_tensor_v2");
    let typed = |class: Vec<u8>| {
        let inner = tuple(&arguments(storage("FloatStorage", "0", 2)));
        call(
            global("torch._tensor", "_rebuild_from_type_v2"),
            &[rebuild(), class, inner, dict(&[("tag", int(1))])],
        )
    };
    let untyped = |dtype: &str, length: i64| {
        let parts =
            [text("storage"), global("torch.storage", "UntypedStorage"), text("0"), text("cpu"), int(length)];
        let storage = [tuple(&parts), b"Q".to_vec()].concat();
        let arguments = [arguments(storage), vec![global("torch", dtype)]].concat();
        call(global("torch._utils", "_rebuild_tensor_v3"), &arguments)
    };
    let parameter = call(
        global("torch._utils", "_rebuild_parameter_with_state"),
        &[weight(), b"\x88".to_vec(), hooks(), dict(&[])],
    );
    let expanded = tensor(storage("FloatStorage", "0", 2), 1, &[3, 2], &[0, 0]);
    let f32s = bytes();
    let plain = Tensor::f32(&[2], vec![1.5, -2.5]);
    let cases: [(&str, Vec<u8>, usize, &[u8], ElementType, Tensor); 8] = [
        ("with attributes", typed(global("torch", "Tensor")), 4, &f32s, ElementType::F32, plain.clone()),
        ("of a class", typed(global("mine", "Image")), 4, &f32s, ElementType::F32, plain.clone()),
        ("a parameter with attributes", parameter, 4, &f32s, ElementType::F32, plain.clone()),
        ("v3", untyped("float32", 8), 1, &f32s, ElementType::F32, plain),
        (
            "float8_e4m3fn",
            untyped("float8_e4m3fn", 2),
            1,
            &[0x38, 0xb4],
            ElementType::F8E4M3,
            Tensor::f32(&[2], vec![1.0, -0.75]),
        ),
        (
            "float8_e5m2",
            untyped("float8_e5m2", 2),
            1,
            &[0x3c, 0xba],
            ElementType::F8E5M2,
            Tensor::f32(&[2], vec![1.0, -0.75]),
        ),
        (
            "float8_e4m3fnuz",
            untyped("float8_e4m3fnuz", 2),
            1,
            &[0x40, 0xbc],
            ElementType::F8E4M3FNUZ,
            Tensor::f32(&[2], vec![1.0, -0.75]),
        ),
        ("expanded", expanded, 4, &f32s, ElementType::F32, Tensor::f32(&[3, 2], vec![-2.5; 6])),
    ];
    for (what, value, size, bytes, element, expected) in cases {
        for file in both(&dict(&[("w", value)]), size, bytes) {
            assert_eq!(file.tensors().first().map(|tensor| tensor.element()), Some(element), "{what}");
            assert_eq!(file.read("w").unwrap_or_else(|e| panic!("{what}: {e}")), expected, "{what}");
            let graph = graph_of(&[("w", expected.shape())]);
            let weights = file.weights(WeightSet::Ema, &graph).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(weights.get("w"), Some(&expected), "{what}");
        }
    }
}

/// `torch.save(model)`: parameters, buffers and modules as its `state_dict()` names them.
#[test]
fn a_module_saved_whole_is_its_weights() {
    let module =
        |class: &str, parameters: &[(&str, Vec<u8>)], buffers: &[(&str, Vec<u8>)], modules: Vec<u8>| {
            let passing = call(global("__builtin__", "set"), &[list(&[text("scratch")])]);
            build(
                new("mine", class),
                dict(&[
                    ("training", b"\x89".to_vec()),
                    ("_parameters", ordered(parameters)),
                    ("_buffers", dict(buffers)),
                    ("_non_persistent_buffers_set", passing),
                    ("_forward_hooks", ordered(&[])),
                    ("_modules", modules),
                ]),
            )
        };
    let layer = || {
        module(
            "Linear",
            &[("weight", weight()), ("bias", b"N".to_vec())],
            &[("scratch", weight())],
            dict(&[]),
        )
    };
    let net = module("Net", &[], &[("count", weight())], dict(&[("up", layer()), ("down", layer())]));
    for (value, names) in [
        (net.clone(), ["count", "down.weight", "up.weight"]),
        (dict(&[("ema", net)]), ["ema.count", "ema.down.weight", "ema.up.weight"]),
    ] {
        for file in both(&value, 4, &bytes()) {
            let found: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name()).collect();
            assert_eq!(found, names);
        }
    }
}

/// Weights in a dictionary of another class, or one that is referred to twice.
#[test]
fn weights_in_other_dictionaries() {
    let subclass = [new("mmengine.config", "ConfigDict"), items(&[("w", weight())])].concat();
    let value = dict(&[("a", [subclass, b"q\x05".to_vec()].concat()), ("b", b"h\x05".to_vec())]);
    for file in both(&value, 4, &bytes()) {
        let found: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name()).collect();
        assert_eq!(found, ["a.w", "b.w"]);
    }
}

/// A log of 150,000 dictionaries beside the weights; what is shown of it is bounded.
#[test]
fn a_long_log_beside_the_weights() {
    let entry = |i: i64| dict(&[("step", int(i)), ("loss", float(0.5)), ("lr", float(1e-4))]);
    let batch = |k: i64| {
        [b"(".to_vec(), (0..1000).map(|i| entry(1000 * k + i)).collect::<Vec<_>>().concat(), b"e".to_vec()]
            .concat()
    };
    let log = [b"]".to_vec(), (0..150).map(batch).collect::<Vec<_>>().concat()].concat();
    let value = dict(&[("log", log), ("w", weight())]);
    for file in both(&value, 4, &bytes()) {
        assert_eq!(file.read("w").expect("a tensor"), Tensor::f32(&[2], vec![1.5, -2.5]));
        assert_eq!((file.values().len(), file.values_left_out()), (10_000, 440_000));
        assert_eq!(file.values()[0], ("log.0.step".to_string(), "0".to_string()));
    }
}
