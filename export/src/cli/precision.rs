//! Options for the types of numbers in a file, and for where they lie.

use clap::Args;
use ddae_base::arguments::values::{List, above, real, whole};
use ddae_export::export::{ExternalData, FileOptions};
use ddae_export::precision::{CALIBRATION_IMAGES, PrecisionOptions};
use ddae_export::quantize::histogram::RangeRule;
use ddae_onnx::metadata::{Calibration, OutputError, OutputErrors, Precision, Target};

use super::named::named;

#[derive(Args, Debug)]
pub struct FileArguments {
    /// Type of weights and arithmetic; inputs and outputs are f32 in any case [default: f32, with --target cuda f16]
    #[arg(long, value_parser = named(&FLOATS))]
    dtype: Option<Precision>,
    /// Machines that the file is for [default: any]
    #[arg(long, value_parser = named(&[(Target::Cuda, "cuda", CUDA)]))]
    target: Option<Target>,
    /// Compute the products of a features graph in 8-bit integers
    #[arg(long, value_name = "TYPE", conflicts_with = "dtype")]
    #[arg(value_parser = named(&[(Precision::Int8, "int8", PRODUCTS)]))]
    quantize: Option<Precision>,
    /// Images that int8 is calibrated on: a data set's name, or a folder with train/CLASS/*.png
    /// [default: the training data if it is here, else the built-in images]
    #[arg(long, value_name = "DATASET|FOLDER")]
    calibrate: Option<String>,
    /// How many of them
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..))]
    #[arg(help = format!("How many of them [default: {CALIBRATION_IMAGES}]"))]
    calibration_images: Option<u32>,
    /// Timesteps of their noise, as in 11,21 or 11:101:10 [default: --timestep, else that of the configuration's linear
    /// probe, else five]
    #[arg(long, value_name = "LIST")]
    calibration_timesteps: Vec<List<i64>>,
    /// What the integers of an activation cover [default: percentile]
    #[arg(long, value_enum, value_name = "RULE")]
    calibration_range: Option<RangeRule>,
    /// When the weights go to a file of their own, FILE.onnx.data
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    external_data: ExternalData,
    /// Largest accepted relative difference of an output in ONNX Runtime
    /// [default: 1e-4 of f32, 0.01 of f16, 0.05 of bf16, 0.25 of int8]
    #[arg(long, value_name = "X", value_parser = real(above(0.0)))]
    tolerance: Option<f64>,
}

const FLOATS: [(Precision, &str, &str); 3] = [
    (Precision::F32, "f32", "32-bit floats"),
    (
        Precision::F16,
        "f16",
        "16-bit floats between the first and the last product; norms and softmaxes in f32",
    ),
    (Precision::Bf16, "bf16", "Weights stored as bfloat16, all arithmetic in f32"),
];

const CUDA: &str =
    "NVIDIA GPUs: images channels-last, norms by kernels of this project; for ddae-infer --device cuda alone";

const PRODUCTS: &str = "Convolutions and products with weights, from the second on";

impl FileArguments {
    /// What they ask for.
    pub fn options(&self) -> FileOptions {
        let precision = PrecisionOptions {
            precision: self.quantize.or(self.dtype).unwrap_or(match self.target {
                None => Precision::F32,
                Some(Target::Cuda) => Precision::F16,
            }),
            calibrate: self.calibrate.clone(),
            images: self.calibration_images.map(|n| n as usize),
            timesteps: List::joined(&self.calibration_timesteps),
            range: self.calibration_range,
        };
        let (target, external_data, tolerance) = (self.target, self.external_data, self.tolerance);
        FileOptions { precision, target, external_data, tolerance }
    }
}

/// What a file was calibrated on, in a line.
pub fn calibration_line(calibration: &Calibration) -> String {
    let Calibration { images, count, timesteps, range } = calibration;
    let timesteps: Vec<String> = timesteps.iter().map(i64::to_string).collect();
    format!("calibrated on {count} of {images} at timestep {}, range by {range}", timesteps.join(", "))
}

/// The errors of a file's outputs, one a line.
pub fn error_lines(errors: &OutputErrors, precision: Precision) -> Vec<String> {
    let against = match precision {
        Precision::F32 => "the reference interpreter",
        _ => "float32",
    };
    let width = errors.outputs.iter().map(|output| output.name.len()).max().unwrap_or(0);
    let line = |output: &OutputError| {
        format!("  {:width$} relative {:.1e}, cosine {:.7}", output.name, output.relative, output.cosine)
    };
    let title = format!("errors against {against}, {} of {}:", errors.count, errors.inputs);
    std::iter::once(title).chain(errors.outputs.iter().map(line)).collect()
}
