//! What is measured: the options, and the numbers.

use clap::{Args, ValueEnum};
use ddae_base::arguments::values::whole;
use ddae_infer::InferError;
use ddae_infer::fid::kernel::SEED;
use ddae_infer::fid::manifold::NEIGHBOURS;
use ddae_infer::fid::{
    Convention, Distance, FidError, InceptionScore, KernelDistance, KernelOptions, PrecisionRecall, Seen,
    Wanted, frechet_distance, inception_score, kernel_distance, precision_recall,
};

/// Images of a published FID-50k.
pub const FIFTY_THOUSAND: u64 = 50_000;

/// Splits of an Inception score; torch-fidelity's number, and the paper's.
const SPLITS: usize = 10;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Fréchet distance of the features; Fréchet inception distance where they are Inception's
    Fid,
    /// The same, refused unless FAKE has 50,000 images
    #[value(name = "fid-50k")]
    Fid50k,
    /// Kernel (inception) distance, mean and deviation over random subsets
    Kid,
    /// Precision and recall: how many images of each set lie in the manifold of the other
    Prc,
    /// Inception score of FAKE
    #[value(name = "is", alias = "isc")]
    Is,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "What is measured")]
pub struct MetricOptions {
    /// What is measured, separated by commas, all in one pass over the images
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "fid")]
    pub metrics: Vec<Metric>,

    /// Random subsets of a kernel distance [default: 100]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    kid_subsets: Option<usize>,

    /// Images of each set in a subset [default: 1000; with --like clean-fid no more than there are]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(2..))]
    kid_subset_size: Option<usize>,

    /// Precision and recall: the nearest neighbour that is as far as a manifold reaches around an image [default: 3]
    #[arg(long, value_name = "K", value_parser = whole::<usize>(1..))]
    neighbours: Option<usize>,

    /// Splits of an Inception score [default: 10]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    splits: Option<usize>,

    /// Seed of the subsets of a kernel distance, and of the order of images for an Inception score [default: 2020, which is
    /// torch-fidelity's and draws the same]
    #[arg(long, value_name = "SEED", value_parser = whole::<u32>(..))]
    seed: Option<u32>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub distance: Option<Distance>,
    pub kernel: Option<(KernelDistance, KernelOptions)>,
    pub manifold: Option<(PrecisionRecall, usize)>,
    pub score: Option<(InceptionScore, usize)>,
}

impl MetricOptions {
    pub fn has(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// Whether the Fréchet distance is measured, by either name.
    pub fn has_distance(&self) -> bool {
        self.has(Metric::Fid) || self.has(Metric::Fid50k)
    }

    pub fn seed(&self) -> u32 {
        self.seed.unwrap_or(SEED)
    }

    /// Whether anything is drawn.
    pub fn draws(&self) -> bool {
        self.has(Metric::Kid) || self.has(Metric::Is)
    }

    /// What is needed of the real images, and of the others.
    pub fn wanted(&self) -> [Wanted; 2] {
        let features = self.has(Metric::Kid) || self.has(Metric::Prc);
        [Wanted { features, logits: false }, Wanted { features, logits: self.has(Metric::Is) }]
    }

    /// Refuses options without their metric.
    pub fn check(&self) -> Result<(), InferError> {
        let options = [
            ("--kid-subsets", self.kid_subsets.is_some(), self.has(Metric::Kid), "kid"),
            ("--kid-subset-size", self.kid_subset_size.is_some(), self.has(Metric::Kid), "kid"),
            ("--neighbours", self.neighbours.is_some(), self.has(Metric::Prc), "prc"),
            ("--splits", self.splits.is_some(), self.has(Metric::Is), "is"),
            ("--seed", self.seed.is_some(), self.draws(), "kid or is"),
        ];
        match options.into_iter().find(|&(_, is_given, is_used, _)| is_given && !is_used) {
            Some((option, .., metric)) => Err(InferError::Argument(format!(
                "{option} is for --metrics {metric}, which is not asked for"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses, before the work, what so many images cannot have; none where it is not known.
    pub fn check_counts(
        &self,
        real: Option<u64>,
        fake: Option<u64>,
        convention: Convention,
    ) -> Result<(), InferError> {
        if self.has(Metric::Fid50k) && fake != Some(FIFTY_THOUSAND) {
            let found = fake.map_or("it is not known how many are meant here".to_string(), |count| {
                format!("here are {count}")
            });
            return Err(InferError::Argument(format!(
                "fid-50k: FID-50k is of 50,000 generated images, and {found}; ask for fid, which is called what it is"
            )));
        }
        let (Some(real), Some(fake)) = (real, fake) else { return Ok(()) };
        let count = usize::try_from(real.min(fake)).unwrap_or(usize::MAX);
        if self.has(Metric::Kid) {
            let KernelOptions { subsets, subset_size, .. } = self.kernel(count, convention);
            if subset_size > count {
                return Err(FidError::Subsets { subsets, subset_size, count }.into());
            }
        }
        let neighbours = self.neighbours.unwrap_or(NEIGHBOURS);
        if self.has(Metric::Prc) && count <= neighbours {
            return Err(FidError::Neighbours { neighbours, count }.into());
        }
        let (splits, count) = (self.splits.unwrap_or(SPLITS), usize::try_from(fake).unwrap_or(usize::MAX));
        if self.has(Metric::Is) && count < splits {
            return Err(FidError::Splits { splits, count }.into());
        }
        Ok(())
    }

    /// How a kernel distance between sets of at least `count` images is estimated.
    fn kernel(&self, count: usize, convention: Convention) -> KernelOptions {
        let published = KernelOptions::default();
        let size = match convention {
            Convention::CleanFid => published.subset_size.min(count),
            Convention::PytorchFid | Convention::TorchFidelity => published.subset_size,
        };
        KernelOptions {
            subsets: self.kid_subsets.unwrap_or(published.subsets),
            subset_size: self.kid_subset_size.unwrap_or(size),
            seed: self.seed(),
        }
    }

    /// Measures what is asked for.
    pub fn measure(&self, real: &Seen, fake: &Seen, convention: Convention) -> Result<Measured, InferError> {
        // Also where no distance is asked for: features of different networks are not compared.
        real.statistics.check_comparable(&fake.statistics)?;
        let mut measured = Measured::default();
        if self.has_distance() {
            measured.distance = Some(frechet_distance(&real.statistics, &fake.statistics)?);
        }
        if let (Some(real), Some(fake)) = (&real.features, &fake.features) {
            let (real, fake) = (real.view(), fake.view());
            if self.has(Metric::Kid) {
                let options = self.kernel(real.nrows().min(fake.nrows()), convention);
                measured.kernel = Some((kernel_distance(real, fake, options)?, options));
            }
            if self.has(Metric::Prc) {
                let neighbours = self.neighbours.unwrap_or(NEIGHBOURS);
                measured.manifold = Some((precision_recall(real, fake, neighbours)?, neighbours));
            }
        }
        if let Some(logits) = &fake.logits {
            let splits = self.splits.unwrap_or(SPLITS);
            measured.score = Some((inception_score(logits.view(), splits, Some(self.seed()))?, splits));
        }
        Ok(measured)
    }
}

/// What a Fréchet inception distance of `count` generated images is called: by thousands where it is of whole ones.
pub fn name_of_fid(count: Option<u64>) -> String {
    match count {
        Some(count) if count > 0 && count % 1000 == 0 => format!("FID-{}k", count / 1000),
        _ => "FID".to_string(),
    }
}

/// The beginning of the SHA-256 of the published weights, by which pytorch-fid's and torch-fidelity's file is named.
const PUBLISHED: &str = "6726825d";

/// Whether a network is the published Inception, whatever the way of its images.
pub fn is_published(network: &str) -> bool {
    network.starts_with(PUBLISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fifty_thousand_are_called_so() {
        let names = [None, Some(0), Some(49_999), Some(50_000), Some(10_000)].map(name_of_fid);
        assert_eq!(names, ["FID", "FID", "FID", "FID-50k", "FID-10k"]);
    }
}
