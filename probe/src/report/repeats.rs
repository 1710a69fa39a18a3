//! Accuracies with several seeds.

use serde::Serialize;

use crate::source::noise_seeds::NoiseSeed;

/// What several seeds gave: each draws the held-out part, a trained probe's weights and order, and the samples of
/// `--shots` anew; and what features with noise of several seeds gave.
#[derive(Clone, Debug, Serialize)]
pub struct Repeats {
    /// The first of the probe's seeds, which follow each other.
    pub first_seed: u64,
    /// On the test set, in the order of the seeds; with noise of several seeds, all of the first noise, then of the second.
    pub accuracies: Vec<f64>,
    /// The features that each of them used.
    pub features: Vec<String>,
    /// The mean accuracy.
    pub mean: f64,
    /// The standard deviation of the accuracies (over n - 1); with noise of several seeds, what a draw of both changes.
    pub deviation: f64,
    /// What the features' noise changes, where there are features with noise of several seeds.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseRepeats>,
}

/// What noise and the probe's draws change, each alone.
///
/// Every seed of the noise is measured with every seed of the probe, `a_mn`. What one of the two changes alone is the
/// standard deviation over its seeds while the other stays, its variance averaged over the other's seeds. What both change
/// together has the variance `V_noise + V_probe - V_rest`, where `V_rest` is that of the interaction, which the others both
/// hold: the sum of the components of a two-way analysis of variance. It is estimated from few numbers, and never taken to be
/// less than either.
#[derive(Clone, Debug, Serialize)]
pub struct NoiseRepeats {
    /// The seeds of the features' noise.
    pub noise_seeds: Vec<NoiseSeed>,
    /// The standard deviation over the noise's seeds.
    pub noise_deviation: f64,
    /// The standard deviation over the probe's seeds, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_deviation: Option<f64>,
}

/// The mean.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The variance, over n - 1; 0 of a single value.
fn variance(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares = values.iter().map(|value| (value - middle).powi(2)).sum::<f64>();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

impl Repeats {
    pub(crate) fn new(first_seed: u64, accuracies: Vec<f64>, features: Vec<String>) -> Self {
        let (mean, deviation) = (mean(&accuracies), variance(&accuracies).sqrt());
        Self { first_seed, accuracies, features, mean, deviation, noise: None }
    }

    /// The same of features with noise of several seeds: the accuracies of all probe seeds for the first noise, then for the
    /// second, and so on.
    pub(crate) fn with_noise(self, noise_seeds: Vec<NoiseSeed>) -> Self {
        let noises = noise_seeds.len();
        if noises < 2 {
            return self;
        }
        let probes = self.accuracies.len() / noises;
        let at = |noise: usize, probe: usize| self.accuracies[noise * probes + probe];
        let by_noise: Vec<Vec<f64>> =
            (0..noises).map(|noise| (0..probes).map(|probe| at(noise, probe)).collect()).collect();
        let by_probe: Vec<Vec<f64>> =
            (0..probes).map(|probe| (0..noises).map(|noise| at(noise, probe)).collect()).collect();
        let of_variances =
            |groups: &[Vec<f64>]| mean(&groups.iter().map(|group| variance(group)).collect::<Vec<_>>());
        let (of_noise, of_probe) = (of_variances(&by_probe), of_variances(&by_noise));
        let means = |groups: &[Vec<f64>]| groups.iter().map(|group| mean(group)).collect::<Vec<_>>();
        let (noise_means, probe_means) = (means(&by_noise), means(&by_probe));
        let rest: f64 = (0..noises)
            .flat_map(|noise| (0..probes).map(move |probe| (noise, probe)))
            .map(|(noise, probe)| {
                (at(noise, probe) - noise_means[noise] - probe_means[probe] + self.mean).powi(2)
            })
            .sum();
        let rest = rest / ((noises - 1) * (probes - 1).max(1)) as f64;
        let both = if probes > 1 { of_noise + of_probe - rest } else { of_noise };
        let both = both.max(of_noise).max(of_probe);
        let noise = NoiseRepeats {
            noise_seeds,
            noise_deviation: of_noise.sqrt(),
            probe_deviation: (probes > 1).then(|| of_probe.sqrt()),
        };
        Self { deviation: both.sqrt(), noise: Some(noise), ..self }
    }

    /// What should be known where seeds chose different features.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let mut chosen: Vec<(&str, usize)> = Vec::new();
        for features in &self.features {
            match chosen.iter_mut().find(|(known, _)| known == features) {
                Some((_, times)) => *times += 1,
                None => chosen.push((features, 1)),
            }
        }
        chosen.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let listed: Vec<String> =
            chosen.iter().map(|(features, times)| format!("{features} ({times})")).collect();
        (chosen.len() > 1).then(|| format!("seeds chose different features: {}", listed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_by_hand() {
        let of =
            |features: [&str; 3]| Repeats::new(3, vec![0.5, 0.7, 0.6], features.map(str::to_string).to_vec());
        let repeats = of(["a", "a", "a"]);
        assert!((repeats.mean - 0.6).abs() < 1e-12 && (repeats.deviation - 0.1).abs() < 1e-12, "{repeats:?}");
        assert_eq!(repeats.disagreement(), None);
        let differing = of(["b", "a", "a"]).disagreement();
        assert_eq!(differing.as_deref(), Some("seeds chose different features: a (2), b (1)"));
    }

    fn crossed(noises: usize, accuracies: Vec<f64>) -> Repeats {
        let seeds = (0..noises as u64).map(|seed| NoiseSeed { train: seed, test: seed }).collect();
        let features = vec!["a".to_string(); accuracies.len()];
        Repeats::new(0, accuracies, features).with_noise(seeds)
    }

    #[test]
    fn noise_and_probe_are_told_apart() {
        // Noise alone: by 0.1 between neighbours; the probe's seed changes nothing.
        let by_noise = crossed(3, vec![0.5, 0.5, 0.6, 0.6, 0.7, 0.7]);
        let noise = by_noise.noise.as_ref().expect("several noises");
        assert!((noise.noise_deviation - 0.1).abs() < 1e-9 && noise.probe_deviation.expect("two") < 1e-9);
        assert!((by_noise.deviation - 0.1).abs() < 1e-9 && (by_noise.mean - 0.6).abs() < 1e-12);
        // Both, without interaction: the squares add up.
        let both = crossed(2, vec![0.5, 0.52, 0.6, 0.62]);
        let noise = both.noise.as_ref().expect("several noises");
        let (of_noise, of_probe) = (0.1 / 2f64.sqrt(), 0.02 / 2f64.sqrt());
        assert!((noise.noise_deviation - of_noise).abs() < 1e-9, "{noise:?}");
        assert!((noise.probe_deviation.expect("two") - of_probe).abs() < 1e-9, "{noise:?}");
        assert!((both.deviation - of_noise.hypot(of_probe)).abs() < 1e-9, "{both:?}");
        // Interaction alone, which the estimate takes from both: not less than either.
        let rest = crossed(2, vec![0.5, 0.6, 0.6, 0.5]);
        let noise = rest.noise.as_ref().expect("several noises");
        assert!((noise.noise_deviation - 0.1 / 2f64.sqrt()).abs() < 1e-9, "{noise:?}");
        // V_noise = V_probe = 0.005, V_rest = 0.01.
        assert!((rest.deviation - 0.005f64.sqrt()).abs() < 1e-9, "{rest:?}");
        // One seed of the probe.
        let one = crossed(3, vec![0.5, 0.6, 0.7]);
        assert!((one.deviation - 0.1).abs() < 1e-9, "{one:?}");
        assert_eq!(one.noise.expect("several noises").probe_deviation, None);
    }
}
