//! Options for the types of numbers in a file, and for where they lie.

use clap::{Args, ValueEnum};
use ddae_export::export::Output;
use ddae_export::numbers::{CALIBRATION_IMAGES, Numbers};
use ddae_export::quantize::histogram::{PERCENTILE, RangeRule};
use ddae_onnx::metadata::{Calibration, Errors, Precision};

#[derive(Args, Debug)]
pub struct NumberArguments {
    /// Type of weights and arithmetic; inputs and outputs are f32 in any case
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Compute the products of a features graph in 8-bit integers
    #[arg(long, value_enum, value_name = "TYPE", conflicts_with = "dtype")]
    quantize: Option<Quantize>,
    /// Images that int8 is calibrated on: a data set's name, or a folder with train/CLASS/*.png
    /// [default: the training data if it is here, else the built-in images]
    #[arg(long, value_name = "DATASET|FOLDER")]
    calibrate: Option<String>,
    /// How many of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help = format!("How many of them [default: {CALIBRATION_IMAGES}]"))]
    calibration_images: Option<u32>,
    /// Timesteps of their noise [default: --timestep, else that of the configuration's linear probe, else five]
    #[arg(long, value_delimiter = ',', value_name = "T,..", allow_negative_numbers = true)]
    calibration_timesteps: Vec<i64>,
    /// What the integers of an activation cover [default: percentile]
    #[arg(long, value_enum, value_name = "RULE")]
    calibration_range: Option<RuleName>,
    /// When the weights go to a file of their own, FILE.onnx.data
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    external_data: ExternalData,
    /// Largest accepted relative difference of an output in ONNX Runtime
    /// [default: 1e-4 of f32, 0.01 of f16, 0.05 of bf16, 0.25 of int8]
    #[arg(long, value_name = "X", value_parser = tolerance)]
    tolerance: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    /// 32-bit floats
    F32,
    /// 16-bit floats between the first and the last product; norms and softmaxes in f32
    F16,
    /// Weights stored as bfloat16, all arithmetic in f32
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantize {
    /// Convolutions and products with weights, from the second on
    Int8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RuleName {
    /// All values that were seen
    Minmax,
    /// All but one of 10,000, half of them at either end
    Percentile,
    /// What makes the mean squared error of rounding and cutting off least
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum ExternalData {
    /// Where they do not fit into one file, beyond 2 GB
    Auto,
    /// Always
    Always,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("a number above 0 is wanted, as in 1e-4".to_string()),
    }
}

impl NumberArguments {
    /// What they ask for.
    pub fn output(&self) -> Output {
        let precision = match (self.quantize, self.dtype) {
            (Some(Quantize::Int8), _) => Precision::Int8,
            (None, Dtype::F32) => Precision::F32,
            (None, Dtype::F16) => Precision::F16,
            (None, Dtype::Bf16) => Precision::Bf16,
        };
        let numbers = Numbers {
            precision,
            calibrate: self.calibrate.clone(),
            images: self.calibration_images.map(|n| n as usize),
            timesteps: self.calibration_timesteps.clone(),
            range: self.calibration_range.map(|rule| match rule {
                RuleName::Minmax => RangeRule::MinMax,
                RuleName::Percentile => RangeRule::Percentile(PERCENTILE),
                RuleName::Error => RangeRule::LeastError,
            }),
        };
        let external_data = self.external_data == ExternalData::Always;
        Output { numbers, external_data, tolerance: self.tolerance }
    }
}

/// What a file was calibrated on, in a line.
pub fn calibration_line(calibration: &Calibration) -> String {
    let Calibration { images, count, timesteps, range } = calibration;
    let timesteps: Vec<String> = timesteps.iter().map(i64::to_string).collect();
    format!("calibrated on {count} of {images} at timestep {}, range by {range}", timesteps.join(", "))
}

/// The errors of a file's outputs, one a line.
pub fn error_lines(errors: &Errors, precision: Precision) -> Vec<String> {
    let against = match precision {
        Precision::F32 => "the reference interpreter",
        _ => "float32",
    };
    let width = errors.outputs.iter().map(|output| output.name.len()).max().unwrap_or(0);
    let line = |output: &ddae_onnx::metadata::OutputError| {
        format!("  {:width$} relative {:.1e}, cosine {:.7}", output.name, output.relative, output.cosine)
    };
    let title = format!("errors against {against}, {} of {}:", errors.count, errors.inputs);
    std::iter::once(title).chain(errors.outputs.iter().map(line)).collect()
}
