//! Dimension scales: what the dimensions of a file's datasets are called, for h5py, netCDF and xarray.
//!
//! They are what HDF5's high-level library and netCDF-4 write: a dataset of no values for each dimension, which says that
//! it is a scale, and references from datasets to scales and back. Nothing here reads them.

use hdf5::file::File;
use hdf5::types::{FixedAscii, VarLenArray};
use hdf5::{Datatype, Error, H5Type, ObjectReference1, Result};
use ndarray::arr0;

use super::Layout;
use super::reader::{IMAGE_KEYS, PATHS};

/// A dataset and its dimensions' names.
type Named<'n> = (String, Vec<&'n str>);

/// Part of a scale: a dataset that has it, and as which of its dimensions.
#[derive(Clone, Copy, H5Type)]
#[repr(C)]
struct Attached {
    dataset: ObjectReference1,
    dimension: u32,
}

/// Gives the datasets of a file with `rows` rows their dimensions: `view`, `row`, `class`, and `feature`, or `feature_256`
/// where not all layers are equally wide.
pub(super) fn describe(file: &File, layout: &Layout, rows: usize) -> Result<()> {
    let (first, views) = (layout.keys.first().map(|(_, width)| *width), layout.views);
    let is_alike = layout.keys.iter().all(|(_, width)| Some(*width) == first);
    let feature = |width: usize| if is_alike { "feature".to_string() } else { format!("feature_{width}") };
    let mut scales = vec![("view".to_string(), views), ("row".to_string(), rows)];
    let features: Vec<String> = layout.keys.iter().map(|(_, width)| feature(*width)).collect();
    for ((_, width), name) in layout.keys.iter().zip(&features) {
        if scales.iter().all(|(known, _)| known != name) {
            scales.push((name.clone(), *width));
        }
    }
    let keys = layout.keys.iter().zip(&features);
    let mut datasets: Vec<Named> =
        keys.map(|((key, _), feature)| (key.dataset(), vec!["view", "row", feature.as_str()])).collect();
    for (column, scale) in
        [("labels", "row"), ("indices", "row"), (PATHS, "row"), (IMAGE_KEYS, "row"), ("classes", "class")]
    {
        if file.link_exists(column) {
            datasets.push((column.to_string(), vec![scale]));
        }
    }
    let classes = layout.provenance.classes.as_ref().map_or(0, Vec::len);
    if classes > 0 {
        scales.push(("class".to_string(), classes));
    }
    let references =
        scales.iter().map(|(name, size)| scale(file, name, *size)).collect::<Result<Vec<_>>>()?;
    let mut attached = vec![Vec::new(); scales.len()];
    for (name, dimensions) in &datasets {
        let dataset = file.reference::<ObjectReference1>(name)?;
        let mut list = Vec::new();
        for (dimension, scale) in dimensions.iter().enumerate() {
            let place = scales.iter().position(|(name, _)| name == scale);
            let place = place.ok_or_else(|| Error::from(format!("there is no dimension {scale}")))?;
            list.push(VarLenArray::from_slice(&[references[place]]));
            attached[place].push(Attached { dataset, dimension: dimension as u32 });
        }
        file.dataset(name)?.new_attr_builder().with_data(&list).create("DIMENSION_LIST")?;
    }
    for ((name, _), attached) in scales.iter().zip(&attached) {
        file.dataset(name)?.new_attr_builder().with_data(attached).create("REFERENCE_LIST")?;
    }
    Ok(())
}

/// Makes a scale of `size` values, none of which is stored.
fn scale(file: &File, name: &str, size: usize) -> Result<ObjectReference1> {
    let scale = file.new_dataset::<f32>().shape(size).create(name)?;
    let text = |attribute: &str, text: &str| {
        let value = FixedAscii::<64>::from_ascii(text).map_err(|error| Error::from(error.to_string()))?;
        let dtype = terminated(if attribute == "CLASS" { 16 } else { 64 })?;
        scale.new_attr_builder().with_data_as(&arr0(value), dtype).create(attribute)
    };
    text("CLASS", "DIMENSION_SCALE")?;
    // In netCDF's words: a dimension that is no variable as well.
    text("NAME", &format!("This is a netCDF dimension but not a netCDF variable.{size:>10}"))?;
    file.reference(name)
}

/// The type of texts of `bytes` bytes that end with a zero, which the libraries ask of scales.
fn terminated(bytes: usize) -> Result<Datatype> {
    let padded = Datatype::from_descriptor(&hdf5::types::TypeDescriptor::FixedAscii(bytes))?;
    // SAFETY: the identifier is that of a type of texts, made above and not yet used; the call changes nothing else, and
    // the library's lock is held.
    let code = hdf5::sync::sync(|| unsafe {
        hdf5_sys::h5t::H5Tset_strpad(padded.id(), hdf5_sys::h5t::H5T_str_t::H5T_STR_NULLTERM)
    });
    if code < 0 { Err(Error::from("HDF5 has no such type of text")) } else { Ok(padded) }
}
