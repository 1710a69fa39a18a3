//! The workspace's own commands, `cargo xtask ...`: set-up of the native libraries, tests, checks, measurements, distribution.
//!
//! | module | does |
//! | --- | --- |
//! | [`pins`] | versions and checksums of the native libraries, and which of their files are kept |
//! | [`setup`] | decides what is missing, fetches it, tells cargo where it is |
//! | [`preflight`], [`pip`], [`unpack`], [`install`], [`cache`] | the steps of fetching |
//! | [`native`], [`native_toml`] | which libraries are in use; `.cargo/native.toml` |
//! | [`cargo`] | starts cargo, builds and runs the workspace's programs |
//! | [`check`] | `test` and `check` |
//! | [`demo`] | the whole way, end to end |
//! | [`mod@bench`] | how fast this machine computes, and in how much memory |
//! | [`dist`] | a folder that runs elsewhere |
//! | [`interrupt`] | Ctrl-C |

use std::path::{Path, PathBuf};

pub mod bench;
pub mod cache;
pub mod cargo;
pub mod check;
pub mod demo;
pub mod dist;
pub mod install;
pub mod interrupt;
pub mod native;
pub mod native_toml;
pub mod pins;
pub mod pip;
pub mod preflight;
pub mod setup;
#[cfg(test)]
mod testing;
pub mod unpack;

/// The root of this checkout.
pub fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}
