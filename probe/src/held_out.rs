//! Parts of the training set: that on which choices are made, and the few samples that are left to learn from.

use ddae_base::random::{Purpose, stream};
use ddae_classify::labels::Classes;

use crate::error::{ProbeError, Result};

/// A training set in two parts, as ascending positions of samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// What a probe learns from while choices are made.
    pub(crate) fit: Vec<usize>,
    /// What the choices are measured on: the same number of samples of every class.
    pub measure: Vec<usize>,
}

impl HeldOut {
    /// Draws `fraction` of the smallest class (at least one sample), and as many of every other class, at random. The
    /// draw depends on the seed, the class and the number of its samples alone.
    ///
    /// # Errors
    /// When there is one class, or a class has one sample; `purpose` and `advice` say what the part was wanted for and
    /// how to do without.
    pub fn draw(
        labels: &[i64],
        fraction: f64,
        seed: u64,
        purpose: &'static str,
        advice: &'static str,
    ) -> Result<Self> {
        let classes = Classes::of(labels)?;
        let mut members = vec![Vec::new(); classes.len()];
        for (sample, class) in classes.indices(labels, "training set")?.into_iter().enumerate() {
            members[class].push(sample);
        }
        let counts = classes.labels().iter().zip(members.iter().map(Vec::len));
        if let Some((&label, count)) = counts.clone().find(|(_, count)| *count < 2) {
            return Err(ProbeError::TooFewToHoldOut { label, count, purpose, advice });
        }
        let smallest = counts.map(|(_, count)| count).min().unwrap_or(0);
        let share = ((smallest as f64 * fraction).round() as usize).clamp(1, smallest - 1);
        let mut measured = vec![false; labels.len()];
        for (&label, samples) in classes.labels().iter().zip(&mut members) {
            stream(seed, Purpose::HoldOut, label as u64, 0).shuffle(samples);
            for &sample in &samples[..share] {
                measured[sample] = true;
            }
        }
        let (measure, fit) = (0..labels.len()).partition(|&sample| measured[sample]);
        Ok(Self { fit, measure })
    }
}

/// Draws `shots` samples of each class, as ascending positions. The draw depends on the seed, the class and the number of
/// its samples alone, and smaller draws are part of larger ones.
///
/// # Errors
/// When there is one class, or a class has fewer.
pub(crate) fn few_shot(labels: &[i64], shots: usize, seed: u64) -> Result<Vec<usize>> {
    let classes = Classes::of(labels)?;
    let mut members = vec![Vec::new(); classes.len()];
    for (sample, class) in classes.indices(labels, "training set")?.into_iter().enumerate() {
        members[class].push(sample);
    }
    let mut drawn = Vec::new();
    for (&label, samples) in classes.labels().iter().zip(&mut members) {
        if samples.len() < shots {
            return Err(ProbeError::TooFewShots { label, count: samples.len(), shots });
        }
        // Another variant than that of the held-out part, which is drawn among these.
        stream(seed, Purpose::HoldOut, label as u64, 1).shuffle(samples);
        drawn.extend_from_slice(&samples[..shots]);
    }
    drawn.sort_unstable();
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_shots_are_the_same_number_of_each_class() {
        let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 4 == 0)).collect();
        let few_shot = |shots, seed| few_shot(&labels, shots, seed);
        let drawn = few_shot(3, 5).expect("enough");
        assert_eq!((drawn.len(), drawn.iter().filter(|&&sample| labels[sample] == 1).count()), (6, 3));
        assert!(drawn.is_sorted());
        assert_eq!(few_shot(3, 5).expect("enough"), drawn);
        assert_ne!(few_shot(3, 6).expect("enough"), drawn);
        let more = few_shot(25, 5).expect("enough");
        assert!(drawn.iter().all(|sample| more.contains(sample)));
        let error = few_shot(26, 0).expect_err("too few").to_string();
        assert_eq!(
            error,
            "class 1 has 25 training samples, and --shots 26 asks for more: give a smaller number"
        );
    }

    #[test]
    fn every_class_gives_the_same_number() {
        let labels: Vec<i64> =
            (0..100).map(|i| if i % 10 < 5 { 0 } else { i64::from(i % 10 > 7) + 4 }).collect();
        let held_out = HeldOut::draw(&labels, 0.2, 3, "C", "").expect("two parts");
        let count = |label| held_out.measure.iter().filter(|&&sample| labels[sample] == label).count();
        // The smallest class has 20 samples.
        assert_eq!([count(0), count(4), count(5)], [4, 4, 4]);
        let mut all = [held_out.fit.clone(), held_out.measure.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(held_out.fit.is_sorted() && held_out.measure.is_sorted());
        assert_eq!(HeldOut::draw(&labels, 0.2, 3, "C", "").expect("two parts"), held_out);
        assert_ne!(HeldOut::draw(&labels, 0.2, 4, "C", "").expect("two parts"), held_out);
    }

    #[test]
    fn a_class_of_one_sample_is_named() {
        let error = HeldOut::draw(&[0, 0, 7], 0.2, 0, "C", "give --c 1").expect_err("too few");
        assert_eq!(
            error.to_string(),
            "class 7 has 1 training sample(s), too few to hold some out for choosing C: give --c 1"
        );
    }
}
