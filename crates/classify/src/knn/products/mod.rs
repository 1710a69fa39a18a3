//! Products of many rows with many rows, nearly: which rows can be among the nearest.

pub(super) mod float32;
pub(super) mod tiles;

use tiles::Tiles;

/// Rows of the base whose errors are bounded together.
pub(super) const GROUP: usize = 32;

/// What multiplies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    /// Matrix units: values of bfloat16, sums in float32.
    Tiles(Tiles),
    /// Vector units in float32.
    Float32,
}

impl Kernel {
    /// The faster one that this processor has.
    pub(crate) fn of_this_machine() -> Self {
        Tiles::detect().map_or(Self::Float32, Self::Tiles)
    }

    /// Rows of the base to be multiplied at a time, a multiple of [`GROUP`].
    pub(super) fn base_rows(self) -> usize {
        match self {
            Self::Tiles(_) => GROUP,
            Self::Float32 => 8 * GROUP,
        }
    }
}

/// Rows as a kernel wants them, rounded to what it multiplies.
pub(super) enum Operand {
    Tiles(Vec<u16>),
    Float32(Vec<f32>),
}

/// Which side of the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Base,
    Queries,
}

impl Operand {
    /// Room for `rows` rows, a multiple of [`GROUP`], of `dim` zeros.
    pub(super) fn zeros(kernel: Kernel, rows: usize, dim: usize) -> Self {
        debug_assert_eq!(rows % GROUP, 0);
        match kernel {
            Kernel::Tiles(_) => Self::Tiles(vec![0; rows * tiles::padded(dim)]),
            Kernel::Float32 => Self::Float32(vec![0.0; rows * dim]),
        }
    }

    /// Pieces of [`GROUP`] rows, to be written in parallel.
    pub(super) fn groups(&mut self, dim: usize) -> Vec<GroupMut<'_>> {
        match self {
            Self::Tiles(values) => {
                values.chunks_exact_mut(GROUP * tiles::padded(dim)).map(GroupMut::Tiles).collect()
            }
            Self::Float32(values) => values.chunks_exact_mut(GROUP * dim).map(GroupMut::Float32).collect(),
        }
    }
}

/// [`GROUP`] rows of an operand.
pub(super) enum GroupMut<'a> {
    Tiles(&'a mut [u16]),
    Float32(&'a mut [f32]),
}

impl GroupMut<'_> {
    /// Writes one row and returns the sum of the squares of what rounding took away.
    pub(super) fn set(&mut self, side: Side, row: usize, values: &[f64]) -> f64 {
        match self {
            Self::Tiles(group) => tiles::set(group, side, row, values),
            Self::Float32(group) => {
                float32::set(&mut group[row * values.len()..(row + 1) * values.len()], values)
            }
        }
    }
}

/// `products[row][query]` of the base's rows from `row` on, as many as `products` has room for, with all
/// `query_count` queries (a multiple of [`GROUP`]), of which the first is `query`.
pub(super) fn multiply(
    kernel: Kernel,
    (base, row): (&Operand, usize),
    (queries, query): (&Operand, usize),
    query_count: usize,
    dim: usize,
    products: &mut [f32],
) {
    let rows = products.len() / query_count;
    match (kernel, base, queries) {
        (Kernel::Tiles(tiles), Operand::Tiles(base), Operand::Tiles(queries)) => {
            let width = tiles::padded(dim);
            let base = &base[row * width..(row + rows) * width];
            let queries = &queries[query * width..(query + query_count) * width];
            for (base, products) in
                base.chunks_exact(GROUP * width).zip(products.chunks_exact_mut(GROUP * query_count))
            {
                tiles.multiply(base, queries, width, products);
            }
        }
        (Kernel::Float32, Operand::Float32(base), Operand::Float32(queries)) => {
            let base = &base[row * dim..(row + rows) * dim];
            let queries = &queries[query * dim..(query + query_count) * dim];
            float32::multiply(base, queries, dim, products);
        }
        _ => unreachable!("operands are made for their kernel"),
    }
}
