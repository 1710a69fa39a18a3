//! From the network's values to levels of an image.

/// Values in [0, 1] as levels, limited and rounded as torchvision's `save_image` does. What is not a number is black.
pub fn to_levels(image: &[f64]) -> Vec<u8> {
    image.iter().map(|value| (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8).collect()
}

/// `[C, H, W]` as `[H, W, C]`.
pub(crate) fn interleaved(levels: &[u8], channels: usize) -> Vec<u8> {
    let plane = levels.len() / channels.max(1);
    (0..plane).flat_map(|pixel| (0..channels).map(move |c| levels[c * plane + pixel])).collect()
}

/// `[H, W, C]` as `[C, H, W]`.
pub fn planes(levels: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|c| levels.iter().skip(c).step_by(channels).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_and_limited() {
        let values = [-1.0, 0.0, 0.0019, 0.002, 0.5, 0.998, 0.9981, 1.0, 7.0, f64::NAN];
        assert_eq!(to_levels(&values), [0, 0, 0, 1, 128, 254, 255, 255, 255, 0]);
    }

    #[test]
    fn layouts_are_each_others_inverse() {
        let image: Vec<u8> = (0..12).collect();
        assert_eq!(interleaved(&image, 3), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(planes(&interleaved(&image, 3), 3), image);
        assert_eq!(interleaved(&image, 1), image);
    }
}
