//! Features in a plane.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array2, ArrayView2, Axis};

/// Perplexity of t-SNE, as usual; less where there are few samples.
const PERPLEXITY: f32 = 30.0;
/// Its steps.
const STEPS: usize = 1000;

/// The first two principal components of `rows [N, D]`: centred, not scaled; `[N, 2]`, and the shares of the variance that
/// they hold. The sign of each is such that its largest value is positive, so that it depends on no solver.
pub fn pca(rows: ArrayView2<f32>) -> (Array2<f64>, [f64; 2]) {
    let mut centred = rows.mapv(f64::from);
    if let Some(mean) = centred.mean_axis(Axis(0)) {
        centred -= &mean;
    }
    let count = rows.nrows();
    // The components of samples are eigenvectors of their products, of which there are fewer than of features.
    let products = centred.dot(&centred.t());
    let variance = products.diag().sum();
    let eigen = SymmetricEigen::new(DMatrix::from_fn(count, count, |i, j| products[[i, j]]));
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let mut places = Array2::zeros((count, 2));
    let mut shares = [0.0; 2];
    for (component, &column) in order.iter().take(2).enumerate() {
        let value = eigen.eigenvalues[column].max(0.0);
        shares[component] = if variance > 0.0 { value / variance } else { 0.0 };
        let vector = eigen.eigenvectors.column(column);
        let largest = vector
            .iter()
            .copied()
            .fold(0.0, |largest: f64, x| if x.abs() > largest.abs() { x } else { largest });
        let scale = value.sqrt() * if largest < 0.0 { -1.0 } else { 1.0 };
        for (place, x) in places.column_mut(component).iter_mut().zip(vector.iter()) {
            *place = x * scale;
        }
    }
    (places, shares)
}

/// t-SNE (Laurens van der Maaten's, exact) of `rows [N, D]`, begun from the principal components, so that it depends on no
/// seed; `[N, 2]` and the perplexity. None for fewer than 8 samples, of which neighbourhoods say nothing.
pub fn tsne(rows: ArrayView2<f32>, components: &Array2<f64>) -> Option<(Array2<f64>, f32)> {
    let count = rows.nrows();
    if count < 8 {
        return None;
    }
    // A sample has to have three times as many others.
    let perplexity = PERPLEXITY.min(((count - 1) / 3) as f32);
    let samples: Vec<Vec<f32>> = rows.rows().into_iter().map(|row| row.to_vec()).collect();
    // Spread as small as usual, so that neighbourhoods and not the beginning decide.
    let spread = components.column(0).iter().map(|x| x * x).sum::<f64>().sqrt() / (count as f64).sqrt();
    let scale = 1e-4 / spread.max(f64::MIN_POSITIVE);
    let begin: Vec<f32> = components.iter().map(|x| (x * scale) as f32).collect();
    let distance =
        |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    // The order of sums decides where samples end, and several threads would change it from run to run.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?;
    let places = one.install(|| {
        let mut tsne = bhtsne::tSNE::<f32, Vec<f32>, 2>::new(&samples);
        tsne.perplexity(perplexity).epochs(STEPS).initial_embedding(begin).exact(distance);
        tsne.embedding()
    });
    let places: Vec<f64> = places.into_iter().map(f64::from).collect();
    let places = Array2::from_shape_vec((count, 2), places).ok()?;
    // Samples that are all alike have no place.
    places.iter().all(|x| x.is_finite()).then_some((places, perplexity))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three groups of samples in five dimensions.
    fn groups() -> Array2<f32> {
        Array2::from_shape_fn((36, 5), |(i, j)| {
            let noise = ((i * 7 + j * 13) % 11) as f32 / 50.0;
            (if j == i % 3 { 4.0 } else { 0.0 }) + noise
        })
    }

    #[test]
    fn components_hold_the_variance() {
        // Along (3, 4): one component has all variance.
        let line = Array2::from_shape_fn((4, 2), |(i, j)| [3.0, 4.0][j] * i as f32);
        let (places, shares) = pca(line.view());
        assert!((shares[0] - 1.0).abs() < 1e-9 && shares[1].abs() < 1e-9, "{shares:?}");
        for (i, place) in places.column(0).iter().enumerate() {
            let wanted = 5.0 * (i as f64 - 1.5);
            assert!((place.abs() - wanted.abs()).abs() < 1e-6, "{places}");
        }
    }

    #[test]
    fn groups_stay_together_and_nothing_is_drawn() {
        let rows = groups();
        let (components, _) = pca(rows.view());
        let (places, perplexity) = tsne(rows.view(), &components).expect("places");
        assert_eq!(perplexity, 11.0);
        let distance = |a: usize, b: usize| {
            let d = |axis: usize| places[[a, axis]] - places[[b, axis]];
            (d(0).powi(2) + d(1).powi(2)).sqrt()
        };
        for i in 0..36 {
            let nearest =
                (0..36).filter(|&j| j != i).min_by(|&a, &b| distance(i, a).total_cmp(&distance(i, b)));
            assert_eq!(nearest.map(|j| j % 3), Some(i % 3), "sample {i}: {places}");
        }
        assert_eq!(tsne(rows.view(), &components).expect("again").0, places);
        assert!(tsne(rows.slice(ndarray::s![..7, ..]), &components).is_none());
    }
}
