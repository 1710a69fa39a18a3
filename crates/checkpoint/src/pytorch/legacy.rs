//! The format of `torch.save` before PyTorch 1.6: five pickles (a magic number, a version, facts about the machine, the
//! object, the keys of its storages), then each storage as its number of elements in 8 bytes and the elements.
//!
//! The elements are little-endian whatever the machine was, so its facts do not matter.

use std::collections::HashMap;

use super::super::contents::{Contents, Fault, Format};
use super::storages::{Extent, Extents, Reference, is_storage, reference};
use super::tree;
use ddae_pickle::{Object, Program, Value};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Reads the pickles of a file, and of the storages only where they are. A file that is a plain pickle is read too, where it
/// holds tensors: they have their storages in them.
///
/// # Errors
/// When it is no complete file of `torch.save`, or a pickle is refused.
pub fn read(bytes: &[u8]) -> Result<(Format, Contents), Fault> {
    let first = ddae_pickle::load(bytes)?;
    if first.bytes(first.top()) == Some(MAGIC) {
        let (object, extents) = open(bytes)?;
        return Ok((Format::PyTorchLegacy, tree::flatten(&object, &extents)?));
    }
    let contents = tree::flatten(&first, &Extents::new())?;
    if contents.tensors.is_empty() && contents.foreign.is_empty() {
        return Err(NO_FILE.to_string().into());
    }
    Ok((Format::Pickle, contents))
}

const NO_FILE: &str =
    "is a pickle, but not one of torch.save; a file of tensors is wanted here (a state dict)";

/// The object of a file of `torch.save`, and where its storages are.
///
/// # Errors
/// When it is no complete file of `torch.save`, or a pickle is refused.
pub fn open(bytes: &[u8]) -> Result<(Program<'_>, Extents), Fault> {
    let mut at = 0;
    let mut next = || -> Result<Program<'_>, Fault> {
        let program = ddae_pickle::load(&bytes[at..])?;
        at += program.length();
        Ok(program)
    };
    let magic = next()?;
    if magic.bytes(magic.top()) != Some(MAGIC) {
        return Err(NO_FILE.to_string().into());
    }
    let version = next()?.top();
    if version != Value::Int(VERSION) {
        return Err(
            format!("is of a version of torch.save's format other than {VERSION}, which is read").into()
        );
    }
    let _machine = next()?;
    let object = next()?;
    let keys = next()?;
    let extents = locate(&object, &keys, bytes, at)?;
    Ok((object, extents))
}

/// Finds the storages, which begin at `at` in the order of `keys`. The types of their elements are known from the
/// references to them.
fn locate(object: &Program<'_>, keys: &Program<'_>, bytes: &[u8], mut at: usize) -> Result<Extents, Fault> {
    let mut storages: HashMap<&str, Reference<'_>> = HashMap::new();
    for part in object.objects() {
        let Object::Persistent(pickled) = part else { continue };
        // A pickled module refers to its source code in the same way.
        if !is_storage(object, *pickled) {
            continue;
        }
        let storage = reference(object, *pickled)?;
        if storages.entry(storage.key).or_insert(storage).class != storage.class {
            return Err(format!("refers to its storage '{}' as of two types", storage.key).into());
        }
    }
    let mut extents = Extents::new();
    for &key in keys.sequence(keys.top()).unwrap_or_default() {
        let key = keys.text(key).ok_or_else(|| "has a storage whose key is no text".to_string())?;
        let storage =
            storages.get(key).ok_or_else(|| format!("has a storage '{key}' that no tensor looks at"))?;
        // Where the next one begins is not known without.
        let size = storage.element_size().ok_or_else(|| {
            format!("has a storage '{key}' of an unknown type, {}", storage.class.escape_debug())
        })?;
        let cut = || Fault::from(format!("ends in the middle of its storage '{key}'; copy it here again"));
        let count = bytes[at..].first_chunk().map(|count| u64::from_le_bytes(*count)).ok_or_else(cut)?;
        let start = at + size_of::<u64>();
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        let length = length.filter(|&length| length <= bytes.len() - start).ok_or_else(cut)?;
        if extents.insert(key.to_string(), Extent { start, bytes: length }).is_some() {
            return Err(format!("has two storages '{key}'").into());
        }
        at = start + length;
    }
    Ok(extents)
}
