//! JPEG files, level for level as libjpeg-turbo decodes them, and so PIL and torchvision: its inverse transform, its
//! smooth enlargement of chroma and its conversion to RGB, in the same integers. Decoders in Rust (`zune-jpeg` 0.5,
//! `jpeg-decoder` 0.3) round otherwise: of images with halved chroma 27 % of the levels came out one to three off.
//!
//! Sequential and progressive Huffman-coded images of 8 bits are read, with one, three or four components. What libjpeg
//! would fill up with grey is an error here: data that end too early, codes that there are not.

mod bits;
mod colour;
mod frame;
mod idct;
mod scan;
mod upsample;

use std::ops::Range;

use bits::{Huffman, next_marker};
use colour::Space;
use frame::Frame;
use scan::{Scan, Tables, Target, ZIGZAG};
use upsample::Plane;

use super::picture::{Picture, Pixels};

const ENDS: &str = "the JPEG ends too early";
/// Scans of an image. A few bytes can stand for a whole one, and each goes through all blocks; encoders write about ten.
const MOST_SCANS: usize = 300;

/// What stands before the first scan.
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    pub components: usize,
    /// The Exif data, where there are any.
    pub exif: Option<Range<usize>>,
}

/// Reads the header alone.
pub(super) fn header(bytes: &[u8]) -> Result<Header, String> {
    let mut decoder = Decoder::new(bytes);
    while decoder.frame.is_none() || decoder.peek() != Some(0xda) {
        if decoder.next(None)? == Step::End {
            return Err("it holds no image".into());
        }
    }
    let frame = decoder.frame.as_ref().ok_or(ENDS)?;
    Ok(Header {
        width: frame.width,
        height: frame.height,
        components: frame.components.len(),
        exif: decoder.exif,
    })
}

/// Decodes an image of at most `most` pixels, which [`header`] has been asked about.
pub(super) fn decode(bytes: &[u8], most: u64) -> Result<Picture, String> {
    let mut decoder = Decoder::new(bytes);
    while decoder.next(Some(most))? != Step::End {}
    decoder.finish()
}

#[derive(PartialEq, Eq)]
enum Step {
    Segment,
    End,
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    quantisers: [Option<[u16; 64]>; 4],
    dc: Tables,
    ac: Tables,
    /// Units between restart markers; 0 where there are none.
    restart: usize,
    jfif: bool,
    adobe: Option<u8>,
    exif: Option<Range<usize>>,
    frame: Option<Frame>,
    scans: usize,
    /// By component, once there is a scan: samples, and what they are made of in progressive images.
    samples: Vec<Vec<u8>>,
    coefficients: Vec<Vec<[i16; 64]>>,
    /// Components that have been seen in a scan of DC coefficients.
    seen: Vec<bool>,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Decoder {
            bytes,
            at: 2,
            quantisers: [None; 4],
            dc: Default::default(),
            ac: Default::default(),
            restart: 0,
            jfif: false,
            adobe: None,
            exif: None,
            frame: None,
            scans: 0,
            samples: Vec::new(),
            coefficients: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The next marker, which stays to be read.
    fn peek(&self) -> Option<u8> {
        next_marker(self.bytes, self.at).map(|(marker, _)| marker)
    }

    /// Reads the next segment, and a scan with its data where `most` pixels may be decoded.
    fn next(&mut self, most: Option<u64>) -> Result<Step, String> {
        let (marker, at) = next_marker(self.bytes, self.at).ok_or(ENDS)?;
        self.at = at;
        match marker {
            0xd9 => return Ok(Step::End),
            0x01 | 0xd0..=0xd8 => return Ok(Step::Segment),
            _ => {}
        }
        let length = self.bytes.get(at..at + 2).ok_or(ENDS)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let segment = at + 2..at + length;
        let content = match length {
            2.. => self.bytes.get(segment.clone()).ok_or(ENDS)?,
            _ => return Err("a segment of it is damaged".into()),
        };
        self.at = segment.end;
        match marker {
            0xc4 => self.huffman_tables(content)?,
            0xdb => self.quantisation_tables(content)?,
            0xc0..=0xcf if marker != 0xc8 && marker != 0xcc => {
                let before = self.frame.replace(Frame::parse(marker, content)?);
                before.map_or(Ok(()), |_| Err("it holds two frames"))?;
            }
            0xdd => {
                let &interval = content.first_chunk().ok_or("a segment of it is damaged")?;
                self.restart = u16::from_be_bytes(interval).into();
            }
            0xe0 if content.starts_with(b"JFIF\0") => self.jfif = true,
            0xe1 if content.starts_with(b"Exif\0\0") && self.exif.is_none() => {
                self.exif = Some(segment.start + 6..segment.end);
            }
            0xee if content.starts_with(b"Adobe") && content.len() >= 12 => self.adobe = Some(content[11]),
            0xda => match most {
                Some(most) => self.scan(content, most)?,
                None => return Err("its image comes before its frame header".into()),
            },
            _ => {}
        }
        Ok(Step::Segment)
    }

    fn quantisation_tables(&mut self, mut content: &[u8]) -> Result<(), String> {
        let damaged = || "a quantisation table is damaged".to_string();
        while let Some((&head, rest)) = content.split_first() {
            let (wide, number) = (head >> 4 != 0, usize::from(head & 15));
            let length = if wide { 128 } else { 64 };
            let values = rest.get(..length).ok_or_else(damaged)?;
            let table = self.quantisers.get_mut(number).ok_or_else(damaged)?.insert([0; 64]);
            for (index, &natural) in ZIGZAG.iter().enumerate() {
                table[usize::from(natural)] = match wide {
                    true => u16::from_be_bytes([values[2 * index], values[2 * index + 1]]),
                    false => values[index].into(),
                };
            }
            content = &rest[length..];
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut content: &[u8]) -> Result<(), String> {
        let damaged = || "a Huffman table is damaged".to_string();
        while let Some((&head, rest)) = content.split_first() {
            let counts: &[u8; 16] = rest.first_chunk().ok_or_else(damaged)?;
            let total: usize = counts.iter().copied().map(usize::from).sum();
            let symbols = rest.get(16..16 + total).ok_or_else(damaged)?;
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(head & 15)).ok_or_else(damaged)? =
                Some(Huffman::new(counts, symbols)?);
            content = &rest[16 + total..];
        }
        Ok(())
    }

    fn scan(&mut self, header: &[u8], most: u64) -> Result<(), String> {
        let frame = self.frame.as_mut().ok_or("its image comes before its frame header")?;
        let scan = Scan::parse(header, frame)?;
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(format!("it has more than {MOST_SCANS} scans"));
        }
        if self.samples.is_empty() {
            if (frame.width * frame.height) as u64 > most {
                return Err("it is too large".into());
            }
            let blocks =
                frame.components.iter().map(|component| component.stored_wide * component.stored_high);
            self.samples = blocks.clone().map(|blocks| vec![0; 64 * blocks]).collect();
            if frame.progressive {
                self.coefficients = blocks.map(|blocks| vec![[0; 64]; blocks]).collect();
            }
            self.seen = vec![false; frame.components.len()];
        }
        for &(number, ..) in &scan.components {
            let component = &mut frame.components[number];
            if component.quantiser.is_none() {
                component.quantiser = self.quantisers[component.table];
            }
            if component.quantiser.is_none() {
                return Err("a quantisation table is missing".into());
            }
            self.seen[number] |= scan.first == 0;
        }
        let target = match frame.progressive {
            true => Target::Coefficients(&mut self.coefficients),
            false => Target::Samples(&mut self.samples),
        };
        self.at =
            scan::decode(&scan, frame, (&self.dc, &self.ac), self.restart, (self.bytes, self.at), target)?;
        // Restart markers that no unit follows are passed over.
        while matches!(self.peek(), Some(0xd0..=0xd7)) {
            self.at = next_marker(self.bytes, self.at).map_or(self.at, |(_, at)| at);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Picture, String> {
        let frame = self.frame.take().ok_or("it holds no image")?;
        if self.seen.is_empty() || self.seen.contains(&false) {
            return Err("a component of it is missing".into());
        }
        for ((component, blocks), samples) in
            frame.components.iter().zip(&self.coefficients).zip(&mut self.samples)
        {
            let quantiser = component.quantiser.as_ref().ok_or("a quantisation table is missing")?;
            let stride = component.stride();
            for (row, blocks) in blocks.chunks_exact(component.stored_wide).enumerate() {
                for (column, block) in blocks.iter().enumerate() {
                    idct::inverse(block, quantiser, &mut samples[8 * (row * stride + column)..], stride);
                }
            }
        }
        drop(self.coefficients);
        let space = Space::of(&frame.identifiers(), self.jfif, self.adobe).ok_or("it has 2 components")?;
        let planes: Vec<Plane> = (frame.components.iter().zip(&self.samples))
            .map(|(component, samples)| Plane {
                samples,
                stride: component.stride(),
                width: component.width,
                height: component.height,
            })
            .collect();
        // The one component of a grey image has all its samples, whatever factors it names.
        let scales: Vec<[usize; 2]> =
            frame.components.iter().map(|component| [frame.h / component.h, frame.v / component.v]).collect();
        let mut rows: Vec<Vec<u8>> =
            planes.iter().zip(&scales).map(|(plane, scale)| vec![0; plane.width * scale[0]]).collect();
        let bytes = if space == Space::Grey { 1 } else { 3 };
        let mut pixels = vec![0; bytes * frame.width * frame.height];
        let mut sums = Vec::new();
        for (row, out) in pixels.chunks_exact_mut(bytes * frame.width).enumerate() {
            for ((plane, &scale), line) in planes.iter().zip(&scales).zip(&mut rows) {
                plane.upsample(row, scale, &mut sums, line);
            }
            space.convert(&rows, out);
        }
        let pixels = if bytes == 1 { Pixels::Grey(pixels) } else { Pixels::Rgb(pixels) };
        Ok(Picture { width: frame.width, height: frame.height, pixels })
    }
}
