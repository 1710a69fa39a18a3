//! Which images of a data set.

use clap::ValueEnum;
use ddae_data::datasets::DataSet;
use ddae_data::split::Split;

/// The value of `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitArgument {
    Train,
    Test,
}

impl SplitArgument {
    pub fn name(self) -> &'static str {
        match self {
            SplitArgument::Train => "train",
            SplitArgument::Test => "test",
        }
    }

    /// These images.
    pub fn of(self, set: DataSet) -> Split {
        match self {
            SplitArgument::Train => set.train,
            SplitArgument::Test => set.test,
        }
    }
}
