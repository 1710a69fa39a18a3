//! Files as `torch.save` writes them, made opcode by opcode: of any content, honest or not.

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A string (`BINUNICODE`).
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An integer (`BININT`, or `LONG1` where it is larger).
pub fn int(value: i64) -> Vec<u8> {
    match i32::try_from(value) {
        Ok(value) => [b"J", &value.to_le_bytes()[..]].concat(),
        Err(_) => [b"\x8a\x08", &value.to_le_bytes()[..]].concat(),
    }
}

/// A reference to a Python object (`GLOBAL`).
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// A tuple (`MARK`, `TUPLE`).
pub fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &*parts.concat(), b"t"].concat()
}

/// A tuple of integers.
pub fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>())
}

/// A list (`EMPTY_LIST`, `APPENDS`).
pub fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"](", &*parts.concat(), b"e"].concat()
}

/// A dictionary (`EMPTY_DICT`, `SETITEMS`).
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    [b"}".to_vec(), items(entries)].concat()
}

/// The items of a dictionary that is on the stack.
pub fn items(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"(", &*entries, b"u"].concat()
}

/// A call (`REDUCE`).
pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

/// An `OrderedDict`.
pub fn ordered(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    [call(global("collections", "OrderedDict"), &[]), items(entries)].concat()
}

/// A reference to the storage `key` of `length` elements; `class` is that of its type: `FloatStorage`.
pub fn storage(class: &str, key: &str, length: i64) -> Vec<u8> {
    let parts = [text("storage"), global("torch", class), text(key), text("cpu"), int(length)];
    [tuple(&parts), b"Q".to_vec()].concat()
}

/// A tensor that looks at a storage.
pub fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A pickle of protocol 2.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A zip archive of a value and its storages.
pub fn archive(value: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let program = pickle(value);
    let storages = storages.iter().map(|(key, bytes)| (format!("data/{key}"), *bytes));
    let members: Vec<(String, &[u8])> =
        [("data.pkl".to_string(), &*program), ("byteorder".to_string(), &b"little"[..])]
            .into_iter()
            .chain(storages)
            .collect();
    zip(&members, CompressionMethod::Stored)
}

/// A zip archive of files below `archive/`.
pub fn zip(members: &[(String, &[u8])], compression: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    for (name, bytes) in members {
        writer.start_file(format!("archive/{name}"), options).expect("a name");
        writer.write_all(bytes).expect("in memory");
    }
    writer.finish().expect("in memory").into_inner()
}

/// A file in the format before PyTorch 1.6, of a value and its storages with their numbers of elements.
pub fn legacy(value: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let keys: Vec<Vec<u8>> = storages.iter().map(|(key, ..)| text(key)).collect();
    let mut file =
        [pickle(magic), pickle(&int(1001)), pickle(b"}"), pickle(value), pickle(&list(&keys))].concat();
    for (_, count, bytes) in storages {
        file.extend(count.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// Floats as a storage holds them.
pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A string of bytes (`BINBYTES`).
pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    [b"B", &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// A storage by value: `file` is what `torch.save` wrote of it.
pub fn by_value(file: &[u8]) -> Vec<u8> {
    call(global("torch.storage", "_load_from_bytes"), &[bytes(file)])
}

/// A module as `torch_utils.persistence` pickles it.
pub fn persistent(class: &str, arguments: &[(&str, Vec<u8>)], parts: [&[(&str, Vec<u8>)]; 3]) -> Vec<u8> {
    let [parameters, buffers, modules] = parts.map(dict);
    let state = dict(&[
        ("training", b"\x89".to_vec()),
        ("_parameters", parameters),
        ("_buffers", buffers),
        ("_modules", modules),
        ("_init_args", b")".to_vec()),
        ("_init_kwargs", dict(arguments)),
    ]);
    let source = text("import os\nos.system('touch ran-by-a-pickle')\n");
    let meta = dict(&[
        ("type", text("class")),
        ("version", int(6)),
        ("module_src", source),
        ("class_name", text(class)),
        ("state", state),
    ]);
    call(global("torch_utils.persistence", "_reconstruct_persistent_obj"), &[meta])
}
