//! From neighbours to a class.

use super::{Neighbour, Votes};

/// The class that `neighbours` vote for; the smaller one where two have the same weight.
///
/// With [`Votes::Distance`] a vote weighs one over the distance, and where neighbours are at distance zero, only they
/// vote, one each (as scikit-learn).
///
/// # Panics
/// When a neighbour's row has no class in `classes`, or a class is not below `class_count`.
pub fn vote(neighbours: &[Neighbour], classes: &[usize], class_count: usize, votes: Votes) -> usize {
    let mut weights = vec![0.0; class_count];
    let exact_hit = neighbours.iter().any(|neighbour| neighbour.distance == 0.0);
    for neighbour in neighbours {
        weights[classes[neighbour.row]] += match votes {
            Votes::Uniform => 1.0,
            Votes::Distance if exact_hit => f64::from(u8::from(neighbour.distance == 0.0)),
            Votes::Distance => 1.0 / neighbour.distance,
        };
    }
    let mut winner = 0;
    for (class, weight) in weights.iter().enumerate() {
        if *weight > weights[winner] {
            winner = class;
        }
    }
    winner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(distances: &[f64]) -> Vec<Neighbour> {
        distances.iter().enumerate().map(|(row, &distance)| Neighbour { distance, row }).collect()
    }

    #[test]
    fn ties_go_to_the_smaller_class() {
        assert_eq!(vote(&neighbours(&[0.1, 0.2, 0.3, 0.4]), &[2, 1, 2, 1], 3, Votes::Uniform), 1);
    }

    #[test]
    fn one_near_neighbour_outweighs_two_far_ones() {
        let found = neighbours(&[0.1, 0.9, 0.9]);
        assert_eq!(vote(&found, &[2, 1, 1], 3, Votes::Uniform), 1);
        assert_eq!(vote(&found, &[2, 1, 1], 3, Votes::Distance), 2);
    }

    #[test]
    fn exact_hits_decide_alone() {
        let found = neighbours(&[0.0, 0.0, 1e-300, 1e-300, 1e-300]);
        assert_eq!(vote(&found, &[2, 2, 1, 1, 1], 3, Votes::Distance), 2);
        let tied = neighbours(&[0.0, 0.0, 0.5]);
        assert_eq!(vote(&tied, &[2, 0, 2], 3, Votes::Distance), 0);
    }
}
