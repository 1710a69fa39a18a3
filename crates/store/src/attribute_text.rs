//! Texts in the attributes of a file, as any program writes them.
//!
//! This project's writer gives texts a fixed length. What has passed through h5py, `h5copy` or another tool may hold
//! them as ASCII, or with a variable length.

use hdf5::file::File;
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, H5Type};

/// The longest text an attribute can have, in bytes.
pub(super) const LONGEST: usize = 65_536;

/// Whether the attribute `name` of the root is a text of variable length. Those lie in the global heap, which has to be
/// looked through ([`super::heap`]) before the library reads it.
pub(super) fn is_variable(file: &File, name: &str) -> bool {
    let found = file.attr(name).and_then(|attribute| attribute.dtype()?.to_descriptor());
    matches!(found, Ok(TypeDescriptor::VarLenUnicode | TypeDescriptor::VarLenAscii))
}

/// Reads the text in the attribute `name` of the root: ASCII or UTF-8, of fixed or variable length.
///
/// # Errors
/// When there is none, or it is no text of at most [`LONGEST`] bytes in UTF-8.
pub(super) fn attribute(file: &File, name: &str) -> hdf5::Result<String> {
    let attribute = file.attr(name)?;
    // HDF5 does not convert between its two alphabets, so each is asked for by its name.
    let bytes = match attribute.dtype()?.to_descriptor() {
        Ok(TypeDescriptor::FixedUnicode(length)) if length <= LONGEST => {
            only::<FixedUnicode<LONGEST>>(&attribute)?.as_bytes().to_vec()
        }
        Ok(TypeDescriptor::FixedAscii(length)) if length <= LONGEST => {
            only::<FixedAscii<LONGEST>>(&attribute)?.as_bytes().to_vec()
        }
        Ok(TypeDescriptor::VarLenUnicode) => only::<VarLenUnicode>(&attribute)?.as_bytes().to_vec(),
        Ok(TypeDescriptor::VarLenAscii) => only::<VarLenAscii>(&attribute)?.as_bytes().to_vec(),
        _ => return Err(too_long()),
    };
    // Texts of variable length say how long they are only when they are read.
    if bytes.len() > LONGEST {
        return Err(too_long());
    }
    // Another program may have written anything.
    String::from_utf8(bytes).map_err(|_| hdf5::Error::from("not UTF-8"))
}

/// The one value of an attribute, which others keep as a list of one.
fn only<T: H5Type>(attribute: &Attribute) -> hdf5::Result<T> {
    if attribute.size() != 1 {
        return Err(too_long());
    }
    attribute.read_raw::<T>()?.pop().ok_or_else(too_long)
}

fn too_long() -> hdf5::Error {
    hdf5::Error::from(format!("no text of at most {LONGEST} bytes"))
}
