//! The zip archives of `torch.save` since PyTorch 1.6: `NAME/data.pkl` and a file `NAME/data/KEY` for each storage, all
//! of them stored, not compressed, so that tensors are read where they lie.
//!
//! Checksums are not looked at: PyTorch can be told to leave them out, and then writes others.

use std::ops::Range;

use super::super::contents::{Contents, Fault};
use super::members::{Member, members};
use super::storages::{Extent, Extents};
use super::tree;

/// Reads the pickle of an archive, and of the storages only where they are.
///
/// # Errors
/// When it is no complete archive of `torch.save`, or its pickle is refused.
pub fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let (pickle, extents) = open(bytes)?;
    let base = pickle.start;
    tree::flatten(&ddae_pickle::load(&bytes[pickle])?, base, &extents)
}

/// Where the pickle and the storages of an archive are.
///
/// # Errors
/// When it is no complete archive of `torch.save`.
pub fn open(bytes: &[u8]) -> Result<(Range<usize>, Extents), Fault> {
    let members = members(bytes).map_err(incomplete)?;
    if members.iter().any(|member| member.name.ends_with(b".npy")) {
        return Err("is a .npz archive of NumPy arrays, not a file of torch.save".to_string().into());
    }
    let pickle_name = members
        .iter()
        .map(|member| member.name)
        .filter(|name| name.iter().filter(|&&byte| byte == b'/').count() == 1)
        .find(|name| name.ends_with(b"/data.pkl"))
        .ok_or_else(|| "is a zip file, but not one of torch.save: it has no data.pkl".to_string())?;
    let prefix = &pickle_name[..pickle_name.len() - "data.pkl".len()];
    let is_script = |member: &Member<'_>| member.name.strip_prefix(prefix) == Some(b"constants.pkl");
    if members.iter().any(is_script) {
        let message =
            "is a TorchScript archive, whose code is not run; save the state_dict() of its module in Python";
        return Err(message.to_string().into());
    }
    let mut pickle = None;
    let mut extents = Extents::new();
    let is_wanted = |name: &[u8]| {
        let name = name.strip_prefix(prefix).unwrap_or_default();
        name == b"data.pkl" || name == b"byteorder" || name.starts_with(b"data/")
    };
    for member in members.iter().filter(|member| is_wanted(member.name)) {
        let Some(range) = member.bytes.clone() else {
            let name = String::from_utf8_lossy(member.name).escape_debug().to_string();
            return Err(format!(
                "is a zip file whose '{name}' is compressed or encrypted, which torch.save does not do"
            )
            .into());
        };
        let Some(name) = member.name.strip_prefix(prefix).and_then(|name| std::str::from_utf8(name).ok())
        else {
            continue;
        };
        match name {
            "data.pkl" => pickle = Some(range),
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
    Ok((pickle, extents))
}

fn incomplete(error: impl std::fmt::Display) -> Fault {
    format!("is not a complete PyTorch file ({error}); copy it here again, or take another checkpoint").into()
}
