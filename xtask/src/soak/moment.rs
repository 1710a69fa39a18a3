//! When a process is killed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A moment in the work of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call of this number, from 1, that changes something in the job's folder.
    Before(u64),
    /// After that call.
    After(u64),
    /// So long after the start.
    Time(Duration),
}

impl Moment {
    /// Draws a moment for a process that makes calls of these kinds, in this order, and takes this long: one in four is
    /// any time; the others are calls, each kind as often as any other, since most calls are writes.
    pub fn draw(random: &mut Random, kinds: &[u8], duration: Duration) -> Moment {
        if kinds.is_empty() || random.below(4) == 0 {
            // In whole milliseconds, as they are written.
            return Moment::Time(Duration::from_millis(
                random.below(1 + u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)),
            ));
        }
        let mut distinct = kinds.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let kind = distinct[random.index(distinct.len())];
        let calls: Vec<u64> = (1..).zip(kinds).filter(|(_, other)| **other == kind).map(|(n, _)| n).collect();
        let call = calls[random.index(calls.len())];
        if random.below(2) == 0 { Moment::Before(call) } else { Moment::After(call) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Before(call) => write!(f, "{call}"),
            Moment::After(call) => write!(f, "{call}+"),
            Moment::Time(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let wanted =
            || "wanted is the number of a call (17), one with a plus (17+), or a time (350ms)".to_string();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wanted());
        let call = |text: &str| number(text).and_then(|n| if n == 0 { Err(wanted()) } else { Ok(n) });
        match (text.strip_suffix("ms"), text.strip_suffix('+')) {
            (Some(time), _) => Ok(Moment::Time(Duration::from_millis(number(time)?))),
            (_, Some(after)) => Ok(Moment::After(call(after)?)),
            _ => Ok(Moment::Before(call(text)?)),
        }
    }
}

/// Numbers that look random and depend on a seed alone (SplitMix64: Steele, Lea, Flood 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// For one of many uses of a seed.
    pub fn new(seed: u64, number: u64) -> Random {
        let mut random = Random(seed);
        random.0 = random.next() ^ number;
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0. Small ones are likelier by what nobody will notice.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for text in ["1", "17+", "350ms", "0ms"] {
            assert_eq!(text.parse::<Moment>().expect("a moment").to_string(), text);
        }
        for text in ["0", "0+", "", "ms", "+", "-1", "1.5ms", "soon"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn rare_calls_are_drawn_as_often_as_writes() {
        let kinds = [vec![b'w'; 500], vec![b'r']].concat();
        let mut random = Random::new(1, 2);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            match Moment::draw(&mut random, &kinds, Duration::from_millis(80)) {
                Moment::Time(time) => {
                    assert!(time <= Duration::from_millis(80));
                    counts[0] += 1;
                }
                Moment::Before(501) => counts[1] += 1,
                Moment::After(501) => counts[2] += 1,
                Moment::Before(call) | Moment::After(call) => {
                    assert!((1..=500).contains(&call));
                    counts[3] += 1;
                }
            }
        }
        // Expected: 1000, 750, 750, 1500; standard deviations below 31.
        for (count, expected) in counts.into_iter().zip([1000i32, 750, 750, 1500]) {
            assert!((count - expected).abs() < 125, "{counts:?}");
        }
    }

    #[test]
    fn draws_depend_on_seed_and_number() {
        let first = |seed, number| Random::new(seed, number).next();
        assert_eq!(first(1, 2), first(1, 2));
        assert!(first(1, 2) != first(1, 3) && first(1, 2) != first(2, 2));
    }
}
