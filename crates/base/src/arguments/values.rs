//! Values of options: numbers and lists of numbers, with errors that say what is wanted.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::{Bound, Deref, RangeBounds};
use std::str::FromStr;

/// A type of whole numbers.
pub trait Whole: Copy + Send + Sync + 'static {
    /// The least and the greatest of them.
    const LIMITS: (i128, i128);
    /// The number in the widest type.
    fn wide(self) -> i128;
    /// A number within [`Whole::LIMITS`] in this type; none for others.
    fn narrow(wide: i128) -> Option<Self>;
}

macro_rules! whole {
    ($($type:ty)*) => {
        $(impl Whole for $type {
            const LIMITS: (i128, i128) = (<$type>::MIN as i128, <$type>::MAX as i128);

            fn wide(self) -> i128 {
                self as i128
            }

            fn narrow(wide: i128) -> Option<Self> {
                <$type>::try_from(wide).ok()
            }
        })*
    };
}

whole!(u8 u16 u32 u64 usize i64);

/// Types whose greatest number somebody might ask for; of the others it is not worth a word.
const WORTH_SAYING: i128 = 1 << 20;

/// A parser of whole numbers in a range: `value_parser = whole::<u16>(1..=256)`.
pub fn whole<T: Whole>(
    range: impl RangeBounds<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    let (least, most) = T::LIMITS;
    let least = match range.start_bound() {
        Bound::Included(start) => start.wide(),
        Bound::Excluded(start) => start.wide() + 1,
        Bound::Unbounded => least,
    };
    let most = match range.end_bound() {
        Bound::Included(end) => end.wide(),
        Bound::Excluded(end) => end.wide() - 1,
        Bound::Unbounded => most,
    };
    move |text| {
        let wanted = || match (least, most) {
            (least, most) if most <= WORTH_SAYING => {
                format!("a whole number from {least} to {most} is wanted")
            }
            (0, _) => "a whole number of 0 or more is wanted".to_string(),
            (least, _) if least > 0 => format!("a whole number of at least {least} is wanted"),
            _ => "a whole number is wanted".to_string(),
        };
        let Ok(number) = text.parse::<i128>() else {
            return Err(wanted() + &whole_hint(text));
        };
        if number > most && most > WORTH_SAYING {
            return Err(format!("a whole number of at most {most} is wanted"));
        }
        T::narrow(number).filter(|_| (least..=most).contains(&number)).ok_or_else(wanted)
    }
}

/// How a whole number that is written otherwise is written here.
fn whole_hint(text: &str) -> String {
    let bare: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    if let Ok(number) = bare.parse::<i128>() {
        return format!(", written as {number}");
    }
    let number = bare.parse::<f64>().unwrap_or(f64::NAN);
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => format!(", written as {number:.0}"),
        false => String::new(),
    }
}

/// A parser of numbers in a range: `value_parser = real(0.0..=1.0)`.
pub fn real(range: impl RangeBounds<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    let (start, end) = (range.start_bound().cloned(), range.end_bound().cloned());
    move |text| {
        let number = text.parse::<f64>();
        if let Some(number) = number.ok().filter(|number| number.is_finite() && (start, end).contains(number))
        {
            return Ok(number);
        }
        let wanted = match (start, end) {
            (Bound::Unbounded, Bound::Unbounded) => "a number is wanted".to_string(),
            (Bound::Included(start), Bound::Unbounded) => format!("a number of at least {start} is wanted"),
            (Bound::Excluded(start), Bound::Unbounded) => format!("a number above {start} is wanted"),
            (Bound::Included(start), Bound::Included(end)) => {
                format!("a number from {start} to {end} is wanted")
            }
            (Bound::Excluded(start), Bound::Excluded(end)) => {
                format!("a number above {start} and below {end} is wanted")
            }
            (_, Bound::Included(end)) => format!("a number of at most {end} is wanted"),
            (_, Bound::Excluded(end)) => format!("a number below {end} is wanted"),
        };
        let pointed = text.replacen(',', ".", 1);
        let is_pointed = pointed != text && pointed.parse::<f64>().is_ok();
        Err(if is_pointed { format!("{wanted}, with a point, as in {pointed}") } else { wanted })
    }
}

/// The range of numbers above `start`.
pub fn above(start: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(start), Bound::Unbounded)
}

/// The range of numbers between two, neither of them in it.
pub fn between(start: f64, end: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(start), Bound::Excluded(end))
}

/// The longest list, which is held in memory.
const MOST: usize = 10_000_000;

/// Numbers in the order given, none of them twice: `3,7`, a range `10-12`, which has both its ends, or one with a step,
/// `11:101:10`, which is 11, 21 and so on to 101; also `11:101`. A range that its step does not end on its last number
/// ends before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Copy> List<T> {
    /// The numbers of an option that may be repeated.
    pub fn joined(lists: &[List<T>]) -> Vec<T> {
        lists.iter().flat_map(|list| list.iter().copied()).collect()
    }
}

impl<T: Whole + Eq + Hash> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<List<T>, String> {
        let mut numbers = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last, step) = range(part)?;
            let count = (last - first) / step;
            if count >= (MOST - numbers.len()) as i128 {
                return Err(format!("more than {MOST} numbers; take them in several runs"));
            }
            for i in 0..=count {
                let number = first + i * step;
                let (least, most) = T::LIMITS;
                let narrow = T::narrow(number).ok_or_else(|| match number < least {
                    true => format!("{number} is too small; numbers from {least} on are wanted"),
                    false => format!("{number} is too large; numbers up to {most} are wanted"),
                })?;
                numbers.push(narrow);
            }
        }
        let mut seen = HashSet::with_capacity(numbers.len());
        match numbers.iter().find(|number| !seen.insert(**number)) {
            Some(twice) => Err(format!("{} is asked for twice", twice.wide())),
            None => Ok(List(numbers)),
        }
    }
}

/// The first and last number of a part of a list, and the step between numbers.
fn range(part: &str) -> Result<(i128, i128, i128), String> {
    let wrong = || match part {
        "" => "a number is missing; a list is written as in 0-63 or 3,7,10-12 or 11:101:10".to_string(),
        _ => format!("'{part}' is no number or range, as in 0-63 or 3,7,10-12 or 11:101:10"),
    };
    let number = |text: &str| {
        text.trim()
            .parse::<i64>()
            .map(i128::from)
            .or_else(|_| text.trim().parse::<u64>().map(i128::from))
            .map_err(|_| wrong())
    };
    // A sign is no dash.
    let dash = part.char_indices().skip(1).find(|&(_, c)| c == '-').map(|(at, _)| at);
    let (first, last, step) = match (part.split(':').collect::<Vec<_>>().as_slice(), dash) {
        ([first, last, step], _) => (number(first)?, number(last)?, number(step)?),
        ([first, last], _) => (number(first)?, number(last)?, 1),
        ([_], Some(at)) => (number(&part[..at])?, number(&part[at + 1..])?, 1),
        ([only], None) => (number(only)?, number(only)?, 1),
        _ => return Err(wrong()),
    };
    if step < 1 {
        return Err(format!("'{part}' has the step {step}; it must be at least 1"));
    }
    if last < first {
        return Err(format!("'{part}' ends before it begins; the smaller number comes first"));
    }
    Ok((first, last, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_within_their_range() {
        let rows = whole::<u16>(1..=256);
        assert_eq!((rows("1"), rows("256")), (Ok(1), Ok(256)));
        let wanted = "a whole number from 1 to 256 is wanted";
        for (text, hint) in [
            ("0", ""),
            ("257", ""),
            ("-1", ""),
            ("ten", ""),
            ("", ""),
            ("2.5", ""),
            ("1e2", ", written as 100"),
            ("1_00", ", written as 100"),
            ("8.0", ", written as 8"),
            ("99999999999999999999999999999999999999999999", ""),
        ] {
            assert_eq!(rows(text), Err(format!("{wanted}{hint}")), "{text}");
        }
        for (error, wanted) in [
            (whole::<u64>(..)("-1"), "a whole number of 0 or more is wanted"),
            (whole::<u64>(1..)("0"), "a whole number of at least 1 is wanted"),
            (
                whole::<u64>(1..)("18446744073709551616"),
                "a whole number of at most 18446744073709551615 is wanted",
            ),
        ] {
            assert_eq!(error, Err(wanted.to_string()));
        }
        assert_eq!(whole::<i64>(..)("-5"), Ok(-5));
        assert_eq!(whole::<i64>(..)("x"), Err("a whole number is wanted".to_string()));
        assert_eq!(whole::<u64>(..)("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn numbers_are_read_within_their_range() {
        assert_eq!(real(0.0..=1.0)("0.5"), Ok(0.5));
        assert_eq!(real(..)("-1e-3"), Ok(-0.001));
        for (error, wanted) in [
            (real(0.0..=1.0)("2"), "a number from 0 to 1 is wanted"),
            (real(above(0.0))("0"), "a number above 0 is wanted"),
            (real(between(0.0, 1.0))("1"), "a number above 0 and below 1 is wanted"),
            (real(0.0..)("nan"), "a number of at least 0 is wanted"),
            (real(..)("inf"), "a number is wanted"),
            (real(..)("0,5"), "a number is wanted, with a point, as in 0.5"),
            (real(..)("fast"), "a number is wanted"),
        ] {
            assert_eq!(error, Err(wanted.to_string()));
        }
    }

    #[test]
    fn lists_are_read_in_their_order() {
        for (text, numbers) in [
            ("0-3", &[0, 1, 2, 3][..]),
            ("7,2-3", &[7, 2, 3]),
            ("11:101:30", &[11, 41, 71, 101]),
            ("1:6:2", &[1, 3, 5]),
            ("1:3", &[1, 2, 3]),
            (" 1, 2 ", &[1, 2]),
            ("5-5", &[5]),
        ] {
            assert_eq!(text.parse(), Ok(List::<u64>(numbers.to_vec())), "{text}");
        }
        assert_eq!("-1".parse(), Ok(List::<i64>(vec![-1])));
        assert_eq!("-2--1".parse(), Ok(List::<i64>(vec![-2, -1])));
        assert_eq!("18446744073709551615".parse(), Ok(List(vec![u64::MAX])));
        assert_eq!(List::joined(&[List(vec![1_i64]), List(vec![3])]), [1, 3]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, wanted) in [
            ("", "a number is missing; a list is written as in 0-63 or 3,7,10-12 or 11:101:10"),
            ("1,", "a number is missing; a list is written as in 0-63 or 3,7,10-12 or 11:101:10"),
            ("a", "'a' is no number or range, as in 0-63 or 3,7,10-12 or 11:101:10"),
            ("1-", "'1-' is no number or range, as in 0-63 or 3,7,10-12 or 11:101:10"),
            ("1:2:3:4", "'1:2:3:4' is no number or range, as in 0-63 or 3,7,10-12 or 11:101:10"),
            (
                "99999999999999999999",
                "'99999999999999999999' is no number or range, as in 0-63 or 3,7,10-12 or 11:101:10",
            ),
            ("3-1", "'3-1' ends before it begins; the smaller number comes first"),
            ("1:9:0", "'1:9:0' has the step 0; it must be at least 1"),
            ("-4", "-4 is too small; numbers from 0 on are wanted"),
            ("0-10000000", "more than 10000000 numbers; take them in several runs"),
            ("7,0-18446744073709551615", "more than 10000000 numbers; take them in several runs"),
            ("1-3,2", "2 is asked for twice"),
        ] {
            assert_eq!(text.parse::<List<u64>>(), Err(wanted.to_string()), "{text}");
        }
    }
}
