//! Datasets of an HDF5 file that others wrote.

use std::path::Path;

use ddae_store::foreign::{Column, Content, ForeignFile};

use super::labels::RawLabels;
use super::matrix::Matrix;
use super::numbers::Element;
use super::{ArrayInfo, Arrays, Opened, shape};

/// An HDF5 file.
pub(super) struct Datasets(ForeignFile);

impl Datasets {
    pub(super) fn open(path: &Path) -> Opened<Self> {
        ForeignFile::open(path).map(Self).map_err(|error| error.reason)
    }
}

impl Arrays for Datasets {
    fn list(&self) -> Vec<ArrayInfo> {
        let info = |entry: ddae_store::foreign::Entry| ArrayInfo { name: entry.name, shape: entry.shape };
        self.0.entries().into_iter().map(info).collect()
    }

    fn matrix(&mut self, name: &str, flatten: bool) -> Opened<Matrix> {
        let named = |reason: String| format!("{name}: {reason}");
        let dataset = self.0.dataset(name).map_err(|error| error.reason)?;
        let Content::Numbers(element) = dataset.content() else {
            return Err(named("it holds texts; features are numbers".to_string()));
        };
        let (rows, dim) = shape::table(&dataset.shape(), flatten).map_err(named)?;
        let element = Element::of_name(element).ok_or("it holds numbers of an unknown type")?;
        Ok(Matrix::of_dataset(dataset, rows, dim, element))
    }

    fn labels(&mut self, name: &str) -> Opened<RawLabels> {
        let named = |reason: String| format!("{name}: {reason}");
        let dataset = self.0.dataset(name).map_err(|error| error.reason)?;
        shape::column(&dataset.shape()).map_err(named)?;
        match dataset.column().map_err(|error| error.reason)? {
            Column::Integers(labels) => Ok(RawLabels::Integers(labels)),
            Column::Floats(labels) => RawLabels::of_floats(labels.into_iter()).map_err(named),
            Column::Texts(labels) => RawLabels::of_texts(labels).map_err(named),
        }
    }
}
