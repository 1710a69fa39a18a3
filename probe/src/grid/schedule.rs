//! Successive halving: how many images and pairs each round has, and which images.

use ddae_base::random::{Purpose, stream};
use ddae_classify::labels::Classes;

use crate::error::Result;
use crate::held_out::HeldOut;

/// The last round sees one of so many training images; earlier rounds see a part of these.
const LAST: usize = 10;
/// Images of a class in the first round, in the mean, at least.
const OF_CLASS: usize = 20;
/// Images in the first round, at least.
const LEAST: usize = 200;

/// The draws of this module beside those of [`crate::held_out`], which has 0 and 1.
const ORDER: u64 = 2;
const HALVES: u64 = 3;

/// One round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Pairs of timestep and layer that are compared.
    pub pairs: usize,
    /// Training images that they are compared on, those of the round before among them.
    pub images: usize,
}

/// The rounds for so many pairs and training images: each has twice the images of the one before and the better half of its
/// pairs, and the last a tenth of all images. Since a round computes features of images that are new in it alone, all rounds
/// together take at most a tenth of the network calls that all images take.
///
/// There are as many rounds as leave at least two pairs for the last and enough images for the first (20 of a class and 200 in
/// all). Where a tenth is less than that, there is one round, of so many images, or of all.
pub fn schedule(pairs: usize, images: usize, classes: usize) -> Vec<Round> {
    let least = (OF_CLASS * classes).max(LEAST).min(images);
    let last = (images / LAST).max(least);
    let mut rounds = 1;
    while last >> rounds >= least && pairs.div_ceil(1 << rounds) >= 2 {
        rounds += 1;
    }
    let of_round =
        |round: usize| Round { pairs: pairs.div_ceil(1 << round), images: last >> (rounds - 1 - round) };
    (0..rounds).map(of_round).collect()
}

/// All samples in an order of which every beginning has the classes in their proportions, as far as whole samples do. It
/// depends on the seed, the classes and the numbers of their samples alone.
///
/// # Errors
/// When there are fewer than two classes.
pub fn order(labels: &[i64], seed: u64) -> Result<Vec<usize>> {
    let (classes, mut members) = by_class(labels)?;
    let mut places = Vec::with_capacity(labels.len());
    for (class, (&label, samples)) in classes.labels().iter().zip(&mut members).enumerate() {
        stream(seed, Purpose::HoldOut, label as u64, ORDER).shuffle(samples);
        let count = samples.len() as f64;
        places
            .extend(samples.iter().enumerate().map(|(i, &sample)| ((i as f64 + 0.5) / count, class, sample)));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(places.into_iter().map(|(_, _, sample)| sample).collect())
}

/// Two ways to divide samples into halves of every class: what the first learns from, the second is measured on. Of a class
/// with one sample both learn it, and it is not measured.
///
/// # Errors
/// When there are fewer than two classes.
pub fn halves(labels: &[i64], seed: u64) -> Result<[HeldOut; 2]> {
    let (classes, mut members) = by_class(labels)?;
    // In none of the two, or in which.
    let mut half = vec![None; labels.len()];
    for (class, (&label, samples)) in classes.labels().iter().zip(&mut members).enumerate() {
        stream(seed, Purpose::HoldOut, label as u64, HALVES).shuffle(samples);
        if samples.len() > 1 {
            // Classes of odd numbers have their last sample in this half and that.
            samples.iter().enumerate().for_each(|(i, &sample)| half[sample] = Some((i + class) % 2));
        }
    }
    let of = |measured: usize| {
        let (measure, fit) = (0..labels.len()).partition(|&sample| half[sample] == Some(measured));
        HeldOut { fit, measure }
    };
    Ok([of(0), of(1)])
}

/// The classes, and the samples of each in ascending order.
fn by_class(labels: &[i64]) -> Result<(Classes, Vec<Vec<usize>>)> {
    let classes = Classes::of(labels)?;
    let mut members = vec![Vec::new(); classes.len()];
    for (sample, class) in classes.indices(labels, "training set")?.into_iter().enumerate() {
        members[class].push(sample);
    }
    Ok((classes, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(pairs: usize, images: usize, classes: usize) -> Vec<(usize, usize)> {
        schedule(pairs, images, classes).iter().map(|round| (round.pairs, round.images)).collect()
    }

    #[test]
    fn pairs_halve_and_images_double_to_a_tenth() {
        assert_eq!(rounds(39, 50_000, 10), [(39, 312), (20, 625), (10, 1250), (5, 2500), (3, 5000)]);
        // Two are left for the last round.
        assert_eq!(rounds(4, 50_000, 10), [(4, 2500), (2, 5000)]);
        assert_eq!(rounds(2, 50_000, 10), [(2, 5000)]);
        // 20 of each class.
        assert_eq!(rounds(39, 100_000, 200), [(39, 5000), (20, 10_000)]);
        assert_eq!(rounds(21, 6000, 10), [(21, 300), (11, 600)]);
        // A tenth is too little.
        assert_eq!(rounds(21, 1500, 10), [(21, 200)]);
        assert_eq!(rounds(21, 90, 3), [(21, 90)]);
        for (pairs, images) in [(2, 2000), (300, 1_000_000), (17, 2001), (1000, 4000)] {
            let rounds = schedule(pairs, images, 10);
            assert!(rounds.iter().all(|round| round.pairs >= 2 && round.images * 10 <= images), "{rounds:?}");
            assert!(rounds.windows(2).all(|two| two[1].pairs == two[0].pairs.div_ceil(2)), "{rounds:?}");
        }
    }

    #[test]
    fn every_beginning_has_all_classes_in_proportion() {
        let labels: Vec<i64> = (0..400).map(|i| [7, 7, 3, 9][i % 4]).collect();
        let all = order(&labels, 5).expect("classes");
        assert_eq!(order(&labels, 5).expect("classes"), all);
        assert_ne!(order(&labels, 6).expect("classes"), all);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..400).collect::<Vec<_>>());
        for length in [40, 41, 100, 399] {
            for (label, share) in [(7, 0.5), (3, 0.25), (9, 0.25)] {
                let count = all[..length].iter().filter(|&&sample| labels[sample] == label).count() as f64;
                assert!((count - share * length as f64).abs() <= 1.0, "{count} of {label} among {length}");
            }
        }
    }

    #[test]
    fn each_half_learns_what_the_other_measures() {
        let labels = [4, 4, 4, 4, 4, 8, 8, 8, 1];
        let [first, second] = halves(&labels, 0).expect("classes");
        let mut measured = [first.measure.clone(), second.measure.clone()].concat();
        measured.sort_unstable();
        assert_eq!(measured, (0..8).collect::<Vec<_>>(), "each once, but for the only one of its class");
        for half in [&first, &second] {
            assert!(half.fit.contains(&8));
            assert!(half.fit.is_sorted() && half.measure.is_sorted());
            assert_eq!(half.fit.len() + half.measure.len(), 9);
            for label in [4, 8] {
                assert!(half.fit.iter().any(|&sample| labels[sample] == label));
            }
        }
        assert!(first.measure.len().abs_diff(second.measure.len()) <= 2);
    }
}
