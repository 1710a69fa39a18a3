//! The rules by which publications bring images to the size of a network.

use std::fmt;

use clap::ValueEnum;

use super::{Filter, crop, resize_by, resize_float, resize_window};

/// How an image becomes one of another size. Each gives PIL's levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Rule {
    /// Shorter side to the size, bilinear (antialiased), centre cut out: torchvision's Resize and CenterCrop
    #[default]
    Cover,
    /// The same, bicubic
    CoverBicubic,
    /// Shorter side to 256/224 of the size, bilinear, centre cut out: torchvision's ImageNet evaluation
    Imagenet,
    /// The same, bicubic, as timm has it for most models
    ImagenetBicubic,
    /// Halved by boxes while at least twice the size, bicubic to it, centre cut out: center_crop_arr of ADM and DiT
    Adm,
    /// Largest rectangle of the wanted proportions cut out of the centre, then Lanczos: center-crop of EDM's dataset_tool
    Edm,
    /// Both sides to the size, bilinear, proportions given up
    Stretch,
    /// The same, bicubic
    StretchBicubic,
    /// Both sides to the size, bicubic without rounding in between, rounded at the end: clean-fid's resizing
    CleanFid,
    /// Images of another size are refused
    None,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Cover => "cover",
            Rule::CoverBicubic => "cover-bicubic",
            Rule::Imagenet => "imagenet",
            Rule::ImagenetBicubic => "imagenet-bicubic",
            Rule::Adm => "adm",
            Rule::Edm => "edm",
            Rule::Stretch => "stretch",
            Rule::StretchBicubic => "stretch-bicubic",
            Rule::CleanFid => "clean-fid",
            Rule::None => "none",
        })
    }
}

impl Rule {
    /// Brings an image of [C, H, W] = `shape` to `size` = [H, W]; none where the rule refuses another size.
    ///
    /// # Panics
    /// When `levels` does not have the length of `shape`, or a side is 0.
    pub fn apply(self, levels: &[u8], shape: [usize; 3], size: [usize; 2]) -> Option<Vec<u8>> {
        let [_, height, width] = shape;
        let has_size = [height, width] == size;
        Some(match self {
            Rule::None if !has_size => return None,
            Rule::Imagenet => cover(levels, shape, size, size.map(before_crop), Filter::Bilinear),
            Rule::ImagenetBicubic => cover(levels, shape, size, size.map(before_crop), Filter::Bicubic),
            // The others leave an image of the right size as it is.
            _ if has_size => levels.to_vec(),
            Rule::None => return None,
            Rule::Cover => cover(levels, shape, size, size, Filter::Bilinear),
            Rule::CoverBicubic => cover(levels, shape, size, size, Filter::Bicubic),
            Rule::Adm => adm(levels, shape, size),
            Rule::Edm => edm(levels, shape, size),
            Rule::Stretch => resize_by(levels, shape, size[0], size[1], Filter::Bilinear),
            Rule::StretchBicubic => resize_by(levels, shape, size[0], size[1], Filter::Bicubic),
            Rule::CleanFid => resize_float(levels, shape, size[0], size[1], Filter::Bicubic),
        })
    }
}

/// The side before the crop to `side`: 256 for 224, timm's floor(side / 0.875).
fn before_crop(side: usize) -> usize {
    side * 8 / 7
}

/// Scales until a rectangle of `height` x `width` is just covered, keeping the proportions, and cuts the centre of `size` out.
fn cover(
    levels: &[u8],
    shape: [usize; 3],
    size: [usize; 2],
    [height, width]: [usize; 2],
    filter: Filter,
) -> Vec<u8> {
    let [_, from_height, from_width] = shape;
    // Which side is the tighter one, without rounding: height / from_height against width / from_width.
    let [scaled_height, scaled_width] = if height * from_width >= width * from_height {
        [height, (height * from_width / from_height).max(width)]
    } else {
        [(width * from_height / from_width).max(height), width]
    };
    let centred = |outer: usize, inner: usize| ((outer - inner) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (centred(scaled_height, size[0]), centred(scaled_width, size[1]));
    let window = [top, left, size[0], size[1]];
    resize_window(levels, shape, [scaled_height, scaled_width], window, filter)
}

/// `center_crop_arr` of guided-diffusion (ADM) and DiT, which is written for squares; for others, the tighter side counts.
fn adm(levels: &[u8], shape: [usize; 3], [height, width]: [usize; 2]) -> Vec<u8> {
    let [channels, mut from_height, mut from_width] = shape;
    let mut halved = levels.to_vec();
    while from_height >= 2 * height && from_width >= 2 * width {
        let [less_height, less_width] = [from_height / 2, from_width / 2];
        halved =
            resize_by(&halved, [channels, from_height, from_width], less_height, less_width, Filter::Box);
        [from_height, from_width] = [less_height, less_width];
    }
    let scale = (height as f64 / from_height as f64).max(width as f64 / from_width as f64);
    let scaled = |side: usize, least: usize| ((side as f64 * scale).round_ties_even() as usize).max(least);
    let [scaled_height, scaled_width] = [scaled(from_height, height), scaled(from_width, width)];
    let shape = [channels, from_height, from_width];
    let window = [(scaled_height - height) / 2, (scaled_width - width) / 2, height, width];
    resize_window(&halved, shape, [scaled_height, scaled_width], window, Filter::Bicubic)
}

/// EDM's `center_crop`, which is written for squares: `crop = min(H, W)`, then `Image.LANCZOS`.
fn edm(levels: &[u8], shape: [usize; 3], [height, width]: [usize; 2]) -> Vec<u8> {
    let [channels, from_height, from_width] = shape;
    let [cut_height, cut_width] = if from_height * width <= from_width * height {
        [from_height, (from_height * width / height).clamp(1, from_width)]
    } else {
        [(from_width * height / width).clamp(1, from_height), from_width]
    };
    // As numpy slices: (H - crop) // 2 to (H + crop) // 2.
    let rectangle = [(from_height - cut_height) / 2, (from_width - cut_width) / 2, cut_height, cut_width];
    let cut = crop(levels, shape, rectangle);
    resize_by(&cut, [channels, cut_height, cut_width], height, width, Filter::Lanczos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_keeps_the_centre() {
        // A row of four 2x2 blocks shrunk to blocks of one pixel: the middle two are left.
        let row = [0, 0, 80, 80, 160, 160, 240, 240];
        let levels = [row, row].concat();
        let out = Rule::Cover.apply(&levels, [1, 2, 8], [2, 4]);
        assert_eq!(out.as_deref(), Some(&[80, 80, 160, 160, 80, 80, 160, 160][..]));
        assert_eq!(Rule::Cover.apply(&levels, [1, 2, 8], [1, 4]).map(|out| out.len()), Some(4));
    }

    #[test]
    fn every_rule_gives_the_size_for_all_sizes() {
        for &rule in Rule::value_variants() {
            for (from, to) in [([1, 1], [5, 3]), ([40, 9], [8, 8]), ([9, 40], [8, 4]), ([64, 65], [3, 31])] {
                let levels = vec![200; 3 * from[0] * from[1]];
                let out = rule.apply(&levels, [3, from[0], from[1]], to);
                let wanted = (rule != Rule::None).then(|| vec![200; 3 * to[0] * to[1]]);
                assert_eq!(out, wanted, "{rule} from {from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for rule in Rule::value_variants() {
            let name = rule.to_possible_value().map(|value| value.get_name().to_string());
            assert_eq!(name, Some(rule.to_string()));
        }
    }
}
