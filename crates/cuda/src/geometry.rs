//! How a kernel's work is cut into blocks of threads.

use crate::CudaError;

/// The blocks of a norm: each has one image and `chunk` of its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of an element that a thread holds side by side; 1 where four would not divide a chunk.
    pub vector: usize,
    /// Channels of a block, whole groups.
    pub chunk: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Blocks.
    pub blocks: usize,
    /// Shared memory of a block in bytes, the larger of both directions.
    pub shared: usize,
}

/// Threads of a block at most.
const THREADS: usize = 256;

/// Bytes of channels side by side that a block reads at least, where there are so many: whole sectors of memory.
const BYTES: usize = 64;

/// Blocks that keep every multiprocessor of a large card busy.
const ENOUGH_BLOCKS: usize = 660;

impl Geometry {
    /// For `batch` images of `pixels` and `channels` in `groups`, elements of `size` bytes.
    ///
    /// # Errors
    /// [`CudaError::Shape`] where the groups do not divide the channels, or one group does not fit a block.
    pub fn new(
        [batch, pixels, channels]: [usize; 3],
        groups: usize,
        size: usize,
    ) -> Result<Geometry, CudaError> {
        let refuse = |what: String| Err(CudaError::Shape(what));
        if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) || pixels == 0 || batch == 0 {
            return refuse(format!(
                "{batch} images of {pixels} pixels and {channels} channels in {groups} groups have no norm"
            ));
        }
        if [batch * channels, pixels].iter().any(|&n| n > i32::MAX as usize / 2) {
            return refuse(format!("{batch} images of {pixels} pixels and {channels} channels are too many"));
        }
        let width = channels / groups;
        // Eight bytes of 16-bit elements: with sixteen, each thread would hold so much that half as many are at work.
        let wide = 4;
        // Chunks of k groups, from small to large.
        let chunks = |vector: usize| {
            let fits = move |chunk: &usize| {
                chunk.is_multiple_of(vector) && channels.is_multiple_of(*chunk) && chunk / vector <= THREADS
            };
            (1..=groups).map(move |k| k * width).filter(fits)
        };
        let vector = if chunks(wide).next().is_some() { wide } else { 1 };
        let Some(smallest) = chunks(vector).next() else {
            return refuse(format!(
                "a group of {width} channels is more than a block of {THREADS} threads holds"
            ));
        };
        let blocks = |chunk: usize| batch * (channels / chunk);
        // Twice as much side by side where there are blocks enough.
        let wanted = |bytes: usize| chunks(vector).find(|chunk| chunk * size >= bytes);
        let chunk = wanted(2 * BYTES)
            .filter(|&chunk| blocks(chunk) >= ENOUGH_BLOCKS)
            .or_else(|| wanted(BYTES))
            .or_else(|| chunks(vector).last())
            .unwrap_or(smallest);
        let lanes = chunk / vector;
        // A power of two, no more than there are pixels.
        let rows = (THREADS / lanes).min(pixels.next_power_of_two());
        let rows = if rows.is_power_of_two() { rows } else { rows.next_power_of_two() / 2 };
        let floats = (2 * rows * chunk + 3 * chunk).max(3 * rows * chunk + 2 * (chunk / width));
        Ok(Geometry { vector, chunk, threads: lanes * rows, blocks: blocks(chunk), shared: 4 * floats })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_whole_groups_and_fit() {
        for (batch, pixels, channels, groups, size) in [
            (128, 1024, 128, 32, 2),
            (1, 1024, 128, 32, 2),
            (512, 16, 256, 32, 2),
            (128, 256, 512, 32, 4),
            (3, 49, 30, 15, 2),
            (3, 1, 6, 3, 4),
            (2, 4096, 1024, 1, 2),
            (64, 784, 64, 32, 2),
            (64, 784, 384, 32, 2),
        ] {
            let g = Geometry::new([batch, pixels, channels], groups, size).expect("a geometry");
            let (width, lanes) = (channels / groups, g.chunk / g.vector);
            assert!(g.chunk.is_multiple_of(width) && channels.is_multiple_of(g.chunk), "{g:?}");
            assert!(g.chunk.is_multiple_of(g.vector) && g.threads.is_multiple_of(lanes), "{g:?}");
            assert!((g.threads / lanes).is_power_of_two() && g.threads <= THREADS, "{g:?}");
            assert_eq!(g.blocks, batch * channels / g.chunk);
            assert!(g.shared <= 48 << 10, "{g:?}");
        }
    }

    #[test]
    fn the_usual_shapes_are_read_four_elements_at_a_time() {
        let vector = |channels, groups, size| {
            Geometry::new([8, 64, channels], groups, size).map(|geometry| geometry.vector).ok()
        };
        assert_eq!((vector(128, 32, 2), vector(256, 32, 2), vector(384, 32, 2)), (Some(4), Some(4), Some(4)));
        assert_eq!((vector(128, 32, 4), vector(30, 15, 2)), (Some(4), Some(1)));
    }

    #[test]
    fn what_has_no_norm_is_refused() {
        for (shape, groups) in
            [([1, 4, 6], 4), ([1, 4, 6], 0), ([0, 4, 6], 3), ([1, 0, 6], 3), ([1, 4, 1152], 1)]
        {
            assert!(Geometry::new(shape, groups, 2).is_err(), "{shape:?} in {groups}");
        }
    }
}
