//! What is measured: the options, and the numbers.

use clap::{Args, ValueEnum};
use ddae_base::Stop;
use ddae_base::arguments::values::whole;
use ddae_base::progress::{Progress, Unit};
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

    /// The metrics that are of the real images one by one.
    pub fn of_real(&self) -> Option<&'static str> {
        let metrics = [("kid", Metric::Kid), ("prc", Metric::Prc)];
        metrics.into_iter().find(|&(_, metric)| self.has(metric)).map(|(name, _)| name)
    }

    /// The metrics that are of the fake images one by one, or of their number.
    pub fn of_fake(&self) -> Option<&'static str> {
        let more = [("fid-50k", Metric::Fid50k), ("is", Metric::Is)];
        let more = || more.into_iter().find(|&(_, metric)| self.has(metric)).map(|(name, _)| name);
        self.of_real().or_else(more)
    }

    /// Refuses a name for so many generated images; none where it is not known.
    pub fn check_name(&self, fake: Option<u64>) -> Result<(), InferError> {
        if !self.has(Metric::Fid50k) || fake == Some(FIFTY_THOUSAND) {
            return Ok(());
        }
        let found = fake.map_or("it is not known how many are meant here".to_string(), |count| {
            format!("here are {count}")
        });
        Err(InferError::Argument(format!(
            "fid-50k: FID-50k is of 50,000 generated images, and {found}; ask for fid, which is called what it is"
        )))
    }

    /// Refuses, before the work, what so many images cannot have; none where it is not known.
    pub fn check_counts(
        &self,
        real: Option<u64>,
        fake: Option<u64>,
        convention: Convention,
    ) -> Result<(), InferError> {
        let as_size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(count) = real.into_iter().chain(fake).min().map(as_size) {
            let KernelOptions { subsets, subset_size, .. } = self.kernel(count, convention);
            if self.has(Metric::Kid) && subset_size > count {
                return Err(FidError::Subsets { subsets, subset_size, count }.into());
            }
            let neighbours = self.neighbours.unwrap_or(NEIGHBOURS);
            if self.has(Metric::Prc) && count <= neighbours {
                return Err(FidError::Neighbours { neighbours, count }.into());
            }
        }
        let splits = self.splits.unwrap_or(SPLITS);
        match fake.map(as_size) {
            Some(count) if self.has(Metric::Is) && count < splits => {
                Err(FidError::Splits { splits, count }.into())
            }
            _ => Ok(()),
        }
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

    /// Measures what is asked for, until `stop` is set. What takes long says how far it is.
    pub fn measure(
        &self,
        real: &Seen,
        fake: &Seen,
        convention: Convention,
        stop: &Stop,
    ) -> Result<Measured, InferError> {
        // Also where no distance is asked for: features of different networks are not compared.
        real.statistics.check_comparable(&fake.statistics)?;
        let mut measured = Measured::default();
        if self.has_distance() {
            measured.distance = Some(frechet_distance(&real.statistics, &fake.statistics)?);
        }
        if let (Some(real), Some(fake)) = (&real.features, &fake.features) {
            let (real, fake) = (real.view(), fake.view());
            let [of_real, of_fake] = [real, fake].map(|set| set.nrows());
            if self.has(Metric::Kid) {
                let options = self.kernel(of_real.min(of_fake), convention);
                let KernelOptions { subsets, subset_size, .. } = options;
                let what = format!("kernel distance, {subsets} subsets of {subset_size} images");
                let advance = advance(&what, subsets, stop);
                measured.kernel = Some((kernel_distance(real, fake, options, advance)?, options));
            }
            if self.has(Metric::Prc) {
                let neighbours = self.neighbours.unwrap_or(NEIGHBOURS);
                let what = format!("precision and recall, neighbours of {of_real} and {of_fake} images");
                let advance = advance(&what, of_real + 2 * of_fake, stop);
                measured.manifold = Some((precision_recall(real, fake, neighbours, advance)?, neighbours));
            }
        }
        if let Some(logits) = &fake.logits {
            let splits = self.splits.unwrap_or(SPLITS);
            measured.score = Some((inception_score(logits.view(), splits, Some(self.seed()))?, splits));
        }
        Ok(measured)
    }
}

/// Refuses several views of each image for a `metric` that takes images as they are.
pub fn check_views(
    text: &str,
    images_and_views: Option<[usize; 2]>,
    metric: Option<&str>,
) -> Result<(), InferError> {
    match (images_and_views, metric) {
        (Some([images, views]), Some(metric)) if views > 1 => Err(InferError::Argument(format!(
            "{text} holds {views} views of each of {images} images, and {metric} is of images as they are: extract features \
             without --views"
        ))),
        _ => Ok(()),
    }
}

/// Shows how far a task is, and whether it is to go on.
fn advance(what: &str, total: usize, stop: &Stop) -> impl Fn(u64) -> bool + Sync {
    let progress = Progress::task(what, Some(total as u64), Unit::Share);
    move |done| {
        progress.advance(done);
        !stop.is_requested()
    }
}

/// What a Fréchet inception distance of `count` generated images is called: by thousands where it is of whole ones.
pub fn name_of_fid(count: Option<u64>) -> String {
    match count {
        Some(count) if count > 0 && count % 1000 == 0 => format!("FID-{}k", count / 1000),
        _ => "FID".to_string(),
    }
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
