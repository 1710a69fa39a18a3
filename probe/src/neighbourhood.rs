//! Test samples in a plane and beside their nearest training samples, for a report.

use std::ops::Range;

use ddae_classify::knn::search::Search;
use ddae_classify::knn::{Metric, Neighbour as Nearest};
use ddae_classify::labels::Classes;
use ddae_classify::rows::Rows;
use ddae_classify::scaling::{Normalisation, Scaled, normalise_l2};
use ddae_data::Split;
use ddae_data::datasets::DataSet;
use ddae_report::features::{FeatureView, Neighbour, Sample, majority};
use ddae_report::projection::{pca, tsne};
use ddae_store::FeatureFile;
use ndarray::Array2;

use crate::error::{ProbeError, Result};
use crate::experiment::Progress;
use crate::source::ProbeSource;
use crate::source::feature_set::{FeatureSet, join};
use crate::source::samples::Samples;
use crate::source::table::{Table, Views};

/// Neighbours that vote, as published.
const K: usize = 20;
/// Neighbours whose images are kept.
const SHOWN: usize = 8;
/// Test samples whose neighbours' images are kept: the mistakes first.
const WITH_IMAGES: usize = 24;

/// What is wanted.
pub struct Request<'a> {
    /// The features; none where there is only one choice.
    pub features: Option<FeatureSet>,
    /// Test samples, evenly spaced.
    pub samples: usize,
    /// The images.
    pub data: Option<&'a DataSet>,
}

/// Finds neighbours and places of some test samples, with what the reader should know.
///
/// Views are averaged, and features scaled to length 1, as `ddae-probe knn` does; neighbours are exact.
///
/// # Errors
/// When there are several features and none was named, the files do not have it, or the data set holds other images.
pub fn view(
    source: &ProbeSource,
    request: &Request,
    progress: &mut dyn Progress,
) -> Result<(FeatureView, Vec<String>)> {
    let features = chosen(source, request.features.as_ref())?;
    source.check(&features)?;
    let mut notes = source.notes.clone();
    let total = source.test.len();
    let count = request.samples.min(total);
    // Ascending, the first and the last among them.
    let rows: Vec<usize> =
        (0..count).map(|i| if count < 2 { 0 } else { i * (total - 1) / (count - 1) }).collect();
    let train = Table::new(&source.train, &features, Views::Average, None)?;
    let test = Table::new(&source.test, &features, Views::Average, Some(&rows))?;
    let labels = train.labels();
    let classes = Classes::of(&labels)?;
    let (known, truth) =
        (classes.indices(&labels, train.origin())?, classes.indices(&test.labels(), test.origin())?);
    let mut queries = test.read(0..count).map_err(ProbeError::from)?;
    normalise_l2(&mut queries);

    let k = K.min(train.len());
    let scaling = Normalisation::L2.fit(&train)?;
    let base = Scaled { rows: &train, scaling: &scaling };
    let what = format!("searching neighbours: {features}, {count} of {} x {}", train.len(), train.dim());
    progress.begin(&what, Some(count as u64 * train.len() as u64));
    let search = Search { base: &base, k, metric: Metric::Euclidean };
    let found = search.nearest(queries.clone(), &mut |distances| progress.advance(distances))?;

    progress.begin(&format!("placing {count} samples in a plane"), None);
    let places = (count > 1).then(|| pca(queries.view()));
    let near = places.as_ref().and_then(|(components, _)| tsne(queries.view(), components));
    let pairs =
        |places: Array2<f64>| places.rows().into_iter().map(|row| [row[0], row[1]]).collect::<Vec<_>>();

    let (train_keys, test_keys) = (source.train.keys()?, source.test.keys()?);
    let neighbours = |row: &Vec<Nearest>| {
        let one = |neighbour: &Nearest| Neighbour {
            key: train_keys[neighbour.row].clone(),
            class: known[neighbour.row],
            distance: neighbour.distance,
            image: None,
        };
        row.iter().map(one).collect::<Vec<_>>()
    };
    let samples = found.iter().zip(&truth).zip(&rows).map(|((found, &class), &row)| {
        let neighbours = neighbours(found);
        let predicted = majority(&neighbours, classes.len());
        Sample { key: test_keys[row].clone(), class, predicted, image: None, neighbours }
    });
    let mut view = FeatureView {
        train: source.train.origin().to_string(),
        test: source.test.origin().to_string(),
        features: features.to_string(),
        dim: train.dim(),
        total,
        base: source.train.len(),
        classes: classes.labels().iter().map(|&label| source.class_name(label)).collect(),
        samples: samples.collect(),
        k,
        pca: places.map(|(places, shares)| (pairs(places), shares)),
        tsne: near.map(|(places, perplexity)| (pairs(places), perplexity)),
        attributes: source.test.attributes(),
        ..FeatureView::default()
    };
    if let Some(data) = request.data {
        notes.extend(add_images(&mut view, source, data, &rows, &found)?);
    }
    Ok((view, notes))
}

/// What was asked for, or the only features there are.
fn chosen(source: &ProbeSource, asked: Option<&FeatureSet>) -> Result<FeatureSet> {
    match (asked, source.available()) {
        (Some(asked), _) => Ok(asked.clone()),
        (None, [only]) => Ok(only.clone()),
        (None, several) => Err(ProbeError::Usage(format!(
            "--features: {} and {} have {}: name one, or give the result of a probe that chose with --probe",
            source.train.origin(),
            source.test.origin(),
            join(several, ", ")
        ))),
    }
}

/// The images of a file's rows.
struct Images<'a> {
    file: &'a FeatureFile,
    indices: Vec<u64>,
    split: Split,
}

impl<'a> Images<'a> {
    fn new(samples: &'a Samples, data: &DataSet, usual: &str) -> Result<Option<Images<'a>>> {
        let Some(file) = samples.file() else { return Ok(None) };
        let name = file.provenance().split.as_deref().unwrap_or(usual);
        let split = data.split(Some(name), usual)?.split;
        Ok(Some(Images { file, indices: file.indices()?, split }))
    }

    /// The levels of a row's image.
    fn read(&self, row: usize) -> Result<Vec<u8>> {
        let other = |reason: String| ProbeError::File { path: self.file.path().to_path_buf(), reason };
        let index = self.indices[row] as usize;
        if index >= self.split.len() {
            let (count, split) = (self.split.len(), self.split.name());
            return Err(other(format!(
                "row {row} is of image {index}, and {split} has {count}: give --data the data set of the features"
            )));
        }
        if self.file.has_paths() {
            let range: Range<usize> = row..row + 1;
            let (wanted, found) = (self.file.paths(range)?.concat(), self.split.key(index));
            if wanted != found {
                let split = self.split.name();
                return Err(other(format!(
                    "row {row} is of {wanted}, and image {index} of {split} is {found}: give --data the data set of the features"
                )));
            }
        }
        let mut levels = vec![0; self.split.image_len()];
        self.split.read(index, &mut levels)?;
        Ok(levels)
    }
}

/// Adds the images of all samples, and of the neighbours of those that are shown with them.
fn add_images(
    view: &mut FeatureView,
    source: &ProbeSource,
    data: &DataSet,
    rows: &[usize],
    found: &[Vec<Nearest>],
) -> Result<Option<String>> {
    let (train, test) =
        (Images::new(&source.train, data, "train")?, Images::new(&source.test, data, "test")?);
    let (Some(train), Some(test)) = (train, test) else {
        let note = "features that others computed do not say which image a row is of: they are shown without";
        return Ok(Some(note.to_string()));
    };
    let failed = |error: ddae_report::ReportError| ProbeError::File {
        path: data.name.clone().into(),
        reason: error.to_string(),
    };
    let mut order: Vec<usize> = (0..view.samples.len()).collect();
    order.sort_by_key(|&i| !view.samples[i].is_mistake());
    for (place, &i) in order.iter().enumerate() {
        let image = view.atlas.add(&test.read(rows[i])?, test.split.shape()).map_err(failed)?;
        view.samples[i].image = Some(image);
        if place < WITH_IMAGES {
            for (beside, neighbour) in found[i].iter().take(SHOWN).enumerate() {
                let image =
                    view.atlas.add(&train.read(neighbour.row)?, train.split.shape()).map_err(failed)?;
                view.samples[i].neighbours[beside].image = Some(image);
            }
        }
    }
    Ok(None)
}
