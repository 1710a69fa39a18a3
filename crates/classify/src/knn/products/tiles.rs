//! Products on the matrix units of x86 processors (AMX): bfloat16 values, exact products, sums in float32.
//!
//! A tile is 16 rows of 64 bytes. `tdpbf16ps` adds to a tile of 16x16 sums the products of a tile of 16 rows, 32 values
//! each, with one of 16 columns, in which two consecutive values of a column lie side by side (Intel 64 and IA-32
//! Architectures Software Developer's Manual, volume 1, chapter 18). Numbers below the smallest normal one count as zero.
//! The standard library has no stable functions for them yet, so that the instructions stand here as assembly.

use super::{GROUP, Side};

/// Values of a row in one tile.
const DEPTH: usize = 32;

/// Rows of a tile.
const TILE_ROWS: usize = 16;

/// The permission to use the matrix units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles(());

/// A row's length as it is stored: with zeros to a multiple of [`DEPTH`].
pub(super) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(DEPTH)
}

/// Writes `values`, rounded, as row `row` of a group and returns the sum of the squares of the differences.
///
/// Both sides are stored tile after tile along the rows. A group of the base has tiles of [`GROUP`] rows, so two tiles one
/// after the other; queries lie in columns, the first 16 queries before the others.
pub(super) fn set(group: &mut [u16], side: Side, row: usize, values: &[f64]) -> f64 {
    let half = group.len() / (GROUP / TILE_ROWS);
    let mut lost = 0.0;
    for (step, values) in values.chunks(DEPTH).enumerate() {
        let mut rounded = [0; DEPTH];
        for (target, &value) in rounded.iter_mut().zip(values) {
            *target = bfloat16(value as f32);
            let difference = value - f64::from(f32::from_bits(u32::from(*target) << 16));
            lost += difference * difference;
        }
        match side {
            Side::Base => {
                let start = (step * GROUP + row) * DEPTH;
                group[start..start + DEPTH].copy_from_slice(&rounded);
            }
            Side::Queries => {
                let start = row / TILE_ROWS * half + step * TILE_ROWS * DEPTH + row % TILE_ROWS * 2;
                for (pair, values) in rounded.chunks_exact(2).enumerate() {
                    let start = start + pair * 2 * TILE_ROWS;
                    group[start..start + 2].copy_from_slice(values);
                }
            }
        }
    }
    lost
}

/// The nearest bfloat16, ties to even; zero for numbers below the smallest normal one. May round up to infinity.
fn bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    if value.abs() < f32::MIN_POSITIVE { 0 } else { rounded as u16 }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Tiles {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(super) fn multiply(self, _: &[u16], _: &[u16], _: usize, _: &mut [f32]) {
        unreachable!("there are no tiles")
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Tiles {
    /// The matrix units, where the processor has them and the system lets this process use them.
    pub(crate) fn detect() -> Option<Self> {
        use std::sync::OnceLock;
        static DETECTED: OnceLock<bool> = OnceLock::new();
        DETECTED.get_or_init(|| has_tiles() && ask_for_tiles()).then_some(Self(()))
    }

    /// `products[row][query]` of [`GROUP`] rows of the base with all of `queries`; rows of `width` values, a multiple of
    /// [`DEPTH`].
    pub(super) fn multiply(self, base: &[u16], queries: &[u16], width: usize, products: &mut [f32]) {
        use std::arch::asm;

        let query_count = queries.len() / width;
        let steps = width / DEPTH;
        assert!(width.is_multiple_of(DEPTH) && steps > 0, "rows of whole tiles");
        assert!(base.len() == GROUP * width && queries.len() == query_count * width, "whole rows");
        assert!(query_count.is_multiple_of(GROUP) && products.len() == GROUP * query_count, "whole tiles");
        let stride = 4 * query_count;
        let half = TILE_ROWS * width;
        // SAFETY: the instructions exist and are permitted, which `self` stands for. `TileConfig` is what `ldtilecfg`
        // reads. It is undone below, and in between nothing else runs in this thread.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, preserves_flags, readonly));
        }
        for (pair, queries) in queries.chunks_exact(2 * half).enumerate() {
            let (first, second) = queries.split_at(half);
            // SAFETY: a step reads 16 rows of 64 bytes from each of four places. `steps` of them end where the base
            // (2 KiB a step: two tiles) and the two halves of the queries (1 KiB a step) end, by the assertions above. The
            // four tiles written are the rows 0..16 and 16..32, and the columns 0..16 and 16..32, of this pair's columns
            // of `products`, whose rows are `stride` bytes long.
            unsafe {
                let out = products.as_mut_ptr().add(pair * 2 * TILE_ROWS);
                let below = out.add(TILE_ROWS * query_count);
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{base} + {row}]",
                    "tileloadd tmm6, [{first} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{second} + {row}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{base} + {row} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {base}, 2048",
                    "add {first}, 1024",
                    "add {second}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {stride}], tmm0",
                    "tilestored [{out} + {stride} + 64], tmm1",
                    "tilestored [{below} + {stride}], tmm2",
                    "tilestored [{below} + {stride} + 64], tmm3",
                    base = inout(reg) base.as_ptr() => _,
                    first = inout(reg) first.as_ptr() => _,
                    second = inout(reg) second.as_ptr() => _,
                    steps = inout(reg) steps => _,
                    row = in(reg) 64_usize,
                    out = in(reg) out,
                    below = in(reg) below,
                    stride = in(reg) stride,
                    out("tmm0") _,
                    out("tmm1") _,
                    out("tmm2") _,
                    out("tmm3") _,
                    out("tmm4") _,
                    out("tmm5") _,
                    out("tmm6") _,
                    out("tmm7") _,
                    options(nostack),
                );
            }
        }
        // SAFETY: as for `ldtilecfg`.
        unsafe {
            asm!("tilerelease", options(nostack, preserves_flags, nomem));
        }
    }
}

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 8],
    unused: [u16; 8],
    rows: [u8; 8],
    unused_rows: [u8; 8],
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_of_row: [64; 8],
    unused: [0; 8],
    rows: [TILE_ROWS as u8; 8],
    unused_rows: [0; 8],
};

/// Whether the processor has tiles of bfloat16 and the system saves them with a thread's other registers.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the caller has seen that the system has turned `xgetbv` on.
        unsafe { _xgetbv(0) }
    }

    /// Configuration and data of tiles.
    const SAVED: u64 = 1 << 17 | 1 << 18;
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let wanted = AMX_BF16 | AMX_TILE;
    // SAFETY: with OSXSAVE the processor has XSAVE.
    __cpuid_count(7, 0).edx & wanted == wanted && unsafe { saved() } & SAVED == SAVED
}

/// Asks Linux for the room that a thread's tiles take (`ARCH_REQ_XCOMP_PERM`, since 5.16); for the whole process.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask_for_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: two numbers are passed and no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest() {
        for (value, expected) in [
            (1.0, 0x3f80),
            (-2.5, 0xc020),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (1.0 + 1.001 / 256.0, 0x3f81),
            (1e-39, 0),
            (-1e-39, 0),
            (f32::MIN_POSITIVE, 0x0080),
        ] {
            assert_eq!(bfloat16(value), expected, "{value:e}");
        }
    }

    #[test]
    fn products_of_whole_numbers_are_exact() {
        let Some(tiles) = Tiles::detect() else {
            eprintln!("this machine has no matrix units for bfloat16");
            return;
        };
        let (dim, query_count) = (70, 64);
        let width = padded(dim);
        let value = |i: usize, j: usize| ((i * 31 + j * 17) % 23) as f64 - 11.0;
        let mut base = vec![0; GROUP * width];
        let mut queries = vec![0; query_count * width];
        let row = |i: usize| (0..dim).map(|j| value(i, j)).collect::<Vec<f64>>();
        for i in 0..GROUP {
            assert_eq!(set(&mut base, Side::Base, i, &row(i)), 0.0);
        }
        for (group, queries) in queries.chunks_exact_mut(GROUP * width).enumerate() {
            for i in 0..GROUP {
                set(queries, Side::Queries, i, &row(100 + group * GROUP + i));
            }
        }
        let mut products = vec![f32::NAN; GROUP * query_count];
        tiles.multiply(&base, &queries, width, &mut products);
        for i in 0..GROUP {
            for j in 0..query_count {
                let expected: f64 = row(i).iter().zip(row(100 + j)).map(|(a, b)| a * b).sum();
                assert_eq!(f64::from(products[i * query_count + j]), expected, "row {i}, query {j}");
            }
        }
    }
}
