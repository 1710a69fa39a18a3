//! The inverse cosine transform of 8x8 blocks, in the integers of libjpeg's `jidctint.c` ("islow"; Loeffler, Ligtenberg and
//! Moschytz, 1989).

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

// Constants of the paper, times 2^13.
const FIX_0_298631336: i32 = 2446;
const FIX_0_390180644: i32 = 3196;
const FIX_0_541196100: i32 = 4433;
const FIX_0_765366865: i32 = 6270;
const FIX_0_899976223: i32 = 7373;
const FIX_1_175875602: i32 = 9633;
const FIX_1_501321110: i32 = 12299;
const FIX_1_847759065: i32 = 15137;
const FIX_1_961570560: i32 = 16069;
const FIX_2_053119869: i32 = 16819;
const FIX_2_562915447: i32 = 20995;
const FIX_3_072711026: i32 = 25172;

/// A one-dimensional transform, not yet scaled down: the eight sums times 2^13. Damaged files may have coefficients that
/// leave the integers' range, which then wrap.
#[inline(always)]
fn transform(v: [i32; 8]) -> [i32; 8] {
    let add = i32::wrapping_add;
    let sub = i32::wrapping_sub;
    let mul = i32::wrapping_mul;

    let z1 = mul(add(v[2], v[6]), FIX_0_541196100);
    let t2 = sub(z1, mul(v[6], FIX_1_847759065));
    let t3 = add(z1, mul(v[2], FIX_0_765366865));
    let t0 = add(v[0], v[4]) << CONST_BITS;
    let t1 = sub(v[0], v[4]) << CONST_BITS;
    let (even0, even3) = (add(t0, t3), sub(t0, t3));
    let (even1, even2) = (add(t1, t2), sub(t1, t2));

    let z5 = mul(add(add(v[7], v[3]), add(v[5], v[1])), FIX_1_175875602);
    let z1 = mul(add(v[7], v[1]), FIX_0_899976223);
    let z2 = mul(add(v[5], v[3]), FIX_2_562915447);
    let z3 = sub(z5, mul(add(v[7], v[3]), FIX_1_961570560));
    let z4 = sub(z5, mul(add(v[5], v[1]), FIX_0_390180644));
    let odd3 = add(mul(v[7], FIX_0_298631336), sub(z3, z1));
    let odd2 = add(mul(v[5], FIX_2_053119869), sub(z4, z2));
    let odd1 = add(mul(v[3], FIX_3_072711026), sub(z3, z2));
    let odd0 = add(mul(v[1], FIX_1_501321110), sub(z4, z1));

    [
        add(even0, odd0),
        add(even1, odd1),
        add(even2, odd2),
        add(even3, odd3),
        sub(even3, odd3),
        sub(even2, odd2),
        sub(even1, odd1),
        sub(even0, odd0),
    ]
}

#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// Turns the coefficients of a block, dequantised by `quantiser`, into 8 rows of 8 levels, `stride` apart in `out`.
pub(super) fn inverse(coefficients: &[i16; 64], quantiser: &[u16; 64], out: &mut [u8], stride: usize) {
    if coefficients[1..].iter().all(|&c| c == 0) {
        let dc = i32::from(coefficients[0]).wrapping_mul(i32::from(quantiser[0])) << PASS1_BITS;
        let level = (descale(dc, PASS1_BITS + 3).wrapping_add(128)).clamp(0, 255) as u8;
        for row in 0..8 {
            out[row * stride..][..8].fill(level);
        }
        return;
    }
    let mut columns = [0i32; 64];
    for column in 0..8 {
        let at = |row: usize| {
            let place = 8 * row + column;
            i32::from(coefficients[place]).wrapping_mul(i32::from(quantiser[place]))
        };
        let values = [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)];
        if values[1..] == [0; 7] {
            for row in 0..8 {
                columns[8 * row + column] = values[0] << PASS1_BITS;
            }
            continue;
        }
        for (row, sum) in transform(values).into_iter().enumerate() {
            columns[8 * row + column] = descale(sum, CONST_BITS - PASS1_BITS);
        }
    }
    for (row, values) in columns.as_chunks::<8>().0.iter().enumerate() {
        let line = &mut out[row * stride..][..8];
        for (level, sum) in line.iter_mut().zip(transform(*values)) {
            *level = descale(sum, CONST_BITS + PASS1_BITS + 3).wrapping_add(128).clamp(0, 255) as u8;
        }
    }
}
