//! Feature files for tests.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ddae_store::{Compression, FeatureKey, FeatureType, Layout, ShardWriter, shard_path};
use ddae_tests::rule_values;
use ndarray::Array2;
use serde_json::{Map, Value, json};

use crate::FILES;

pub const CLASSES: usize = 4;

/// A feature file that is about to be written.
pub struct Features {
    /// Keys with the distance of their classes from each other; the noise is between -1 and 1.
    pub keys: Vec<(&'static str, f32)>,
    pub dim: usize,
    pub views: usize,
    pub labels: Vec<i64>,
    pub dtype: FeatureType,
    pub attributes: Map<String, Value>,
}

impl Features {
    /// `samples` samples of [`CLASSES`] classes in turn.
    pub fn new(samples: usize, split: &str) -> Self {
        let attributes = json!({
            "model": "0123abcd", "weights": "ema", "epoch": 3, "classes": ["ant", "bee", "cat", "dog"],
            "data_set": "animals", "split": split, "images_digest": format!("content:{split}"),
            "seed": 0, "noise_stream": "chacha8",
        });
        Self {
            keys: vec![("t11/out_6", 1.0)],
            dim: 12,
            views: 1,
            labels: (0..samples).map(|i| (i % CLASSES) as i64).collect(),
            dtype: FeatureType::F32,
            attributes: attributes.as_object().cloned().expect("an object"),
        }
    }

    pub fn keys(mut self, keys: &[(&'static str, f32)]) -> Self {
        self.keys = keys.to_vec();
        self
    }

    pub fn views(mut self, views: usize) -> Self {
        self.views = views;
        self
    }

    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = dim;
        self
    }

    pub fn labels(mut self, labels: impl Fn(usize) -> i64) -> Self {
        self.labels = (0..self.labels.len()).map(labels).collect();
        self
    }

    pub fn attribute(mut self, name: &str, value: Value) -> Self {
        self.attributes.insert(name.to_string(), value);
        self
    }

    /// Writes `folder/name.h5`.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.h5"));
        std::fs::rename(self.write_shard(folder, name, 0, 1), &path).expect("renamed");
        path
    }

    /// Writes shard `shard` of `of`.
    pub fn write_shard(&self, folder: &Path, name: &str, shard: usize, of: usize) -> PathBuf {
        let _nobody_starts = FILES.read().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<FeatureKey> = self.keys.iter().map(|(key, _)| key.parse().expect("a key")).collect();
        let layout = Layout {
            keys: keys.iter().map(|key| (key.clone(), self.dim)).collect(),
            views: self.views,
            total: self.labels.len() * of,
            dtype: self.dtype,
            compression: Compression::Off,
            provenance: serde_json::from_value(self.attributes.clone().into()).expect("attributes"),
        };
        let prefix = folder.join(name);
        let rows = shard * self.labels.len()..(shard + 1) * self.labels.len();
        let mut writer = ShardWriter::create(&prefix, shard, of, rows, &layout).expect("a shard");
        for (key, (_, distance)) in keys.iter().zip(&self.keys) {
            for view in 0..self.views {
                let stream = format!("{name}.{key}.{view}");
                let mut values = rule_values(&stream, self.labels.len() * self.dim, -1.0, 1.0);
                for (row, label) in values.chunks_exact_mut(self.dim).zip(&self.labels) {
                    row[*label as usize % self.dim] += distance;
                }
                let rows = Array2::from_shape_vec((self.labels.len(), self.dim), values).expect("a matrix");
                writer.write(key, view, 0, rows.view()).expect("written");
            }
        }
        writer.write_labels(0, &self.labels).expect("written");
        writer.finish().expect("finished");
        shard_path(&prefix, shard, of)
    }
}

/// A folder with `train.h5` and `test.h5` of two features, of which `t21/out_7` is much better.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [("t11/out_6", 0.5), ("t21/out_7", 1.5)];
    Features::new(400, "train").keys(&keys).write(folder.path(), "train");
    Features::new(200, "test").keys(&keys).write(folder.path(), "test");
    folder
}

/// The arguments of both files.
pub const BOTH: [&str; 4] = ["--train", "train.h5", "--test", "test.h5"];
