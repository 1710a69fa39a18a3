//! From the network's values to levels of an image.

/// Values in [0, 1] as levels, limited and rounded as torchvision's `save_image` does. What is not a number is black.
pub fn to_levels(image: &[f64]) -> Vec<u8> {
    image.iter().map(|value| (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_and_limited() {
        let values = [-1.0, 0.0, 0.0019, 0.002, 0.5, 0.998, 0.9981, 1.0, 7.0, f64::NAN];
        assert_eq!(to_levels(&values), [0, 0, 0, 1, 128, 254, 255, 255, 255, 0]);
    }
}
