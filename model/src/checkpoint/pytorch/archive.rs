//! The zip archives of `torch.save` since PyTorch 1.6: `NAME/data.pkl` and a file `NAME/data/KEY` for each storage, all
//! of them stored, not compressed, so that tensors are read where they lie.
//!
//! Checksums are not looked at: PyTorch can be told to leave them out, and then writes others.

use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::super::contents::{Contents, Fault};
use super::storages::{Extent, Extents};
use super::{NAMES, tree};
use crate::pickle;

/// Reads the pickle of an archive, and of the storages only where they are.
///
/// # Errors
/// When it is no complete archive of `torch.save`, or its pickle is refused.
pub fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(incomplete)?;
    let pickle_name = archive
        .file_names_raw()
        .filter(|name| name.iter().filter(|&&byte| byte == b'/').count() == 1)
        .find(|name| name.ends_with(b"/data.pkl"))
        .ok_or_else(|| "is a zip file, but not one of torch.save: it has no data.pkl".to_string())?
        .to_vec();
    let prefix = &pickle_name[..pickle_name.len() - "data.pkl".len()];
    let mut pickle = None;
    let mut extents = Extents::new();
    for index in 0..archive.len() {
        let (name, range) = locate(&mut archive, index, bytes.len())?;
        let Some(name) = name.strip_prefix(prefix).and_then(|name| std::str::from_utf8(name).ok()) else {
            continue;
        };
        match name {
            "data.pkl" => pickle = Some(range),
            "constants.pkl" => {
                let message =
                    "is a TorchScript archive, whose code is not run; save the state_dict() of its module";
                return Err(message.to_string().into());
            }
            "byteorder" if &bytes[range.clone()] == b"big" => {
                return Err("was written on a big-endian machine; save it again on another"
                    .to_string()
                    .into());
            }
            _ => {
                if let Some(key) = name.strip_prefix("data/") {
                    extents.insert(key.to_string(), Extent { start: range.start, bytes: range.len() });
                }
            }
        }
    }
    let pickle = pickle.ok_or_else(|| "has no data.pkl".to_string())?;
    tree::flatten(&pickle::load(&bytes[pickle], NAMES)?, &extents)
}

/// The name of a member, and where its bytes are.
fn locate(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    length: usize,
) -> Result<(Vec<u8>, Range<usize>), Fault> {
    let member = archive.by_index_raw(index).map_err(incomplete)?;
    let name = member.name_raw().to_vec();
    if member.encrypted() || member.compression() != CompressionMethod::Stored {
        let name = String::from_utf8_lossy(&name).escape_debug().to_string();
        return Err(format!(
            "is a zip file whose '{name}' is compressed or encrypted, which torch.save does not do"
        )
        .into());
    }
    let start = member.data_start().and_then(|start| usize::try_from(start).ok());
    let size = usize::try_from(member.compressed_size()).ok();
    let end = start.zip(size).and_then(|(start, size)| start.checked_add(size)).filter(|&end| end <= length);
    match (start, end) {
        (Some(start), Some(end)) => Ok((name, start..end)),
        _ => Err(incomplete("a member lies outside the file")),
    }
}

fn incomplete(error: impl std::fmt::Display) -> Fault {
    format!("is not a complete PyTorch file ({error}); copy it here again, or take another checkpoint").into()
}
