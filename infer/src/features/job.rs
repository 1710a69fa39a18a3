//! A feature job: shards of rows, each computed by all sessions and written by one thread.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ddae_base::lock::{Lock, LockError};
use ddae_base::random::ImageKey;
use ddae_store::{
    FeatureFile, FeatureKey, Layout, MergeMode, ShardWriter, merge_locked, merged_path, missing_shards,
    shard_path, shard_rows,
};

use super::extraction::Extraction;
use super::shards;
use crate::error::InferError;
use crate::workers::Workers;

/// Which rows are computed where, and what the files hold.
pub struct FeatureJob<'a> {
    /// What is extracted.
    pub extraction: &'a Extraction,
    /// What the shards have in common.
    pub layout: &'a Layout,
    /// The files' path without `.h5`.
    pub prefix: &'a Path,
    /// Number of shards of the whole job.
    pub shards: usize,
    /// Only these shards, counted from 0: the others are computed elsewhere, and the run that finds all joins them.
    pub only: Option<Range<usize>>,
    /// Whether everything is computed again, and finished files are replaced, of this job or another.
    pub overwrite: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Images (rows) that this run computed, however many views and timesteps they have.
    pub images: usize,
    /// The joined file, if the job is complete.
    pub file: Option<PathBuf>,
    /// Shards that are not there yet; another run is to compute them.
    pub missing: Vec<usize>,
}

/// A job that has [begun](FeatureJob::begin). The output is its own until this is dropped.
#[derive(Debug)]
pub struct Begun {
    lock: Option<Lock>,
    /// The shards that are to be computed.
    pub remaining: Vec<usize>,
    is_complete: bool,
}

impl FeatureJob<'_> {
    /// The shards that are still to be computed by this run.
    ///
    /// # Errors
    /// When files of another job stand in the way: the message says what differs; when the output is a folder.
    pub fn remaining(&self) -> Result<Vec<usize>, InferError> {
        shards::check_prefix(self.prefix)?;
        let wanted = |shard: &usize| self.only.as_ref().is_none_or(|only| only.contains(shard));
        if self.overwrite {
            return Ok((0..self.shards).filter(wanted).collect());
        }
        if self.is_complete()? {
            return Ok(Vec::new());
        }
        let others = shards::find(self.prefix)?;
        if let Some(other) = others.into_iter().find(|other| other.of != self.shards) {
            let (of, shards) = (other.of, self.shards);
            let message = format!(
                "a shard of a run in {of} shards, and this one has {shards}: go on with {of}, or give --overwrite to \
                 begin anew"
            );
            return Err(InferError::Output { path: other.path, message });
        }
        let missing = missing_shards(self.prefix, self.shards, self.layout)?;
        Ok(missing.into_iter().filter(wanted).collect())
    }

    /// Whether the joined file of this very job is there.
    fn is_complete(&self) -> Result<bool, InferError> {
        let path = merged_path(self.prefix);
        if !path.try_exists().map_err(InferError::io("read", &path))? {
            return Ok(false);
        }
        FeatureFile::open(&path)?.check_job(self.layout)?;
        Ok(true)
    }

    /// Computes the remaining shards and, when all of the job are there, joins them; `progress` is told of every
    /// pass (its images).
    ///
    /// # Errors
    /// When an image cannot be read, the runtime fails, the disk refuses, another process has the output, or `stop`
    /// was set ([`InferError::Interrupted`]). The shard in work is given up then and the finished ones are kept.
    pub fn run(
        &self,
        workers: &mut Workers,
        stop: &AtomicBool,
        mut progress: impl FnMut(usize),
    ) -> Result<Finished, InferError> {
        let begun = self.begin()?;
        let mut images = 0;
        for &shard in &begun.remaining {
            images += self.compute(workers, shard, stop, &mut progress)?;
        }
        self.finish(begun, images, stop)
    }

    /// Makes room for the job: takes the output's lock, unless only some shards are computed here, and removes what is to be
    /// computed again. [`FeatureJob::compute`] then computes shards, here or in other processes, and [`FeatureJob::finish`] ends it.
    ///
    /// # Errors
    /// As [`FeatureJob::remaining`]; when the disk refuses or another process has the output.
    pub fn begin(&self) -> Result<Begun, InferError> {
        let path = merged_path(self.prefix);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(InferError::io("create", folder))?;
        }
        let lock = match self.only {
            None => Some(Lock::output(&path)?),
            Some(_) => None,
        };
        let remaining = self.remaining()?;
        if self.overwrite && self.only.is_none() {
            // The old file too: when this run is interrupted, what is here belongs to it, and it can go on. A link
            // stays, for its file to be replaced.
            if !path.is_symlink() {
                shards::remove_file(&path)?;
            }
            shards::remove(&shards::find(self.prefix)?)?;
        }
        let is_complete = !self.overwrite && remaining.is_empty() && path.exists();
        Ok(Begun { lock, remaining, is_complete })
    }

    /// Joins the shards where all are there. `images` is the number that were computed since the job [began](FeatureJob::begin).
    ///
    /// # Errors
    /// When the disk refuses, a shard is damaged, or `stop` was set.
    pub fn finish(&self, begun: Begun, images: usize, stop: &AtomicBool) -> Result<Finished, InferError> {
        let path = merged_path(self.prefix);
        let Begun { mut lock, mut is_complete, .. } = begun;
        if !is_complete {
            if lock.is_none() {
                let missing: Vec<usize> = (0..self.shards).filter(|&shard| !self.has(shard)).collect();
                if !missing.is_empty() {
                    return Ok(Finished { images, file: None, missing });
                }
                // Of several runs that find all shards at the same time, one joins them.
                match Lock::output(&path) {
                    Ok(held) => lock = Some(held),
                    Err(LockError::InUse { .. }) => return Ok(Finished { images, file: None, missing }),
                    Err(error) => return Err(error.into()),
                }
                // Another job, or another run of this one, may have come to its end meanwhile.
                is_complete = !self.overwrite && self.is_complete()?;
            }
            if let Some(lock) = lock.as_ref().filter(|_| !is_complete) {
                merge_locked(self.prefix, self.shards, lock, MergeMode::Copy, stop)?;
            }
        }
        // Also those that are left of a run that was ended after it joined them; but a virtual file needs them.
        if lock.is_some() && !FeatureFile::open(&path)?.is_virtual() {
            let found = shards::find(self.prefix)?.into_iter();
            let (joined, others): (Vec<_>, Vec<_>) = found.partition(|shard| shard.of == self.shards);
            shards::remove_own(&joined, self.layout, is_complete)?;
            shards::remove_own(&others, self.layout, true)?;
            shards::remove_locks(self.prefix)?;
        }
        Ok(Finished { images, file: Some(path), missing: Vec::new() })
    }

    /// Whether a shard of this job is there.
    fn has(&self, shard: usize) -> bool {
        let file = FeatureFile::open(shard_path(self.prefix, shard, self.shards));
        file.is_ok_and(|file| file.check_job(self.layout).is_ok())
    }

    /// Computes one shard, whether it is there or not; `progress` is told of every pass (its images). Returns its number of images.
    ///
    /// # Errors
    /// As [`FeatureJob::run`].
    pub fn compute(
        &self,
        workers: &mut Workers,
        shard: usize,
        stop: &AtomicBool,
        mut progress: impl FnMut(usize),
    ) -> Result<usize, InferError> {
        let (extraction, rows) = (self.extraction, shard_rows(self.layout.total, shard, self.shards));
        let mut writer = ShardWriter::create(self.prefix, shard, self.shards, rows.clone(), self.layout)?;
        let indices: Vec<u64> = rows.clone().map(|row| extraction.source.id(row)).collect();
        let labels: Vec<i64> = rows.clone().map(|row| extraction.source.label(row)).collect();
        writer.write_indices(0, &indices)?;
        writer.write_labels(0, &labels)?;
        writer.write_paths(|row| extraction.source.key(rows.start + row))?;
        workers.run(
            extraction.passes(rows.len()),
            stop,
            |index| extraction.inputs(extraction.pass(&rows, index)),
            |engine, inputs| extraction.compute(engine, inputs),
            |index, computed| {
                let pass = extraction.pass(&rows, index);
                let offset = pass.first - rows.start;
                for (tap, features) in extraction.taps.iter().zip(&computed.features) {
                    let key = FeatureKey::new(pass.timestep, &tap.name);
                    writer.write(&key, pass.view, offset, features.view())?;
                }
                if !computed.image_keys.is_empty() {
                    let keys: Vec<String> = computed.image_keys.iter().map(ImageKey::to_string).collect();
                    writer.write_image_keys(offset, &keys)?;
                }
                progress(pass.count);
                Ok(())
            },
        )?;
        writer.finish()?;
        Ok(rows.len())
    }
}
