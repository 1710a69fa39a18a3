//! `ddae-probe knn`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use ddae_base::arguments::values::whole;
use ddae_classify::knn::{KnnOptions, Metric, Votes};
use ddae_probe::knn::KnnProbe;

use super::experiment::{ExperimentOptions, NormaliseArgument, ViewsArgument};

/// k-nearest neighbours
///
/// The defaults are the published protocol: k = 20, Euclidean distance on L2-normalised features, one vote each, ties
/// to the smaller label: scikit-learn's KNeighborsClassifier. Neighbours are exact, and memory does not grow with the
/// files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe knn --train train.h5 --test test.h5
  ddae-probe knn --train train.h5 --test test.h5 --features t11/out_6 -k 200 --votes distance
  ddae-probe knn --pixels fashion-sample")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    /// What becomes of the views of a training sample
    #[arg(long, value_enum, default_value_t = ViewsArgument::Average, help_heading = "Choosing")]
    views: ViewsArgument,

    /// Number of neighbours
    #[arg(short, long, default_value_t = 20, value_parser = whole::<u32>(1..), help_heading = "Model")]
    k: u32,

    /// How far apart two samples are
    #[arg(long, value_enum, default_value_t = MetricArgument::Euclidean, help_heading = "Model")]
    metric: MetricArgument,

    /// What a neighbour's vote counts
    #[arg(long, value_enum, default_value_t = VotesArgument::Uniform, help_heading = "Model")]
    votes: VotesArgument,

    /// What is done to features first
    #[arg(long, value_enum, default_value_t = NormaliseArgument::L2, help_heading = "Model")]
    normalise: NormaliseArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetricArgument {
    /// The length of the difference
    Euclidean,
    /// One minus the cosine of the angle
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VotesArgument {
    /// One each
    Uniform,
    /// One over the distance; exact hits decide alone
    Distance,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let metric = match arguments.metric {
        MetricArgument::Euclidean => Metric::Euclidean,
        MetricArgument::Cosine => Metric::Cosine,
    };
    let votes = match arguments.votes {
        VotesArgument::Uniform => Votes::Uniform,
        VotesArgument::Distance => Votes::Distance,
    };
    let options = KnnOptions { k: arguments.k as usize, metric, votes };
    let probe = KnnProbe { normalisation: arguments.normalise.into(), options };
    arguments.options.run(&probe, arguments.views.into(), "logistic")
}
