//! Scans: entropy-coded coefficients (ITU-T T.81, annexes F and G).

use super::bits::{Bits, Huffman};
use super::frame::Frame;
use super::idct::inverse;

/// Natural place of the coefficient that comes at each place of the zigzag.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

const DAMAGED: &str = "its coded data are damaged";
const ENDS: &str = "the JPEG ends too early";

/// What a scan header says.
pub(super) struct Scan {
    /// Number of each component in the frame, with the numbers of its tables for DC and AC coefficients.
    pub components: Vec<(usize, usize, usize)>,
    /// First and last place in the zigzag.
    pub first: usize,
    pub last: usize,
    /// Bits below the lowest of the coefficients in the scan before, and in this one.
    pub high: u32,
    pub low: u32,
}

impl Scan {
    pub(super) fn parse(segment: &[u8], frame: &Frame) -> Result<Scan, String> {
        let damaged = || "its scan header is damaged".to_string();
        let count = usize::from(*segment.first().ok_or_else(damaged)?);
        let listed = segment[1..].as_chunks::<2>().0.get(..count).ok_or_else(damaged)?;
        let &[first, last, approximation] =
            segment.get(1 + 2 * count..).and_then(|rest| rest.first_chunk()).ok_or_else(damaged)?;
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for &[identifier, tables] in listed {
            // Components of one identifier are taken in their order.
            let number = (0..frame.components.len()).find(|&number| {
                frame.components[number].identifier == identifier && components.iter().all(|c| c.0 != number)
            });
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 {
                return Err(damaged());
            }
            components.push((number.ok_or_else(damaged)?, dc, ac));
        }
        let blocks: usize =
            components.iter().map(|&(c, ..)| frame.components[c].h * frame.components[c].v).sum();
        if components.is_empty() || components.len() > 1 && blocks > 10 {
            return Err(damaged());
        }
        let (mut first, mut last) = (usize::from(first), usize::from(last));
        let (mut high, mut low) = (u32::from(approximation >> 4), u32::from(approximation & 15));
        if !frame.progressive {
            // Some encoders leave these at zero; libjpeg does not look at them either.
            (first, last, high, low) = (0, 63, 0, 0);
        } else if last > 63
            || first > last
            || (first == 0) != (last == 0)
            || first > 0 && components.len() > 1
            || low > 13
            || high > 0 && high != low + 1
        {
            return Err(damaged());
        }
        Ok(Scan { components, first, last, high, low })
    }
}

/// Where a scan's coefficients go: at once into samples, or, of progressive images, to the others of their block.
pub(super) enum Target<'a> {
    Samples(&'a mut [Vec<u8>]),
    Coefficients(&'a mut [Vec<[i16; 64]>]),
}

/// The tables of a decoder, by number.
pub(super) type Tables = [Option<Huffman>; 4];

/// What is carried from block to block.
#[derive(Default)]
struct State {
    /// The DC coefficient before, by component of the frame.
    predictions: [i32; 4],
    /// Blocks still to come without new coefficients.
    run: u32,
}

/// Decodes a scan that begins at `at`. Returns where to look for the next marker.
pub(super) fn decode(
    scan: &Scan,
    frame: &Frame,
    (dc, ac): (&Tables, &Tables),
    restart: usize,
    (bytes, at): (&[u8], usize),
    mut target: Target,
) -> Result<usize, String> {
    let decoder = Decoder { scan, progressive: frame.progressive };
    let mut bits = Bits::new(bytes, at);
    let mut state = State::default();
    let alone = scan.components.len() == 1;
    let (wide, high) = match scan.components[0].0 {
        number if alone => (frame.components[number].blocks_wide, frame.components[number].blocks_high),
        _ => (frame.units_wide, frame.units_high),
    };
    // Checked once, not for every block.
    let mut tables = Vec::new();
    for &(number, of_dc, of_ac) in &scan.components {
        let missing = || "a scan uses a Huffman table that is not there".to_string();
        let needs_dc = scan.first == 0 && scan.high == 0;
        let of_dc = needs_dc.then(|| dc[of_dc].as_ref().ok_or_else(missing)).transpose()?;
        let of_ac = (scan.last > 0).then(|| ac[of_ac].as_ref().ok_or_else(missing)).transpose()?;
        if of_dc.is_some_and(|table| !table.is_for_dc()) {
            return Err("a Huffman table has symbols that there are not".into());
        }
        tables.push((number, of_dc, of_ac));
    }
    let mut until_restart = restart;
    let mut next_restart = 0;
    for unit in 0..wide * high {
        if restart > 0 && until_restart == 0 {
            bits.restart(next_restart)?;
            next_restart = (next_restart + 1) % 8;
            until_restart = restart;
            state = State::default();
        }
        until_restart = until_restart.wrapping_sub(1);
        let (row, column) = (unit / wide, unit % wide);
        for &(number, of_dc, of_ac) in &tables {
            let component = &frame.components[number];
            let (h, v) = if alone { (1, 1) } else { (component.h, component.v) };
            for (y, x) in (0..v).flat_map(|y| (0..h).map(move |x| (y, x))) {
                let (y, x) = (row * v + y, column * h + x);
                match &mut target {
                    Target::Samples(planes) => {
                        let mut block = [0; 64];
                        decoder.block(&mut bits, &mut state, number, (of_dc, of_ac), &mut block)?;
                        let quantiser = component.quantiser.as_ref().ok_or("it has no quantisation table")?;
                        let stride = component.stride();
                        inverse(&block, quantiser, &mut planes[number][8 * (y * stride + x)..], stride);
                    }
                    Target::Coefficients(blocks) => {
                        let block = &mut blocks[number][y * component.stored_wide + x];
                        decoder.block(&mut bits, &mut state, number, (of_dc, of_ac), block)?;
                    }
                }
            }
        }
        if bits.overrun() {
            return Err(ENDS.into());
        }
    }
    Ok(bits.position())
}

struct Decoder<'a> {
    scan: &'a Scan,
    progressive: bool,
}

impl Decoder<'_> {
    #[inline]
    fn block(
        &self,
        bits: &mut Bits,
        state: &mut State,
        number: usize,
        (dc, ac): (Option<&Huffman>, Option<&Huffman>),
        block: &mut [i16; 64],
    ) -> Result<(), String> {
        let scan = self.scan;
        match (dc, ac) {
            (Some(dc), Some(ac)) if !self.progressive => {
                block[0] = difference(bits, dc, &mut state.predictions[number])? as i16;
                sequential(bits, ac, block)
            }
            (Some(dc), _) => {
                block[0] = (difference(bits, dc, &mut state.predictions[number])? << scan.low) as i16;
                Ok(())
            }
            (None, Some(ac)) if scan.high == 0 => first_pass(bits, ac, scan, &mut state.run, block),
            (None, Some(ac)) => refinement(bits, ac, scan, &mut state.run, block),
            (None, None) => {
                block[0] |= (bits.take(1) << scan.low) as i16;
                Ok(())
            }
        }
    }
}

#[inline]
fn difference(bits: &mut Bits, dc: &Huffman, prediction: &mut i32) -> Result<i32, String> {
    let size = bits.symbol(dc).ok_or(DAMAGED)?;
    *prediction = prediction.wrapping_add(bits.signed(size.into()));
    Ok(*prediction)
}

#[inline]
fn sequential(bits: &mut Bits, ac: &Huffman, block: &mut [i16; 64]) -> Result<(), String> {
    let mut place = 1;
    while place < 64 {
        let symbol = bits.symbol(ac).ok_or(DAMAGED)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros != 15 {
                break;
            }
            place += 16;
            continue;
        }
        place += zeros;
        let &natural = ZIGZAG.get(place).ok_or(DAMAGED)?;
        block[usize::from(natural)] = bits.signed(size) as i16;
        place += 1;
    }
    Ok(())
}

/// The first scan of a band (G.1.2.2).
fn first_pass(
    bits: &mut Bits,
    ac: &Huffman,
    scan: &Scan,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), String> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut place = scan.first;
    while place <= scan.last {
        let symbol = bits.symbol(ac).ok_or(DAMAGED)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros != 15 {
                *run = (1 << zeros) - 1 + bits.take(zeros) as u32;
                break;
            }
            place += 16;
            continue;
        }
        place += zeros as usize;
        if place > scan.last {
            return Err(DAMAGED.into());
        }
        block[usize::from(ZIGZAG[place])] = (bits.signed(size) << scan.low) as i16;
        place += 1;
    }
    Ok(())
}

/// A further bit of the coefficients of a band (G.1.2.3).
fn refinement(
    bits: &mut Bits,
    ac: &Huffman,
    scan: &Scan,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), String> {
    let bit = 1i16 << scan.low;
    let mut place = scan.first;
    // A coefficient that is not zero has its correction bit here.
    let refine = |bits: &mut Bits, coefficient: &mut i16| {
        if bits.take(1) == 1 && *coefficient & bit == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { bit } else { -bit });
        }
    };
    if *run == 0 {
        while place <= scan.last {
            let symbol = bits.symbol(ac).ok_or(DAMAGED)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let value = match size {
                0 if zeros != 15 => {
                    *run = (1 << zeros) + bits.take(zeros) as u32;
                    break;
                }
                0 => 0,
                1 if bits.take(1) == 1 => bit,
                1 => -bit,
                _ => return Err(DAMAGED.into()),
            };
            while place <= scan.last {
                let coefficient = &mut block[usize::from(ZIGZAG[place])];
                place += 1;
                if *coefficient != 0 {
                    refine(bits, coefficient);
                } else if zeros == 0 {
                    *coefficient = value;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
    }
    if *run > 0 {
        for &natural in &ZIGZAG[place..=scan.last] {
            let coefficient = &mut block[usize::from(natural)];
            if *coefficient != 0 {
                refine(bits, coefficient);
            }
        }
        *run -= 1;
    }
    Ok(())
}
