//! What `torch.save` can write beside plain tensors: views, parameters, nested dictionaries, values of other kinds; and
//! what is refused.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, ElementType, LayoutKind, WeightSet};
use ddae_model::tensor::{Data, Tensor};
use zip::CompressionMethod;

use crate::graph_of;
use crate::torch_save::*;

fn open(bytes: Vec<u8>) -> Result<Checkpoint, String> {
    Checkpoint::from_bytes(Path::new("w.pth"), bytes).map_err(|e| e.to_string())
}

fn opened(value: &[u8], storages: &[(&str, &[u8])]) -> Checkpoint {
    open(archive(value, storages)).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(bytes: Vec<u8>) -> String {
    let message = open(bytes).err().expect("it is refused");
    assert!(message.starts_with("w.pth: ") && !message.contains('\n'), "{message}");
    message["w.pth: ".len()..].to_string()
}

fn read(file: &Checkpoint, name: &str) -> Tensor {
    file.read(name).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn tensors_share_storages_and_look_at_them_in_any_order() {
    let six = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let shared = || storage("FloatStorage", "0", 6);
    let value = ordered(&[
        ("all", tensor(shared(), 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(shared(), 0, &[3, 2], &[1, 3])),
        ("column", tensor(shared(), 1, &[2], &[3])),
        ("last", tensor(shared(), 5, &[], &[])),
        ("none", tensor(shared(), 0, &[0, 3], &[3, 1])),
        ("expanded", tensor(shared(), 2, &[1 << 40], &[0])),
    ]);
    let file = opened(&value, &[("0", &six)]);
    assert_eq!(read(&file, "all"), Tensor::f32(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(read(&file, "transposed"), Tensor::f32(&[3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    assert_eq!(read(&file, "column"), Tensor::f32(&[2], vec![1.0, 4.0]));
    assert_eq!(read(&file, "last"), Tensor::f32(&[], vec![5.0]));
    assert_eq!(read(&file, "none"), Tensor::f32(&[0, 3], vec![]));
    let message = file.read("expanded").expect_err("a terabyte").to_string();
    assert_eq!(message, "w.pth: holds 'expanded' as 1099511627776 values made of 1 by repetition: not read");
}

#[test]
fn every_element_type_in_both_formats() {
    let cases: [(&str, &[u8], ElementType, Data); 10] = [
        ("DoubleStorage", &1.5f64.to_le_bytes(), ElementType::F64, Data::F64(vec![1.5])),
        ("FloatStorage", &1.5f32.to_le_bytes(), ElementType::F32, Data::F32(vec![1.5])),
        ("HalfStorage", &0x3e00u16.to_le_bytes(), ElementType::F16, Data::F32(vec![1.5])),
        ("BFloat16Storage", &0x3fc0u16.to_le_bytes(), ElementType::BF16, Data::F32(vec![1.5])),
        ("LongStorage", &(-7i64).to_le_bytes(), ElementType::I64, Data::I64(vec![-7])),
        ("IntStorage", &(-7i32).to_le_bytes(), ElementType::I32, Data::I64(vec![-7])),
        ("ShortStorage", &(-7i16).to_le_bytes(), ElementType::I16, Data::I64(vec![-7])),
        ("CharStorage", &(-7i8).to_le_bytes(), ElementType::I8, Data::I64(vec![-7])),
        ("ByteStorage", &[200], ElementType::U8, Data::U8(vec![200])),
        ("BoolStorage", &[1], ElementType::Bool, Data::U8(vec![1])),
    ];
    for (class, bytes, element, data) in cases {
        let value = dict(&[("w", tensor(storage(class, "k", 1), 0, &[1], &[1]))]);
        for bytes in [archive(&value, &[("k", bytes)]), legacy(&value, &[("k", 1, bytes)])] {
            let file = open(bytes).unwrap_or_else(|e| panic!("{class}: {e}"));
            assert_eq!(file.tensors()[0].element(), element, "{class}");
            assert_eq!(read(&file, "w").into_data(), data, "{class}");
        }
    }
}

#[test]
fn nested_dictionaries_become_paths_and_other_values_are_kept() {
    let weight = || tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]);
    let parameter = call(
        global("torch._utils", "_rebuild_parameter"),
        &[weight(), b"\x88".to_vec(), call(global("collections", "OrderedDict"), &[])],
    );
    let namespace = [
        global("argparse", "Namespace"),
        b")\x81".to_vec(),
        dict(&[("lr", [b"G".to_vec(), 1e-4f64.to_be_bytes().to_vec()].concat())]),
        b"b".to_vec(),
    ];
    // What Python 2 wrote: an OrderedDict of a list of pairs.
    let pairs = list(&[list(&[text("v"), weight()])]);
    let value = dict(&[
        ("net", dict(&[("blocks", list(&[dict(&[("w", parameter)]), dict(&[("w", weight())])]))])),
        ("old", call(global("collections", "OrderedDict"), &[pairs])),
        ("args", namespace.concat()),
        ("epoch", int(7)),
        ("seed", int(1 << 40)),
        ("name", text("run 'a'\n")),
        ("size", call(global("torch", "Size"), &[ints(&[2, 3])])),
        ("dtype", global("torch", "float32")),
        ("device", call(global("torch", "device"), &[text("cuda")])),
        ("losses", list(&[int(1), b"N".to_vec()])),
        ("storage", storage("FloatStorage", "0", 1)),
    ]);
    let file = opened(&value, &[("0", &floats(&[2.5]))]);
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["net.blocks.0.w", "net.blocks.1.w", "old.v"]);
    assert_eq!(read(&file, "net.blocks.0.w"), Tensor::f32(&[1], vec![2.5]));
    let values: Vec<(&str, &str)> =
        file.values().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        values,
        [
            ("args.lr", "0.0001"),
            ("epoch", "7"),
            ("seed", "1099511627776"),
            ("name", "'run \\'a\\'\\n'"),
            ("size", "(2, 3)"),
            ("dtype", "torch.float32"),
            ("device", "torch.device('cuda')"),
            ("losses", "(1, None)"),
            ("storage", "a storage of 1 values of f32"),
        ]
    );
}

#[test]
fn files_of_dit_hold_two_sets() {
    let weights =
        |key: &str| ordered(&[("pos_embed", tensor(storage("FloatStorage", key, 1), 0, &[1], &[1]))]);
    let value =
        dict(&[("model", weights("0")), ("ema", weights("1")), ("opt", dict(&[])), ("args", dict(&[]))]);
    let file = opened(&value, &[("0", &floats(&[1.0])), ("1", &floats(&[2.0]))]);
    assert_eq!(file.layout().kind(), LayoutKind::Dictionary);
    assert_eq!(
        file.layout().to_string(),
        "dictionary with the keys of DiT's training, EMA weights under 'ema.', weights in training under 'model.'"
    );
    let graph = graph_of(&[("pos_embed", &[1])]);
    for (set, value) in [(WeightSet::Ema, 2.0), (WeightSet::Model, 1.0)] {
        let weights = file.weights(set, &graph).expect("weights");
        assert_eq!(weights.get("pos_embed"), Some(&Tensor::f32(&[1], vec![value])));
    }
    // With no average there is no choice.
    let value = dict(&[("model", weights("0")), ("opt", dict(&[("step", int(1))]))]);
    let file = opened(&value, &[("0", &floats(&[1.0]))]);
    assert_eq!(file.layout().to_string(), "plain state dict, names begin with 'model.'");
    assert!(file.weights(WeightSet::Ema, &graph).is_ok());
}

#[test]
fn parts_of_storages_in_the_oldest_files() {
    let part = |first: i64, count: i64| {
        let whole = [text("storage"), global("torch", "FloatStorage"), text("k"), text("cpu"), int(4)];
        let part = tuple(&[text("part"), int(first), int(count)]);
        [tuple(&[&whole[..], &[part]].concat()), b"Q".to_vec()].concat()
    };
    let bytes = floats(&[1.0, 2.0, 3.0, 4.0]);
    let value = dict(&[("w", tensor(part(2, 2), 1, &[1], &[1]))]);
    let file = open(legacy(&value, &[("k", 4, &bytes)])).expect("a checkpoint");
    assert_eq!(read(&file, "w"), Tensor::f32(&[1], vec![4.0]));
    let value = dict(&[("w", tensor(part(3, 2), 0, &[1], &[1]))]);
    let message = refused(legacy(&value, &[("k", 4, &bytes)]));
    assert_eq!(message, "refers to 2 values from 3 of its storage 'k' of 4");
}

#[test]
fn other_python_objects_alone_are_refused_by_name() {
    let wanted = |name: &str| {
        format!(
            "holds no tensors, but refers to the Python object '{name}', which is not known here: nothing was run; take a \
             file that holds tensors (a state dict)"
        )
    };
    for (module, name) in [
        ("builtins", "eval"),
        ("os", "system"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "FloatStorage.from_file"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("functools", "partial"),
    ] {
        let full = format!("{module}.{name}");
        let call = call(global(module, name), &[text("touch PWNED")]);
        // Anywhere: as a value, as a key, as what is thrown away, by either opcode and in either format.
        for value in [
            call.clone(),
            [&b"}"[..], &call, b"Ns"].concat(),
            [&b"]("[..], &call, b"e"].concat(),
            [&b"N"[..], &call, b"0"].concat(),
        ] {
            assert_eq!(refused(archive(&value, &[])), wanted(&full));
            assert_eq!(refused(legacy(&value, &[])), wanted(&full));
        }
        let stacked = [text(module), text(name), b"\x93".to_vec()].concat();
        assert_eq!(refused(archive(&stacked, &[])), wanted(&full));
        assert!(refused(pickle(&call)).contains("is a pickle, but not one of torch.save"));
    }
    // A name is printed in one line whatever is in it.
    let odd = [text("a\nb"), text("\u{1b}[2J"), b"\x93".to_vec()].concat();
    assert_eq!(refused(archive(&odd, &[])), wanted("a\\nb.\\u{1b}[2J"));
    // EXT1 and persistent ids in text look up things that no file of tensors has.
    for opcode in [0x82, 0x50] {
        let message = refused(archive(&[opcode, 0], &[]));
        let wanted =
            format!("has the pickle opcode 0x{opcode:02x} at byte 2, which plain data does not need");
        assert!(message.starts_with(&wanted), "{message}");
    }
}

#[test]
fn tensors_outside_their_storage_are_refused_when_the_file_is_opened() {
    let of = |offset, shape: &[i64], strides: &[i64]| {
        let value = dict(&[("w", tensor(storage("FloatStorage", "0", 4), offset, shape, strides))]);
        refused(archive(&value, &[("0", &floats(&[0.0; 4]))]))
    };
    assert_eq!(of(1, &[2, 2], &[2, 1]), "says that 'w' [2, 2] lies outside its storage of 4 values");
    assert_eq!(of(0, &[2], &[i64::MAX]), "says that 'w' [2] lies outside its storage of 4 values");
    assert_eq!(
        of(0, &[i64::MAX, i64::MAX], &[0, 0]),
        "says that 'w' [9223372036854775807, 9223372036854775807] lies outside its storage of 4 values"
    );
    assert_eq!(of(0, &[2, 2], &[1]), "says that 'w' [2, 2] lies outside its storage of 4 values");
    assert_eq!(of(-1, &[2], &[1]), "says of the tensor 'w' neither sizes nor strides");
    assert_eq!(of(0, &[-2], &[1]), "says of the tensor 'w' neither sizes nor strides");
    assert_eq!(of(3, &[2], &[-1]), "says of the tensor 'w' neither sizes nor strides");

    let with = |reference: Vec<u8>, storages: &[(&str, &[u8])]| {
        refused(archive(&dict(&[("w", tensor(reference, 0, &[1], &[1]))]), storages))
    };
    assert_eq!(with(storage("FloatStorage", "1", 1), &[("0", &[0; 4])]), "does not hold its storage '1'");
    assert_eq!(
        with(storage("FloatStorage", "0", 2), &[("0", &[0; 4])]),
        "holds 4 bytes of its storage '0', which is of 2 values of f32"
    );
    assert_eq!(
        with(storage("DoubleStorage", "0", i64::MAX), &[("0", &[0; 4])]),
        "holds 4 bytes of its storage '0', which is of 9223372036854775807 values of f64"
    );
    assert_eq!(with(int(1), &[]), "holds the tensor 'w' without a storage");
    let module =
        [tuple(&[text("module"), global("torch", "Size"), text("x"), text("y")]), b"Q".to_vec()].concat();
    assert_eq!(with(module, &[]), "refers to something outside its pickle that is no storage");
}

#[test]
fn archives_that_torch_save_does_not_write() {
    let program = pickle(b"}");
    let compressed = zip(&[("data.pkl".to_string(), &program)], CompressionMethod::Stored);
    // Method 8, deflated, in the member's two headers.
    let local = compressed.windows(4).position(|w| w == b"PK\x03\x04").expect("a header");
    let central = compressed.windows(4).position(|w| w == b"PK\x01\x02").expect("a header");
    let mut bytes = compressed.clone();
    (bytes[local + 8], bytes[central + 10]) = (8, 8);
    let message = refused(bytes);
    assert_eq!(
        message,
        "is a zip file whose 'archive/data.pkl' is compressed or encrypted, which torch.save does not do"
    );
    let bytes = zip(&[("image.png".to_string(), b"PNG")], CompressionMethod::Stored);
    assert_eq!(refused(bytes), "is a zip file, but not one of torch.save: it has no data.pkl");
    let members = [("data.pkl".to_string(), &*program), ("constants.pkl".to_string(), &*program)];
    let wanted =
        "is a TorchScript archive, whose code is not run; save the state_dict() of its module in Python";
    assert_eq!(refused(zip(&members, CompressionMethod::Stored)), wanted);
    // Its code is compressed.
    let code = [("data.pkl", &*program), ("code/net.py", b"x"), ("constants.pkl", &*program)];
    let mut bytes = zip(&code.map(|(name, bytes)| (name.to_string(), bytes)), CompressionMethod::Stored);
    let entries: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect();
    bytes[entries[1] + 10] = 8;
    assert_eq!(refused(bytes), wanted);
    let members = [("data.pkl".to_string(), &*program), ("byteorder".to_string(), b"big")];
    let message = refused(zip(&members, CompressionMethod::Stored));
    assert_eq!(message, "was written on a big-endian machine; save it again on another");
    assert_eq!(
        refused(pickle(b"}")),
        "is a pickle, but not one of torch.save; a file of tensors is wanted here (a state dict)"
    );
}

#[test]
fn older_files_that_do_not_add_up() {
    let value = dict(&[("w", tensor(storage("FloatStorage", "k", 2), 0, &[2], &[1]))]);
    let bytes = floats(&[1.0, 2.0]);
    assert_eq!(
        refused(legacy(&value, &[("k", 3, &bytes)])),
        "ends in the middle of its storage 'k'; copy it here again"
    );
    assert_eq!(
        refused(legacy(&value, &[("k", u64::MAX, &bytes)])),
        "ends in the middle of its storage 'k'; copy it here again"
    );
    assert_eq!(refused(legacy(&value, &[("j", 2, &bytes)])), "has a storage 'j' that no tensor looks at");
    assert_eq!(refused(legacy(&value, &[])), "does not hold its storage 'k'");
    assert_eq!(
        refused(legacy(&value, &[("k", 1, &bytes[..4])])),
        "holds 4 bytes of its storage 'k', which is of 2 values of f32"
    );
    assert_eq!(refused(legacy(&value, &[("k", 2, &bytes), ("k", 2, &bytes)])), "has two storages 'k'");
    let two = dict(&[
        ("w", tensor(storage("FloatStorage", "k", 2), 0, &[2], &[1])),
        ("v", tensor(storage("HalfStorage", "k", 2), 0, &[2], &[1])),
    ]);
    assert_eq!(refused(legacy(&two, &[("k", 2, &bytes)])), "refers to its storage 'k' as of two types");
}

#[test]
fn one_name_for_two_tensors_is_refused() {
    let weight = || tensor(storage("FloatStorage", "0", 1), 0, &[1], &[1]);
    let value = dict(&[("a", dict(&[("b", weight())])), ("a.b", weight())]);
    assert_eq!(refused(archive(&value, &[("0", &[0; 4])])), "holds two tensors 'a.b'");
}
