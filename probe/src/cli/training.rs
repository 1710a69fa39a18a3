//! How a head is trained in epochs: what `linear` and `mlp` share.

use clap::{Args, ValueEnum};
use ddae_base::arguments::values::{above, real, whole};
use ddae_classify::linear::Preset;
use ddae_probe::source::table::Views;
use ddae_probe::trained::{Layers, TrainedProbe};

use super::experiment::NormaliseArgument;

/// The options of a training in epochs.
#[derive(Args, Debug)]
pub struct TrainingOptions {
    /// What becomes of the views of a training sample
    #[arg(long, value_enum, default_value_t = ViewsArgument::Drawn, help_heading = "Choosing")]
    views: ViewsArgument,

    /// The published protocol
    #[arg(long, value_enum, default_value_t = PresetArgument::Ddae, help_heading = "Model")]
    preset: PresetArgument,

    /// Passes over the training set [default: the preset's]
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = whole::<u32>(1..))]
    epochs: Option<u32>,

    /// Adam's learning rate in the first epoch [default: the preset's]
    #[arg(long, value_name = "RATE", help_heading = "Model", value_parser = real(above(0.0)))]
    lr: Option<f64>,

    /// Rows in a step [default: the preset's]
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = whole::<u32>(1..))]
    batch: Option<u32>,

    /// What is done to features first [default: the preset's]
    #[arg(long, value_enum, help_heading = "Model")]
    normalise: Option<NormaliseArgument>,

    /// Batch normalisation without scale and shift before the head [default: the preset's]
    #[arg(long, value_enum, value_name = "ON|OFF", help_heading = "Model")]
    batch_norm: Option<Switch>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetArgument {
    /// DDAE: 15 epochs, batches of 128, learning rate 0.001, features as they are
    Ddae,
    /// SODA: the same on features of length 1 after batch normalisation
    Soda,
    /// DiT's features: as ddae, 30 epochs
    Dit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ViewsArgument {
    /// One row: a view drawn anew in every epoch; of test samples the first
    Drawn,
    /// One row: the mean of the views; of test samples too
    Average,
    /// One row: the first view; of test samples too
    First,
    /// A row for each view; of test samples the mean
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl TrainingOptions {
    /// The probe that trains `layers` so, with seed 0, and what becomes of views.
    pub fn probe(&self, layers: Layers) -> (TrainedProbe, Views) {
        let preset = match self.preset {
            PresetArgument::Ddae => Preset::Ddae,
            PresetArgument::Soda => Preset::Soda,
            PresetArgument::Dit => Preset::Dit,
        };
        let views = match self.views {
            ViewsArgument::Drawn => Views::Drawn,
            ViewsArgument::Average => Views::Average,
            ViewsArgument::First => Views::First,
            ViewsArgument::All => Views::All,
        };
        let mut options = preset.options();
        options.epochs = self.epochs.map_or(options.epochs, |epochs| epochs as usize);
        options.learning_rate = self.lr.unwrap_or(options.learning_rate);
        options.batch = self.batch.map_or(options.batch, |batch| batch as usize);
        options.normalisation = self.normalise.map_or(options.normalisation, Into::into);
        options.batch_norm = self.batch_norm.map_or(options.batch_norm, |switch| switch == Switch::On);
        (TrainedProbe { preset, options, layers }, views)
    }
}
