//! When a process is killed, or the disk full.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is done to a job, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, and what.
    pub at: At,
    /// The rank that is killed. Without it, the process that makes the call, or at a time the one that was started.
    pub rank: Option<usize>,
}

/// A moment in the work of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A kill before the call of this number, from 1, that changes something in the job's folder.
    Before(u64),
    /// After that call.
    After(u64),
    /// So long after the start.
    Time(Duration),
    /// The disk is full from that call on; nobody is killed.
    Full(u64),
}

impl Moment {
    /// Draws a moment for a job that makes calls of these kinds, in this order, and takes this long: one in four is any time; the
    /// others are calls, each kind as often as any other, since most calls are writes. Of a job of several `ranks`, the process
    /// that was started is killed as often as each of them, and at one in eight of its calls the disk is full.
    pub fn draw(random: &mut Random, kinds: &[u8], duration: Duration, ranks: usize) -> Moment {
        let at = At::draw(random, kinds, duration);
        if ranks == 0 {
            return Moment { at, rank: None };
        }
        match at {
            At::Before(call) | At::After(call) if random.below(8) == 0 => {
                Moment { at: At::Full(call), rank: None }
            }
            at => Moment { at, rank: random.index(ranks + 1).checked_sub(1) },
        }
    }
}

impl At {
    fn draw(random: &mut Random, kinds: &[u8], duration: Duration) -> At {
        if kinds.is_empty() || random.below(4) == 0 {
            // In whole milliseconds, as they are written.
            return At::Time(Duration::from_millis(
                random.below(1 + u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)),
            ));
        }
        let mut distinct = kinds.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let kind = distinct[random.index(distinct.len())];
        let calls: Vec<u64> = (1..).zip(kinds).filter(|(_, other)| **other == kind).map(|(n, _)| n).collect();
        let call = calls[random.index(calls.len())];
        if random.below(2) == 0 { At::Before(call) } else { At::After(call) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rank) = self.rank {
            write!(f, "r{rank}:")?;
        }
        match self.at {
            At::Before(call) => write!(f, "{call}"),
            At::After(call) => write!(f, "{call}+"),
            At::Time(time) => write!(f, "{}ms", time.as_millis()),
            At::Full(call) => write!(f, "{call}full"),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let wanted = || {
            "wanted is the number of a call (17), one with a plus (17+), a time (350ms), each with a rank before it (r1:17) or \
             without, or a call from which on the disk is full (17full)"
                .to_string()
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wanted());
        let call = |text: &str| number(text).and_then(|n| if n == 0 { Err(wanted()) } else { Ok(n) });
        let (rank, of) = match text.strip_prefix('r').and_then(|rest| rest.split_once(':')) {
            Some((rank, of)) => (Some(rank.parse().map_err(|_| wanted())?), of),
            None => (None, text),
        };
        let at = match (of.strip_suffix("ms"), of.strip_suffix('+'), of.strip_suffix("full")) {
            (Some(time), _, _) => At::Time(Duration::from_millis(number(time)?)),
            (_, Some(after), _) => At::After(call(after)?),
            (_, _, Some(full)) if rank.is_none() => At::Full(call(full)?),
            _ => At::Before(call(of)?),
        };
        Ok(Moment { at, rank })
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
        for text in ["1", "17+", "350ms", "0ms", "17full", "r1:17", "r0:17+", "r1:350ms"] {
            assert_eq!(text.parse::<Moment>().expect("a moment").to_string(), text);
        }
        for text in ["0", "0+", "", "ms", "+", "-1", "1.5ms", "soon", "full", "r1:17full", "r:1", "r1", "r1:"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn rare_calls_are_drawn_as_often_as_writes() {
        let kinds = [vec![b'w'; 500], vec![b'r']].concat();
        let mut random = Random::new(1, 2);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let Moment { at, rank } = Moment::draw(&mut random, &kinds, Duration::from_millis(80), 0);
            assert_eq!(rank, None);
            match at {
                At::Time(time) => {
                    assert!(time <= Duration::from_millis(80));
                    counts[0] += 1;
                }
                At::Before(501) => counts[1] += 1,
                At::After(501) => counts[2] += 1,
                At::Before(call) | At::After(call) => {
                    assert!((1..=500).contains(&call));
                    counts[3] += 1;
                }
                At::Full(_) => panic!("a full disk is for ranks"),
            }
        }
        // Expected: 1000, 750, 750, 1500; standard deviations below 31.
        for (count, expected) in counts.into_iter().zip([1000i32, 750, 750, 1500]) {
            assert!((count - expected).abs() < 125, "{counts:?}");
        }
    }

    #[test]
    fn every_rank_is_killed_and_the_disk_is_full() {
        let (mut random, mut counts) = (Random::new(3, 4), [0; 4]);
        for _ in 0..4000 {
            match Moment::draw(&mut random, b"ww", Duration::from_millis(80), 2) {
                Moment { at: At::Full(call), rank: None } => {
                    assert!((1..=2).contains(&call));
                    counts[3] += 1;
                }
                Moment { rank, .. } => counts[rank.map_or(0, |rank| rank + 1)] += 1,
            }
        }
        // Expected: 3000 / 8 on a full disk, and a third of the others each; standard deviations below 29.
        for (count, expected) in counts.into_iter().zip([1208i32, 1208, 1208, 375]) {
            assert!((count - expected).abs() < 120, "{counts:?}");
        }
    }

    #[test]
    fn draws_depend_on_seed_and_number() {
        let first = |seed, number| Random::new(seed, number).next();
        assert_eq!(first(1, 2), first(1, 2));
        assert!(first(1, 2) != first(1, 3) && first(1, 2) != first(2, 2));
    }
}
