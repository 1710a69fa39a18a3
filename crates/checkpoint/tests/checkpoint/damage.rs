//! Files that are mutated, cut, nested without end or full of promises: each ends in an error or is read, in memory
//! that its size justifies, and never in a panic.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, WeightChoice, WeightSet};
use ddae_model::networks::recognition::{Given, Shapes, find};
use ddae_tests::fixtures;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::memory::peak_of;
use crate::torch_save::*;

/// The nesting that must not end this process.
const LEVELS: usize = 200_000;

/// What opening a file of this size may take, whatever is in it.
fn justified(length: usize) -> usize {
    (1 << 20) + 256 * length.min(1 << 18) + 96 * length
}

/// Asks which networks a file holds, as far as its names and shapes tell.
fn recognise(file: &Checkpoint) {
    let parameters = file.parameters(WeightSet::Ema).unwrap_or_default().into_iter();
    let shapes: Shapes =
        parameters.map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect();
    let given = Given { image_size: Some([32, 32]), heads: Some(4), ..Given::default() };
    for found in find(&shapes).unwrap_or_default() {
        if let Ok(network) = found.recognise(&shapes, &given) {
            let _ = network.name_map();
            let _ = network.architecture.unused(network.names, &shapes);
        }
    }
}

/// Opens a file, recognises its networks and reads all its tensors; gives the first error.
fn read(bytes: &[u8]) -> Result<(), String> {
    let (length, copy) = (bytes.len(), bytes.to_vec());
    let (file, peak) = peak_of(|| Checkpoint::from_bytes(Path::new("w"), copy));
    assert!(peak <= justified(length), "{peak} bytes for a file of {length}");
    let file = file.map_err(|e| e.to_string())?;
    for set in file.sets() {
        let _ = file.choose(Some(&WeightChoice::Named(set.prefix().to_string())), "--weights", |_| true);
    }
    let _ = file.choose(None, "--weights", |_| true);
    assert!(file.values().len() <= 10_000 && file.foreign_objects().len() <= 256);
    recognise(&file);
    let mut result = Ok(());
    for tensor in file.tensors() {
        let (read, peak) = peak_of(|| file.read(tensor.name()).map(drop));
        // A byte may become an integer of 8; a few repeated elements are free.
        assert!(
            peak <= (1 << 20) + 16 * length,
            "{peak} bytes for '{}' in a file of {length}",
            tensor.name()
        );
        result = result.and(read.map_err(|e| e.to_string()));
    }
    result
}

/// The same in a thread with a small stack.
fn ended(bytes: Vec<u8>) -> Result<(), String> {
    let work = move || read(&bytes);
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(work).expect("a thread");
    thread.join().expect("no panic")
}

/// The same as an error.
fn refused(bytes: Vec<u8>) -> String {
    ended(bytes).expect_err("it is refused")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).expect("a fixture")
}

/// A value with something of everything that is read, and its storage.
fn value() -> (Vec<u8>, Vec<u8>) {
    let shared = || storage("FloatStorage", "k", 6);
    let value = dict(&[
        ("EMA", ordered(&[("ema_model.w", tensor(shared(), 0, &[3, 2], &[1, 3]))])),
        (
            "MODEL",
            ordered(&[
                ("module.w", tensor(shared(), 1, &[2], &[2])),
                ("module.v", tensor(shared(), 5, &[], &[])),
            ]),
        ),
        (
            "model_ema",
            dict(&[
                ("decay", tensor(shared(), 5, &[], &[])),
                ("num_updates", tensor(shared(), 5, &[], &[])),
                ("modulew", tensor(shared(), 1, &[2], &[2])),
            ]),
        ),
        (
            "ema",
            dict(&[(
                "shadow_params",
                list(&[tensor(shared(), 1, &[2], &[2]), tensor(shared(), 5, &[], &[])]),
            )]),
        ),
        ("cfg", [&*global("mine", "Config"), b")\x81", &*dict(&[("path", text("a"))]), b"b"].concat()),
        (
            "opt",
            dict(&[
                ("lr", int(1 << 40)),
                ("betas", ints(&[1, 2, 3])),
                ("names", list(&[text("a"), text("b")])),
            ]),
        ),
    ]);
    (value, floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
}

fn small_archive() -> Vec<u8> {
    let (value, bytes) = value();
    archive(&value, &[("k", &bytes)])
}

fn small_legacy() -> Vec<u8> {
    let (value, bytes) = value();
    legacy(&value, &[("k", 6, &bytes)])
}

/// A module that is pickled with its class, its weights in storages by value of both formats.
fn small_pickle() -> Vec<u8> {
    let bytes = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let reference = storage("FloatStorage", "k", 6);
    let [old, new] = [legacy(&reference, &[("k", 6, &bytes)]), archive(&reference, &[("k", &bytes)])]
        .map(|file| by_value(&file));
    let sizes = [("sizes", list(&[int(3), int(2)])), ("name", text("net"))];
    let module = persistent(
        "SongUNet",
        &sizes,
        [&[("w", tensor(old, 0, &[3, 2], &[1, 3]))], &[("table", tensor(new, 1, &[2], &[2]))], &[]],
    );
    pickle(&dict(&[("ema", module), ("loss_fn", b"N".to_vec())]))
}

#[test]
fn undamaged_files_are_read() {
    for bytes in [
        small_archive(),
        small_legacy(),
        small_pickle(),
        fixture("ddae_checkpoint.pth"),
        fixture("legacy_state_dict.pt"),
        fixture("edm_vp_tiny.pkl"),
    ] {
        assert_eq!(read(&bytes), Ok(()));
    }
}

#[test]
fn nesting_without_end_ends() {
    let times = |part: &[u8]| part.repeat(LEVELS);
    let parameter = global("torch._utils", "_rebuild_parameter");
    let namespace = [global("argparse", "Namespace"), b")\x81".to_vec()].concat();
    let deep: [(&str, Vec<u8>); 9] = [
        ("lists", [times(b"]"), b"a".repeat(LEVELS - 1)].concat()),
        ("lists by parts", [times(b"]("), times(b"e")].concat()),
        ("tuples", [b"N".to_vec(), times(b"\x85")].concat()),
        ("tuples by parts", [times(b"("), times(b"t")].concat()),
        ("dictionaries", [b"}".to_vec(), times(b"N}"), times(b"s")].concat()),
        // A value by way of the memo goes into the next call.
        ("parameters", [b"N".to_vec(), b"q\x01".to_vec(), nested(&parameter, b"h\x01\x85Rq\x01")].concat()),
        ("attributes", [b"}".to_vec(), b"q\x01".to_vec(), nested(&namespace, b"}Nh\x01sbq\x01")].concat()),
        ("references", [b"N".to_vec(), times(b"Q")].concat()),
        ("pairs", [b"N".to_vec(), times(b"N\x86")].concat()),
    ];
    for (what, value) in deep {
        for bytes in [archive(&value, &[]), legacy(&value, &[]), pickle(&value)] {
            // What is too deep is not looked at.
            let Err(message) = ended(bytes) else { continue };
            let bounds = ["more than", "a pickle, but not one of torch.save", "refers to the Python object"];
            assert!(bounds.iter().any(|bound| message.contains(bound)), "{what}: {message}");
        }
    }
}

/// `start` and then `step`, as often as the bound on the stack allows, which keeps what each round leaves.
fn nested(start: &[u8], step: &[u8]) -> Vec<u8> {
    [start, step].concat().repeat(99_000)
}

#[test]
fn shared_parts_are_not_a_tree_without_end() {
    // A list of ten lists of ten lists …, each stored once.
    let mut value = b"]q\x00".to_vec();
    for level in 1..30u8 {
        value.extend(b"](");
        value.extend([b'h', level - 1].repeat(10));
        value.extend([b'e', b'q', level]);
    }
    assert!(refused(archive(&value, &[])).contains("repeats its parts beyond measure"));
    // And one that contains itself, with a name that grows.
    let cycle = |name: &str| archive(&[b"}q\x00", &*text(name), b"h\x00s"].concat(), &[]);
    assert_eq!(ended(cycle("x")), Ok(()));
    assert!(refused(cycle(&"x".repeat(1000))).contains("repeats its parts beyond measure"));
    // The same twice over is a tree of 2^64 parts.
    let twice = [b"}q\x00(", &*text("a"), b"h\x00", &text("b"), b"h\x00u"].concat();
    assert!(refused(archive(&twice, &[])).contains("repeats its parts beyond measure"));
    // Attributes of unknown objects lead back to what holds them, and are visited once.
    let object = [&*global("mine", "Node"), b")\x81q\x00"].concat();
    let back = [&*object, &*dict(&[("a", b"h\x00".to_vec()), ("b", b"h\x00".to_vec())]), b"b"].concat();
    assert!(
        refused(archive(&back, &[]))
            .contains("holds no tensors, but refers to the Python object 'mine.Node'")
    );
}

/// Small parts that are stored once and referred to from everywhere: read each time, they would fill any memory, or take
/// any time.
#[test]
fn shared_parts_are_paid_for_each_time() {
    let many = |part: &[u8], count: usize| [&b"]("[..], &part.repeat(count), b"e"].concat();
    let rebuild = global("torch._utils", "_rebuild_tensor_v2");
    let start = [&*rebuild, b"q\x00", &*storage("FloatStorage", "k", 6), b"q\x01"].concat();
    let tensors = many(b"h\x00(h\x01K\x00h\x02h\x02tR", 50_000);
    let ones = |count: usize| [&b"("[..], &b"K\x01".repeat(count), b"tq\x02"].concat();
    let bytes = floats(&[0.0; 6]);
    for (axes, message) in [
        (50_000, "says of the tensor '0' neither sizes nor strides"),
        (64, "repeats its parts beyond measure"),
    ] {
        let value = [&*start, &ones(axes), &tensors].concat();
        let found = refused(archive(&value, &[("k", &bytes)]));
        assert!(found.contains(message), "{found}");
    }
    // What is printed of a value is longer than a reference to it.
    let unseen = text(&"\u{200b}".repeat(80));
    let printed = [&b"("[..], &unseen.repeat(8), b"tq\x00", &many(b"h\x00", 50_000)].concat();
    // What is only looked at costs time.
    let long = [&b"("[..], &b"N".repeat(90_000), b"tq\x00"].concat();
    let lists = [&*long, &many(b"h\x00", 50_000)].concat();
    let dictionary = [&*global("collections", "OrderedDict"), b"q\x01"].concat();
    let pairs = [&*long, &*dictionary, &many(b"h\x01h\x00\x85R", 50_000)].concat();
    for value in [printed, lists, pairs] {
        let found = refused(archive(&value, &[]));
        assert!(found.contains("repeats its parts beyond measure"), "{found}");
    }
}

#[test]
fn promises_take_no_memory() {
    let bare = |bytes: &[u8]| refused(bytes.to_vec());
    let cut = "in the middle of its pickle";
    for program in [
        &b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x80"[..],
        b"\x80\x04\x8d\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x80\x02T\xff\xff\xff\xff",
        b"\x80\x02X\xff\xff\xff\x7f",
        b"\x80\x02\x8a\xff",
    ] {
        let message = bare(program);
        assert!(message.contains(cut) || message.contains("bytes in a string"), "{message}");
    }
    assert!(bare(b"\x80\x02Nr\xff\xff\xff\xff.").contains("a memo slot out of order"));
    // A long string is one opcode, and makes no room in the memo.
    let slot = 5_000_000u32.to_le_bytes();
    let value = [&*text(&"x".repeat(6_000_000)), b"r", &slot].concat();
    assert!(refused(archive(&value, &[])).contains("a memo slot out of order"));
    let key = [&b"}"[..], &*text(&"x".repeat(5000)), b"Ns"].concat();
    assert_eq!(ended(archive(&key, &[])), Ok(()));
    assert!(bare(&[&b"\x80\x02c"[..], &[b'a'; 5000]].concat()).contains("more than 256 bytes in a name"));
    // A header of safetensors that ends beyond the file, and sizes whose product is beyond all numbers.
    assert!(bare(b"\xff\xff\xff\xff\xff\xff\xff\x7f{").contains("not a complete safetensors file"));
    let header = br#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    assert!(bare(&file).contains("not a complete safetensors file"));
    // As many objects, opcodes, values and names as fit a file of some megabytes: what they take, its size pays for.
    let names: Vec<u8> = (0..200_000).flat_map(|i| format!("c{i:x}\n\n0").into_bytes()).collect();
    for program in [
        b"]".repeat(3 << 20),
        b"]0".repeat(3 << 20),
        b"N\x94".repeat(3 << 20),
        b"NN\x86\x85".repeat(1 << 20),
        [&b"cm\nC\n)\x94"[..], &b"h\x00h\x00R0".repeat(1 << 20)].concat(),
        [&b"]"[..], &b"]a".repeat(500_000)].concat(),
        [&b"]"[..], &b"Na".repeat(1_000_001)].concat(),
        [&names[..], b"N"].concat(),
    ] {
        let _ = ended(archive(&program, &[]));
    }
}

#[test]
fn a_zip_directory_of_promises() {
    let whole = small_archive();
    let end = whole.windows(4).rposition(|w| w == b"PK\x05\x06").expect("the end record");
    // Number of members, size and place of the directory, each as large as can be.
    for field in [8..12, 12..16, 16..20] {
        let mut bytes = whole.clone();
        bytes[end + field.start..end + field.end].fill(0xff);
        // A reader may do without a field; what it takes is measured.
        let _ = read(&bytes);
    }
    let mut bytes = whole.clone();
    bytes[end + 8..end + 20].fill(0xfe);
    assert!(refused(bytes).contains("is not a complete PyTorch file"));
}

/// `bytes` with some of them changed, and cut or not.
fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let cut = prop_oneof![2 => Just(None), 1 => any::<Index>().prop_map(Some)];
    (changes, cut).prop_map(move |(changes, cut)| {
        let mut bytes = bytes.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

/// The same, with the changes near the beginning and the end, where the pickle and a zip's directory are.
fn damaged_structure(bytes: Vec<u8>, start: usize, end: usize) -> impl Strategy<Value = Vec<u8>> {
    let length = bytes.len();
    let place = prop_oneof![0..start, length - end..length];
    prop::collection::vec((place, any::<u8>()), 1..6).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        changes.into_iter().for_each(|(at, value)| bytes[at] = value);
        bytes
    })
}

/// Programs of opcodes that mean something, with short operands.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let opcodes =
        b"\x00\x01\x02\x03.NJKMGUTXBC})](t\x85\x86\x87qrhjaesucRbQ012io\x81\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95".to_vec();
    let one = prop_oneof![
        8 => prop::sample::select(opcodes).prop_map(|opcode| vec![opcode]),
        1 => Just(text("storage")),
        1 => Just(global("torch", "FloatStorage")),
        1 => Just(global("torch._utils", "_rebuild_tensor_v2")),
        1 => Just(global("torch._utils", "_rebuild_parameter")),
        1 => Just(global("collections", "OrderedDict")),
        1 => Just(global("argparse", "Namespace")),
        1 => Just(global("torch._utils", "_rebuild_tensor_v3")),
        1 => Just(global("torch._tensor", "_rebuild_from_type_v2")),
        1 => Just(global("torch.storage", "UntypedStorage")),
        1 => Just(global("torch", "float8_e5m2")),
        1 => Just(global("torch.storage", "_load_from_bytes")),
        1 => Just(global("torch_utils.persistence", "_reconstruct_persistent_obj")),
        1 => Just(text("class_name")),
        1 => Just(text("state")),
        1 => Just(text("_init_kwargs")),
        1 => Just(text("_parameters")),
        1 => any::<i64>().prop_map(int),
        1 => (-2..8i64, prop::collection::vec(-1..5i64, 0..3), prop::collection::vec(-1..5i64, 0..3))
            .prop_map(|(offset, shape, strides)| tensor(storage("FloatStorage", "k", 6), offset, &shape, &strides)),
    ];
    prop::collection::vec(one, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn small_archives(bytes in damaged(small_archive())) {
        let _ = read(&bytes);
    }

    #[test]
    fn small_older_files(bytes in damaged(small_legacy())) {
        let _ = read(&bytes);
    }

    #[test]
    fn small_pickles(bytes in damaged(small_pickle())) {
        let _ = read(&bytes);
    }

    #[test]
    fn small_safetensors(bytes in damaged(fixture("noise_mlp.safetensors"))) {
        let _ = read(&bytes);
    }

    #[test]
    fn programs(value in program()) {
        let bytes = floats(&[0.0; 6]);
        let _ = read(&archive(&value, &[("k", &bytes)]));
        let _ = read(&legacy(&value, &[("k", 6, &bytes)]));
        let _ = read(&pickle(&value));
    }

    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4) {
        let start: &[u8] = match kind {
            0 => b"PK\x03\x04",
            1 => b"\x80\x02",
            2 => b"\x40\x00\x00\x00\x00\x00\x00\x00{",
            _ => b"",
        };
        bytes.splice(..start.len().min(bytes.len()), start.iter().copied());
        let _ = read(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn published_archives(bytes in damaged_structure(fixture("ddae_checkpoint.pth"), 60_000, 25_000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn published_older_files(bytes in damaged_structure(fixture("legacy_state_dict.pt"), 9_400, 1_000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn published_pickles(bytes in damaged_structure(fixture("edm_vp_tiny.pkl"), 60_000, 25_000)) {
        let _ = read(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// An index with its parts beside it: what a damaged one takes follows from their sizes.
    #[test]
    fn indexes(bytes in damaged(br#"{"weight_map": {"MODEL.module.w": "a.bin", "opt.names": "a.bin", "w": "b"}}"#.to_vec())) {
        let folder = tempfile::tempdir().expect("a folder");
        let part = small_archive();
        std::fs::write(folder.path().join("a.bin"), &part).expect("a file");
        let path = folder.path().join("w.bin.index.fp16.json");
        std::fs::write(&path, &bytes).expect("a file");
        let (file, peak) = peak_of(|| Checkpoint::open(&path));
        prop_assert!(peak <= justified(bytes.len() + part.len()), "{peak} bytes");
        if let Ok(file) = file {
            recognise(&file);
        }
    }
}

/// A list of as many tensors as a file can hold, beside as many prefixes: naming it takes time and memory in proportion.
#[test]
fn a_long_list_without_names() {
    let start = [
        &*global("torch._utils", "_rebuild_tensor_v2"),
        b"q\x00",
        &*storage("FloatStorage", "k", 6),
        b"q\x01(K\x01tq\x020",
    ]
    .concat();
    let tensor = b"h\x00(h\x01K\x00h\x02h\x02tR";
    let names: Vec<u8> =
        (0..4_000).flat_map(|i| [text(&format!("a.b.c{i}.d")), tensor.to_vec()].concat()).collect();
    let list = [&b"]("[..], &tensor.repeat(4_000), b"e"].concat();
    let value = [&*start, b"0}(", &*text("model"), b"}(", &names, b"u", &*text("shadow_params"), &list, b"u"]
        .concat();
    let started = std::time::Instant::now();
    assert_eq!(ended(archive(&value, &[("k", &floats(&[0.0; 6]))])), Ok(()));
    // Quadratic, it would be minutes.
    assert!(started.elapsed().as_secs() < 60);
}

/// What a checkpoint says of its making is read in no time, however it is written.
#[test]
fn a_configuration_that_would_take_long_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep.safetensors");
    for (config, wanted) in [
        ("[".repeat(60_000), "its brackets nest more than 64 deep; no configuration does"),
        ("[".repeat(200_000), "it has 200000 bytes; a configuration has at most 65536"),
    ] {
        let metadata = [("ddae.format", "ddae-checkpoint-1"), ("ddae.config", &config), ("ddae.state", "{}")];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
        ddae_checkpoint::write_tensors(&path, metadata, []).expect("written");
        let error = Checkpoint::open(&path).err().expect("no configuration").to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
