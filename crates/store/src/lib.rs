//! Feature files: what a network computed for every image of a split, in HDF5.
//!
//! One file holds one split and one run of a feature job:
//!
//! | name | type | shape |
//! | --- | --- | --- |
//! | `features/t{timestep}/{tap}` | f32 or f16 | `[views, N, D]`, D of its own for every tap |
//! | `labels` | i64 | `[N]` |
//! | `indices` | u64 | `[N]`: which image of the split a row is |
//! | `paths` | UTF-8 | `[N]`: the same by its path, or its name in an archive |
//! | `image_keys` | UTF-8 | `[N]`: of latents, what draws for the image are keyed by |
//! | `classes` | UTF-8 | `[classes]`: their names |
//!
//! The attributes of the root say where the numbers come from ([`Provenance`]). Every chunk has a checksum (fletcher32),
//! HDF5's own structures too (format 1.10), and so have the texts of attributes, so that damage is an error and never a
//! wrong number. The files are read by any HDF5 1.10 or newer; `docs/feature-files.md` documents them for other programs.
//! Files of format version 1, which have neither paths nor a dataset of classes, are read like those of version 2.
//!
//! A job writes its rows as shards, `name.0003-of-0010.h5` ([`ShardWriter`]), the work of one machine or of many. A
//! shard appears under its name when it is complete and on the disk, never before, so a job that was stopped goes on
//! with [`missing_shards`], and [`merge`] joins the shards into `name.h5`. [`FeatureFile`] reads shards and joined
//! files alike.
//!
//! A feature file is one file. What leads to others (links, external storage, virtual datasets) is refused, and so is what
//! promises more than the file holds; memory is that of what is asked for. The one file that refers to others is a joined
//! one of [`MergeMode::Virtual`]: it names its shards, plain files beside it.
//!
//! HDF5 works for one thread at a time: all its calls, of all files, wait on one lock in the process. More threads
//! read and write no faster; compute in the others and leave the file to one.
//!
//! ```
//! use ddae_store::{Compression, FeatureFile, FeatureKey, FeatureType, Layout, MergeMode, Provenance, ShardWriter};
//! use ddae_store::{merge, merged_path, missing_shards, shard_rows};
//! use ndarray::Array2;
//! use std::sync::atomic::AtomicBool;
//!
//! let folder = tempfile::tempdir()?;
//! let prefix = folder.path().join("train");
//! let key: FeatureKey = "t11/out_6".parse()?;
//! let layout = Layout {
//!     keys: vec![(key.clone(), 256)],
//!     views: 1,
//!     total: 100,
//!     dtype: FeatureType::F16,
//!     compression: Compression::Off,
//!     provenance: Provenance { seed: Some(0), ..Provenance::default() },
//! };
//! for shard in missing_shards(&prefix, 2, &layout)? {
//!     let rows = shard_rows(layout.total, shard, 2);
//!     let mut writer = ShardWriter::create(&prefix, shard, 2, rows.clone(), &layout)?;
//!     writer.write(&key, 0, 0, Array2::ones((rows.len(), 256)).view())?;
//!     writer.write_labels(0, &vec![7; rows.len()])?;
//!     writer.write_paths(|row| format!("cat/{:04}.png", rows.start + row))?;
//!     writer.finish()?;
//! }
//! merge(&prefix, 2, merged_path(&prefix), MergeMode::Copy, &AtomicBool::new(false))?;
//! let file = FeatureFile::open(merged_path(&prefix))?;
//! assert_eq!(file.read(&key, 0, 40..60)?, Array2::<f32>::ones((20, 256)));
//! assert_eq!(file.paths(41..42)?, ["cat/0041.png"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attribute_text;
mod attributes;
mod dimensions;
mod error;
mod file;
pub mod foreign;
mod header;
mod heap;
mod layout;
mod merge;
mod provenance;
mod reader;
mod shards;
mod stored;
#[cfg(test)]
mod tests;
mod text;
mod version1;
mod writer;

pub use error::FeatureError;
pub use layout::{Compression, FeatureKey, FeatureType, Layout};
pub use merge::{MergeMode, merge, merge_locked};
pub use provenance::{Difference, Pairing, Provenance};
pub use reader::FeatureFile;
pub use shards::{merged_path, missing_shards, shard_path, shard_rows};
pub use writer::ShardWriter;
