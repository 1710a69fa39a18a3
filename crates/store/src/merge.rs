//! Joining the shards of a job into one file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ddae_base::files::folder;
use ddae_base::lock::Lock;
use half::f16;
use hdf5::file::File;
use hdf5::{H5Type, Hyperslab};
use ndarray::{ArrayView, s};

use super::file::Unfinished;
use super::header::{Header, lies_beside};
use super::reader::{IMAGE_KEYS, PATHS};
use super::shards::{check_shards, exists};
use super::writer::PATH_ROWS;
use super::{FeatureError, FeatureFile, FeatureKey, FeatureType, Layout, dimensions, shard_path, shard_rows};

/// Bytes of features that are copied at a time.
const BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// How shards are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeMode {
    /// The features are copied, in blocks of 8 MiB. The joined file stands alone.
    Copy,
    /// The joined file refers to the shards (an HDF5 virtual dataset) by their names: it is small, made at once, lies in
    /// their folder, and must be moved together with them. Labels, indices and paths are copied.
    Virtual,
}

/// Joins the `of` shards of the job `prefix` into `out`, which is replaced if it exists. The shards stay; a copied
/// file no longer needs them.
///
/// # Errors
/// When shards are missing (all are named), damaged, of different jobs or of different format versions; when another process writes `out`, or it is
/// no regular file; when the disk is full; when `stop` was set ([`FeatureError::Interrupted`]); when a virtual file is not
/// to lie beside its shards. Then `out` is left as it was.
pub fn merge(
    prefix: impl AsRef<Path>,
    of: usize,
    out: impl AsRef<Path>,
    mode: MergeMode,
    stop: &AtomicBool,
) -> Result<(), FeatureError> {
    let folder = folder(out.as_ref());
    fs::create_dir_all(folder).map_err(FeatureError::io(folder))?;
    merge_locked(prefix, of, &Lock::output(out.as_ref())?, mode, stop)
}

/// Like [`merge`], into the file that the caller has locked.
///
/// # Errors
/// Like [`merge`].
pub fn merge_locked(
    prefix: impl AsRef<Path>,
    of: usize,
    out: &Lock,
    mode: MergeMode,
    stop: &AtomicBool,
) -> Result<(), FeatureError> {
    let Job { layout, shards, text_bytes } = check_job(prefix.as_ref(), of)?;
    let mut target = Unfinished::under(out)?;
    let sources = match mode {
        MergeMode::Copy => Vec::new(),
        MergeMode::Virtual => names_beside(&shards, out.target())?,
    };
    Header::new(layout.clone(), 0..layout.total, sources.clone()).begin(&mut target)?;
    let labels = target.add_column::<i64>("labels", layout.total)?;
    let indices = target.add_column::<u64>("indices", layout.total)?;
    let mut texts = Vec::new();
    for (name, longest) in text_bytes {
        texts.push((name, target.add_texts(name, layout.total, longest)?));
    }
    let mut features = Vec::new();
    for (key, width) in &layout.keys {
        match mode {
            MergeMode::Copy => {
                features.push((key, target.add_features(&key.dataset(), *width, layout.total, &layout)?));
            }
            MergeMode::Virtual => target.with_file(|file| refer(file, key, *width, &layout, &sources))?,
        }
    }
    for path in &shards {
        let shard = FeatureFile::open(path)?;
        target.write(labels, ArrayView::from(&shard.labels()?), s![shard.rows()])?;
        target.write(indices, ArrayView::from(&shard.indices()?), s![shard.rows()])?;
        for &(name, dataset) in &texts {
            copy_texts(&shard, name, &mut target, dataset, stop)?;
        }
        for &(key, dataset) in &features {
            match layout.dtype {
                FeatureType::F32 => copy::<f32>(&shard, key, &mut target, dataset, stop)?,
                FeatureType::F16 => copy::<f16>(&shard, key, &mut target, dataset, stop)?,
            }
        }
    }
    target.with_file(|file| dimensions::describe(file, &layout, layout.total))?;
    target.finish()?;
    Ok(())
}

/// What is joined.
struct Job {
    layout: Layout,
    /// The shards' files.
    shards: Vec<PathBuf>,
    /// The datasets of texts that the shards have, with the bytes of the longest text that there is room for.
    text_bytes: Vec<(&'static str, usize)>,
}

/// Checks that all shards are there and belong together.
fn check_job(prefix: &Path, of: usize) -> Result<Job, FeatureError> {
    let paths: Vec<PathBuf> = (0..of).map(|shard| shard_path(prefix, shard, of)).collect();
    let mut missing = Vec::new();
    for (shard, path) in paths.iter().enumerate() {
        if !exists(path)? {
            missing.push(shard);
        }
    }
    if let Some(&first) = missing.first() {
        return Err(FeatureError::MissingShards {
            path: paths[first].clone(),
            missing: missing.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
            plural: if missing.len() > 1 { "s" } else { "" },
            of,
        });
    }
    let Some(first) = paths.first() else {
        return Err(FeatureError::Layout("a job has at least one shard".to_string()));
    };
    let first = FeatureFile::open(first)?;
    let mut layout = first.layout().clone();
    let mut longest = [(PATHS, None), (IMAGE_KEYS, None)];
    check_shards(&layout, 0, of)?;
    for (shard, path) in paths.iter().enumerate() {
        let file = FeatureFile::open(path)?;
        file.check_shard(shard, of, &layout)?;
        file.check_alike(&first)?;
        for (name, longest) in &mut longest {
            *longest = (*longest).max(file.text_bytes(name)?);
        }
        // What only some of the shards say is not known of the whole.
        layout.provenance = layout.provenance.shared_with(file.provenance());
    }
    let text_bytes = longest.into_iter().filter_map(|(name, longest)| Some((name, longest?))).collect();
    Ok(Job { layout, shards: paths, text_bytes })
}

/// Copies the texts `name` of a shard to their rows in the dataset with the number `dataset`.
fn copy_texts(
    shard: &FeatureFile,
    name: &str,
    target: &mut Unfinished,
    dataset: usize,
    stop: &AtomicBool,
) -> Result<(), FeatureError> {
    for begin in (0..shard.len()).step_by(PATH_ROWS) {
        if stop.load(Ordering::Relaxed) {
            return Err(FeatureError::Interrupted);
        }
        let texts = shard.texts(name, begin..shard.len().min(begin + PATH_ROWS))?;
        target.write_texts(dataset, shard.rows().start + begin, &texts)?;
    }
    Ok(())
}

/// Copies the features `key` of a shard to their rows in the dataset with the number `dataset`, in the type that both
/// store.
fn copy<T: H5Type>(
    shard: &FeatureFile,
    key: &FeatureKey,
    target: &mut Unfinished,
    dataset: usize,
    stop: &AtomicBool,
) -> Result<(), FeatureError> {
    let (first, step) = (shard.rows().start, shard.block_rows(key, BLOCK_BYTES)?);
    for view in 0..shard.views() {
        for begin in (0..shard.len()).step_by(step) {
            if stop.load(Ordering::Relaxed) {
                return Err(FeatureError::Interrupted);
            }
            let end = shard.len().min(begin + step);
            let block = shard.read_as::<T>(key, view, begin..end)?;
            target.write(dataset, block.view(), s![view, first + begin..first + end, ..])?;
        }
    }
    Ok(())
}

/// Creates the dataset `key` as a view of those in the shards `sources`.
fn refer(
    file: &File,
    key: &FeatureKey,
    width: usize,
    layout: &Layout,
    sources: &[String],
) -> hdf5::Result<()> {
    let (name, shape) = (key.dataset(), (layout.views, layout.total, width));
    let mut builder = match layout.dtype {
        FeatureType::F32 => file.new_dataset::<f32>(),
        FeatureType::F16 => file.new_dataset::<f16>(),
    }
    .shape(shape);
    for (shard, source) in sources.iter().enumerate() {
        let rows = shard_rows(layout.total, shard, sources.len());
        let there = (layout.views, rows.len(), width);
        let whole = Hyperslab::try_from(s![.., .., ..])?;
        let here = Hyperslab::try_from(s![.., rows, ..])?;
        builder = builder.virtual_map(source, &name, there, whole, shape, here);
    }
    builder.create(name.as_str())?;
    Ok(())
}

/// The shards' names, all in the folder of `out`.
fn names_beside(shards: &[PathBuf], out: &Path) -> Result<Vec<String>, FeatureError> {
    let absolute = |path: &Path| folder(path).canonicalize().map_err(FeatureError::io(folder(path)));
    let here = absolute(out)?;
    let refuse = |reason: String| FeatureError::Write { path: out.to_path_buf(), reason };
    shards
        .iter()
        .map(|shard| {
            let there = absolute(shard)?;
            if there != here {
                let shown = there.display();
                return Err(refuse(format!(
                    "a file that refers to its shards lies in their folder, which is {shown}: copy instead"
                )));
            }
            let name = shard.file_name().unwrap_or_default().to_str();
            name.filter(|name| lies_beside(name)).map(str::to_string).ok_or_else(|| {
                let shown = shard.display();
                refuse(format!("{shown} is not UTF-8, which a virtual file needs: copy instead"))
            })
        })
        .collect()
}
