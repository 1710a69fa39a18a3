//! `ddae-probe knn`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use ddae_base::arguments::values::{List, above, real, whole};
use ddae_classify::knn::{Metric, Votes};
use ddae_classify::scaling::Normalisation;
use ddae_probe::ProbeError;
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
  ddae-probe knn --train train.h5 --test test.h5 -k 10,20,100,200 --votes temperature
  ddae-probe knn --pixels fashion-sample")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    /// What becomes of the views of a training sample
    #[arg(long, value_enum, default_value_t = ViewsArgument::Average, help_heading = "Choosing")]
    views: ViewsArgument,

    /// Number of neighbours; of several, as in 10,20,100,200, the best on held-out training samples
    ///
    /// Neighbours are searched for once, and the report has the test accuracy of each number.
    #[arg(short, long, default_value = "20", value_name = "K,...", value_parser = neighbours, help_heading = "Model")]
    k: List<u32>,

    /// How far apart two samples are
    #[arg(long, value_enum, default_value_t = MetricArgument::Euclidean, help_heading = "Model")]
    metric: MetricArgument,

    /// What a neighbour's vote counts
    #[arg(long, value_enum, default_value_t = VotesArgument::Uniform, help_heading = "Model")]
    votes: VotesArgument,

    /// Temperature of --votes temperature [default: 0.07]
    #[arg(long, value_name = "T", value_parser = real(above(0.0)), help_heading = "Model")]
    temperature: Option<f64>,

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
    /// exp(cosine / temperature), as in the k-NN of DINO and solo-learn
    Temperature,
}

/// The temperature of DINO and solo-learn.
const TEMPERATURE: f64 = 0.07;

fn neighbours(text: &str) -> Result<List<u32>, String> {
    // A single number is told what is wrong with it in its own words.
    if !text.contains([',', ':']) {
        return Ok(List(vec![whole::<u32>(1..)(text)?]));
    }
    let list: List<u32> = text.parse()?;
    match list.contains(&0) {
        true => Err("whole numbers of at least 1 are wanted".to_string()),
        false => Ok(list),
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let metric = match arguments.metric {
        MetricArgument::Euclidean => Metric::Euclidean,
        MetricArgument::Cosine => Metric::Cosine,
    };
    let votes = match arguments.votes {
        VotesArgument::Uniform => Votes::Uniform,
        VotesArgument::Distance => Votes::Distance,
        VotesArgument::Temperature => Votes::Temperature(arguments.temperature.unwrap_or(TEMPERATURE)),
    };
    let normalisation = arguments.normalise.into();
    let refuse = |reason: &str| Err(ProbeError::Usage(reason.to_string()).into());
    let is_temperature = matches!(votes, Votes::Temperature(_));
    if arguments.temperature.is_some() && !is_temperature {
        return refuse("--temperature is that of --votes temperature: give both");
    }
    if is_temperature && metric == Metric::Euclidean && normalisation != Normalisation::L2 {
        return refuse("--votes temperature weighs by the cosine: give --metric cosine or --normalise l2");
    }
    let ks = arguments.k.iter().map(|&k| k as usize).collect();
    let probe = KnnProbe { normalisation, metric, votes, ks };
    arguments.options.run(|_| probe.clone(), arguments.views.into(), "logistic")
}
