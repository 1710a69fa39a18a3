//! What is shown of alignment and uniformity.

use std::fmt;

use ddae_base::plain;
use ddae_store::Provenance;
use serde::Serialize;
use serde_json::Value;

use super::noisings::Noisings;
use super::{Contrast, measure, rows_used};
use crate::error::Result;
use crate::experiment::Progress;
use crate::source::feature_set::FeatureSet;

/// Alignment and uniformity of some features; serialised as the object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ContrastReport {
    /// The features, in the order in which they were asked for.
    pub features: Vec<FeatureContrast>,
    /// Images that were compared.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// Images in a batch; the last may have fewer.
    pub batch: usize,
    /// Which views of which files were compared.
    pub noisings: String,
    /// How features are stored.
    pub stored_as: &'static str,
    /// What becomes of numbers that another program stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_as: Option<&'static str>,
    /// What the file says of its features: model, config, seed and so on.
    pub attributes: Provenance,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
}

/// One choice of features.
#[derive(Clone, Debug, Serialize)]
pub struct FeatureContrast {
    /// Their name.
    pub features: String,
    /// Their number.
    pub dim: usize,
    /// Mean squared distance of two noisings of an image, 0 to 4.
    pub alignment: f64,
    /// Logarithm of the mean Gaussian kernel between images, -8 to 0.
    pub uniformity: f64,
}

impl ContrastReport {
    /// Measures `features`, or all there are where none is asked for, in batches of `batch` (at least 2).
    ///
    /// # Errors
    /// When they do not exist or cannot be read, or there is a single image.
    pub fn measure(
        noisings: &Noisings,
        features: &[FeatureSet],
        batch: usize,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let features = if features.is_empty() { noisings.available().to_vec() } else { features.to_vec() };
        let dims = features.iter().map(|features| noisings.dim(features)).collect::<Result<Vec<_>>>()?;
        let mut report = Self {
            features: Vec::with_capacity(features.len()),
            images: rows_used(noisings.len(), batch),
            batch,
            noisings: noisings.describe(),
            stored_as: noisings.dtype(),
            read_as: noisings.read_as(),
            attributes: noisings.provenance(),
            warnings: noisings.notes.clone(),
        };
        for (features, dim) in features.iter().zip(dims) {
            let images = noisings.len();
            let title = format!("comparing two noisings: {features}, {images} x {dim}");
            progress.begin(&title, Some(images as u64));
            let Contrast { alignment, uniformity } =
                measure(noisings, features, batch, &mut |rows| progress.advance(rows))?;
            let features = features.to_string();
            report.features.push(FeatureContrast { features, dim, alignment, uniformity });
        }
        report.warn(noisings.len());
        Ok(report)
    }

    fn warn(&mut self, images: usize) {
        if self.features.iter().any(|features| features.alignment == 0.0) {
            self.warnings.push(
                "both noisings have the same features: an alignment of 0 says nothing; extract them with noise that \
                 differs (--views 2, or two files with another --seed each)"
                    .to_string(),
            );
        }
        let augmented = self.attributes.augmentation();
        if !augmented.is_empty() {
            self.warnings.push(format!(
                "the views were augmented ({}): as published, noise alone tells them apart",
                augmented.join(", ")
            ));
        }
        if self.images < images {
            self.warnings.push(
                "the last image is left out: it would be alone in its batch, without another to compare"
                    .to_string(),
            );
        }
    }
}

impl fmt::Display for ContrastReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "alignment and uniformity of {} images at two noisings", self.images)?;
        writeln!(f)?;
        let names = self.features.iter().map(|features| features.features.chars().count());
        let width = names.max().unwrap_or(0).max(8);
        writeln!(f, "  {:width$}  alignment  uniformity", "features")?;
        for FeatureContrast { features, alignment, uniformity, .. } in &self.features {
            writeln!(f, "  {features:width$}  {alignment:9.4}  {uniformity:10.4}")?;
        }
        writeln!(f)?;
        writeln!(f, "  protocol")?;
        writeln!(f, "    noisings: {}", plain(&self.noisings))?;
        writeln!(f, "    batch: {}", self.batch)?;
        writeln!(f, "    batches averaged: by their number of images")?;
        writeln!(f, "    normalise: l2")?;
        writeln!(f, "    stored as: {}", self.stored_as)?;
        if let Some(read_as) = self.read_as {
            writeln!(f, "    read as: {read_as}")?;
        }
        writeln!(f, "    computed in: f64")?;
        let attributes = self.attributes.attributes();
        for name in ["data_set", "split", "model", "weights", "epoch"] {
            match attributes.get(name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => writeln!(f, "    {}: {}", name.replace('_', " "), plain(text))?,
                Some(value) => writeln!(f, "    {}: {value}", name.replace('_', " "))?,
            }
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {}", plain(warning))?;
        }
        Ok(())
    }
}
