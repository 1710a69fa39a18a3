//! Components of fewer samples than pixels, brought to the size of the image as libjpeg-turbo does (`jdsample.c`, with
//! "fancy upsampling": a triangle filter where a side is halved, replication where it is divided otherwise).

/// The samples of one component.
pub(super) struct Plane<'a> {
    pub samples: &'a [u8],
    /// From one row to the next.
    pub stride: usize,
    /// Samples that belong to the image; behind them lies what filled the last blocks.
    pub width: usize,
    pub height: usize,
}

impl Plane<'_> {
    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.width]
    }

    /// The row of samples that lies nearest to row `row` of the image where each stands for two rows, and the one next to
    /// it on the other side: the borders are repeated.
    fn near_and_far(&self, row: usize) -> (&[u8], &[u8]) {
        let near = (row / 2).min(self.height - 1);
        let far =
            if row.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(self.height - 1) };
        (self.row(near), self.row(far))
    }

    /// Row `row` of the image into `out`, where a sample stands for `across` x `down` pixels. `out` has a whole number of
    /// samples' pixels; `sums` is room for a row.
    pub(super) fn upsample(
        &self,
        row: usize,
        [across, down]: [usize; 2],
        sums: &mut Vec<u16>,
        out: &mut [u8],
    ) {
        match (across, down) {
            (1, 1) => out[..self.width].copy_from_slice(self.row(row)),
            (2, 1) if self.width > 2 => halved_width(self.row(row), out),
            (1, 2) => {
                let (near, far) = self.near_and_far(row);
                let bias = if row.is_multiple_of(2) { 1 } else { 2 };
                for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
                    *out = (three_to_one(near.into(), far.into()).wrapping_add(bias) >> 2) as u8;
                }
            }
            (2, 2) if self.width > 2 => {
                let (near, far) = self.near_and_far(row);
                sums.clear();
                sums.extend(near.iter().zip(far).map(|(&near, &far)| three_to_one(near.into(), far.into())));
                halved_both(sums, out);
            }
            _ => {
                for (pixels, &sample) in out.chunks_mut(across).zip(self.row(row / down)) {
                    pixels.fill(sample);
                }
            }
        }
    }
}

/// Three times the nearer and once the further, which no sums here make overflow: without the checks the compiler does
/// several at once.
#[inline(always)]
fn three_to_one(near: u16, far: u16) -> u16 {
    near.wrapping_mul(3).wrapping_add(far)
}

/// `h2v1_fancy_upsample`: 3/4 of the nearer sample and 1/4 of the further one, rounded up and down in turn.
fn halved_width(row: &[u8], out: &mut [u8]) {
    let last = row.len() - 1;
    let wide = |index: usize| u16::from(row[index]);
    let mixed = |near: u16, far: u16, bias: u16| (three_to_one(near, far).wrapping_add(bias) >> 2) as u8;
    let (pairs, _) = out.as_chunks_mut::<2>();
    pairs[0] = [row[0], mixed(wide(0), wide(1), 2)];
    for (pair, &[before, here, after]) in pairs[1..last].iter_mut().zip(row.array_windows()) {
        let [before, here, after] = [before, here, after].map(u16::from);
        *pair = [mixed(here, before, 1), mixed(here, after, 2)];
    }
    pairs[last] = [mixed(wide(last), wide(last - 1), 1), row[last]];
}

/// `h2v2_fancy_upsample`, from the sums of two rows.
fn halved_both(sums: &[u16], out: &mut [u8]) {
    let last = sums.len() - 1;
    let mixed = |near: u16, far: u16, bias: u16| (three_to_one(near, far).wrapping_add(bias) >> 4) as u8;
    let (pairs, _) = out.as_chunks_mut::<2>();
    pairs[0] = [mixed(sums[0], sums[0], 8), mixed(sums[0], sums[1], 7)];
    for (pair, &[before, here, after]) in pairs[1..last].iter_mut().zip(sums.array_windows()) {
        *pair = [mixed(here, before, 8), mixed(here, after, 7)];
    }
    pairs[last] = [mixed(sums[last], sums[last - 1], 8), mixed(sums[last], sums[last], 7)];
}
