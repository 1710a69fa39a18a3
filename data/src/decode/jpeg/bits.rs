//! The bits of a scan, and its Huffman codes (ITU-T T.81, annexes C and F.2.2).

/// Reads bits of entropy-coded data up to the next marker. Beyond it there are zeros, and [`Bits::overrun`] says so.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to take; at a marker it stays there.
    at: usize,
    /// Bits that were taken and not used yet, from the highest down.
    buffer: u64,
    count: u32,
    /// Zeros that were put into the buffer for bytes that there are not.
    padding: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Bits { bytes, at, buffer: 0, count: 0, padding: 0 }
    }

    /// Makes at least 33 bits ready: a code and the bits that follow it.
    #[inline]
    fn refill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some(&next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(next);
            let inverse = !word;
            let has_ff = inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 != 0;
            if !has_ff {
                // The bits below the whole bytes are those that come next anyway.
                self.buffer |= word >> self.count;
                let taken = (64 - self.count) / 8;
                self.at += taken as usize;
                self.count += 8 * taken;
                return;
            }
        }
        self.refill_slowly();
    }

    fn refill_slowly(&mut self) {
        // What lies below `count` may be ahead of `at`; it is put there again.
        self.buffer = self.buffer.checked_shr(64 - self.count).unwrap_or(0);
        self.buffer = self.buffer.checked_shl(64 - self.count).unwrap_or(0);
        while self.count <= 56 {
            let byte = self.next_byte().unwrap_or_else(|| {
                self.padding += 8;
                0
            });
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next byte of data; none at a marker or at the end.
    fn next_byte(&mut self) -> Option<u8> {
        let &first = self.bytes.get(self.at)?;
        if first != 0xff {
            self.at += 1;
            return Some(first);
        }
        let fill = self.bytes[self.at..].iter().take_while(|&&byte| byte == 0xff).count();
        if self.bytes.get(self.at + fill) != Some(&0) {
            return None;
        }
        self.at += fill + 1;
        Some(0xff)
    }

    /// Whether more was read than there is.
    #[inline]
    pub(super) fn overrun(&self) -> bool {
        self.padding > self.count
    }

    /// `number` bits (at most 16) as a number.
    #[inline]
    pub(super) fn take(&mut self, number: u32) -> i32 {
        if number == 0 {
            return 0;
        }
        self.refill();
        self.ready(number)
    }

    #[inline]
    fn ready(&mut self, number: u32) -> i32 {
        let value = (self.buffer >> (64 - number)) as i32;
        self.buffer <<= number;
        self.count -= number;
        value
    }

    /// The next code's symbol; none where no code begins like that.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        self.refill();
        let entry = table.short[(self.buffer >> (64 - SHORT)) as usize];
        if entry != 0 {
            let length = u32::from(entry >> 8);
            self.buffer <<= length;
            self.count -= length;
            return Some(entry as u8);
        }
        let code = (self.buffer >> 48) as i32;
        let length = (SHORT as usize + 1..=16).find(|&length| code >> (16 - length) <= table.last[length])?;
        let symbol = (code >> (16 - length)) + table.offset[length];
        self.buffer <<= length;
        self.count -= length as u32;
        table.symbols.get(symbol as usize).copied()
    }

    /// A signed number of `size` bits, after [`Bits::symbol`] (F.2.2.1, "extend").
    #[inline]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = self.ready(size);
        if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }

    /// Goes on behind the restart marker that must come next, `0xd0 + number`. Bytes before it are passed over, as libjpeg
    /// does.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), String> {
        if self.overrun() {
            return Err("the JPEG ends too early".into());
        }
        let (marker, at) = next_marker(self.bytes, self.at).ok_or("the JPEG ends too early")?;
        if marker != 0xd0 + number {
            return Err("a restart marker is missing".into());
        }
        *self = Bits::new(self.bytes, at);
        Ok(())
    }

    /// Where to look for the next marker.
    pub(super) fn position(&self) -> usize {
        self.at
    }
}

/// The first marker at or behind `at`, and where what follows it begins.
pub(super) fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        at += bytes[at..].iter().take_while(|&&byte| byte == 0xff).count();
        let &marker = bytes.get(at)?;
        at += 1;
        if marker != 0 {
            return Some((marker, at));
        }
    }
}

/// Codes of up to this length are found in one step.
const SHORT: u32 = 9;

/// A Huffman table.
pub(super) struct Huffman {
    /// By the next bits: the length of the code and its symbol; 0 for longer codes.
    short: Vec<u16>,
    /// By length: the last code, -1 where there is none.
    last: [i32; 17],
    /// By length: what makes a code the number of its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length and the symbols in the order of codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Huffman, String> {
        let mut table = Huffman {
            short: vec![0; 1 << SHORT],
            last: [-1; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut number) = (0i32, 0usize);
        for (length, &count) in (1..).zip(counts) {
            let count = usize::from(count);
            table.offset[length] = number as i32 - code;
            if code + count as i32 > 1 << length {
                return Err("a Huffman table has more codes than there can be".into());
            }
            for &symbol in &symbols[number..number + count] {
                if length <= SHORT as usize {
                    let spare = SHORT as usize - length;
                    let first = (code as usize) << spare;
                    table.short[first..first + (1 << spare)].fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
            }
            if count > 0 {
                table.last[length] = code - 1;
            }
            number += count;
            code <<= 1;
        }
        Ok(table)
    }

    /// Whether all symbols are sizes of differences.
    pub(super) fn is_for_dc(&self) -> bool {
        self.symbols.iter().all(|&symbol| symbol < 16)
    }
}
