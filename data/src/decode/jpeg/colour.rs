//! From the components of a row to RGB, in libjpeg's integers (`jdcolor.c`) and, for four components, Pillow's.

use crate::decode::picture::cmyk_to_rgb;

/// What the components of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Grey,
    YCbCr,
    Rgb,
    /// Inverted, as Adobe writes it and Pillow takes all of them.
    Cmyk,
    Ycck,
}

impl Space {
    /// libjpeg's guess (`default_decompress_parms`) from the markers: whether there is a JFIF one, the transformation that
    /// an Adobe one names, and the components' identifiers.
    pub(super) fn of(identifiers: &[u8], jfif: bool, adobe: Option<u8>) -> Option<Space> {
        Some(match (identifiers, adobe) {
            ([_], _) => Space::Grey,
            ([_, _, _], _) if jfif => Space::YCbCr,
            ([_, _, _], Some(0)) => Space::Rgb,
            ([_, _, _], Some(_)) => Space::YCbCr,
            (b"RGB", None) => Space::Rgb,
            ([_, _, _], None) => Space::YCbCr,
            ([_, _, _, _], None | Some(0)) => Space::Cmyk,
            ([_, _, _, _], Some(_)) => Space::Ycck,
            _ => return None,
        })
    }

    /// A row of pixels, of `rows` that hold a component each, into `out` of three bytes a pixel (one of grey).
    pub(super) fn convert(self, rows: &[Vec<u8>], out: &mut [u8]) {
        match (self, rows) {
            (Space::Grey, [grey]) => out.copy_from_slice(&grey[..out.len()]),
            (Space::YCbCr, [y, cb, cr]) => {
                for (((pixel, &y), &cb), &cr) in out.as_chunks_mut().0.iter_mut().zip(y).zip(cb).zip(cr) {
                    *pixel = rgb(y, cb, cr);
                }
            }
            (Space::Rgb, [r, g, b]) => {
                for (((pixel, &r), &g), &b) in out.as_chunks_mut().0.iter_mut().zip(r).zip(g).zip(b) {
                    *pixel = [r, g, b];
                }
            }
            (Space::Cmyk | Space::Ycck, [c, m, y, k]) => {
                let pixels = out.as_chunks_mut().0.iter_mut();
                for ((((pixel, &c), &m), &y), &k) in pixels.zip(c).zip(m).zip(y).zip(k) {
                    // YCCK holds the complement of RGB; both are stored inverted, so its RGB is inverted CMY.
                    let [c, m, y] = match self {
                        Space::Ycck => rgb(c, m, y),
                        _ => [255 - c, 255 - m, 255 - y],
                    };
                    *pixel = cmyk_to_rgb([c, m, y, 255 - k]);
                }
            }
            _ => unreachable!("the number of components was checked when the space was chosen"),
        }
    }
}

/// JFIF's YCbCr to RGB, with 16 fraction bits.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    // Nothing here can overflow; without the checks the compiler does several pixels at once.
    let (y, cb, cr) = (i32::from(y), i32::from(cb).wrapping_sub(128), i32::from(cr).wrapping_sub(128));
    let times = |factor: i32, level: i32| level.wrapping_mul(factor);
    let shift = |sum: i32| y.wrapping_add(sum.wrapping_add(HALF) >> 16).clamp(0, 255) as u8;
    [
        shift(times(91_881, cr)),
        shift(times(-22_554, cb).wrapping_sub(times(46_802, cr))),
        shift(times(116_130, cb)),
    ]
}
