//! Storages that are pickled by value: the bytes of a whole file of `torch.save`, inside a string of the pickle.

use super::super::contents::{Fault, Format};
use super::super::stored::Storage;
use super::storages::{Extents, reference};
use super::{archive, legacy};
use ddae_pickle::{Object, Program};

/// The function that they are given to.
pub const FUNCTION: &str = "torch.storage._load_from_bytes";

/// The storage that the file `bytes` of `torch.save` is of; `at` is where that begins in the file around it.
///
/// # Errors
/// When it is no complete file of `torch.save`, or one of something else.
pub fn storage(bytes: &[u8], at: usize) -> Result<Storage, Fault> {
    let storage = match Format::of(bytes) {
        Some(Format::PyTorch) => {
            let (pickle, extents) = archive::open(bytes)?;
            only(&ddae_pickle::load(&bytes[pickle])?, &extents)
        }
        Some(Format::PyTorchLegacy) => {
            let (object, extents) = legacy::open(bytes)?;
            only(&object, &extents)
        }
        _ => Err("is no file of torch.save".to_string()),
    }?;
    Ok(Storage { start: at + storage.start, ..storage })
}

fn only(program: &Program<'_>, extents: &Extents) -> Result<Storage, String> {
    match program.object(program.top()) {
        Some(Object::Persistent(pickled)) => reference(program, *pickled)?.resolve(extents),
        _ => Err("is of something else than a storage".to_string()),
    }
}
