//! Products that reach their query's threshold.

use std::cmp::Ordering;

/// Queries whose thresholds are compared together.
const LANES: usize = 16;

/// A product that may belong to a neighbour.
pub(super) struct Hit {
    pub(super) query: u32,
    pub(super) row: u32,
    /// The product less the row's shift.
    pub(super) nearness: f32,
}

/// The products `[row][query]`, less their row's shift, that are not below their query's threshold, or no numbers.
/// There are as many thresholds as queries, a multiple of 16.
pub(super) fn collect(products: &[f32], thresholds: &[f32], shifts: &[f32], hits: &mut Vec<Hit>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions.
        unsafe { collect_avx512(products, thresholds, shifts, hits) };
        return;
    }
    collect_by(products, thresholds, shifts, hits, |products, shift, thresholds| {
        // What is no number is not less.
        let is_hit = |i: usize| (products[i] - shift).partial_cmp(&thresholds[i]) != Some(Ordering::Less);
        (0..LANES).fold(0, |mask, i| mask | u16::from(is_hit(i)) << i)
    });
}

/// `mask` has a bit for each of 16 products that reaches its threshold.
#[inline(always)]
fn collect_by(
    products: &[f32],
    thresholds: &[f32],
    shifts: &[f32],
    hits: &mut Vec<Hit>,
    mask: impl Fn(&[f32; LANES], f32, &[f32; LANES]) -> u16,
) {
    let (thresholds, _) = thresholds.as_chunks::<LANES>();
    let (products, _) = products.as_chunks::<LANES>();
    for ((row, &shift), products) in (0..).zip(shifts).zip(products.chunks_exact(thresholds.len())) {
        for ((first, products), thresholds) in (0..).step_by(LANES).zip(products).zip(thresholds) {
            let mut mask = mask(products, shift, thresholds);
            while mask != 0 {
                let i = mask.trailing_zeros();
                mask &= mask - 1;
                hits.push(Hit { query: first + i, row, nearness: products[i as usize] - shift });
            }
        }
    }
}

/// The same with the mask by one comparison, which the compiler does not find by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn collect_avx512(products: &[f32], thresholds: &[f32], shifts: &[f32], hits: &mut Vec<Hit>) {
    use std::arch::x86_64::{
        _CMP_NLT_UQ, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_set1_ps, _mm512_sub_ps,
    };

    collect_by(products, thresholds, shifts, hits, |products, shift, thresholds| {
        // SAFETY: both are 16 numbers.
        let (products, thresholds) =
            unsafe { (_mm512_loadu_ps(products.as_ptr()), _mm512_loadu_ps(thresholds.as_ptr())) };
        _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_sub_ps(products, _mm512_set1_ps(shift)), thresholds)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_collect_the_same() {
        let value = |i: usize| if i % 97 == 5 { f32::NAN } else { ((i * 7919) % 1000) as f32 / 10.0 };
        let products: Vec<f32> = (0..5 * 32).map(value).collect();
        let thresholds: Vec<f32> =
            (0..32).map(|i| if i == 9 { f32::INFINITY } else { 60.0 + i as f32 }).collect();
        let shifts = [1.0, 0.0, -20.0, 3.5, 0.25];
        let mut hits = Vec::new();
        collect(&products, &thresholds, &shifts, &mut hits);
        let mut expected = Vec::new();
        for (row, shift) in shifts.iter().enumerate() {
            for (query, threshold) in thresholds.iter().enumerate() {
                let nearness = products[row * 32 + query] - shift;
                if nearness.is_nan() || nearness >= *threshold {
                    expected.push((query as u32, row as u32, nearness.to_bits()));
                }
            }
        }
        let hits: Vec<_> = hits.iter().map(|hit| (hit.query, hit.row, hit.nearness.to_bits())).collect();
        assert!(expected.len() > 20);
        assert_eq!(hits, expected);
    }
}
