//! How tools bring images to a network's size and to its range of values.

use std::fmt;

use clap::ValueEnum;
use ddae_data::resize::{Filter, resize_to_floats};

/// A tool, by whose conventions images are resized and scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Convention {
    /// Bilinear without antialiasing (PyTorch's, pixels by their centres), values 0 to 1
    #[default]
    PytorchFid,
    /// Bilinear without antialiasing (TensorFlow 1's, pixels by their corners), values of bytes
    TorchFidelity,
    /// Bicubic with antialiasing (PIL's, unrounded, channel by channel), values of bytes
    CleanFid,
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Convention::PytorchFid => "pytorch-fid",
            Convention::TorchFidelity => "torch-fidelity",
            Convention::CleanFid => "clean-fid",
        })
    }
}

impl Convention {
    /// Brings levels `[C, H, W]` = `shape` to `size` = `[H, W]`. The result is between 0 and 255, and not rounded.
    ///
    /// # Panics
    /// When `levels` does not have the length of `shape`, or a side is 0.
    pub fn resized(self, levels: &[u8], shape: [usize; 3], size: [usize; 2]) -> Vec<f32> {
        let [_, height, width] = shape;
        if [height, width] == size {
            return levels.iter().map(|&level| f32::from(level)).collect();
        }
        match self {
            Convention::PytorchFid => bilinear(levels, shape, size, by_centres),
            Convention::TorchFidelity => bilinear(levels, shape, size, by_corners),
            Convention::CleanFid => resize_to_floats(levels, shape, size[0], size[1], Filter::Bicubic),
        }
    }

    /// What a level is divided by for a network that takes `2 x - 1`. Networks of TensorFlow's take `(level - 128) / 128`.
    pub fn scale(self) -> f32 {
        match self {
            Convention::PytorchFid => 255.0,
            Convention::TorchFidelity | Convention::CleanFid => 256.0,
        }
    }
}

/// The two levels along an axis that one is made of, and the part of the second.
#[derive(Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    part: f32,
}

/// The tools find positions in float32, whose rounding is that of the parts.
fn between(position: f32, from: usize) -> Between {
    let low = (position as usize).min(from - 1);
    Between { low, high: (low + 1).min(from - 1), part: position - low as f32 }
}

/// `align_corners=False` of PyTorch.
fn by_centres(to: usize, from: usize, length: usize) -> Between {
    between((from as f32 / length as f32 * (to as f32 + 0.5) - 0.5).max(0.0), from)
}

/// `align_corners=False` of TensorFlow 1.
fn by_corners(to: usize, from: usize, length: usize) -> Between {
    between(to as f32 * (from as f32 / length as f32), from)
}

fn bilinear(
    levels: &[u8],
    [channels, height, width]: [usize; 3],
    [to_height, to_width]: [usize; 2],
    place: fn(usize, usize, usize) -> Between,
) -> Vec<f32> {
    assert_eq!(levels.len(), channels * height * width, "levels do not fill the shape");
    let columns: Vec<Between> = (0..to_width).map(|column| place(column, width, to_width)).collect();
    let mix = |low: f32, high: f32, part: f32| low + (high - low) * part;
    let mut out = Vec::with_capacity(channels * to_height * to_width);
    for plane in levels.chunks_exact(height * width) {
        for row in 0..to_height {
            let Between { low, high, part } = place(row, height, to_height);
            let line = |row: usize| &plane[row * width..(row + 1) * width];
            let (upper, lower) = (line(low), line(high));
            out.extend(columns.iter().map(|at| {
                let of = |line: &[u8]| mix(f32::from(line[at.low]), f32::from(line[at.high]), at.part);
                mix(of(upper), of(lower), part)
            }));
        }
    }
    out
}
