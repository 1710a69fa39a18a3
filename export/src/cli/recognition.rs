//! Options for what the names and shapes of weights do not tell.

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_export::source::{ProcessName, WeightOptions};
use ddae_model::config::ChannelStatistics;

#[derive(Args, Debug)]
#[command(next_help_heading = "For weights without a configuration")]
pub struct RecognitionArguments {
    /// Height and width of the images, as in 32x32 or 32; also for images of another size than in training
    #[arg(long, value_name = "HxW", value_parser = image_size)]
    image_size: Option<[usize; 2]>,
    /// Number of attention heads of a DiT of an unpublished size
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    heads: Option<u16>,
    /// Channels of an attention head of a UNet [default: one head over all channels]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    head_channels: Option<u16>,
    /// Number of classes of a DiT [default: the labels that it has less one, which means none]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    classes: Option<u16>,
    /// Diffusion process of a UNet, as published
    #[arg(long, value_enum)]
    process: Option<ProcessName>,
    /// Means and standard deviations of the images an encoder was trained on: cifar10, cifar100, tiny, or M,M,M/S,S,S
    #[arg(long, value_name = "DATASET", value_parser = statistics)]
    statistics: Option<ChannelStatistics>,
}

impl RecognitionArguments {
    /// What they say; the other options are their defaults.
    pub fn options(&self) -> WeightOptions {
        WeightOptions {
            image_size: self.image_size,
            heads: self.heads.map(usize::from),
            head_channels: self.head_channels.map(usize::from),
            classes: self.classes.map(usize::from),
            process: self.process,
            normalisation: self.statistics.clone(),
            ..WeightOptions::default()
        }
    }
}

fn image_size(text: &str) -> Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    match (height.parse(), width.parse()) {
        (Ok(height), Ok(width)) if (1..=4096).contains(&height) && (1..=4096).contains(&width) => {
            Ok([height, width])
        }
        _ => Err("wanted is HEIGHTxWIDTH with sides from 1 to 4096, as in 32x32".to_string()),
    }
}

fn statistics(text: &str) -> Result<ChannelStatistics, String> {
    if let Some(published) = ChannelStatistics::published(text) {
        return Ok(published);
    }
    let numbers =
        |text: &str| text.split(',').map(|n| n.trim().parse::<f64>().ok()).collect::<Option<Vec<f64>>>();
    let parsed = text.split_once('/').and_then(|(mean, std)| Some((numbers(mean)?, numbers(std)?)));
    let (mean, std) = parsed.ok_or(
        "wanted is cifar10, cifar100, tiny, or means and deviations as in 0.49,0.48,0.45/0.20,0.20,0.20",
    )?;
    let statistics = ChannelStatistics { mean, std };
    statistics.check()?;
    Ok(statistics)
}
