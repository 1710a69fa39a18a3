//! The two orders of an image's levels.

/// Appends an image of planes, [C, H, W], to `out` as pixels, [H, W, C].
///
/// # Panics
/// When `planes` cannot be divided into `channels` equally large ones.
pub fn interleave(planes: &[u8], channels: usize, out: &mut Vec<u8>) {
    if channels == 1 {
        return out.extend_from_slice(planes);
    }
    let pixels = planes.len() / channels.max(1);
    assert_eq!(planes.len(), pixels * channels, "the image does not fill its channels");
    let first = out.len();
    out.resize(first + planes.len(), 0);
    for (channel, plane) in planes.chunks_exact(pixels.max(1)).enumerate() {
        for (to, from) in out[first + channel..].iter_mut().step_by(channels).zip(plane) {
            *to = *from;
        }
    }
}

/// The planes, [C, H, W], of an image of pixels, [H, W, C].
pub fn planes(pixels: &[u8], channels: usize) -> Vec<u8> {
    let Some((pixels, [])) = (channels == 3).then_some(pixels.as_chunks::<3>()) else {
        return (0..channels)
            .flat_map(|channel| pixels.iter().skip(channel).step_by(channels).copied())
            .collect();
    };
    // Three loops that the compiler can unroll: this is done with every image that is decoded.
    let mut planes = Vec::with_capacity(3 * pixels.len());
    for channel in 0..3 {
        planes.extend(pixels.iter().map(|pixel| pixel[channel]));
    }
    planes
}

/// An image of planes, [C, H, W], as pixels, [H, W, C].
///
/// # Panics
/// As [`interleave`].
pub fn pixels(planes: &[u8], channels: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(planes.len());
    interleave(planes, channels, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_inverse_of_the_other() {
        let image: Vec<u8> = (0..12).collect();
        let mut pixels = vec![99];
        interleave(&image, 3, &mut pixels);
        assert_eq!(pixels, [99, 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(planes(&pixels[1..], 3), image);
        let mut grey = vec![];
        interleave(&image, 1, &mut grey);
        assert_eq!((planes(&grey, 1), grey), (image.clone(), image));
        interleave(&[], 3, &mut vec![]);
    }
}
