//! Joining the shards that several machines computed.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ddae_base::lock::Lock;
use ddae_store::{FeatureFile, Layout, MergeMode, merge_locked, merged_path};

use super::shards::{self, ShardFile};
use crate::error::InferError;

/// What is joined, and how.
pub struct Join<'a> {
    /// The files' path without `.h5`.
    pub prefix: &'a Path,
    /// Number of shards, where there are shards of several jobs.
    pub shards: Option<usize>,
    /// Copied, or referred to.
    pub mode: MergeMode,
    /// Whether copied shards stay.
    pub keep: bool,
    /// Whether a file of another job is replaced.
    pub overwrite: bool,
}

/// What was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The file.
    pub path: PathBuf,
    /// Shards joined just now; 0 when the file was complete before.
    pub shards: usize,
    /// Rows of the file.
    pub rows: usize,
}

impl Join<'_> {
    /// Joins the shards.
    ///
    /// # Errors
    /// When there are none, some are missing (all are named), they are damaged or of different jobs, the file is there
    /// already and of another job, another process has the output, the disk is full, or `stop` was set. Nothing is
    /// changed then.
    pub fn run(&self, stop: &AtomicBool) -> Result<Joined, InferError> {
        shards::check_prefix(self.prefix)?;
        let path = merged_path(self.prefix);
        let found = shards::find(self.prefix)?;
        let Some(first) = self.first_shard(&found)? else {
            if path.exists() {
                let rows = FeatureFile::open(&path)?.len();
                // Of a process that was ended after it removed the last shard. Where nothing can be written, nothing is
                // left either.
                drop(Lock::output(&path));
                shards::remove_locks(self.prefix)?;
                return Ok(Joined { path, shards: 0, rows });
            }
            let message =
                "there are no shards of it to join; compute them with `ddae-infer features … --shard I/N`";
            return Err(InferError::Output { path, message: message.to_string() });
        };
        let lock = Lock::output(&path)?;
        let layout = FeatureFile::open(&first.path)?.layout().clone();
        let (of, rows) = (first.of, layout.total);
        if path.exists() && !self.overwrite {
            let here = FeatureFile::open(&path)?;
            here.check_job(&layout)?;
            if self.mode == MergeMode::Virtual || !here.is_virtual() {
                self.clean(&found, of, &layout, here.is_virtual(), true)?;
                return Ok(Joined { path, shards: 0, rows });
            }
        }
        merge_locked(self.prefix, of, &lock, self.mode, stop)?;
        self.clean(&found, of, &layout, self.mode == MergeMode::Virtual, false)?;
        Ok(Joined { path, shards: of, rows })
    }

    /// The first finished shard of the job that is meant, if there is one.
    fn first_shard<'f>(&self, found: &'f [ShardFile]) -> Result<Option<&'f ShardFile>, InferError> {
        let prefix = self.prefix.display();
        let mut counts: Vec<usize> = found.iter().map(|shard| shard.of).collect();
        counts.dedup();
        let of = match (self.shards, counts.as_slice()) {
            (Some(of), counts) if !counts.contains(&of) => {
                let message = format!("--shards {of}: {prefix} has no shards of a run in {of}");
                return Err(InferError::Argument(message));
            }
            (Some(of), _) => of,
            (None, []) => return Ok(None),
            (None, [of]) => *of,
            (None, counts) => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                let counts = counts.join(" and ");
                let message =
                    format!("{prefix} has shards of runs in {counts} shards; say which with --shards");
                return Err(InferError::Argument(message));
            }
        };
        Ok(found.iter().find(|shard| shard.of == of))
    }

    /// Removes the job's shards unless they are needed. `surely` is as in [`shards::remove_own`].
    fn clean(
        &self,
        found: &[ShardFile],
        of: usize,
        layout: &Layout,
        needed: bool,
        surely: bool,
    ) -> Result<(), InferError> {
        if self.keep || needed {
            return Ok(());
        }
        let mut old = found.to_vec();
        old.retain(|shard| shard.of == of);
        shards::remove_own(&old, layout, surely)?;
        shards::remove_locks(self.prefix)
    }
}
