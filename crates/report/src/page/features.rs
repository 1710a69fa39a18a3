//! Projections and nearest neighbours.

use super::blocks::{Block, Figure, NeighbourCell, NeighbourRow, Section, percent, plain, with_error};
use crate::ReportError;
use crate::features::{FeatureView, Sample};
use crate::plot::Plot;
use crate::plot::scatter::{Point, Scatter};
use crate::result::standard_error;

/// The most test samples with their neighbours.
const ROWS: usize = 24;
/// Neighbours beside each.
const BESIDE: usize = 8;

pub(super) fn sections(view: &FeatureView) -> Result<Vec<Section>, ReportError> {
    let mut blocks = Vec::new();
    let which = format!(
        "{} of {} test samples, evenly spaced; rings are mistakes of their neighbours.",
        view.samples.len(),
        view.total
    );
    let as_they_are = "The features are of length 1.";
    if let Some((places, shares)) = &view.pca {
        let caption = format!(
            "{which} Two principal components hold {} and {} of the variance. {as_they_are}",
            percent(shares[0]),
            percent(shares[1])
        );
        blocks.push(scatter("projection-pca", "Principal components", &caption, view, places)?);
    }
    if let Some((places, perplexity)) = &view.tsne {
        let caption = format!(
            "{which} t-SNE of perplexity {perplexity:.0}, exact, begun from the principal components; distances between \
             groups mean little. {as_they_are}"
        );
        blocks.push(scatter("projection-tsne", "t-SNE", &caption, view, places)?);
    }
    let mut facts = vec![
        ["train".to_string(), format!("{} ({} samples)", view.train, view.base)],
        ["test".to_string(), format!("{} ({} samples)", view.test, view.total)],
        ["features".to_string(), format!("{} ({})", view.features, view.dim)],
    ];
    facts.extend(view.attributes.iter().map(|(key, value)| [key.replace('_', " "), plain(value)]));
    let commands = vec![["measure k-NN of these features on all test samples".to_string(), view.command()]];
    blocks.push(Block::Details {
        title: "Where these features come from".to_string(),
        facts,
        warnings: Vec::new(),
        commands,
    });
    let lead = format!("Where test samples lie by {}.", view.features);
    let projection = Section::new("projection", "Features in a plane", &lead, blocks);
    Ok(projection.into_iter().chain(neighbours(view)).collect())
}

fn scatter(
    id: &str,
    title: &str,
    caption: &str,
    view: &FeatureView,
    places: &[[f64; 2]],
) -> Result<Block, ReportError> {
    let points = view.samples.iter().zip(places).map(|(sample, place)| Point {
        at: (place[0], place[1]),
        class: sample.class,
        ring: sample.is_mistake(),
        text: said(view, sample),
        image: sample.image,
    });
    let plot = Plot::Scatter(Scatter { classes: view.classes.clone(), points: points.collect() });
    Ok(Block::Figure(Box::new(Figure::new(id, title, caption, &plot, None)?)))
}

fn said(view: &FeatureView, sample: &Sample) -> String {
    let class = view.class(sample.class);
    match sample.is_mistake() {
        true => format!("{class}\nits neighbours say {}\n{}", view.class(sample.predicted), sample.key),
        false => format!("{class}\n{}", sample.key),
    }
}

/// The samples with their neighbours, mistakes first.
fn neighbours(view: &FeatureView) -> Option<Section> {
    let mut samples: Vec<&Sample> = view.samples.iter().collect();
    samples.sort_by_key(|sample| !sample.is_mistake());
    let mistakes = samples.iter().filter(|sample| sample.is_mistake()).count();
    let row = |sample: &&Sample| NeighbourRow {
        image: sample.image,
        key: sample.key.clone(),
        class: view.class(sample.class).to_string(),
        predicted: view.class(sample.predicted).to_string(),
        wrong: sample.is_mistake(),
        neighbours: sample
            .neighbours
            .iter()
            .take(BESIDE)
            .map(|neighbour| NeighbourCell {
                image: neighbour.image,
                class: view.class(neighbour.class).to_string(),
                same: neighbour.class == sample.class,
                text: format!(
                    "{} ({}), distance {:.4}",
                    view.class(neighbour.class),
                    neighbour.key,
                    neighbour.distance
                ),
            })
            .collect(),
    };
    let rows: Vec<NeighbourRow> = samples.iter().take(ROWS).map(row).collect();
    let count = view.samples.len();
    let found = (count - mistakes) as f64 / count.max(1) as f64;
    let lead = format!(
        "Test samples (left) and their {BESIDE} nearest training samples, mistakes first. Of the {count} that are shown here, \
         {} have the class of most of their {} neighbours (Euclidean distance, features of length 1). The number of all test \
         samples is what ddae-probe knn measures.",
        with_error(found, standard_error(found, count as u64)),
        view.k
    );
    let blocks = if rows.is_empty() { Vec::new() } else { vec![Block::Neighbours { rows }] };
    Section::new("neighbours", "Nearest neighbours", &lead, blocks)
}
