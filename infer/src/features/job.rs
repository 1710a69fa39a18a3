//! A feature job: shards of rows, each computed by all workers and written by one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ddae_data::features::{
    FeatureFile, Layout, MergeMode, ShardWriter, merge, merged_path, missing_shards, remove_shards,
    shard_rows,
};

use super::batch::Extraction;
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
    /// Only this shard, counted from 0: the others are computed elsewhere.
    pub only: Option<usize>,
    /// Whether finished files of another job, or of this one, are replaced.
    pub overwrite: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The joined file is there; how many rows were computed just now.
    Complete {
        /// The file.
        path: PathBuf,
        /// Rows computed by this run.
        rows: usize,
    },
    /// Shards are missing that this run was not asked for.
    Waiting {
        /// Numbers of the missing shards.
        missing: Vec<usize>,
        /// Rows computed by this run.
        rows: usize,
    },
}

impl FeatureJob<'_> {
    /// The shards that are still to be computed by this run.
    ///
    /// # Errors
    /// When files of another job stand in the way: the message says what differs.
    pub fn remaining(&self) -> Result<Vec<usize>, InferError> {
        if self.overwrite {
            return Ok((0..self.shards)
                .filter(|shard| self.only.is_none_or(|only| only == *shard))
                .collect());
        }
        if self.is_complete()? {
            return Ok(Vec::new());
        }
        let missing = missing_shards(self.prefix, self.shards, self.layout)?;
        Ok(missing.into_iter().filter(|shard| self.only.is_none_or(|only| only == *shard)).collect())
    }

    /// Whether the joined file of this very job is there.
    fn is_complete(&self) -> Result<bool, InferError> {
        let path = merged_path(self.prefix);
        if !path.exists() {
            return Ok(false);
        }
        let file = FeatureFile::open(&path)?;
        if file.layout() == self.layout {
            return Ok(true);
        }
        let (found, wanted) = (file.layout(), self.layout);
        let differs = |key: &&String| found.attributes.get(*key) != wanted.attributes.get(*key);
        let what = match wanted.attributes.keys().find(differs) {
            Some(key) => {
                let show = |layout: &Layout| {
                    layout.attributes.get(key).map_or("nothing".to_string(), |v| v.to_string())
                };
                format!("{key} {} where this job has {}", show(found), show(wanted))
            }
            None => "other layers, timesteps, views or types".to_string(),
        };
        Err(InferError::Settings(format!(
            "{} holds {what}: choose another output with -o, or --overwrite",
            path.display()
        )))
    }

    /// Computes the remaining shards; `progress` is told of every batch (its rows).
    ///
    /// # Errors
    /// When a picture cannot be read, the runtime fails, the disk refuses, or `stop` was set: then the shard in work is
    /// given up and the finished ones are kept.
    pub fn run(
        &self,
        workers: &mut Workers,
        stop: &AtomicBool,
        mut progress: impl FnMut(usize),
    ) -> Result<Outcome, InferError> {
        let mut rows = 0;
        for shard in self.remaining()? {
            rows += self.shard(workers, shard, stop, &mut progress)?;
        }
        let path = merged_path(self.prefix);
        if rows == 0 && !self.overwrite && path.exists() {
            return Ok(Outcome::Complete { path, rows });
        }
        let missing = missing_shards(self.prefix, self.shards, self.layout)?;
        if !missing.is_empty() {
            return Ok(Outcome::Waiting { missing, rows });
        }
        merge(self.prefix, self.shards, &path, MergeMode::Copy)?;
        remove_shards(self.prefix, self.shards)?;
        Ok(Outcome::Complete { path, rows })
    }

    fn shard(
        &self,
        workers: &mut Workers,
        shard: usize,
        stop: &AtomicBool,
        progress: &mut impl FnMut(usize),
    ) -> Result<usize, InferError> {
        let rows = shard_rows(self.layout.total, shard, self.shards);
        let batch = self.extraction.batch;
        let mut writer = ShardWriter::create(self.prefix, shard, self.shards, rows.clone(), self.layout)?;
        let mut done = 0;
        workers.run(
            rows.len().div_ceil(batch),
            stop,
            |engine, job| {
                let first = rows.start + job * batch;
                self.extraction.run(engine, first, batch.min(rows.end - first))
            },
            |_, result| {
                let offset = result.first - rows.start;
                for (view, key, features) in &result.features {
                    writer.write(key, *view, offset, features.view())?;
                }
                writer.write_labels(offset, &result.labels)?;
                done += result.labels.len();
                progress(result.labels.len());
                Ok(())
            },
        )?;
        if stop.load(Ordering::Relaxed) && done < rows.len() {
            return Err(InferError::Interrupted(
                "finished shards are kept; the same command goes on".to_string(),
            ));
        }
        let indices: Vec<u64> = rows.clone().map(|row| self.extraction.split.id(row)).collect();
        writer.write_indices(0, &indices)?;
        writer.finish()?;
        Ok(done)
    }
}
