//! k-NN against scikit-learn's (fixture `probe_knn_logistic`) and against plain loops.

use ddae_classify::knn::{KnnOptions, Labelled, Metric, Votes, classify, rank, search::Search};
use ddae_classify::scaling::normalise_l2;
use ddae_tests::{fixture, rule_values};
use ndarray::{Array2, ArrayView2};

fn classes(labels: &[i64]) -> Vec<usize> {
    labels.iter().map(|&label| label as usize).collect()
}

/// A matrix of a case, its rows scaled to length 1.
fn unit_rows((shape, values): (Vec<usize>, Vec<f32>)) -> Array2<f32> {
    let mut matrix = Array2::from_shape_vec((shape[0], shape[1]), values).expect("a matrix");
    normalise_l2(&mut matrix);
    matrix
}

#[test]
fn predictions_are_those_of_scikit_learn() {
    let case = fixture("probe_knn_logistic");
    let [train, test] = ["input.train", "input.test"].map(|name| unit_rows(case.f32(name)));
    let train_classes = classes(&case.i64("input.train_label").1);
    let test_classes = classes(&case.i64("input.test_label").1);
    for k in [1, 20, 200] {
        let expected = classes(&case.i64(&format!("output.knn{k}_pred")).1);
        let options = KnnOptions { k, ..Default::default() };
        let mut distances = 0;
        let found =
            classify(&test.view(), &train.view(), &train_classes, 5, &options, &mut |n| distances += n);
        let found = found.expect("predictions");
        assert_eq!(found, expected, "k = {k}");
        assert_eq!(distances, 300 * 600);
        let correct = found.iter().zip(&test_classes).filter(|(a, b)| a == b).count();
        assert_eq!(correct as f64 / 300.0, case.f64(&format!("output.knn{k}_acc")).1[0]);
    }
}

/// One search for all, and each as if it were alone.
#[test]
fn several_numbers_of_neighbours_are_one_search() {
    let case = fixture("probe_knn_logistic");
    let [train, test] = ["input.train", "input.test"].map(|name| unit_rows(case.f32(name)));
    let train_classes = classes(&case.i64("input.train_label").1);
    let (ks, mut distances) = ([20, 1, 200], 0);
    let base = Labelled { rows: &train.view(), classes: &train_classes, class_count: 5 };
    let (metric, votes) = (Metric::Euclidean, Votes::Uniform);
    let found = rank(&test.view(), &base, &ks, metric, votes, 5, &mut |n| distances += n);
    assert_eq!(distances, 300 * 600);
    for (k, found) in ks.into_iter().zip(found.expect("ranks")) {
        let expected = classes(&case.i64(&format!("output.knn{k}_pred")).1);
        assert_eq!(found.best(), expected, "k = {k}");
        // One neighbour votes for one class.
        assert!((0..300).all(|row| found.of_row(row).count() <= k.min(5)), "k = {k}");
    }
}

/// exp(cosine / 0.07) of each neighbour, as DINO and solo-learn weigh them, in plain loops.
#[test]
fn temperature_votes_agree_with_plain_loops() {
    let matrix = |name: &str, rows| unit_rows((vec![rows, 8], rule_values(name, rows * 8, -1.0, 1.0)));
    let (base, queries) = (matrix("base", 400), matrix("queries", 90));
    let base_classes: Vec<usize> = (0..400).map(|i| (i * i + i / 3) % 6).collect();
    let labelled = Labelled { rows: &base.view(), classes: &base_classes, class_count: 6 };
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let votes = Votes::Temperature(0.07);
        let found = rank(&queries.view(), &labelled, &[15], metric, votes, 6, &mut |_| ()).expect("ranks");
        for i in 0..90 {
            let distances = distances(&queries.row(i).to_vec(), base.view(), Metric::Cosine);
            let mut order: Vec<usize> = (0..400).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            let mut weights = [0.0; 6];
            for &row in &order[..15] {
                weights[base_classes[row]] += ((1.0 - distances[row]) / 0.07).exp();
            }
            let mut expected: Vec<usize> = (0..6).filter(|&class| weights[class] > 0.0).collect();
            expected.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            assert_eq!(found[0].of_row(i).collect::<Vec<_>>(), expected, "{metric:?}, query {i}");
        }
    }
}

/// Plain loops in float64.
fn distances(query: &[f32], base: ArrayView2<f32>, metric: Metric) -> Vec<f64> {
    let products =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    base.rows()
        .into_iter()
        .map(|row| {
            let row = row.to_vec();
            match metric {
                Metric::Euclidean => query
                    .iter()
                    .zip(&row)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                    .sum::<f64>()
                    .sqrt(),
                Metric::Cosine => {
                    let lengths = (products(query, query) * products(&row, &row)).sqrt();
                    if lengths == 0.0 { 1.0 } else { 1.0 - products(query, &row) / lengths }
                }
            }
        })
        .collect()
}

/// Rows that lie close together far from the origin, where float32 products cannot tell them apart, with twins.
fn crowded(name: &str, rows: usize, dim: usize) -> Array2<f32> {
    let mut values = rule_values(name, rows * dim, -0.01, 0.01);
    values.iter_mut().for_each(|v| *v += 3.0);
    let mut matrix = Array2::from_shape_vec((rows, dim), values).expect("a matrix");
    for row in (0..rows).step_by(7) {
        let twin = matrix.row(row / 2).to_owned();
        matrix.row_mut(row).assign(&twin);
    }
    matrix
}

#[test]
fn neighbours_are_exact_where_float32_cancels() {
    let base = crowded("base", 1500, 37);
    let mut queries = crowded("queries", 150, 37);
    for i in 0..20 {
        queries.row_mut(i).assign(&base.row(i * 3));
    }
    queries.row_mut(149).fill(0.0);
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let search = Search { base: &base.view(), k: 25, metric };
        let found = search.nearest(queries.clone(), &mut |_| ()).expect("neighbours");
        for (query, found) in queries.rows().into_iter().zip(found) {
            let distances = distances(&query.to_vec(), base.view(), metric);
            let mut order: Vec<usize> = (0..distances.len()).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));
            assert_eq!(found.len(), 25);
            for (neighbour, &expected) in found.iter().zip(&order) {
                assert!((neighbour.distance - distances[expected]).abs() < 1e-12, "{metric:?}");
                assert!((distances[neighbour.row] - distances[expected]).abs() < 1e-12, "{metric:?}");
            }
            if metric == Metric::Euclidean {
                assert_eq!(found.iter().map(|n| n.row).collect::<Vec<_>>(), order[..25]);
            }
        }
    }
}

#[test]
fn distance_votes_agree_with_plain_loops_and_exact_hits_decide() {
    let dim = 8;
    let base =
        Array2::from_shape_vec((400, dim), rule_values("base", 400 * dim, -1.0, 1.0)).expect("a matrix");
    let mut queries =
        Array2::from_shape_vec((90, dim), rule_values("queries", 90 * dim, -1.0, 1.0)).expect("a matrix");
    for i in 0..30 {
        queries.row_mut(i).assign(&base.row(i * 11));
    }
    let base_classes: Vec<usize> = (0..400).map(|i| (i * i + i / 3) % 6).collect();
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let options = KnnOptions { k: 15, metric, votes: Votes::Distance };
        let found = classify(&queries.view(), &base.view(), &base_classes, 6, &options, &mut |_| ());
        for (i, &class) in found.expect("predictions").iter().enumerate() {
            if i < 30 {
                assert_eq!(class, base_classes[i * 11], "{metric:?}: an exact hit decides");
                continue;
            }
            let distances = distances(&queries.row(i).to_vec(), base.view(), metric);
            let mut order: Vec<usize> = (0..400).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            let mut weights = [0.0; 6];
            for &row in &order[..15] {
                weights[base_classes[row]] += 1.0 / distances[row];
            }
            let best = weights.iter().copied().fold(0.0, f64::max);
            assert!((weights[class] - best).abs() < 1e-9, "{metric:?}, query {i}");
        }
    }
}

#[test]
fn more_neighbours_than_rows_is_an_error() {
    let base = Array2::<f32>::zeros((3, 2));
    let options = KnnOptions { k: 4, ..Default::default() };
    let error =
        classify(&base.view(), &base.view(), &[0, 1, 1], 2, &options, &mut |_| ()).expect_err("too many");
    assert_eq!(error.to_string(), "k = 4, but there are only 3 training rows to search: give a smaller -k");
}
