//! Lists of numbers as they are typed: `0-63`, `3,7,10-12`.

use std::str::FromStr;

/// Seeds in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// Positions of images in a split, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices(pub Vec<usize>);

/// The longest list, which is held in memory.
const MOST: usize = 10_000_000;

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        list(text, "seed", "draw them in several runs").map(Seeds)
    }
}

impl FromStr for Indices {
    type Err = String;

    fn from_str(text: &str) -> Result<Indices, String> {
        let indices = list(text, "image", "take them in several runs")?;
        let as_index = |index: u64| {
            usize::try_from(index).map_err(|_| format!("{index} is no number of an image on this machine"))
        };
        Ok(Indices(indices.into_iter().map(as_index).collect::<Result<_, _>>()?))
    }
}

/// The numbers of a list, none of them twice. `noun` is what they count.
fn list(text: &str, noun: &str, instead: &str) -> Result<Vec<u64>, String> {
    let wrong = |part: &str| format!("'{part}' is no {noun} or range of {noun}s, as in 0-63 or 3,7,10-12");
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong(part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(wrong(part));
        }
        if last - first >= (MOST - numbers.len()) as u64 {
            return Err(format!("more than {MOST} {noun}s; {instead}"));
        }
        numbers.extend(first..=last);
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{noun} {} is asked for twice", pair[0]));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_are_read_in_order() {
        assert_eq!("0-3".parse(), Ok(Seeds(vec![0, 1, 2, 3])));
        assert_eq!("7,2-3".parse(), Ok(Seeds(vec![7, 2, 3])));
        assert_eq!("7,2-3".parse(), Ok(Indices(vec![7, 2, 3])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "a", "3-1", "1-", "-4", "1,", "99999999999999999999"] {
            let message = text.parse::<Seeds>().unwrap_err();
            assert!(message.ends_with("as in 0-63 or 3,7,10-12"), "{message}");
        }
        let many = Err("more than 10000000 seeds; draw them in several runs".to_string());
        assert_eq!("0-10000000".parse::<Seeds>(), many);
        assert_eq!("7,0-18446744073709551615".parse::<Seeds>(), many);
        assert_eq!("1-3,2".parse::<Seeds>(), Err("seed 2 is asked for twice".to_string()));
        assert_eq!("1,1".parse::<Indices>(), Err("image 1 is asked for twice".to_string()));
    }
}
