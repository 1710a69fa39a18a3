//! Which values the activations of a network take: its float32 file is run with the activations as further results.

use std::collections::HashMap;
use std::path::Path;

use ddae_base::files::FileError;
use ddae_model::graph::Graph;
use ddae_onnx::messages::ValueInfoProto;
use ddae_onnx::runtime::{OnnxNetwork, all_cores};
use ddae_onnx::write::{LARGEST_MESSAGE, Model, data_file};

use super::histogram::Histogram;
use super::samples::Samples;
use crate::ExportError;
use crate::verify::by_name;

/// Bytes of activations that are kept at a time, unless those of one sample and activation are more.
pub const MEMORY: u64 = 256 << 20;

/// The most samples in a batch: more are not faster on a CPU.
const LARGEST_BATCH: u64 = 16;

/// Measures activations.
pub struct Calibrator<'a> {
    /// The graph, for its inputs.
    pub graph: &'a Graph,
    /// Its inputs.
    pub samples: &'a Samples,
    /// The first so many of them.
    pub count: usize,
    /// Bytes of activations that are kept at a time ([`MEMORY`]). Where those of one sample are more, the network runs
    /// several times, for some of them each time.
    pub memory: u64,
}

impl Calibrator<'_> {
    /// Runs the float32 model in ONNX Runtime and counts the values of activations, by name. `scratch` is the name of a
    /// file for that; it is removed.
    ///
    /// # Errors
    /// When an image cannot be read, the file cannot be written, or the runtime fails.
    pub fn histograms(
        &self,
        model: &mut Model<'_>,
        activations: &[String],
        scratch: &Path,
    ) -> Result<HashMap<String, Histogram>, ExportError> {
        let mut histograms = HashMap::new();
        for group in groups(model, activations, self.memory) {
            let own = model.outputs.len();
            let extra: Vec<ValueInfoProto> =
                group.values.iter().filter(|value| !model.outputs.contains(value)).cloned().collect();
            model.outputs.extend(extra);
            let written = model.write(scratch, &[], LARGEST_MESSAGE);
            model.outputs.truncate(own);
            written.map_err(FileError::of("write", scratch))?;
            let counted = self.count_values(&group, scratch);
            for path in [scratch.to_path_buf(), data_file(scratch)] {
                // What cannot be removed now goes with the folder it is in.
                let _ = std::fs::remove_file(path);
            }
            histograms.extend(counted?);
        }
        Ok(histograms)
    }

    fn count_values(&self, group: &Group, file: &Path) -> Result<HashMap<String, Histogram>, ExportError> {
        let mut network = OnnxNetwork::open(file, all_cores())?;
        let mut histograms: HashMap<String, Histogram> =
            group.values.iter().map(|value| (value.name.clone(), Histogram::default())).collect();
        for start in (0..self.count).step_by(group.batch) {
            let inputs = self.samples.inputs(self.graph, start..self.count.min(start + group.batch))?;
            network.run_with(&by_name(&inputs), |name, values| {
                if let Some(histogram) = histograms.get_mut(name) {
                    histogram.add(values);
                }
            })?;
        }
        Ok(histograms)
    }
}

/// Activations whose values are in memory together.
struct Group {
    values: Vec<ValueInfoProto>,
    batch: usize,
}

fn groups(model: &Model<'_>, activations: &[String], memory: u64) -> Vec<Group> {
    let declared: HashMap<&str, &ValueInfoProto> =
        model.declared().map(|value| (value.name.as_str(), value)).collect();
    let values = activations.iter().filter_map(|name| declared.get(name.as_str()).copied());
    let mut groups: Vec<(Vec<ValueInfoProto>, u64)> = vec![(Vec::new(), 0)];
    for value in values {
        let bytes = 4 * value.sizes(1).unwrap_or_default().iter().product::<u64>();
        match groups.last_mut() {
            Some((group, sum)) if *sum + bytes <= memory || group.is_empty() => {
                group.push(value.clone());
                *sum += bytes;
            }
            _ => groups.push((vec![value.clone()], bytes)),
        }
    }
    let batch = |bytes: u64| (memory / bytes.max(1)).clamp(1, LARGEST_BATCH) as usize;
    groups.into_iter().map(|(values, bytes)| Group { values, batch: batch(bytes) }).collect()
}
