//! What a frame header says, and the room for its components.

/// One component of an image.
pub(super) struct Component {
    pub identifier: u8,
    /// Sampling factors.
    pub h: usize,
    pub v: usize,
    /// Number of its quantisation table.
    pub table: usize,
    /// The table, as it was when its first scan began.
    pub quantiser: Option<[u16; 64]>,
    /// Samples that belong to the image.
    pub width: usize,
    pub height: usize,
    /// Blocks that hold them.
    pub blocks_wide: usize,
    pub blocks_high: usize,
    /// Blocks with those that fill the last units of interleaved scans.
    pub stored_wide: usize,
    pub stored_high: usize,
}

impl Component {
    pub(super) fn stride(&self) -> usize {
        8 * self.stored_wide
    }
}

/// The frame: one image.
pub(super) struct Frame {
    pub progressive: bool,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
    /// The largest sampling factors.
    pub h: usize,
    pub v: usize,
    /// Units of interleaved scans.
    pub units_wide: usize,
    pub units_high: usize,
}

impl Frame {
    /// From the segment of a start-of-frame marker.
    pub(super) fn parse(marker: u8, segment: &[u8]) -> Result<Frame, String> {
        let kind = match marker {
            0xc0..=0xc2 => None,
            0xc3 => Some("lossless JPEG"),
            0xc9 | 0xca => Some("JPEG with arithmetic coding"),
            _ => Some("hierarchical or lossless JPEG"),
        };
        if let Some(kind) = kind {
            return Err(format!("it is a {kind}, which is not read"));
        }
        let short = || "its frame header is too short".to_string();
        let &[precision, h1, h0, w1, w0, count] = segment.first_chunk().ok_or_else(short)?;
        if precision != 8 {
            return Err(format!("it has {precision} bits a level, and JPEGs of 8 are read"));
        }
        let size = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
        let (width, height, count) = (size(w1, w0), size(h1, h0), usize::from(count));
        if width == 0 || height == 0 {
            return Err(format!("its header says {width}x{height} pixels"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(format!("it has {count} components, and JPEGs of 1, 3 or 4 are read"));
        }
        let listed = segment[6..].as_chunks::<3>().0.get(..count).ok_or_else(short)?;
        let factors = |byte: u8| (usize::from(byte >> 4), usize::from(byte & 15));
        for &[_, sampling, table] in listed {
            let (h, v) = factors(sampling);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err("its frame header is damaged".into());
            }
        }
        let h = listed.iter().map(|&[_, sampling, _]| factors(sampling).0).max().unwrap_or(1);
        let v = listed.iter().map(|&[_, sampling, _]| factors(sampling).1).max().unwrap_or(1);
        let (units_wide, units_high) = (width.div_ceil(8 * h), height.div_ceil(8 * v));
        let components = listed.iter().map(|&[identifier, sampling, table]| {
            let (of_h, of_v) = factors(sampling);
            if h % of_h != 0 || v % of_v != 0 {
                return Err(
                    "its components' sizes are no whole fractions of the image's, which is not read".into()
                );
            }
            let (wide, high) = ((width * of_h).div_ceil(h), (height * of_v).div_ceil(v));
            Ok(Component {
                identifier,
                h: of_h,
                v: of_v,
                table: table.into(),
                quantiser: None,
                width: wide,
                height: high,
                blocks_wide: wide.div_ceil(8),
                blocks_high: high.div_ceil(8),
                stored_wide: units_wide * of_h,
                stored_high: units_high * of_v,
            })
        });
        let components = components.collect::<Result<Vec<_>, String>>()?;
        Ok(Frame { progressive: marker == 0xc2, width, height, components, h, v, units_wide, units_high })
    }

    pub(super) fn identifiers(&self) -> Vec<u8> {
        self.components.iter().map(|component| component.identifier).collect()
    }
}
