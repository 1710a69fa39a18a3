//! From neighbours to votes.

use super::{Labelled, Metric, Neighbour, Votes};

/// What the `neighbours`, nearest first, weigh together for each class of `base`.
///
/// With [`Votes::Distance`] a vote weighs one over the distance, and where neighbours are at distance zero, only they
/// vote, one each (as scikit-learn). With [`Votes::Temperature`] weights are divided by that of the nearest, so that
/// one at least is left at any temperature.
pub(super) fn weights(neighbours: &[Neighbour], base: &Labelled, metric: Metric, votes: Votes) -> Vec<f64> {
    let mut weights = vec![0.0; base.class_count];
    let exact_hit = neighbours.iter().any(|neighbour| neighbour.distance == 0.0);
    // One minus the cosine.
    let angle = |neighbour: &Neighbour| match metric {
        Metric::Cosine => neighbour.distance,
        Metric::Euclidean => neighbour.distance * neighbour.distance / 2.0,
    };
    let nearest = neighbours.first().map_or(0.0, angle);
    for neighbour in neighbours {
        weights[base.classes[neighbour.row]] += match votes {
            Votes::Uniform => 1.0,
            Votes::Distance if exact_hit => f64::from(u8::from(neighbour.distance == 0.0)),
            Votes::Distance => 1.0 / neighbour.distance,
            Votes::Temperature(temperature) => ((nearest - angle(neighbour)) / temperature).exp(),
        };
    }
    weights
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::ranking::Ranks;

    fn neighbours(distances: &[f64]) -> Vec<Neighbour> {
        distances.iter().enumerate().map(|(row, &distance)| Neighbour { distance, row }).collect()
    }

    fn weighed(neighbours: &[Neighbour], classes: &[usize], metric: Metric, votes: Votes) -> Vec<f64> {
        let rows = Array2::zeros((classes.len(), 1));
        weights(neighbours, &Labelled { rows: &rows.view(), classes, class_count: 3 }, metric, votes)
    }

    fn vote(neighbours: &[Neighbour], classes: &[usize], votes: Votes) -> usize {
        let mut ranks = Ranks::new(1);
        ranks.push(weighed(neighbours, classes, Metric::Cosine, votes).into_iter(), 0.0);
        ranks.best()[0]
    }

    #[test]
    fn a_temperature_weighs_by_the_angle() {
        // Cosines 0.9, 0.8 and 0.7, as distances of both metrics.
        let cosine = neighbours(&[0.1, 0.2, 0.3]);
        let euclidean = neighbours(&[0.2_f64.sqrt(), 0.4_f64.sqrt(), 0.6_f64.sqrt()]);
        let expected = [(0.9_f64 / 0.5).exp(), (0.8_f64 / 0.5).exp() + (0.7_f64 / 0.5).exp()];
        for (metric, found) in [(Metric::Cosine, &cosine), (Metric::Euclidean, &euclidean)] {
            let weights = weighed(found, &[0, 1, 1], metric, Votes::Temperature(0.5));
            assert!((weights[1] / weights[0] - expected[1] / expected[0]).abs() < 1e-12, "{weights:?}");
        }
        // So low that no weight but the nearest's is left.
        assert_eq!(vote(&cosine, &[2, 1, 1], Votes::Temperature(1e-9)), 2);
        assert_eq!(vote(&cosine, &[2, 1, 1], Votes::Temperature(10.0)), 1);
    }

    #[test]
    fn ties_go_to_the_smaller_class() {
        assert_eq!(vote(&neighbours(&[0.1, 0.2, 0.3, 0.4]), &[2, 1, 2, 1], Votes::Uniform), 1);
    }

    #[test]
    fn one_near_neighbour_outweighs_two_far_ones() {
        let found = neighbours(&[0.1, 0.9, 0.9]);
        assert_eq!(vote(&found, &[2, 1, 1], Votes::Uniform), 1);
        assert_eq!(vote(&found, &[2, 1, 1], Votes::Distance), 2);
    }

    #[test]
    fn exact_hits_decide_alone() {
        let found = neighbours(&[0.0, 0.0, 1e-300, 1e-300, 1e-300]);
        assert_eq!(vote(&found, &[2, 2, 1, 1, 1], Votes::Distance), 2);
        let tied = neighbours(&[0.0, 0.0, 0.5]);
        assert_eq!(vote(&tied, &[2, 0, 2], Votes::Distance), 0);
    }
}
