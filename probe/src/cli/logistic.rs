//! `ddae-probe logistic`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use ddae_base::arguments::values::whole;
use ddae_classify::logistic::{LogisticOptions, Solver};
use ddae_probe::logistic::{LogisticProbe, Regularisation};

use super::experiment::{ExperimentOptions, NormaliseArgument, ViewsArgument};

/// Logistic regression on standardised features
///
/// Features are shifted and scaled to mean 0 and standard deviation 1 on the training set (unless --normalise says
/// otherwise); the sum of the cross-entropies plus ||W||² / (2 C) is minimised in float64, the intercept free: scikit-learn's
/// LogisticRegression.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe logistic --train train.h5 --test test.h5
  ddae-probe logistic --train train.h5 --test test.h5 --features t11/out_6 --c 1 --confusion out.png
  ddae-probe logistic --pixels fashion-sample")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    /// What becomes of the views of a training sample
    #[arg(long, value_enum, default_value_t = ViewsArgument::Average, help_heading = "Choosing")]
    views: ViewsArgument,

    /// Inverse strength of the penalty, above 0, or auto: the best on held-out training samples
    ///
    /// Powers of ten from 0.0001 to 10 are tried, from the strongest penalty on until two bring no gain, and others beyond
    /// them as long as the last is the best.
    #[arg(long, value_name = "C|auto", default_value = "auto", value_parser = regularisation, help_heading = "Model")]
    c: Regularisation,

    /// What is done to features first; with l2 and none the penalty acts on the features as they are
    #[arg(long, value_enum, default_value_t = NormaliseArgument::Standardise, help_heading = "Model")]
    normalise: NormaliseArgument,

    /// Steps after which the solver stops, converged or not
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Model",
          value_parser = whole::<u64>(1..))]
    max_iterations: u64,

    /// What finds the minimum
    #[arg(long, value_enum, default_value_t = SolverArgument::Newton, help_heading = "Model")]
    solver: SolverArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SolverArgument {
    /// Quasi-Newton steps that begin with the curvature of the data
    Newton,
    /// The crate linfa-logistic; slow on strongly correlated features such as pixels
    Linfa,
}

fn regularisation(text: &str) -> Result<Regularisation, String> {
    if text == "auto" {
        return Ok(Regularisation::HeldOut);
    }
    match text.parse() {
        Ok(c) if c > 0.0 && f64::is_finite(1.0 / c) && f64::is_finite(c) => Ok(Regularisation::Fixed(c)),
        _ => Err("a number above 0 is wanted, such as 1, or auto".into()),
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let solver = match arguments.solver {
        SolverArgument::Newton => Solver::Newton,
        SolverArgument::Linfa => Solver::Linfa,
    };
    let options = LogisticOptions { solver, max_iterations: arguments.max_iterations, ..Default::default() };
    let normalisation = arguments.normalise.into();
    let probe = LogisticProbe { normalisation, regularisation: arguments.c, options };
    arguments.options.run(|_| probe, arguments.views.into(), "knn")
}
